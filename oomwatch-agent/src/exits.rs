//! From kill to exit: how long victims take to end after their SIGKILL, and so to give their memory back.
//!
//! A pidfd would tell it exactly, but only for processes of one's own pid namespace. So `/proc/PID/stat` is looked at,
//! often at first and then every 100 ms.

use std::{sync::Arc, time::Duration};

use oomwatch_common::{incident::Incident, units::BoottimeNs};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    metrics::Metrics,
    relief::Relief,
    sources::{
        Roots,
        watch::{Watched, watch},
    },
    sys,
};

/// Victims that are watched at a time; further ones are not measured.
const AT_A_TIME: usize = 64;
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A victim that is stuck in the kernel may never end.
const AT_MOST: Duration = Duration::from_mins(5);
/// One that was found dead at the first look died before it: told only where that look came early.
const EARLY: Duration = Duration::from_millis(100);

/// Watches victims end.
pub struct Exits {
    roots: Roots,
    metrics: Arc<Metrics>,
    relief: Relief,
    room: Arc<Semaphore>,
}

impl Exits {
    /// Nobody is watched yet.
    pub fn new(roots: Roots, metrics: Arc<Metrics>, relief: Relief) -> Self {
        Self { roots, metrics, relief, room: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Watches an incident's victims, within a tokio runtime and without waiting.
    pub fn watch(&self, incident: &Incident) {
        // To look takes a page.
        let relief = if self.relief.concerns(incident) { self.relief } else { Relief::default() };
        for victim in &incident.victims {
            let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return };
            let (metrics, killed_at) = (Arc::clone(&self.metrics), incident.at);
            match watch(&self.roots, victim) {
                Some(victim) => drop(tokio::spawn(async move {
                    if let Some(after) = end_of(&victim, killed_at, relief).await {
                        metrics.exited(after);
                    }
                    drop(room);
                })),
                None if since(killed_at) <= EARLY => metrics.exited(since(killed_at)),
                None => {}
            }
        }
    }
}

async fn end_of(victim: &Watched, killed_at: BoottimeNs, relief: Relief) -> Option<Duration> {
    let mut wait = FIRST_LOOK_AFTER;
    while !(relief.is_there() && victim.has_ended()) {
        if since(killed_at) > AT_MOST {
            return None;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LOOK_EVERY);
    }
    Some(since(killed_at))
}

fn since(killed_at: BoottimeNs) -> Duration {
    Duration::from_nanos(sys::boottime().0.saturating_sub(killed_at.0))
}
