//! A storm: as many OOM kills as a machine makes, in several cgroups at once, with the agent beside them; and what
//! became of each.

mod kills;
mod machine;
mod outcome;
mod tally;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::tally::Tally;
pub use self::{
    kills::{GO, KILLED, Kills, Made, READY},
    machine::QuietConsole,
    outcome::{Gone, Latency, Lost, Memory, Outcome, Percent, StatusCaptured},
};
use crate::{agent::Agent, machine::Machine, memcg::Hierarchy, status::Status};

/// No report for so long means that none will come any more.
const SILENCE: Duration = Duration::from_secs(10);

/// A storm to be made.
#[derive(Clone, Copy, Debug)]
pub struct Storm<'a> {
    /// The agent.
    pub binary: &'a Path,
    /// `oomwatch-guest`
    pub program: &'a Path,
    /// `--probe`
    pub level: &'a str,
    /// How many kills, at least.
    pub kills: u64,
    /// How long they may take.
    pub within: Duration,
}

impl Storm<'_> {
    /// Starts the agent, makes the kills, waits for the reports, and ends the agent.
    ///
    /// # Errors
    /// Something could not be started, or a kill could not be made. That kills were not reported is no error here.
    pub fn run(&self) -> Result<Outcome> {
        let mut agent = Agent::start(self.binary, &["--output", "json", "--probe", self.level])?;
        let (machine, hierarchy) = (Machine::this()?, Hierarchy::mounted()?);
        let mut kills = Kills::prepare(&machine, &hierarchy, self.program, self.kills)?;
        let pid = agent.id();
        let rss = move || resident(pid);
        let mut memory = Memory { start_bytes: rss()?, ..Memory::default() };
        let tally = Tally::of(agent.take_stdout()?, kills.top().to_owned(), self.kills / 2, rss);
        let begun = Instant::now();
        let made = kills.make(self.within).with_context(|| agent.log())?;
        tally.wait_for(made.kernel, SILENCE);
        let reported_after = begun.elapsed();
        memory.end_bytes = rss()?;
        memory.peak_bytes = Status::of_process(pid)?.bytes("VmHWM").unwrap_or(0);
        agent.terminate()?;
        let (status, _) = agent.wait()?;
        ensure!(status.success(), "the agent ended with {status}. {}", agent.log());
        let counted = tally.end()?;
        memory.middle_bytes = counted.rss_in_the_middle.unwrap_or(0);
        let log = agent.log_to_the_end();
        Ok(Outcome {
            machine: machine::describe(&machine)?,
            kernel: machine.release,
            cpus: machine.cpus,
            cgroup: format!("{:?}", hierarchy.version).to_lowercase(),
            level: agent.level.clone(),
            kills: made.kernel,
            kills_waited_for: made.waited_for,
            kills_per_second: made.per_second(),
            seconds: made.took.as_secs_f64(),
            seconds_until_reported: reported_after.as_secs_f64(),
            incidents: counted.incidents,
            victims: counted.victims,
            twice: counted.twice,
            lost: Lost::read(&log).with_context(|| format!("no counts at the end of {log}"))?,
            memory,
            status: counted.status,
            gone: counted.gone,
            reads_left_out: counted.gaps.into_iter().collect(),
            capture: Latency::of(counted.capture_us),
            report: Latency::of(counted.report_us),
        })
    }
}

fn resident(pid: u32) -> Result<u64> {
    Status::of_process(pid)?.bytes("VmRSS").context("the agent has no VmRSS")
}
