//! Level kmsg, and the kernel's log at the agent's start: real kills in cgroups of the tests' own. What else is killed
//! on this machine meanwhile is left out of account.

#![cfg(test)]

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use oomwatch_tests::{
    agent::{Agent, command},
    bench::Bench,
    compare::{Differences, is_logged},
    deadline::PATIENCE,
    here::{binary, is_root},
    kernel_log::LoggedIncident,
    lines::{Lines, Next},
    report::Report,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// The kernel's rate limit is one for all.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn hog_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_oomwatch-guest"))
}

fn alone_and_root() -> Result<Option<MutexGuard<'static, ()>>> {
    let root = is_root("makes an OOM kill")?;
    Ok(root.then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
}

#[test]
fn a_kill_at_level_kmsg_is_what_the_kernel_logs() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut bench = Bench::start(&binary()?, hog_program(), &["--output", "json", "--probe", "kmsg"], false)?;
    ensure!(bench.agent.level == "kmsg", "the agent took level {}", bench.agent.level);
    let memcg =
        bench.memcg(&format!("/oomwatch-kmsg-{}/we ird,task=x,pid=1,uid=0", std::process::id()), 32)?;
    let mut hog = bench.hog(&memcg, &["comm=a) (b \"c,d=e", "anon=256"])?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, logged, _) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    is_logged(&mut differences, &report, &logged);
    let victim = report.victims.first().context("no victim")?;
    differences.same_name("victim cgroup", victim.cgroup.as_deref(), memcg.path.as_bytes());
    differences
        .that("its time is approximate, and that must be said", report.gaps.iter().any(|gap| gap == "time"));
    differences.that("the node's memory must be reported", report.has_node_memory);
    differences.finish().with_context(|| report.line)?;
    bench.stop()
}

/// The agent with a journal, which looks back at its start.
fn looking_back(journal: &Path, probe: &str) -> Result<(Agent, Lines)> {
    looking_back_by(command(&binary()?), journal, probe)
}

/// The same as in a container that was not given the device: opening it fails.
fn without_the_device(journal: &Path, probe: &str) -> Result<(Agent, Lines)> {
    let script = "mount --bind /dev/kmsg /dev/kmsg; mount -o remount,bind,nodev /dev/kmsg; \
                  ! head -c 1 /dev/kmsg 2>/dev/null || exit 3";
    looking_back_by(behind(script)?, journal, probe)
}

/// The same on a kernel without BTF.
fn without_btf(journal: &Path, probe: &str) -> Result<(Agent, Lines)> {
    let script = "mount -t tmpfs none /sys/kernel/btf; ! test -e /sys/kernel/btf/vmlinux || exit 3";
    looking_back_by(behind(script)?, journal, probe)
}

/// The agent in a mount namespace of its own, in which this was run.
fn behind(script: &str) -> Result<Command> {
    let agent = command(&binary()?);
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c", &format!("{script}; exec \"$@\""), "sh"]).arg(agent.get_program());
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => run.env(name, value),
            None => run.env_remove(name),
        };
    }
    Ok(run)
}

fn looking_back_by(mut command: Command, journal: &Path, probe: &str) -> Result<(Agent, Lines)> {
    command.env_remove("OOMWATCH_BACKLOG");
    command.args(["run", "--output", "json", "--probe", probe, "--journal"]).arg(journal);
    let mut agent = Agent::start_command(command)?;
    let lines = Lines::of(agent.take_stdout()?);
    Ok((agent, lines))
}

/// The reports of a process, until the agent has ended; those of others are none of ours.
fn told_of(mut agent: Agent, lines: &Lines, pid: u32) -> Result<Vec<Report>> {
    agent.terminate()?;
    agent.wait()?;
    let mut found = Vec::new();
    loop {
        match lines.next(PATIENCE) {
            Next::Line(line) => found.push(Report::parse(&line)?),
            Next::End => break,
            Next::Nothing => anyhow::bail!("the agent is gone, and its stdout is not closed"),
        }
    }
    found.retain(|report| report.victims.iter().any(|victim| victim.tid == Some(pid)));
    Ok(found)
}

#[test]
fn a_kill_while_the_agent_is_down_is_reported_once() -> Result<()> {
    told_once(looking_back, &["tracepoint", "kmsg"])
}

/// A DaemonSet's container: syslog(2) is what it has.
#[test]
fn a_kill_while_the_agent_is_down_is_reported_once_without_dev_kmsg() -> Result<()> {
    told_once(without_the_device, &["tracepoint", "tracepoint"])
}

/// A kill in a cgroup of this name, and what the kernel logged of it, as an agent beside the tested one saw it.
fn one_kill(name: &str) -> Result<(u32, LoggedIncident)> {
    let mut bench = Bench::start(&binary()?, hog_program(), &["--output", "json"], false)?;
    let memcg = bench.memcg(&format!("/oomwatch-kmsg-{}/{name}", std::process::id()), 32)?;
    let mut hog = bench.hog(&memcg, &["anon=256"])?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (_, logged, _) = bench.observe_one(&[hog.pid])?;
    bench.stop()?;
    Ok((hog.pid, logged))
}

