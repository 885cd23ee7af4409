//! The kernel prints at most 10 headers of OOM kills in 5 seconds (`DEFINE_RATELIMIT_STATE(oom_rs, …)`,
//! `mm/oom_kill.c`). A kill whose header is to be compared must wait for its turn.
//!
//! One limit holds for the whole machine, whichever agent runs: so does this count of it.

use std::{
    collections::VecDeque,
    sync::{Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{deadline::wait_for, machine::oom_kills};

/// One less than the kernel allows, for a kill of somebody else's.
const HEADERS: usize = 9;
/// Five seconds, and a little because the kernel measures in its own ticks.
const WINDOW: Duration = Duration::from_millis(5500);

static RECENT: Mutex<VecDeque<Instant>> = Mutex::new(VecDeque::new());
/// Whoever was killed on this machine before this process looked may have been killed just now.
static BEFORE: Once = Once::new();

/// Waits until the kernel will print another header, and counts it.
///
/// # Errors
/// The window does not pass.
pub fn wait() -> Result<()> {
    BEFORE.call_once(|| count(if oom_kills().is_ok_and(|kills| kills == 0) { 0 } else { HEADERS }));
    wait_for("the kernel's rate limit to pass", 2 * WINDOW, || {
        let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|at| at.elapsed() >= WINDOW) {
            recent.pop_front();
        }
        Ok((recent.len() < HEADERS).then(|| recent.push_back(Instant::now())))
    })
}

/// Counts headers that were printed, or held back, without waiting.
pub fn count(headers: usize) {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.extend((0..headers).map(|_| Instant::now()));
}
