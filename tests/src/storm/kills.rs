//! The kills of a storm. They are made by processes `oomwatch-guest victims`. How many there were is the kernel's to
//! say: `oom_kill` of the storm's own cgroups, so that nobody else's kills are among them.

use std::{
    io::Write as _,
    mem,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    deadline::{PATIENCE, wait_for},
    lines::{Lines, Next},
    machine::Machine,
    memcg::{Hierarchy, Memcg},
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

/// Kills that are about to be made: the cgroups, with a process that waits in each. Gone when dropped.
#[derive(Debug)]
pub struct Kills {
    path: String,
    makers: Vec<Maker>,
    memcgs: Vec<Memcg>,
    _top: Memcg,
}

/// Kills that were made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// By the kernel's count.
    pub kernel: u64,
    /// Children of the makers that died by SIGKILL.
    pub waited_for: u64,
    /// From the first to the last.
    pub took: Duration,
}

impl Kills {
    /// Makes ready for at least so many. `program` is `oomwatch-guest`.
    ///
    /// # Errors
    /// Cgroups cannot be made (root is needed), or processes.
    pub fn prepare(machine: &Machine, hierarchy: &Hierarchy, program: &Path, kills: u64) -> Result<Self> {
        let path = format!("/oomwatch-storm-{}", std::process::id());
        let top = hierarchy.create(&path)?;
        let numbers = 0..cgroups(machine);
        let memcgs: Vec<Memcg> =
            numbers.map(|number| hierarchy.create(&format!("{path}/{number}"))).collect::<Result<_>>()?;
        let each = kills.div_ceil(cgroups(machine));
        let makers = memcgs.iter().map(|memcg| Maker::start(program, memcg, each)).collect::<Result<_>>()?;
        Ok(Self { path, makers, memcgs, _top: top })
    }

    /// The cgroup below which the victims are.
    pub fn top(&self) -> &str {
        &self.path
    }

    /// Makes them, once.
    ///
    /// # Errors
    /// One could not be made, or they took longer.
    pub fn make(&mut self, within: Duration) -> Result<Made> {
        let begun = Instant::now();
        self.makers.iter_mut().try_for_each(Maker::go)?;
        let mut waited_for = 0;
        for maker in mem::take(&mut self.makers) {
            waited_for += maker.killed(within.saturating_sub(begun.elapsed()))?;
        }
        let took = begun.elapsed();
        let kernel = self.memcgs.iter().map(Memcg::oom_kills).sum::<Result<u64>>()?;
        Ok(Made { kernel, waited_for, took })
    }
}

impl Made {
    /// Of the kernel's count.
    pub fn per_second(&self) -> f64 {
        // Counts of kills are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
        let count = self.kernel as f64;
        count / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// A running `oomwatch-guest victims`; killed when dropped.
#[derive(Debug)]
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
