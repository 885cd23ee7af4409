//! Something is done to a second agent while the first one goes on: its kprobes are disarmed, the clock is set, its
//! ring buffer is too small.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    bench::Bench,
    deadline::{PATIENCE, wait_for},
    hog::Hog,
    lines::Lines,
    machine::oom_kills,
    status::Status,
    trial::{LOST, Trial},
};
use rustix::{
    process::Signal,
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};
use serde_json::Value;

use crate::suite::{agent_binary, has_trampolines};

fn trial(name: &str, arguments: &[&str]) -> Result<Trial> {
    Trial::start(&agent_binary(), env::current_exe()?, name, arguments)
}

/// Hooks are in place and do not fire, until this is dropped.
struct Off(&'static str);

impl Off {
    fn switch(switch: &'static str) -> Result<Self> {
        fs::write(switch, "0").with_context(|| format!("cannot write {switch}"))?;
        Ok(Self(switch))
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        // The cases after this one would fail, and say why.
        fs::write(self.0, "1").ok();
    }
}

/// All kprobes.
const KPROBES: &str = "/sys/kernel/debug/kprobes/enabled";
/// Those at the entry of a function, on x86-64, and all trampolines.
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";

/// One process dies; the first agent reports it.
fn seen_by_the_first(bench: &mut Bench, trial: &Trial) -> Result<u32> {
    bench.begin_within_rate_limit()?;
    let killed = trial.kill(1)?;
    bench.observe(&killed)?;
    killed.first().copied().context("no kill")
}

/// Somebody switches kprobes off while the agent runs: it ends, and started anew takes what still works.
pub(super) fn kprobes_off(bench: &mut Bench) -> Result<()> {
    let trial = trial("off", &["--probe", "kprobe"])?;
    switched_off(bench, trial, KPROBES, if has_trampolines()? { "kprobe" } else { "tracepoint" })
}

/// The same with all that is in a function's entry by ftrace. Where kprobes are breakpoints, as on arm64, they are none
/// of that.
pub(super) fn ftrace_off(bench: &mut Bench) -> Result<()> {
    let mut trial = trial("off", &["--probe", "kprobe"])?;
    if fs::read_to_string("/sys/kernel/debug/kprobes/list")?.contains("[FTRACE]") {
        return switched_off(bench, trial, FTRACE, "tracepoint");
    }
    let reports = Lines::of(trial.agent.take_stdout()?);
    let off = Off::switch(FTRACE)?;
    let killed = seen_by_the_first(bench, &trial)?;
    trial.balance(&reports)?;
    ensure!(trial.reported == [killed], "{killed} was not reported: {}", trial.agent.log());
    drop(off);
    trial.end()
}

fn switched_off(bench: &mut Bench, mut trial: Trial, switch: &'static str, then: &str) -> Result<()> {
    let off = Off::switch(switch)?;
    seen_by_the_first(bench, &trial)?;
    // Each scrape is a look too: it need not be waited for the next one.
    wait_for("the agent to end", PATIENCE, || Ok(trial.metrics().is_err().then_some(())))?;
    let (status, _) = trial.agent.wait()?;
    let log = trial.agent.log();
    ensure!(status.code() == Some(1) && log.contains("do not fire"), "ended with {status}. {log}");
    drop(trial);
    let mut again = self::trial("other-hooks", &[])?;
    let log = again.agent.log();
    ensure!(again.agent.level == then && log.contains("do not fire"), "not at level {then}. {log}");
    let reports = Lines::of(again.agent.take_stdout()?);
    seen_by_the_first(bench, &again)?;
    again.balance(&reports)?;
    ensure!(again.reported.len() == 1, "not reported: {log}");
    drop(off);
    again.end()
}

/// The agent misses a kill, is attached again, and sees the next.
pub(super) fn attached_again(bench: &mut Bench) -> Result<()> {
    let mut trial = trial("detached", &["--probe", "kprobe"])?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    let off = Off::switch(KPROBES)?;
    seen_by_the_first(bench, &trial)?;
    drop(off);
    wait_for("the probe to be attached again", PATIENCE, || {
        trial.metrics()?;
        Ok(trial.agent.log().contains("is attached again").then_some(()))
    })?;
    ensure!((trial.metric(LOST, &["unseen"])? - 1.0).abs() < 0.5, "the kill was not counted as lost");
    ensure!(trial.metric("oomwatch_ready", &[])? > 0.5, "attached again it is not ready");
    let next = seen_by_the_first(bench, &trial)?;
    trial.balance(&reports)?;
    ensure!(trial.reported == [next], "{next} was not reported: {}", trial.agent.log());
    trial.end()
}

/// Nobody asks for metrics, and the agent has no clock: it sleeps until the kernel writes to its log of a kill that the
/// probe does not see.
pub(super) fn found_by_the_log(bench: &mut Bench) -> Result<()> {
    found_asleep(bench, trial("unasked", &["--probe", "kprobe"])?)
}

/// The same where there is no log, but a count of the cgroups' that can be watched.
pub(super) fn found_by_the_cgroup(bench: &mut Bench) -> Result<()> {
    found_asleep(bench, trial("cgroup", &["--probe", "kprobe", "--kmsg", "/dev/null"])?)
}

fn found_asleep(bench: &mut Bench, mut trial: Trial) -> Result<()> {
    let mut slept = (0, Instant::now());
    wait_for("the agent to sleep for 12 s", PATIENCE, || {
        let wakeups = Status::of_process(trial.agent.id())?.number("voluntary_ctxt_switches");
        let wakeups = wakeups.context("wakeups are not counted")?;
        if wakeups != slept.0 {
            slept = (wakeups, Instant::now());
        }
        Ok((slept.1.elapsed() > Duration::from_secs(12)).then_some(()))
    })?;
    is_found_unasked(bench, &mut trial)?;
    trial.end()
}

/// The same where there is nothing to wait for.
pub(super) fn found_by_the_clock(bench: &mut Bench) -> Result<()> {
    let nothing = ["--probe", "kprobe", "--kmsg", "/dev/null", "--cgroup", "/nonexistent"];
    let mut trial = trial("clock", &nothing)?;
    is_found_unasked(bench, &mut trial)?;
    trial.end()
}

fn is_found_unasked(bench: &mut Bench, trial: &mut Trial) -> Result<()> {
    let off = Off::switch(KPROBES)?;
    bench.begin_within_rate_limit()?;
    let killed = trial.kill(1)?;
    let since = Instant::now();
    let agent = &mut trial.agent;
    // Unable to attach it again, the agent would end.
    drop(off);
    let found = "the kernel counted kills that the probe did not see";
    wait_for("the kill to be found", PATIENCE, || Ok(agent.log().contains(found).then_some(())))?;
    let after = since.elapsed();
    ensure!(after < Duration::from_secs(10), "found after {after:?}. {}", agent.log());
    wait_for("the probe to be attached again", PATIENCE, || {
        Ok(agent.log().contains("is attached again").then_some(()))
    })?;
    bench.observe(&killed)?;
    Ok(())
}

/// A group is killed while nobody reads, and the ring buffer has no room: what is lost is counted to the process,
/// though the kernel counts the first one twice.
pub(super) fn small_ring_buffer(bench: &mut Bench) -> Result<()> {
    let mut trial = trial("small", &["--ring-buffer-kib", "4"])?;
    trial.memcg.kill_as_group()?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    for stopped in [false, true] {
        if stopped {
            trial.signal(Signal::STOP)?;
        }
        bench.begin_within_rate_limit()?;
        let before = oom_kills()?;
        let mut killed = Vec::new();
        for _ in 0..3 {
            let mut group: Vec<Hog> = (0..3).map(|_| trial.hog()).collect::<Result<_>>()?;
            group.first_mut().context("no process")?.go()?;
            group.iter_mut().try_for_each(Hog::wait_for_kill)?;
            killed.extend(group.iter().map(|hog| hog.pid));
        }
        let kernel = oom_kills()? - before;
        bench.observe(&killed)?;
        if stopped {
            trial.signal(Signal::CONT)?;
        }
        let told = wait_for("all to be reported or counted as lost", PATIENCE, || {
            trial.read(&reports)?;
            let ours = trial.reported.iter().filter(|pid| killed.contains(pid)).count();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
            let lost = trial.metric(LOST, &["record"])? as usize;
            Ok((ours + lost == killed.len()).then_some((ours, lost)))
        });
        let (ours, lost) = told.with_context(|| format!("{:?}. {}", trial.reported, trial.agent.log()))?;
        ensure!((lost > 0) == stopped && ours > 0, "{ours} were reported and {lost} lost");
        ensure!(trial.metric(LOST, &["unseen"])? < 0.5, "the kernel counted {kernel}: {}", trial.agent.log());
    }
    trial.end()
}

/// The wall clock is set, back and forth: each report has the time of its kill, and no duration is negative or hours.
pub(super) fn clock_that_jumps(bench: &mut Bench) -> Result<()> {
    let (real, since) = (clock_gettime(ClockId::Realtime), clock_gettime(ClockId::Boottime));
    let outcome = [("2001-02-03T04:", 981_172_800), ("2035-06-07T08:", 2_064_816_000)].iter().try_for_each(
        |(hour, seconds)| {
            clock_settime(ClockId::Realtime, Timespec { tv_sec: *seconds, tv_nsec: 0 })?;
            let memcg = bench.memcg("/clock", 16)?;
            bench.begin_within_rate_limit()?;
            let mut hog = bench.hog(&memcg, &["anon=256"])?;
            hog.go()?;
            hog.wait_for_kill()?;
            let observed = bench.observe(&[hog.pid])?;
            let line = &observed.reports.first().context("no report")?.line;
            let report: Value = serde_json::from_str(line)?;
            let time = report.get("time").and_then(Value::as_str).unwrap_or_default();
            ensure!(time.starts_with(hour), "killed at {hour}, by the report at {time}");
            let latencies = report.get("latency").and_then(Value::as_object).context("no latency")?;
            for (name, latency) in latencies {
                let microseconds = latency.as_u64().with_context(|| format!("{name} is {latency}"))?;
                ensure!(microseconds < 60_000_000, "{name} is {microseconds} µs");
            }
            Ok(())
        },
    );
    let passed = clock_gettime(ClockId::Boottime).tv_sec - since.tv_sec;
    clock_settime(ClockId::Realtime, Timespec { tv_sec: real.tv_sec + passed, ..real })?;
    outcome
}
