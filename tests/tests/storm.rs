//! A storm on the machine that builds the agent, in cgroups of the test's own: more kills than any buffer of the agent
//! holds.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use oomwatch_tests::{
    here::{binary, is_root},
    storm::Storm,
};

/// Several times what the queue and the ring buffer hold.
const KILLS: u64 = 2000;
/// It takes a minute on an emulated CPU.
const HANGS: Duration = Duration::from_mins(5);

#[test]
fn each_of_two_thousand_kills_is_one_incident() -> Result<()> {
    if !is_root("makes OOM kills")? {
        return Ok(());
    }
    let storm = Storm {
        binary: &binary()?,
        program: Path::new(env!("CARGO_BIN_EXE_oomwatch-guest")),
        level: "tracepoint",
        kills: KILLS,
        within: HANGS,
    };
    let outcome = storm.run()?;
    ensure!(outcome.kills >= KILLS && outcome.is_complete(), "{outcome}");
    Ok(())
}