fn told_once(start: fn(&Path, &str) -> Result<(Agent, Lines)>, probes: &[&str]) -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let journal = TempDir::new()?;
    let (agent, lines) = start(journal.path(), "tracepoint")?;
    told_of(agent, &lines, 0)?;
    let (pid, logged) = one_kill("down")?;
    for (starts, probe) in probes.iter().enumerate() {
        let (agent, lines) = start(journal.path(), probe)?;
        if starts == 0 {
            let line = loop {
                let Next::Line(line) = lines.next(PATIENCE) else {
                    anyhow::bail!("pid {pid} is not reported")
                };
                if line.contains(&format!("\"tid\":{pid},")) {
                    break line;
                }
            };
            ensure!(
                line.contains("\"source\":\"backfill\"") && line.contains("\"level\":\"kmsg\""),
                "{line}"
            );
            let mut differences = Differences::default();
            is_logged(&mut differences, &Report::parse(&line)?, &logged);
            differences.finish().context(line)?;
        }
        let again = told_of(agent, &lines, pid)?;
        ensure!(again.is_empty(), "--probe {probe} tells again: {again:?}");
    }
    Ok(())
}

/// What a node gets whose kernel was built without BTF: whole reports, though not from a probe.
#[test]
fn on_a_kernel_without_btf_kills_are_told_from_its_log() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let journal = TempDir::new()?;
    let (agent, lines) = without_btf(journal.path(), "auto")?;
    ensure!(agent.level == "kmsg", "the agent took level {}", agent.level);
    let (pid, logged) = one_kill("no-btf")?;
    let told = told_of(agent, &lines, pid)?;
    let [report] = &told[..] else { anyhow::bail!("{} reports of one kill", told.len()) };
    let mut differences = Differences::default();
    is_logged(&mut differences, report, &logged);
    differences.finish().with_context(|| report.line.clone())
}

/// It was told of by the probe, and then nothing could be noted: the journal knows.
#[test]
fn a_kill_reported_before_a_kill_9_is_not_reported_again() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let journal = TempDir::new()?;
    let (mut agent, lines) = looking_back(journal.path(), "tracepoint")?;
    let bench = Bench::start(&binary()?, hog_program(), &["--output", "json"], false)?;
    let memcg = bench.memcg(&format!("/oomwatch-kmsg-{}/twice", std::process::id()), 32)?;
    let mut hog = bench.hog(&memcg, &["anon=256"])?;
    hog.go()?;
    hog.wait_for_kill()?;
    loop {
        let Next::Line(line) = lines.next(PATIENCE) else { anyhow::bail!("pid {} is not reported", hog.pid) };
        if line.contains(&format!("\"tid\":{},", hog.pid)) {
            ensure!(line.contains("\"source\":\"live\""), "{line}");
            break;
        }
    }
    agent.kill()?;
    let (agent, lines) = looking_back(journal.path(), "tracepoint")?;
    let again = told_of(agent, &lines, hog.pid)?;
    ensure!(again.is_empty(), "{again:?}");
    bench.stop()
}

/// A pipe in the log's place: what kernels print that this machine has not.
#[test]
fn logs_of_other_kernels_are_followed_without_a_privilege() -> Result<()> {
    let folder = TempDir::new()?;
    let pipe = folder.path().join("kmsg");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let mut run = command(&binary()?);
    run.args(["run", "--output", "json", "--probe", "kmsg", "--kmsg"]).arg(&pipe);
    let mut writes = OpenOptions::new().read(true).write(true).open(&pipe)?;
    let mut agent = Agent::start_command(run)?;
    let lines = Lines::of(agent.take_stdout()?);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kmsg");
    for (file, tids, scope) in [
        ("ubuntu-4.15.0-213-v1hier.kmsg", &[150][..], "system"),
        ("5.10.0-46-cloud-amd64-v2group.kmsg", &[102, 93, 94], "system"),
        ("6.12.117+deb13-cloud-amd64-cpuset.kmsg", &[164], "cpuset"),
    ] {
        writes.write_all(&fs::read(fixtures.join(file))?)?;
        let Next::Line(line) = lines.next(PATIENCE) else {
            anyhow::bail!("{file} is not reported. {}", agent.log())
        };
        let report = Report::parse(&line)?;
        let told: Vec<_> = report.victims.iter().filter_map(|victim| victim.tid).collect();
        ensure!(told == tids, "{file}: {line}");
        ensure!(
            report.level.as_deref() == Some("kmsg") && report.scope.as_deref() == Some(scope),
            "{file}: {line}"
        );
    }
    agent.terminate()?;
    let (status, _) = agent.wait()?;
    ensure!(status.success(), "ended with {status}. {}", agent.log());
    Ok(())
}

#[test]
fn without_the_log_the_start_is_refused_with_one_line() -> Result<()> {
    let mut refused: Command = command(&binary()?);
    let ended = oomwatch_tests::agent::run_to_end(refused.args([
        "run",
        "--probe",
        "kmsg",
        "--kmsg",
        "/nonexistent",
    ]))?;
    ensure!(ended.status.code() == Some(69), "{ended:?}");
    ensure!(ended.log.contains("--kmsg"), "{ended:?}");
    Ok(())
}
