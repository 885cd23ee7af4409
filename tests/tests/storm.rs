//! A storm on the machine that builds the agent, in cgroups of the test's own: more kills than any buffer of the agent
//! holds. And what the agent takes before the first of them.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use oomwatch_tests::{
    agent::Agent,
    here::{binary, is_root},
    status::Status,
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

/// What the agent needs for the whole of its life is 11 MiB; the kernel's BTF, parsed, another 11.
const START_BYTES: u64 = 14 << 20;

#[test]
fn the_kernels_btf_is_at_no_time_whole_in_memory() -> Result<()> {
    if !is_root("attaches the probe")? {
        return Ok(());
    }
    let agent = Agent::start(&binary()?, &["--probe", "tracepoint"])?;
    let peak = Status::of_process(agent.id())?.bytes("VmHWM").unwrap_or(u64::MAX);
    ensure!(peak <= START_BYTES, "{peak} bytes at most before anything was killed");
    Ok(())
}
