//! How many large answers are in memory: each is held until its client has read it, and the agent's pod has 64 MiB.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::metrics::Format;

/// Pages of incidents; one has 1 MiB.
const PAGES: usize = 4;
/// Expositions that differ; the last of each format is one of them. One of 4,096 containers has 4 MB.
const EXPOSITIONS: usize = 6;
/// How long a client waits for others to read their pages.
const FOR_OTHERS: Duration = Duration::from_secs(2);

/// Room for large answers.
pub(super) struct Room {
    pages: Arc<Semaphore>,
    expositions: Arc<Semaphore>,
    last: Mutex<Vec<(Format, Bytes)>>,
}

/// A place in the room, for as long as the answer is in memory.
struct Held {
    body: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// A place for a page that is still to be made.
pub(super) struct Place(OwnedSemaphorePermit);

impl Place {
    pub(super) fn holds(self, body: String) -> Bytes {
        Bytes::from_owner(Held { body: body.into_bytes(), _place: self.0 })
    }
}

impl Room {
    pub(super) fn new() -> Self {
        let (pages, expositions) = (Semaphore::new(PAGES), Semaphore::new(EXPOSITIONS));
        Self { pages: Arc::new(pages), expositions: Arc::new(expositions), last: Mutex::default() }
    }

    /// A place for a page; `None` where others do not read theirs.
    pub(super) async fn for_a_page(&self) -> Option<Place> {
        let place = timeout(FOR_OTHERS, Arc::clone(&self.pages).acquire_owned()).await;
        place.ok()?.ok().map(Place)
    }

    /// The metrics as they are now; where there is no room, because clients do not read, as they last were.
    ///
    /// # Errors
    /// They could not be written, or there are no last ones.
    pub(super) fn exposition(
        &self,
        format: Format,
        encode: impl FnOnce() -> Result<Vec<u8>, fmt::Error>,
    ) -> Result<Bytes, fmt::Error> {
        let place = Arc::clone(&self.expositions).try_acquire_owned();
        let fresh = place.ok().map(|place| Ok(Bytes::from_owner(Held { body: encode()?, _place: place })));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match fresh.transpose()? {
            Some(fresh) => {
                last.retain(|(of, _)| *of != format);
                last.push((format, fresh.clone()));
                Ok(fresh)
            }
            None => last.iter().find(|(of, _)| *of == format).map(|(_, last)| last.clone()).ok_or(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_room_metrics_are_the_last_ones() {
        let room = Room::new();
        let ask = |body: &str| room.exposition(Format::Text, || Ok(body.as_bytes().to_vec()));
        let mut unread: Vec<Bytes> =
            (0..EXPOSITIONS).map(|number| ask(&number.to_string()).unwrap()).collect();
        assert_eq!(ask("new").unwrap(), (EXPOSITIONS - 1).to_string());
        assert!(room.exposition(Format::Protobuf, || Ok(Vec::new())).is_err());
        // The last one stays, so that there is always one to be had.
        unread.remove(0);
        assert_eq!(ask("new").unwrap(), "new");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_waits_for_room_and_not_for_ever() {
        let room = Room::new();
        let mut unread = Vec::new();
        for _ in 0..PAGES {
            unread.push(room.for_a_page().await.unwrap().holds("page".to_owned()));
        }
        assert!(room.for_a_page().await.is_none());
        unread.pop();
        assert!(room.for_a_page().await.is_some());
    }
}
