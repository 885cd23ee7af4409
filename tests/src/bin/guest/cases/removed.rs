//! Nothing is left of the victim when the agent comes to look: its process has ended and its cgroup is removed. What
//! the probe read in the kernel must be in the report all the same.

use std::fs;

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    deadline::{PATIENCE, wait_for},
};
use rustix::process::{Pid, Signal, kill_process};

use super::stand;

/// The agent, held by SIGSTOP; it goes on when this is dropped.
struct Held(Pid);

impl Held {
    fn agent(bench: &Bench) -> Result<Self> {
        let pid =
            i32::try_from(bench.agent.id()).ok().and_then(Pid::from_raw).context("the agent has no pid")?;
        kill_process(pid, Signal::STOP)?;
        let stat = format!("/proc/{}/stat", bench.agent.id());
        wait_for("the agent to stop", PATIENCE, || {
            Ok(fs::read_to_string(&stat)?.contains(") T ").then_some(()))
        })?;
        Ok(Self(pid))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // An agent that has gone is noticed by whoever waits for its report.
        kill_process(self.0, Signal::CONT).ok();
    }
}

pub(super) fn at_once(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/removed/at-once", 32)?;
    let mut hog = bench.hog(&memcg, &["anon=8", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    bench.begin()?;
    let held = Held::agent(bench)?;
    hog.go()?;
    hog.wait_for_kill()?;
    // Waits until they are.
    drop(memcg);
    drop(held);
    let (report, logged, kernel_count) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let victim = report.victims.first().context("no victim")?;
    with_status(&mut differences, victim, &standing.status, Since::Grew, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.same_name("victim cgroup", victim.cgroup.as_deref(), b"/removed/at-once");
    for lost in ["victims[0]/", "limit_owner/"] {
        let named = report.gaps.iter().any(|gap| gap.starts_with(lost));
        differences.that(&format!("{lost} could not be read and must be among the gaps"), named);
    }
    differences.finish().with_context(|| report.line)
}
