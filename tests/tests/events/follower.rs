//! A command that goes on.

use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use oomwatch_tests::{
    deadline::{PATIENCE, wait_for},
    lines::{Lines, Next},
};
use rustix::process::{Pid, Signal, kill_process};

use super::shared::command;

/// A command that follows; killed when dropped.
pub(super) struct Follower {
    child: Child,
    lines: Lines,
    log: Lines,
}

impl Follower {
    pub(super) fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = command(arguments)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("no pipes")?;
        Ok(Self { child, lines: Lines::of(stdout), log: Lines::of(stderr) })
    }

    pub(super) fn next(&self) -> Result<String> {
        match self.lines.next(PATIENCE) {
            Next::Line(line) => Ok(line),
            end => bail!("{end:?} instead of a line; its log: {:?}", self.log.ready()),
        }
    }

    pub(super) fn said(&self) -> Result<String> {
        match self.log.next(PATIENCE) {
            Next::Line(line) => Ok(line),
            end => bail!("{end:?} instead of a word on stderr"),
        }
    }

    /// Ends it as Ctrl-C does; what it had not printed yet is not lost on the way to us.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, Signal::INT)?;
        self.ends_well()?;
        ensure!(self.lines.next(PATIENCE) == Next::End, "it printed more than was expected");
        Ok(())
    }

    pub(super) fn ends_well(&mut self) -> Result<()> {
        let status = wait_for("the command to end", PATIENCE, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "{status}: {:?}", self.log.ready());
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().map(|_| ()).unwrap_or_default();
        }
    }
}
