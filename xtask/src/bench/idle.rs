//! `cargo xtask bench idle`: what the agent does on this machine while nothing is killed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    build::{self, BuildOptions},
    needs::Part,
    repo::Repo,
    say,
    setup::setup,
};

/// The start, and the first look at everything.
const SETTLE: Duration = Duration::from_secs(10);

/// What `cargo xtask bench idle` takes.
#[derive(clap::Args)]
#[command(after_help = "\
Level tracepoint, with a journal and HTTP, without a kubelet. What is killed on this machine meanwhile counts too.")]
pub(crate) struct IdleOptions {
    /// For so many seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Measures.
pub(crate) fn idle(repo: &Repo, options: &IdleOptions) -> Result<ExitCode> {
    setup(repo, &[Part::Build])?;
    build::build_agent(repo, &BuildOptions::default())?;
    let journal = repo.target().join("bench/idle-journal");
    let mut command = Command::new(repo.agent());
    command.args([
        "run",
        "--probe",
        "tracepoint",
        "--backlog",
        "off",
        "--listen",
        "127.0.0.1:0",
        "--journal",
    ]);
    command.arg(&journal).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Agent(command.spawn().context("cannot start the agent")?);
    let process = PathBuf::from("/proc").join(agent.0.id().to_string());
    thread::sleep(SETTLE);
    let before = Used::read(&process)?;
    thread::sleep(Duration::from_secs(options.seconds));
    let after = Used::read(&process)?;
    let mut text = format!(
        "idle for {} s: {} wakeups, {} µs of CPU\n",
        options.seconds,
        after.switches() - before.switches(),
        after.cpu_us.saturating_sub(before.cpu_us)
    );
    for (thread, count) in &after.threads {
        let count = count - before.threads.get(thread).unwrap_or(&0);
        if count > 0 {
            writeln!(text, "  {thread}: {count} wakeups")?;
        }
    }
    say::output(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Killed when dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // Dead already is as good.
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

/// What a process has used.
struct Used {
    /// By thread, its name and number: how often it was given a CPU after it had waited for something.
    threads: BTreeMap<String, u64>,
    cpu_us: u64,
}

impl Used {
    fn read(process: &Path) -> Result<Self> {
        let (mut threads, mut cpu_us) = (BTreeMap::new(), 0);
        for task in fs::read_dir(process.join("task")).context("the agent is gone")? {
            let task = task.context("cannot list the agent's threads")?.path();
            let read = |file: &str| fs::read_to_string(task.join(file)).with_context(|| format!("no {file}"));
            let name = format!("{} {}", read("comm")?.trim(), task.file_name().unwrap_or_default().display());
            threads.insert(name, waits(&read("status")?).context("no voluntary_ctxt_switches")?);
            let time = read("schedstat")?;
            let time = time.split(' ').next().and_then(|time| time.parse::<u64>().ok());
            cpu_us += time.context("schedstat has no time")? / 1000;
        }
        ensure!(!threads.is_empty(), "the agent is gone");
        Ok(Self { threads, cpu_us })
    }

    fn switches(&self) -> u64 {
        self.threads.values().sum()
    }
}

/// Of `/proc/PID/task/TID/status`.
fn waits(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::waits;

    #[test]
    fn waits_are_not_those_of_a_thread_that_was_pushed_aside() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(waits(status), Some(17));
        assert_eq!(waits("nonvoluntary_ctxt_switches:\t3\n"), None);
    }
}
