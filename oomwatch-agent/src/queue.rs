//! The queue from the capture thread to the reporter: bounded, its places there from the start, and neither side ever
//! waits for the other with a lock in its hand.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_queue::ArrayQueue;
use rustix::{
    event::{EventfdFlags, eventfd},
    io::{Errno, read, write},
};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// A queue with so many places.
///
/// # Errors
/// The kernel refused an eventfd.
pub fn queue<T>(places: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let shared =
        Arc::new(Shared { waiting: ArrayQueue::new(places.max(1)), wake, closed: AtomicBool::new(false) });
    Ok((Sender(Arc::new(Open(Arc::clone(&shared)))), Receiver { shared, woken: None }))
}

struct Shared<T> {
    waiting: ArrayQueue<T>,
    wake: Arc<OwnedFd>,
    closed: AtomicBool,
}

impl<T> Shared<T> {
    fn wake(&self) {
        ring(&self.wake);
    }
}

/// Wakes whoever waits on an eventfd. Allocates nothing.
pub fn ring(bell: &OwnedFd) {
    // Refused only where it was rung 2^64 times and never heard.
    write(bell, &1_u64.to_ne_bytes()).ok();
}

/// One end. With the last of them the queue is closed.
pub struct Sender<T>(Arc<Open<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Open<T>(Arc<Shared<T>>);

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

impl<T> Sender<T> {
    /// Hands something over. Allocates nothing.
    ///
    /// # Errors
    /// The queue is full: what was to be sent.
    pub fn send(&self, value: T) -> Result<(), T> {
        let Open(shared) = &*self.0;
        shared.waiting.push(value)?;
        shared.wake();
        Ok(())
    }

    /// How full it is, for whoever asks.
    pub fn depth(&self) -> Depth<T> {
        Depth(Arc::clone(&self.0.0))
    }
}

/// Looks at a queue.
pub struct Depth<T>(Arc<Shared<T>>);

impl<T> Depth<T> {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.waiting.len()
    }

    /// How many may.
    pub fn places(&self) -> usize {
        self.0.waiting.capacity()
    }
}

/// The other end.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Registered with the runtime when first waited on.
    woken: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl<T> Receiver<T> {
    /// What came first of what waits, if anything.
    pub fn try_recv(&mut self) -> Option<T> {
        self.shared.waiting.pop()
    }

    /// What came first, in a tokio runtime. `None`: the queue is closed and empty.
    ///
    /// # Errors
    /// The kernel refused to watch an eventfd.
    pub async fn recv(&mut self) -> io::Result<Option<T>> {
        loop {
            let closed = self.shared.closed.load(Ordering::SeqCst);
            if let Some(value) = self.shared.waiting.pop() {
                return Ok(Some(value));
            }
            if closed {
                return Ok(None);
            }
            let woken = match self.woken.take() {
                Some(woken) => woken,
                None => sys::awaitable(Arc::clone(&self.shared.wake))?,
            };
            let woken = self.woken.insert(woken);
            let mut ready = woken.readable().await?;
            match read(ready.get_inner(), &mut [0; 8]) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Others wait behind what was received last, so many that some may soon be lost; or nothing comes any more.
    pub fn is_pressing(&self) -> bool {
        let waiting = &self.shared.waiting;
        self.shared.closed.load(Ordering::SeqCst) || waiting.len() > waiting.capacity() / 2
    }

    /// More wait behind what was received last than are made at leisure: of the files of those that follow, some may
    /// soon find no room (`pool::FOR_FILES`).
    pub fn is_crowded(&self) -> bool {
        let waiting = &self.shared.waiting;
        waiting.len() > waiting.capacity() / 16
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use tokio::{runtime, time::timeout};

    use super::*;

    const HANGS: Duration = Duration::from_mins(1);

    #[test]
    fn all_that_is_sent_from_another_thread_is_received_in_order_and_then_the_end() {
        let (sender, mut receiver) = queue(3).unwrap();
        let thread = thread::spawn(move || {
            for mut number in 0..10_000 {
                while let Err(refused) = sender.send(number) {
                    number = refused;
                    thread::yield_now();
                }
            }
        });
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for expected in 0..10_000 {
                let received = timeout(HANGS, receiver.recv()).await.expect("it hangs").unwrap();
                assert_eq!(received, Some(expected));
            }
            assert_eq!(timeout(HANGS, receiver.recv()).await.expect("it hangs").unwrap(), None);
        });
        thread.join().unwrap();
    }

    #[test]
    fn what_finds_it_full_comes_back() {
        let (sender, mut receiver) = queue(2).unwrap();
        assert_eq!((sender.send(1), sender.send(2), sender.send(3)), (Ok(()), Ok(()), Err(3)));
        let depth = sender.depth();
        assert_eq!((depth.waiting(), depth.places(), receiver.is_pressing()), (2, 2, true));
        assert_eq!(receiver.try_recv(), Some(1));
        assert!(!receiver.is_pressing() && receiver.is_crowded(), "one of two is more than a sixteenth");
        drop(sender);
        assert!(receiver.is_pressing(), "nothing comes any more");
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(2), None));
        assert!(!receiver.is_crowded());
    }
}
