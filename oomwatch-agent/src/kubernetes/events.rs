//! Kubernetes Events: a report is handed over at once, and told to the API server as well as that goes.
//!
//! One task keeps the book (`book.rs`: what is told, what is folded together) and never waits for the network; one
//! request at a time is under way (`api.rs`). kube's own Recorder is not used: it keeps an Event's first note for all
//! that follow, and neither limits its rate nor sends an Event anew that has been deleted.

mod api;
pub mod book;
mod counts;

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use oomwatch_common::{
    kubernetes_event::{Notice, told},
    report::Report,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use self::book::{Book, Order};
pub use self::{
    api::{Api, Refused},
    counts::{Counts, Outcome},
};
use crate::{config::KubernetesOptions, refusal::Refusal};

/// Between the reporter and the book, which is as fast as memory.
const QUEUE: usize = 256;

/// Tells Kubernetes.
pub struct Emitter {
    queue: mpsc::Sender<Notice>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Emitter {
    /// Begins to tell, within a tokio runtime; `None` where nobody is to be told, or where there is no way to the API
    /// server and none was asked for.
    ///
    /// # Errors
    /// A [`Refusal`] for a way that was asked for and cannot be gone.
    pub async fn start(options: &KubernetesOptions) -> Result<Option<Self>, Refusal> {
        let Some(api) = Api::wanted(options).await? else { return Ok(None) };
        tracing::info!(url = api.url(), "Kubernetes is told by Events");
        let (queue, notices) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(keep_telling(api, notices, Arc::clone(&counts)));
        Ok(Some(Self { queue, counts, task }))
    }

    /// Tells of an incident, without waiting.
    pub fn tell(&self, report: &Report) {
        let told = told(report);
        if told.is_nameless {
            self.counts.add(Outcome::Nameless, 1);
        }
        for notice in told.notices {
            if self.queue.try_send(notice).is_err() {
                self.counts.add(Outcome::Dropped, 1);
            }
        }
    }

    /// How telling went so far.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Tells what is left, as far as there is time.
    pub async fn drain(mut self, within: Duration) {
        drop(self.queue);
        if timeout(within, &mut self.task).await.is_err() {
            tracing::warn!("not all Events could be told in time");
            self.task.abort();
        }
    }
}

type UnderWay<'a> = Pin<Box<dyn Future<Output = (Order, Result<(), Refused>)> + Send + 'a>>;

async fn keep_telling(api: Api, mut notices: mpsc::Receiver<Notice>, counts: Arc<Counts>) {
    let mut book = Book::new(Arc::clone(&counts), Instant::now());
    let mut under_way: Option<UnderWay<'_>> = None;
    let mut ending = false;
    loop {
        let now = Instant::now();
        if under_way.is_none()
            && let Some(order) = book.next(now, ending)
        {
            under_way = Some(Box::pin(async {
                let result = api.deliver(&order).await;
                (order, result)
            }));
        }
        if ending && under_way.is_none() {
            return;
        }
        let due = book.due(now);
        let delivered = async {
            match &mut under_way {
                Some(delivery) => delivery.await,
                None => pending().await,
            }
        };
        let waited_for_due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            (order, result) = delivered => {
                under_way = None;
                book.delivered(order, result, Instant::now());
            }
            notice = notices.recv(), if !ending => match notice {
                Some(notice) => book.take(notice, Instant::now()),
                None => ending = true,
            },
            () = waited_for_due => {}
        }
    }
}
