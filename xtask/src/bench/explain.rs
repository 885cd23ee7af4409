//! `cargo xtask bench explain`: `oomwatch explain` over a long log, beside `grep -c`, which only looks for a word.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    build::{self, BuildOptions},
    repo::Repo,
    say,
};

/// What `cargo xtask bench explain` takes.
#[derive(clap::Args)]
#[command(after_help = "\
Fails where an incident is missed, or more than 16 MiB of memory are used; times are for people to judge.

Examples:
  cargo xtask bench explain                1 GiB of syslog with captured incidents in it, 5 runs of each
  cargo xtask bench explain --mib 100 --every-kib 64")]
pub(crate) struct ExplainOptions {
    /// Length of the log
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=16_384))]
    mib: u64,
    /// An incident comes after so much of other lines
    #[arg(long, default_value_t = 2048, value_name = "KIB", value_parser = clap::value_parser!(u64).range(1..))]
    every_kib: u64,
    /// Runs of each, one after the other in turn
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// Captured logs, and how many incidents each has.
const LOGS: [(&str, u64); 3] = [
    ("6.12.117+deb13-cloud-amd64-v2group.txt", 1),
    ("ubuntu-4.15.0-213-global.txt", 1),
    ("7.2.13+deb14-cloud-arm64-v2.txt", 1),
];
/// What else stands in a node's log.
const LINES: [&str; 5] = [
    "kubelet[1203]: I1121 12:00:00.123456    1203 kubelet_pods.go:1024] \"Killing unwanted pod\" podName=\"web-0\"",
    "containerd[988]: time=\"2026-11-21T12:00:00Z\" level=info msg=\"StopContainer for abc returns successfully\"",
    "kernel: [12345.678901] IPv6: ADDRCONF(NETDEV_CHANGE): veth12345678: link becomes ready",
    "systemd[1]: session-12345.scope: Deactivated successfully.",
    "app[77]: {\"level\":\"info\",\"msg\":\"request processed\",\"path\":\"/api/v1/things\",\"status\":200}",
];
/// Issue 6 asks for bounded memory; this is the bound.
const MOST_KIB: u64 = 16 * 1024;

/// Makes the log, measures, removes the log.
pub(crate) fn explain(repo: &Repo, options: &ExplainOptions) -> Result<ExitCode> {
    build::build(repo, &BuildOptions::default())?;
    let Explained { incidents, searched, took, peak_kib } = measured(repo, options)?;
    say::progress(&format!(
        "bench: {incidents} incidents; the fastest: grep -c {searched:.2?}, explain {took:.2?}, {:.2} times as \
         long; {peak_kib} KiB of memory at most",
        took.as_secs_f64() / searched.as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A log of 1 GiB, three times over, with the agent that is built.
pub(super) fn usual(repo: &Repo) -> Result<Explained> {
    measured(repo, &ExplainOptions { mib: 1024, every_kib: 2048, runs: 3 })
}

/// What came of it.
pub(super) struct Explained {
    pub(super) incidents: u64,
    /// The fastest `grep -c`.
    pub(super) searched: Duration,
    /// The fastest `explain`.
    pub(super) took: Duration,
    pub(super) peak_kib: u64,
}

fn measured(repo: &Repo, options: &ExplainOptions) -> Result<Explained> {
    let log = repo.target().join("bench-explain.log");
    let outcome =
        write(repo, &log, options).and_then(|incidents| measure(repo, &log, incidents, options.runs));
    fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    outcome
}

fn write(repo: &Repo, log: &Path, options: &ExplainOptions) -> Result<u64> {
    say::progress(&format!("bench: {} MiB of log in {}", options.mib, log.display()));
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut captured = Vec::new();
    for (name, incidents) in LOGS {
        let path = repo.root().join("tests/fixtures/kmsg").join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        captured.push((text, incidents));
    }
    let (mut length, mut since, mut number, mut incidents) = (0, 0, 0_usize, 0);
    while length < options.mib << 20 {
        let (minute, second) = (number / 60 % 60, number % 60);
        let mut put = |text: &str| -> Result<u64> {
            let line = format!("Nov 21 12:{minute:02}:{second:02} node-a {text}\n");
            file.write_all(line.as_bytes())?;
            Ok(line.len() as u64)
        };
        let line = LINES.get(number % LINES.len()).context("a line")?;
        let written = put(line)?;
        (length, since, number) = (length + written, since + written, number + 1);
        if since >= options.every_kib << 10 {
            let (text, found) = captured.get(number % captured.len()).context("a log")?;
            for line in text.lines() {
                length += put(&format!("kernel: {line}"))?;
            }
            (since, incidents) = (0, incidents + found);
        }
    }
    file.flush()?;
    Ok(incidents)
}

fn measure(repo: &Repo, log: &Path, incidents: u64, runs: u32) -> Result<Explained> {
    // Into a pipe: grep that prints to /dev/null ends at its first find.
    let mut grep = Command::new("grep");
    grep.args(["-c", "oom-kill"]).arg(log).env("LC_ALL", "C").stdout(Stdio::piped());
    let mut ours = Command::new(repo.agent());
    ours.args(["explain", "--output", "text"]).arg(log);
    let found = ours.output().context("cannot run the agent")?;
    let lines = String::from_utf8_lossy(&found.stdout).lines().count() as u64;
    ensure!(lines == incidents, "{lines} of {incidents} incidents were found");
    ours.stdout(Stdio::null());
    let (mut fastest, mut peak) = ([Duration::MAX; 2], 0);
    for run in 1..=runs {
        let (searched, _) = timed(&mut grep)?;
        let (explained, kib) = timed(&mut ours)?;
        say::progress(&format!("bench: run {run}: grep -c {searched:.2?}, explain {explained:.2?}"));
        fastest = [fastest[0].min(searched), fastest[1].min(explained)];
        peak = peak.max(kib);
    }
    let [searched, explained] = fastest;
    ensure!(peak <= MOST_KIB, "more than {MOST_KIB} KiB of memory were used");
    Ok(Explained { incidents, searched, took: explained, peak_kib: peak })
}

/// How long it runs, and the most memory that it was seen to have.
fn timed(command: &mut Command) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let mut child = command.stderr(Stdio::null()).spawn()?;
    let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0);
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let high = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = peak.max(high.unwrap_or(0));
        sleep(Duration::from_millis(5));
    }
    Ok((began.elapsed(), peak))
}
