//! A storm: as many OOM kills as a machine makes, in several cgroups at once, with the agent beside them; and what
//! became of each.
//!
//! The kills are made by processes `oomwatch-guest victims`. How many there were is the kernel's to say: `oom_kill` of
//! the storm's own cgroups, so that nobody else's kills are among them.

mod machine;
mod outcome;
mod tally;

use std::{
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use self::tally::Tally;
pub use self::{
    machine::QuietConsole,
    outcome::{Latency, Lost, Memory, Outcome, StatusCaptured},
};
use crate::{
    agent::Agent,
    deadline::{PATIENCE, wait_for},
    lines::{Lines, Next},
    machine::Machine,
    memcg::{Hierarchy, Memcg},
    status::Status,
};

/// What `victims` says when it has moved into its cgroup.
pub const READY: &str = "ready";
/// What it is then told.
pub const GO: &str = "go";
/// What it says at its end, followed by how many of its children were killed.
pub const KILLED: &str = "killed ";

/// Cgroups of a storm, with one `victims` in each: with two more than CPUs none of these is ever idle. In a cgroup of
/// two one's children would take the room that the other one's next child is to be born in, and the kernel would kill
/// its parent.
fn cgroups(machine: &Machine) -> u64 {
    machine.cpus + 2
}

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
        let top = format!("/oomwatch-storm-{}", std::process::id());
        let _top = hierarchy.create(&top)?;
        let numbers = 0..cgroups(&machine);
        let memcgs: Vec<Memcg> =
            numbers.map(|number| hierarchy.create(&format!("{top}/{number}"))).collect::<Result<_>>()?;
        let pid = agent.id();
        let rss = move || resident(pid);
        let mut memory = Memory { start_bytes: rss()?, ..Memory::default() };
        let tally = Tally::of(agent.take_stdout()?, top, self.kills / 2, rss);
        let each = self.kills.div_ceil(cgroups(&machine));
        let makers = memcgs.iter().map(|memcg| Maker::start(self.program, memcg, each));
        let mut makers: Vec<Maker> = makers.collect::<Result<_>>()?;
        let begun = Instant::now();
        makers.iter_mut().try_for_each(Maker::go)?;
        let mut waited = 0;
        for maker in makers {
            let left = self.within.saturating_sub(begun.elapsed());
            waited += maker.killed(left).with_context(|| agent.log())?;
        }
        let took = begun.elapsed();
        let kernel = memcgs.iter().map(Memcg::oom_kills).sum::<Result<u64>>()?;
        tally.wait_for(kernel, SILENCE);
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
            kills: kernel,
            kills_waited_for: waited,
            kills_per_second: per_second(kernel, took),
            seconds: took.as_secs_f64(),
            seconds_until_reported: reported_after.as_secs_f64(),
            incidents: counted.incidents,
            victims: counted.victims,
            twice: counted.twice,
            lost: Lost::read(&log).with_context(|| format!("no counts at the end of {log}"))?,
            memory,
            status: counted.status,
            reads_left_out: counted.gaps.into_iter().collect(),
            capture: Latency::of(counted.capture_us),
            report: Latency::of(counted.report_us),
        })
    }
}

fn per_second(count: u64, took: Duration) -> f64 {
    // Counts of kills are far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let count = count as f64;
    count / took.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn resident(pid: u32) -> Result<u64> {
    Status::of_process(pid)?.bytes("VmRSS").context("the agent has no VmRSS")
}

/// A running `oomwatch-guest victims`; killed when dropped.
struct Maker {
    child: Child,
    lines: Lines,
}

impl Maker {
    fn start(program: &Path, memcg: &Memcg, kills: u64) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("victims").arg(memcg.directory()).arg(kills.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let stdout = child.stdout.take().context("it has no stdout")?;
        let maker = Self { child, lines: Lines::of(stdout) };
        match maker.lines.next(PATIENCE) {
            Next::Line(line) if line == READY => Ok(maker),
            other => bail!("what makes the kills was not ready: {other:?}"),
        }
    }

    fn go(&mut self) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("it has no stdin")?;
        writeln!(stdin, "{GO}").context("what makes the kills is gone")
    }

    fn killed(mut self, within: Duration) -> Result<u64> {
        let count = match self.lines.next(within) {
            Next::Line(line) => line.strip_prefix(KILLED).and_then(|count| count.parse().ok()),
            Next::Nothing => bail!("the kills took too long"),
            Next::End => bail!("what makes the kills ended with {}", self.child.wait()?),
        };
        wait_for("what makes the kills to exit", PATIENCE, || Ok(self.child.try_wait()?))?;
        count.context("what makes the kills does not say how many")
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        // Dead already is as good.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
