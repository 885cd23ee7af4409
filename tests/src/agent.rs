//! The agent as its users have it: a program with options, environment, lines on stdout, a log on stderr, signals and
//! an exit code.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    deadline::{PATIENCE, wait_for},
    lines::{Lines, Next},
};

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    /// Where it reports, unless taken.
    stdout: Option<ChildStdout>,
    log: Lines,
    log_so_far: Vec<String>,
    /// The level that it says it works at.
    pub level: String,
}

impl Agent {
    /// Starts `BINARY run ARGS…` and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends or stays silent; its log is in the error.
    pub fn start(binary: &Path, args: &[&str]) -> Result<Self> {
        let mut command = command(binary);
        command.arg("run").args(args);
        Self::start_command(command)
    }

    /// The same by a command that runs the agent in a container, say, and passes on its output, signals and exit code.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_command(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (stdout, stderr) =
            child.stdout.take().zip(child.stderr.take()).context("the agent has no pipes")?;
        let log = Lines::of(stderr);
        let mut agent =
            Self { child, stdout: Some(stdout), log, log_so_far: Vec::new(), level: String::new() };
        agent.wait_until_ready().with_context(|| agent.log())?;
        Ok(agent)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.log.next(PATIENCE.saturating_sub(begun.elapsed())) {
                Next::Line(line) => {
                    let level = ready_level(&line);
                    self.log_so_far.push(line);
                    if let Some(level) = level {
                        self.level = level;
                        return Ok(());
                    }
                }
                Next::End => bail!("the agent ended before it was ready: {}", self.child.wait()?),
                Next::Nothing => break,
            }
        }
        bail!("the agent was not ready within {:.0} s", PATIENCE.as_secs_f64())
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes its stdout: to read its lines, or to close it.
    ///
    /// # Errors
    /// Taken before.
    pub fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.stdout.take().context("the agent's stdout was taken before")
    }

    /// Its log, for the text of an error.
    pub fn log(&mut self) -> String {
        self.log_so_far.extend(self.log.ready());
        format!("the agent's log:\n    {}", self.log_so_far.join("\n    "))
    }

    /// Its log to the end; waits for that.
    pub fn log_to_the_end(&mut self) -> String {
        while let Next::Line(line) = self.log.next(PATIENCE) {
            self.log_so_far.push(line);
        }
        self.log()
    }

    /// Where it serves HTTP, by its log.
    ///
    /// # Errors
    /// It does not say.
    pub fn address(&mut self) -> Result<SocketAddr> {
        let log = self.log();
        let address = log.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = address.with_context(|| format!("no address in {log}"))?;
        address.trim_matches('"').parse().with_context(|| format!("{address} is no address"))
    }

    /// Sends SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// It is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// It is gone.
    pub fn terminate(&mut self) -> Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the agent has no pid")?;
        kill_process(pid, Signal::TERM).context("cannot signal the agent")
    }

    /// Waits for its end, and says how long that took.
    ///
    /// # Errors
    /// It goes on running.
    pub fn wait(&mut self) -> Result<(ExitStatus, Duration)> {
        let begun = Instant::now();
        let status = wait_for("the agent to exit", PATIENCE, || Ok(self.child.try_wait()?))?;
        Ok((status, begun.elapsed()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Dead already is as good.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// `… ready level=kprobe …`: the one line of the log that the tests rest on.
pub(crate) fn ready_level(line: &str) -> Option<String> {
    let words = || line.split_whitespace();
    let level = words().find_map(|word| word.strip_prefix("level="))?;
    words().any(|word| word == "ready" || word == "ready:").then(|| level.trim_matches('"').to_owned())
}

/// The agent without this process's own `OOMWATCH_*` variables: it refuses those that it does not know.
pub fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OOMWATCH_")) {
        command.env_remove(name);
    }
    // What was killed on this machine before is not a test's business, but for those that ask.
    command.env("NO_COLOR", "1").env("OOMWATCH_BACKLOG", "off");
    command
}

/// How a run of the agent ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub status: ExitStatus,
    /// All that it printed.
    pub stdout: String,
    /// All that it logged.
    pub log: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs the agent to its end, with the variables given added to its environment, as `uid` where one is given.
///
/// # Errors
/// It cannot be run, or does not end.
pub fn run(
    binary: &Path,
    args: &[&str],
    variables: &[(&str, &str)],
    uid: Option<u32>,
) -> Result<(ExitStatus, String)> {
    let mut command = command(binary);
    command.args(args).envs(variables.iter().copied());
    if let Some(uid) = uid {
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, uid);
    }
    let ended = run_to_end(&mut command)?;
    Ok((ended.status, ended.log))
}

/// Runs a command to its end, and hears all that it says.
///
/// # Errors
/// It cannot be run, or does not end.
pub fn run_to_end(command: &mut Command) -> Result<Ended> {
    let begun = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let (stdout, stderr) =
        child.stdout.take().zip(child.stderr.take()).context("the command has no pipes")?;
    let (stdout, log) = (Lines::of(stdout), Lines::of(stderr));
    let status = wait_for("the agent to exit", PATIENCE, || Ok(child.try_wait()?));
    let took = begun.elapsed();
    if status.is_err() {
        child.kill()?;
    }
    let (stdout, log) = (all(&stdout), all(&log));
    let status = status.with_context(|| log.clone())?;
    Ok(Ended { status, stdout, log, took })
}

fn all(lines: &Lines) -> String {
    let mut text = String::new();
    while let Next::Line(line) = lines.next(PATIENCE) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::ready_level;

    #[test]
    fn ready_is_a_word_with_a_level() {
        for (line, level) in [
            ("2026-11-20T10:00:00Z  INFO ready level=kprobe kernel=6.1", Some("kprobe")),
            ("INFO oomwatch: ready level=\"tracepoint\"", Some("tracepoint")),
            ("INFO not already there level=kprobe", None),
            ("INFO ready", None),
        ] {
            assert_eq!(ready_level(line).as_deref(), level, "{line}");
        }
    }
}
