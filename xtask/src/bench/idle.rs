//! `cargo xtask bench idle`: what the agent does on this machine while nothing is killed.

mod syscalls;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::syscalls::Syscalls;
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
Level tracepoint, with a journal and HTTP, without a kubelet (root is needed). What is killed on this machine meanwhile
counts too, and what its kernel logs.

Examples:
  cargo xtask bench idle                  a minute
  cargo xtask bench idle --seconds 600    ten")]
pub(crate) struct IdleOptions {
    /// For so many seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// What the agent did while nothing was killed.
pub(super) struct Idle {
    /// How often it was given a CPU after it had waited for something.
    pub(super) wakeups: u64,
    /// System calls that it began.
    pub(super) syscalls: u64,
    /// Of all its threads.
    pub(super) cpu_us: u64,
    /// For so long.
    pub(super) seconds: u64,
    /// By thread, its name and number: wakeups and system calls.
    pub(super) threads: BTreeMap<String, (u64, u64)>,
    /// OOM kills on this machine meanwhile: there should be none.
    pub(super) kills: u64,
}

/// Measures, and says what came of it.
pub(crate) fn idle(repo: &Repo, options: &IdleOptions) -> Result<ExitCode> {
    setup(repo, &[Part::Build])?;
    build::build_agent(repo, &BuildOptions::default())?;
    let idle = measured(repo, options.seconds)?;
    say::output(idle.to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Measures the agent that has been built.
pub(super) fn measured(repo: &Repo, seconds: u64) -> Result<Idle> {
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
    let trace = Syscalls::of(repo, &process)?;
    let (kills, before) = (oom_kills()?, Used::read(&process)?);
    thread::sleep(Duration::from_secs(seconds));
    let after = Used::read(&process)?;
    let (kills, calls) = (oom_kills()? - kills, trace.count()?);
    let mut threads: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (thread, waits) in &after.waits {
        let wakeups = waits - before.waits.get(thread).unwrap_or(&0);
        threads.insert(thread.clone(), (wakeups, calls.get(thread).copied().unwrap_or(0)));
    }
    Ok(Idle {
        wakeups: threads.values().map(|(wakeups, _)| wakeups).sum(),
        // Those of threads that have ended too.
        syscalls: calls.values().sum(),
        cpu_us: after.cpu_us.saturating_sub(before.cpu_us),
        seconds,
        threads,
        kills,
    })
}

impl Idle {
    /// Of one CPU, hundredths of a percent, rounded.
    pub(super) fn cpu_hundredths(&self) -> u64 {
        let of = self.seconds.saturating_mul(1_000_000);
        (self.cpu_us.saturating_mul(10_000) + of / 2).checked_div(of).unwrap_or(0)
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { wakeups, syscalls, cpu_us, seconds, kills, .. }, percent) = (self, self.cpu_hundredths());
        writeln!(
            f,
            "idle for {seconds} s: {wakeups} wakeups, {syscalls} system calls, {cpu_us} µs of CPU = {}.{:02} %",
            percent / 100,
            percent % 100
        )?;
        for (thread, (wakeups, syscalls)) in &self.threads {
            if wakeups + syscalls > 0 {
                writeln!(f, "  {thread}: {wakeups} wakeups, {syscalls} system calls")?;
            }
        }
        if *kills > 0 {
            writeln!(f, "  NOT idle: {kills} processes were OOM-killed meanwhile")?;
        }
        Ok(())
    }
}

/// Of this machine since its start.
fn oom_kills() -> Result<u64> {
    let vmstat = fs::read_to_string("/proc/vmstat").context("cannot read /proc/vmstat")?;
    let kills = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
    kills.context("this kernel does not count OOM kills")
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
    waits: BTreeMap<String, u64>,
    cpu_us: u64,
}

impl Used {
    fn read(process: &Path) -> Result<Self> {
        let (mut by_thread, mut cpu_us) = (BTreeMap::new(), 0);
        for task in fs::read_dir(process.join("task")).context("the agent is gone")? {
            let task = task.context("cannot list the agent's threads")?.path();
            let read = |file: &str| fs::read_to_string(task.join(file)).with_context(|| format!("no {file}"));
            let name = format!("{} {}", read("comm")?.trim(), task.file_name().unwrap_or_default().display());
            by_thread.insert(name, waits(&read("status")?).context("no voluntary_ctxt_switches")?);
            let time = read("schedstat")?;
            let time = time.split(' ').next().and_then(|time| time.parse::<u64>().ok());
            cpu_us += time.context("schedstat has no time")? / 1000;
        }
        ensure!(!by_thread.is_empty(), "the agent is gone");
        Ok(Self { waits: by_thread, cpu_us })
    }
}

/// Of `/proc/PID/task/TID/status`.
fn waits(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_not_those_of_a_thread_that_was_pushed_aside() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(waits(status), Some(17));
        assert_eq!(waits("nonvoluntary_ctxt_switches:\t3\n"), None);
    }

    #[test]
    fn a_percentage_is_rounded() {
        for (cpu_us, hundredths) in [(0, 0), (29_999, 0), (30_001, 1), (6_000_000, 100)] {
            let nothing =
                Idle { wakeups: 0, syscalls: 0, cpu_us, seconds: 600, threads: BTreeMap::new(), kills: 0 };
            assert_eq!(nothing.cpu_hundredths(), hundredths, "{cpu_us} µs");
        }
    }
}
