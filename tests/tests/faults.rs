//! Faults made for real, at the level that this machine has: whatever goes wrong, each kill that the kernel counts is
//! in a report or counted as lost.
//!
//! Others may be OOM-killed on this machine meanwhile: the sum is of all kills, so it comes out even then.

#[path = "faults/files.rs"]
mod files;
#[path = "faults/losses.rs"]
mod losses;

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    agent::{Agent, command},
    deadline::{PATIENCE, wait_for},
    here::{binary, is_root},
    hog::Hog,
    http::{get, sample},
    lines::{Lines, Next},
    machine::oom_kills,
    memcg::{Hierarchy, Memcg},
    report::Report,
};
use rustix::process::{Pid, Signal, kill_process};

/// One at a time: each takes the sum of all kills.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LOST: &str = "oomwatch_oom_kills_lost_total";

/// Alone, if this test can run at all.
fn alone_and_root() -> Result<Option<MutexGuard<'static, ()>>> {
    let root = is_root("makes OOM kills")?;
    Ok(root.then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// An agent that something is done to, and a cgroup to be killed in.
struct Trial {
    agent: Agent,
    memcg: Memcg,
    kernel_before: u64,
    /// Victims of all reports so far.
    reported: Vec<u32>,
}

impl Trial {
    fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = command(&binary()?);
        command.arg("run").args(Self::arguments(arguments));
        Self::start_command(name, command)
    }

    fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["--output", "json", "--listen", "127.0.0.1:0", "--kubelet", "off"], more].concat()
    }

    fn start_command(name: &str, command: Command) -> Result<Self> {
        let path = format!("/oomwatch-test-{}/{name}", std::process::id());
        let memcg = Hierarchy::mounted()?.create(&path)?;
        memcg.limit(&path, 16 << 20)?;
        let kernel_before = oom_kills()?;
        Ok(Self { agent: Agent::start_command(command)?, memcg, kernel_before, reported: Vec::new() })
    }

    /// Starts a process that will die when it is let go on.
    fn hog(&self) -> Result<Hog> {
        let hog = Hog::start(&PathBuf::from(env!("CARGO_BIN_EXE_oomwatch-guest")), 0, &["anon=256"])?;
        self.memcg.add(hog.pid)?;
        Ok(hog)
    }

    /// Makes so many kills, one after another.
    fn kill(&self, kills: usize) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for _ in 0..kills {
            let mut hog = self.hog()?;
            hog.go()?;
            hog.wait_for_kill()?;
            pids.push(hog.pid);
        }
        Ok(pids)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.agent.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, signal).context("cannot signal the agent")
    }

    fn metrics(&mut self) -> Result<String> {
        Ok(get(self.agent.address()?, "/metrics", &[])?.body)
    }

    fn metric(&mut self, name: &str, labels: &[&str]) -> Result<f64> {
        let metrics = self.metrics()?;
        sample(&metrics, name, labels).with_context(|| format!("no {name} {labels:?} in {metrics}"))
    }

    /// Whether two metrics are the same number.
    fn are_equal(&mut self, one: (&str, &[&str]), other: (&str, &[&str])) -> Result<bool> {
        Ok((self.metric(one.0, one.1)? - self.metric(other.0, other.1)?).abs() < 0.5)
    }

    /// Waits until a metric is what it should be.
    fn wait_for_metric(&mut self, name: &str, labels: &[&str], is: impl Fn(f64) -> bool) -> Result<f64> {
        let waited = wait_for(&format!("{name} {labels:?}"), PATIENCE, || {
            Ok(Some(self.metric(name, labels)?).filter(|value| is(*value)))
        });
        waited.with_context(|| self.agent.log())
    }

    /// Reads reports until all kills that the kernel counts are reported or lost.
    fn balance(&mut self, reports: &Lines) -> Result<()> {
        let balanced = wait_for("kills to be reported or counted as lost", PATIENCE, || {
            while let Next::Line(line) = reports.next(std::time::Duration::from_millis(20)) {
                let victims = Report::parse(&line)?.victims;
                self.reported.extend(victims.iter().map(|victim| victim.number().unwrap_or(0)));
            }
            let lost = self.lost()?;
            let kernel = oom_kills()? - self.kernel_before;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let (kernel, reported) = (kernel as f64, self.reported.len() as f64);
            ensure!(reported + lost <= kernel, "{kernel} kills, {reported} reported and {lost} lost");
            Ok(((kernel - reported - lost).abs() < 0.5).then_some(()))
        });
        balanced.with_context(|| format!("{} reported. {}", self.reported.len(), self.agent.log()))
    }

    /// Killed processes that are in no report, by the agent's own account.
    fn lost(&mut self) -> Result<f64> {
        let metrics = self.metrics()?;
        let of = |reason: &str| sample(&metrics, LOST, &[reason]).context("no such reason");
        Ok(of("unseen")? + of("record")? + of("queue")? + of("output")?)
    }

    fn end(mut self) -> Result<()> {
        self.agent.terminate()?;
        let (status, _) = self.agent.wait()?;
        ensure!(status.success(), "ended with {status}. {}", self.agent.log());
        Ok(())
    }
}
