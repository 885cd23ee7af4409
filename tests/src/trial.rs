//! An agent that something is done to, and the sum that must come out whatever it is: each kill that the kernel counts
//! is in a report, or counted as lost.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    agent::{Agent, command},
    deadline::{PATIENCE, wait_for},
    hog::Hog,
    http::{get, sample},
    lines::{Lines, Next},
    machine::oom_kills,
    memcg::{Hierarchy, Memcg},
    report::Report,
};

/// Processes that were killed and are in no report, by the agent's own account.
pub const LOST: &str = "oomwatch_oom_kills_lost_total";

/// An agent that something is done to, and a cgroup to be killed in.
#[derive(Debug)]
pub struct Trial {
    /// The agent, which reports in JSON and serves metrics.
    pub agent: Agent,
    /// Where kills are made.
    pub memcg: Memcg,
    /// Victims of all reports that were read, in their order.
    pub reported: Vec<u32>,
    program: PathBuf,
    /// The kernel's count before the agent was started, and once it was ready: the same, unless others are killed here.
    kernel: (u64, u64),
}

impl Trial {
    /// Starts the agent with more arguments. `program` is `oomwatch-guest`.
    ///
    /// # Errors
    /// The agent does not get ready, or the machine lacks something.
    pub fn start(binary: &Path, program: PathBuf, name: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = command(binary);
        command.arg("run").args(Self::arguments(arguments));
        Self::start_command(program, name, command)
    }

    /// All arguments behind `run`.
    pub fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["--output", "json", "--listen", "127.0.0.1:0", "--kubelet", "off"], more].concat()
    }

    /// The path of its cgroup.
    pub fn path(name: &str) -> String {
        format!("/oomwatch-test-{}/{name}", std::process::id())
    }

    /// The same by a command that becomes the agent.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_command(program: PathBuf, name: &str, command: Command) -> Result<Self> {
        let path = Self::path(name);
        let memcg = Hierarchy::mounted()?.create(&path)?;
        memcg.limit(&path, 16 << 20)?;
        let before = oom_kills()?;
        let agent = Agent::start_command(command)?;
        Ok(Self { agent, memcg, reported: Vec::new(), program, kernel: (before, oom_kills()?) })
    }

    /// Starts a process that will die when it is let go on.
    ///
    /// # Errors
    /// See [`Hog::start`].
    pub fn hog(&self) -> Result<Hog> {
        let hog = Hog::start(&self.program, 0, &["anon=256"])?;
        self.memcg.add(hog.pid)?;
        Ok(hog)
    }

    /// Makes so many kills, one after another.
    ///
    /// # Errors
    /// A process lives on.
    pub fn kill(&self, kills: usize) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for _ in 0..kills {
            let mut hog = self.hog()?;
            hog.go()?;
            hog.wait_for_kill()?;
            pids.push(hog.pid);
        }
        Ok(pids)
    }

    /// Sends the agent a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.agent.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, signal).context("cannot signal the agent")
    }

    /// Its metrics.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&mut self) -> Result<String> {
        Ok(get(self.agent.address()?, "/metrics", &[])?.body)
    }

    /// One sample.
    ///
    /// # Errors
    /// There is none.
    pub fn metric(&mut self, name: &str, labels: &[&str]) -> Result<f64> {
        let metrics = self.metrics()?;
        sample(&metrics, name, labels).with_context(|| format!("no {name} {labels:?} in {metrics}"))
    }

    /// Whether two metrics are the same number.
    ///
    /// # Errors
    /// There is no such sample.
    pub fn are_equal(&mut self, one: (&str, &[&str]), other: (&str, &[&str])) -> Result<bool> {
        Ok((self.metric(one.0, one.1)? - self.metric(other.0, other.1)?).abs() < 0.5)
    }

    /// Waits until a metric is what it should be.
    ///
    /// # Errors
    /// It never is.
    pub fn wait_for_metric(&mut self, name: &str, labels: &[&str], is: impl Fn(f64) -> bool) -> Result<f64> {
        let waited = wait_for(&format!("{name} {labels:?}"), PATIENCE, || {
            Ok(Some(self.metric(name, labels)?).filter(|value| is(*value)))
        });
        waited.with_context(|| self.agent.log())
    }

    /// Reads the reports that have come.
    ///
    /// # Errors
    /// One is no report.
    pub fn read(&mut self, reports: &Lines) -> Result<()> {
        while let Next::Line(line) = reports.next(Duration::from_millis(20)) {
            let victims = Report::parse(&line)?.victims;
            self.reported.extend(victims.iter().map(|victim| victim.number().unwrap_or(0)));
        }
        Ok(())
    }

    /// Reads reports until all kills that the kernel counts are reported or lost. A group's first victim must not be
    /// counted twice among them.
    ///
    /// # Errors
    /// They never are, or more than there are.
    pub fn balance(&mut self, reports: &Lines) -> Result<()> {
        let balanced = wait_for("kills to be reported or counted as lost", PATIENCE, || {
            self.read(reports)?;
            let lost = self.lost()?;
            let kernel = oom_kills()?;
            let (most, least) = (kernel - self.kernel.0, kernel - self.kernel.1);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
            let told = self.reported.len() as u64 + lost as u64;
            ensure!(told <= most, "{most} kills, {} reported and {lost} lost", self.reported.len());
            Ok((told >= least).then_some(()))
        });
        balanced.with_context(|| format!("{} reported. {}", self.reported.len(), self.agent.log()))
    }

    /// Killed processes that are in no report, by the agent's own account.
    ///
    /// # Errors
    /// It does not tell.
    pub fn lost(&mut self) -> Result<f64> {
        let metrics = self.metrics()?;
        let of = |reason: &str| sample(&metrics, LOST, &[reason]).context("no such reason");
        Ok(of("unseen")? + of("record")? + of("queue")? + of("output")?)
    }

    /// Ends the agent.
    ///
    /// # Errors
    /// It exits with another code than 0.
    pub fn end(mut self) -> Result<()> {
        self.agent.terminate()?;
        let (status, _) = self.agent.wait()?;
        ensure!(status.success(), "ended with {status}. {}", self.agent.log());
        Ok(())
    }
}
