//! A memory hog as the tests see it: a child process that stops where told, and dies when dropped.
//!
//! What it does is written in steps that `oomwatch-guest hog` takes one after another; they are listed there.

use std::{
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    deadline::{PATIENCE, wait_for},
    lines::{Lines, Next},
    status::Status,
};

/// Signal number of SIGKILL.
const SIGKILL: i32 = 9;

/// A running hog.
#[derive(Debug)]
pub struct Hog {
    child: Child,
    stdin: ChildStdin,
    lines: Lines,
    /// The process that hogs: the child itself, or in a pid namespace of its own the child's child.
    pub pid: u32,
    /// A process that shares its memory and is no thread of it, once it has said so.
    pub sharer: Option<u32>,
}

impl Hog {
    /// Starts one as `uid`. It waits before its first step, so that it can be moved to a cgroup first.
    ///
    /// # Errors
    /// The program cannot be run, or does not come to its first stop.
    pub fn start(program: &Path, uid: u32, steps: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["hog", "stop"]).args(steps).uid(uid).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).context("the hog has no pipes")?;
        let mut hog = Self { pid: child.id(), sharer: None, child, stdin, lines: Lines::of(stdout) };
        hog.wait_for_stop()?;
        Ok(hog)
    }

    /// Waits for the next step `stop`. A hog in a pid namespace of its own says its pid on the way.
    ///
    /// # Errors
    /// It died before.
    pub fn wait_for_stop(&mut self) -> Result<()> {
        loop {
            match self.lines.next(PATIENCE) {
                Next::Line(line) if line == "stopped" => return Ok(()),
                Next::Line(line) => match line.split_once(' ').map(|(what, pid)| (what, pid.parse())) {
                    Some(("child", Ok(pid))) => self.pid = pid,
                    Some(("sharer", Ok(pid))) => self.sharer = Some(pid),
                    _ => bail!("the hog says {line:?}"),
                },
                Next::End => bail!("the hog died before its stop: {:?}", self.child.wait()?),
                Next::Nothing => bail!("the hog did not come to its stop"),
            }
        }
    }

    /// Lets it go on behind a stop.
    ///
    /// # Errors
    /// It is dead.
    pub fn go(&mut self) -> Result<()> {
        self.stdin.write_all(b"go\n").context("the hog is gone")
    }

    /// Lets it go on, to the next stop.
    ///
    /// # Errors
    /// It died.
    pub fn go_to_stop(&mut self) -> Result<()> {
        self.go()?;
        self.wait_for_stop()
    }

    /// Its `/proc/PID/status`.
    ///
    /// # Errors
    /// It is gone.
    pub fn status(&self) -> Result<Status> {
        Status::of_process(self.pid)
    }

    /// Waits until the child has exited.
    ///
    /// # Errors
    /// It lives on.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        wait_for("the hog to exit", PATIENCE, || Ok(self.child.try_wait()?))
    }

    /// Waits until it was killed. The child that stands outside of a pid namespace exits by itself then.
    ///
    /// # Errors
    /// It lives on, or ended in another way.
    pub fn wait_for_kill(&mut self) -> Result<()> {
        let status = self.wait()?;
        if status.signal() != Some(SIGKILL) && self.pid == self.child.id() {
            bail!("the hog was not killed: {status}");
        }
        Ok(())
    }

    /// Is it alive?
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends SIGKILL and does not wait.
    ///
    /// # Errors
    /// It was waited for already.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // Dead already is as good.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
