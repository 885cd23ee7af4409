//! Whether the agent is well: its loops turn, its probe is in place.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use oomwatch_common::units::BoottimeNs;
use tokio::time::sleep;

use crate::{capture::Pulse, sys};

/// The capture thread, which sleeps for as long as nothing happens, is woken to prove itself where it has not turned
/// for so long.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Woken, it has so long to turn. It has real-time priority, and one file to read before it looks at what woke it.
const TURNS_WITHIN: Duration = Duration::from_secs(2);
/// The reporter may be busy with one report for so long: a stdout that nobody reads is somebody else's trouble at
/// first, and the queue behind it has room.
const BUSY_FOR: Duration = Duration::from_mins(2);

/// What is known of the agent's health.
#[derive(Default)]
pub struct Health {
    capture: OnceLock<Arc<Pulse>>,
    reporter: Arc<Busy>,
    blind: AtomicBool,
}

/// A loop that says when it is at work.
#[derive(Debug, Default)]
pub struct Busy(AtomicU64);

impl Busy {
    /// It begins with something.
    pub fn begins(&self, now: BoottimeNs) {
        self.0.store(now.0.max(1), Ordering::Relaxed);
    }

    /// It waits for the next.
    pub fn rests(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// It has nothing to do.
    pub fn is_at_rest(&self) -> bool {
        self.since().is_none()
    }

    fn since(&self) -> Option<BoottimeNs> {
        Some(BoottimeNs(self.0.load(Ordering::Relaxed))).filter(|since| since.0 > 0)
    }
}

impl Health {
    /// The probe is attached and proved, and the thread that reads it runs.
    pub fn ready(&self, capture: Arc<Pulse>) {
        if self.capture.set(capture).is_err() {
            tracing::debug!("it was ready before");
        }
    }

    /// The reporter's.
    pub fn reporter(&self) -> Arc<Busy> {
        Arc::clone(&self.reporter)
    }

    /// The probe does not see what the kernel counts, or sees it again.
    pub fn blind(&self, blind: bool) {
        self.blind.store(blind, Ordering::Relaxed);
    }

    /// Whether kills are caught.
    pub fn is_ready(&self) -> bool {
        self.capture.get().is_some() && !self.blind.load(Ordering::Relaxed)
    }

    /// What is not well: nothing, as long as all loops turn. Takes up to 2 s where one does not.
    pub async fn ailments(&self) -> Vec<String> {
        let mut ailments = Vec::new();
        if let Some(capture) = self.capture.get()
            && !turns(capture).await
        {
            ailments.push(format!(
                "the capture thread has not turned for {} s",
                seconds_since(capture.turned_at())
            ));
        }
        if let Some(since) = self.reporter.since().filter(|since| is_past(*since, sys::boottime(), BUSY_FOR))
        {
            ailments
                .push(format!("the reporter has been busy with one report for {} s", seconds_since(since)));
        }
        ailments
    }
}

async fn turns(capture: &Pulse) -> bool {
    let asked_at = sys::boottime();
    if !is_past(capture.turned_at(), asked_at, IDLE_FOR) {
        return true;
    }
    capture.poke();
    let mut waited = Duration::ZERO;
    while waited < TURNS_WITHIN {
        let pause = Duration::from_millis(10).max(waited / 4);
        sleep(pause).await;
        waited += pause;
        if capture.turned_at() >= asked_at {
            return true;
        }
    }
    false
}

fn is_past(since: BoottimeNs, now: BoottimeNs, limit: Duration) -> bool {
    u128::from(now.0.saturating_sub(since.0)) > limit.as_nanos()
}

fn seconds_since(since: BoottimeNs) -> u64 {
    sys::boottime().0.saturating_sub(since.0) / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reporter_that_is_stuck_is_told_and_one_that_rests_is_well() {
        let health = Health::default();
        assert!(!health.is_ready() && health.ailments().await.is_empty());
        let reporter = health.reporter();
        reporter.begins(sys::boottime());
        assert!(health.ailments().await.is_empty());
        let long_ago = sys::boottime().0.saturating_sub(121_000_000_000);
        reporter.begins(BoottimeNs(long_ago));
        assert_eq!(health.ailments().await.len(), 1);
        reporter.rests();
        assert!(health.ailments().await.is_empty());
    }

    #[test]
    fn a_probe_that_is_blind_catches_no_kills() {
        let pulse = Arc::new(Pulse::new().unwrap());
        let health = Health::default();
        health.ready(pulse);
        assert!(health.is_ready());
        health.blind(true);
        assert!(!health.is_ready());
        health.blind(false);
        assert!(health.is_ready());
    }

    #[test]
    fn a_limit_is_passed_only_after_it() {
        let at = |seconds: u64| BoottimeNs(seconds * 1_000_000_000);
        assert!(!is_past(at(10), at(15), IDLE_FOR));
        assert!(is_past(at(10), at(16), IDLE_FOR));
        assert!(!is_past(at(16), at(10), IDLE_FOR));
    }
}
