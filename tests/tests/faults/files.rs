//! Files that are not what they should be, and a journal whose agent is killed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    agent::{command, run_to_end},
    deadline::PATIENCE,
    here::binary,
    hog::Hog,
    lines::{Lines, Next},
    memcg::{Hierarchy, Version},
};
use serde_json::Value;
use tempfile::TempDir;

use super::alone_and_root;

/// A `/proc` of links to the real one, where a test may put something else.
struct Proc(TempDir);

impl Proc {
    fn new() -> Result<Self> {
        let proc = Self(TempDir::new()?);
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            if name.to_string_lossy().parse::<u32>().is_err() {
                symlink(Path::new("/proc").join(&name), proc.0.path().join(&name))?;
            }
        }
        Ok(proc)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Links a name to something else.
    fn link(&self, name: &str, to: &str) -> Result<()> {
        fs::remove_file(self.path(name)).ok();
        Ok(symlink(to, self.path(name))?)
    }
}

fn report_of(reports: &Lines, pid: u32) -> Result<Value> {
    loop {
        let Next::Line(line) = reports.next(PATIENCE) else { anyhow::bail!("{pid} was not reported") };
        let report: Value = serde_json::from_str(&line)?;
        if report.pointer("/victims/0/tgid").and_then(Value::as_u64) == Some(pid.into()) {
            return Ok(report);
        }
    }
}

fn die(hog: &mut Hog) -> Result<u32> {
    hog.go()?;
    hog.wait_for_kill()?;
    Ok(hog.pid)
}

fn gaps(report: &Value) -> String {
    report.get("gaps").map(Value::to_string).unwrap_or_default()
}

#[test]
fn files_that_are_endless_garbage_or_gone_cost_one_report_these_values() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let proc = Proc::new()?;
    proc.link("meminfo", "/dev/zero")?;
    fs::remove_file(proc.path("loadavg"))?;
    fs::write(proc.path("loadavg"), [0xff, 0xfe, b' ', 0x80, b'\n'])?;
    let root = proc.0.path().to_str().context("a path that is no text")?.to_owned();
    // The tree of cgroups has the victim's only, and in it nothing that can be read.
    let cgroups = proc.path("tree");
    let (hierarchy, known, limit) = match Hierarchy::mounted()?.version {
        Version::V1 => (cgroups.join("memory"), "memory.stat", "memory.limit_in_bytes"),
        Version::V2 => (cgroups.clone(), "cgroup.controllers", "memory.max"),
    };
    let mut trial =
        super::trial_among("files", &["--proc", &root, "--cgroup", &format!("{root}/tree")], |path| {
            let ours = hierarchy.join(path.trim_start_matches('/'));
            fs::create_dir_all(&ours)?;
            fs::write(hierarchy.join(known), "memory\n")?;
            symlink("/dev/zero", ours.join("memory.stat"))?;
            fs::write(ours.join(limit), [0xff, 0xfe, b'\n'])?;
            // A directory can be opened and not read.
            Ok(fs::create_dir(ours.join("memory.events"))?)
        })?;
    let reports = Lines::of(trial.agent.take_stdout()?);

    let mut hog = trial.hog()?;
    let folder = hog.pid.to_string();
    fs::create_dir(proc.path(&folder))?;
    symlink("/dev/zero", proc.path(&folder).join("status"))?;
    fs::write(proc.path(&folder).join("cmdline"), [0xc3, 0x28, 0, 0xff, 0x1b])?;
    fs::write(proc.path(&folder).join("cgroup"), vec![b'\n'; 1 << 20])?;
    let report = report_of(&reports, die(&mut hog)?)?;
    for missing in ["/node_memory", "/load", "/victims/0/status"] {
        ensure!(report.pointer(missing).is_none_or(Value::is_null), "{missing} of garbage: {report}");
    }
    ensure!(report.pointer("/victims/0/rss").is_some(), "what the kernel told is missing: {report}");
    for named in ["meminfo", "loadavg", "status", "memory.stat", limit] {
        ensure!(gaps(&report).contains(named), "{named} is not among the gaps: {report}");
    }
    let memory = trial.metric("process_resident_memory_bytes", &[])?;
    ensure!(memory < 64e6, "the endless files made the agent {memory} bytes large");

    // Files that are not there at all.
    fs::remove_file(proc.path("meminfo"))?;
    let mut hog = trial.hog()?;
    let report = report_of(&reports, die(&mut hog)?)?;
    ensure!(gaps(&report).contains("meminfo"), "meminfo is not among the gaps: {report}");
    ensure!(report.pointer("/victims/0/rss").is_some(), "what the kernel told is missing: {report}");
    trial.end()
}

#[test]
fn a_pid_that_is_another_process_by_now_tells_nothing_of_that_one() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let proc = Proc::new()?;
    let root = proc.0.path().to_str().context("a path that is no text")?.to_owned();
    let mut trial = super::trial("reused", &["--proc", &root])?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    let mut hog = trial.hog()?;
    let other = std::process::id();
    proc.link(&hog.pid.to_string(), &format!("/proc/{other}"))?;
    let report = report_of(&reports, die(&mut hog)?)?;
    let victim = report.pointer("/victims/0").context("no victim")?;
    for of_the_other in ["cmdline", "exe", "status"] {
        ensure!(
            victim.get(of_the_other).is_none_or(Value::is_null),
            "{of_the_other} of another process: {victim}"
        );
    }
    ensure!(victim.get("status_from").and_then(Value::as_str) == Some("kernel"), "{victim}");
    trial.end()
}

#[test]
fn killed_and_started_again_the_agent_has_its_incidents_and_its_counts() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let journal = TempDir::new()?;
    let dir = journal.path().to_str().context("a path that is no text")?;
    let mut trial = super::trial("restarted", &["--journal", dir])?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    let before = trial.kill(3)?;
    trial.balance(&reports)?;
    trial.wait_for_metric("oomwatch_journal_incidents", &[], |incidents| incidents >= 3.0)?;
    let counted = kills(&trial.metrics()?);
    trial.agent.kill()?;

    let mut again = super::trial("again", &["--journal", dir])?;
    let reports = Lines::of(again.agent.take_stdout()?);
    let restored = kills(&again.metrics()?);
    ensure!(
        restored >= counted && counted >= 3.0,
        "{counted} kills were counted, and {restored} after the restart"
    );
    let after = again.kill(1)?;
    again.balance(&reports)?;
    again.wait_for_metric("oomwatch_journal_incidents", &[], |incidents| incidents >= 4.0)?;
    ensure!(again.lost()? == 0.0, "what was killed before the start is not lost");
    let mut events = command(&binary()?);
    events.args(["events", "--journal", dir, "--output", "json", "--limit", "1000"]);
    let ended = run_to_end(&mut events)?;
    ensure!(ended.status.success(), "{}", ended.log);
    for pid in before.iter().chain(&after) {
        let times = ended.stdout.matches(&format!("\"tgid\":{pid},")).count();
        ensure!(times >= 1, "{pid} is not in the journal: {}", ended.stdout);
    }
    again.end()
}

/// All kills that are counted by container.
fn kills(metrics: &str) -> f64 {
    let samples = metrics.lines().filter(|line| line.starts_with("oomwatch_oom_kills_total{"));
    samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
