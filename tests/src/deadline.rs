//! Waiting for something that another process or the kernel does: asked again and again, never longer than a limit.
//!
//! No test sleeps for a fixed time and hopes.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Limit for what takes milliseconds on idle hardware. An emulated guest on a busy host is a hundred times slower.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// How long to pause between two looks. Long enough to leave a single emulated CPU to those that are waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
///
/// # Errors
/// `what` did not happen within `limit`, or asking failed.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begun.elapsed() >= limit {
            bail!("waited {:.1} s in vain for {what}", limit.as_secs_f64());
        }
        thread::sleep(PAUSE);
    }
}
