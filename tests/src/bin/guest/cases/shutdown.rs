//! How the agent ends.

use std::{io::Read, time::Duration};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{agent::Agent, bench::Bench};

use crate::suite::agent_binary;

const PROMPTLY: Duration = Duration::from_secs(2);

/// One process dies, and everything that the first agent says of it is taken from it.
fn kill_one(bench: &mut Bench) -> Result<u32> {
    let memcg = bench.memcg("/shutdown", 24)?;
    bench.begin()?;
    let mut hog = bench.hog(&memcg, &["anon=256"])?;
    hog.go()?;
    hog.wait_for_kill()?;
    Ok(hog.pid)
}

/// A second agent is told to end right after a kill.
pub(super) fn drains(bench: &mut Bench) -> Result<()> {
    let mut agent = Agent::start(&agent_binary(), &["--output", "json"])?;
    let mut stdout = agent.take_stdout()?;
    let pid = kill_one(bench)?;
    agent.terminate()?;
    let (status, took) = agent.wait()?;
    bench.observe_one(&[pid])?;
    let mut lines = String::new();
    stdout.read_to_string(&mut lines)?;
    ensure!(status.success(), "ended with {status}. {}", agent.log());
    ensure!(took <= PROMPTLY, "took {took:?} to end. {}", agent.log());
    ensure!(
        lines.contains(&format!("\"tgid\":{pid}")),
        "the kill was not reported: {lines:?}. {}",
        agent.log()
    );
    Ok(())
}

/// Nobody reads a second agent's reports any more.
pub(super) fn closed_stdout(bench: &mut Bench) -> Result<()> {
    let mut agent = Agent::start(&agent_binary(), &["--output", "json"])?;
    drop(agent.take_stdout()?);
    let pid = kill_one(bench)?;
    bench.observe_one(&[pid])?;
    let (status, _) = agent.wait().with_context(|| agent.log())?;
    let log = agent.log();
    ensure!(status.success() && !log.contains("panicked"), "ended with {status}. {log}");
    Ok(())
}
