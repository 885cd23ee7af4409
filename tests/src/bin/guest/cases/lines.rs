//! Lines, which are printed before anything is read: one for each kill, whoever prints it.

use std::time::Duration;

use anyhow::{Result, ensure};
use oomwatch_tests::{
    agent::Agent,
    bench::Bench,
    deadline::PATIENCE,
    lines::{Lines, Next},
};

use super::unkilled;
use crate::suite::agent_binary;

/// For a line that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A second agent, which prints lines.
struct Second {
    agent: Agent,
    lines: Lines,
}

impl Second {
    fn start(output: &str) -> Result<Self> {
        let mut agent = Agent::start(&agent_binary(), &["--output", output])?;
        let lines = Lines::of(agent.take_stdout()?);
        Ok(Self { agent, lines })
    }

    /// The one line about that process.
    fn says(&mut self, pid: &str) -> Result<()> {
        let line = match self.lines.next(PATIENCE) {
            Next::Line(line) => line,
            other => anyhow::bail!("{other:?} instead of a line about {pid}. {}", self.agent.log()),
        };
        ensure!(line.contains(pid), "{line:?} is not about {pid}");
        self.says_nothing()
    }

    fn says_nothing(&self) -> Result<()> {
        let more = self.lines.next(SILENCE);
        ensure!(more == Next::Nothing, "nothing more was to be said, but {more:?}");
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.agent.terminate()?;
        let (status, _) = self.agent.wait()?;
        ensure!(status.success(), "ended with {status}. {}", self.agent.log());
        ensure!(self.lines.next(SILENCE) == Next::End, "it had more to say");
        Ok(())
    }
}

/// Of a process that has its limit to itself, the first record says all; of one that died for a tmpfs, files do.
pub(super) fn once(bench: &mut Bench) -> Result<()> {
    for (output, mark) in [("text", "(pid "), ("bcc", "OOM kill of PID ")] {
        let mut second = Second::start(output)?;
        for steps in [["anon=256"], ["map=/tmp/oomwatch-lines:256"]] {
            let memcg = bench.memcg("/lines", 32)?;
            bench.begin_within_rate_limit()?;
            let mut hog = bench.hog(&memcg, &steps)?;
            hog.go()?;
            hog.wait_for_kill()?;
            bench.observe(&[hog.pid])?;
            second.says(&format!("{mark}{}", hog.pid))?;
        }
        second.end()?;
    }
    Ok(())
}

/// Nobody is killed, and so nobody is named.
pub(super) fn none_of_the_exiting(bench: &mut Bench) -> Result<()> {
    let second = Second::start("text")?;
    unkilled::already_exiting(bench)?;
    // The one that is killed in the end is named; the one that was exiting is not.
    let Next::Line(line) = second.lines.next(PATIENCE) else { anyhow::bail!("nobody is named") };
    ensure!(!line.contains("dying"), "{line:?} names who was exiting");
    second.says_nothing()?;
    second.end()
}

/// Nobody reads them any more.
pub(super) fn closed_stdout(bench: &mut Bench) -> Result<()> {
    let mut second = Second::start("text")?;
    drop(second.lines);
    let memcg = bench.memcg("/lines", 32)?;
    // The reader that was dropped takes one more line before it closes its end.
    for _ in 0..2 {
        bench.begin_within_rate_limit()?;
        let mut hog = bench.hog(&memcg, &["anon=256"])?;
        hog.go()?;
        hog.wait_for_kill()?;
        bench.observe(&[hog.pid])?;
    }
    let (status, _) = second.agent.wait()?;
    let log = second.agent.log();
    ensure!(status.success() && !log.contains("panicked"), "ended with {status}. {log}");
    Ok(())
}
