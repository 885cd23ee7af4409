//! Kills one at a time, of processes as large as those of real containers: what somebody on call waits for.

use std::{path::Path, thread::sleep, time::Duration};

use anyhow::Result;

use crate::{hog::Hog, memcg::Hierarchy};

const LIMIT_MIB: u64 = 64;
const PATH: &str = "/oomwatch-single";
/// More than it may have.
const STEPS: [&str; 1] = ["anon=128"];
/// Between two of them, so that the next finds all at rest.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes so many, and gives who was killed. `made` is called behind each, when all is at rest again.
///
/// # Errors
/// One could not be made, or `made` failed.
pub(super) fn make(
    hierarchy: &Hierarchy,
    program: &Path,
    kills: u64,
    mut made: impl FnMut() -> Result<()>,
) -> Result<Vec<u32>> {
    let mut killed = Vec::new();
    for _ in 0..kills {
        let memcg = hierarchy.create(PATH)?;
        memcg.limit(PATH, LIMIT_MIB << 20)?;
        let mut hog = Hog::start(program, 0, &STEPS)?;
        memcg.add(hog.pid)?;
        hog.go()?;
        hog.wait_for_kill()?;
        killed.push(hog.pid);
        sleep(PAUSE);
        made()?;
    }
    Ok(killed)
}
