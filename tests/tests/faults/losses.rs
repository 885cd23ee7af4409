//! The agent cannot keep up: it is stopped, its ring buffer is small, nobody reads what it writes.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use oomwatch_tests::{
    agent::command,
    deadline::PATIENCE,
    here::binary,
    hog::Hog,
    http::get,
    lines::{Lines, Next},
    report::Report,
    trial::{LOST, Trial},
};
use rustix::{pipe::fcntl_setpipe_size, process::Signal};

use super::alone_and_root;

const KILLS: usize = 20;
const EVENTS_LOST: &str = "oomwatch_events_lost_total";

#[test]
fn a_full_stdout_fills_the_queue_and_what_is_beyond_is_counted() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut trial = super::trial("full", &["--queue", "4"])?;
    let stdout = trial.agent.take_stdout()?;
    fcntl_setpipe_size(&stdout, 4096)?;
    trial.kill(KILLS)?;
    // One is being written, four wait.
    trial.wait_for_metric(LOST, &["queue"], |lost| lost >= 15.0)?;
    ensure!(trial.are_equal(("oomwatch_queue_depth", &[]), ("oomwatch_queue_capacity", &[]))?);
    ensure!(trial.metric(EVENTS_LOST, &["ring_buffer"])? == 0.0, "capture was blocked");
    let healthz = get(trial.agent.address()?, "/healthz", &[])?;
    ensure!(healthz.status == 200, "capture does not turn: {}", healthz.body);
    let reports = Lines::of(stdout);
    trial.balance(&reports)?;
    ensure!(trial.reported.len() >= 5, "what had waited was not reported");
    ensure!(trial.are_equal((LOST, &["queue"]), (EVENTS_LOST, &["queue"]))?);
    let last = trial.kill(1)?;
    trial.balance(&reports)?;
    ensure!(last.iter().all(|pid| trial.reported.contains(pid)), "it does not go on");
    trial.end()
}

#[test]
fn a_stdout_that_fails_is_counted_and_the_agent_goes_on() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut shell = Command::new("sh");
    let agent = command(&binary()?);
    shell.args(["-c", "exec \"$0\" run \"$@\" >/dev/full"]).arg(agent.get_program());
    shell.args(Trial::arguments(&[])).env_clear().env("NO_COLOR", "1");
    let mut trial = super::trial_of("unwritten", shell)?;
    let nothing = Lines::of(trial.agent.take_stdout()?);
    trial.kill(3)?;
    trial.wait_for_metric(LOST, &["output"], |lost| lost >= 3.0)?;
    trial.balance(&nothing)?;
    ensure!(trial.are_equal((LOST, &["output"]), (EVENTS_LOST, &["output"]))?);
    trial.end()
}

#[test]
fn a_stopped_agent_tells_of_all_kills_when_it_goes_on() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut trial = super::trial("stopped", &[])?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    trial.signal(Signal::STOP)?;
    let pids = trial.kill(KILLS)?;
    trial.signal(Signal::CONT)?;
    trial.balance(&reports)?;
    let ours: Vec<u32> = trial.reported.iter().copied().filter(|pid| pids.contains(pid)).collect();
    ensure!(ours == pids, "{pids:?} died in this order, and were reported as {ours:?}");
    ensure!(trial.lost()? == 0.0, "some were lost");
    trial.end()
}

#[test]
fn what_finds_the_ring_buffer_full_is_counted_to_the_kill() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut trial = super::trial("tiny", &["--ring-buffer-kib", "4"])?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    trial.signal(Signal::STOP)?;
    let pids = trial.kill(KILLS)?;
    trial.signal(Signal::CONT)?;
    trial.wait_for_metric(LOST, &["record"], |lost| lost >= 1.0)?;
    trial.balance(&reports)?;
    ensure!(trial.reported.iter().any(|pid| pids.contains(pid)), "not even the first was reported");
    let lost = (trial.metric(LOST, &["record"])?, trial.metric(LOST, &["unseen"])?);
    ensure!(lost.0 >= 10.0 && lost.1 == 0.0, "4 KiB have no room for so many: {lost:?}");
    let after = trial.kill(2)?;
    trial.balance(&reports)?;
    ensure!(after.iter().all(|pid| trial.reported.contains(pid)), "it does not go on");
    trial.end()
}

/// What no record told of, the kernel's log has.
#[test]
fn what_was_lost_on_the_way_is_told_from_the_kernels_log() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let journal = tempfile::tempdir()?;
    let folder = journal.path().to_str().ok_or_else(|| anyhow!("the folder's name is no text"))?;
    let arguments = ["--ring-buffer-kib", "4", "--journal", folder, "--backlog", "on"];
    let mut trial = super::trial("recovered", &arguments)?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    trial.signal(Signal::STOP)?;
    let mut pids = trial.kill(KILLS)?;
    pids.sort_unstable();
    trial.signal(Signal::CONT)?;
    trial.wait_for_metric(LOST, &["record"], |lost| lost >= 1.0)?;
    let mut told = Vec::new();
    while told.len() < KILLS {
        let Next::Line(line) = reports.next(PATIENCE) else { anyhow::bail!("told of {told:?} of {pids:?}") };
        told.extend(Report::parse(&line)?.victims.into_iter().filter_map(|victim| victim.tid));
        told.retain(|tid| pids.contains(tid));
    }
    // None twice: what the probe told of is in the log as well.
    trial.agent.terminate()?;
    while let Next::Line(line) = reports.next(PATIENCE) {
        told.extend(Report::parse(&line)?.victims.into_iter().filter_map(|victim| victim.tid));
    }
    told.retain(|tid| pids.contains(tid));
    told.sort_unstable();
    ensure!(told == pids, "{pids:?} died, told were {told:?}");
    Ok(())
}

#[test]
fn a_kill_in_flight_never_looks_lost() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut trial = super::trial("in-flight", &[])?;
    let reports = Lines::of(trial.agent.take_stdout()?);
    let address = trial.agent.address()?;
    let over = AtomicBool::new(false);
    let looks = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                // Each scrape is a look of the audit.
                looks += usize::from(get(address, "/metrics", &[]).is_ok_and(|answer| answer.status == 200));
            }
            looks
        });
        let killed = (0..5).try_for_each(|_| {
            let mut hogs: Vec<Hog> = (0..4).map(|_| trial.hog()).collect::<Result<_>>()?;
            hogs.iter_mut().try_for_each(Hog::go)?;
            hogs.iter_mut().try_for_each(Hog::wait_for_kill)
        });
        over.store(true, Ordering::Relaxed);
        killed?;
        looking.join().map_err(|_| anyhow!("the thread that scrapes panicked"))
    })?;
    trial.balance(&reports)?;
    ensure!(trial.reported.len() >= KILLS && looks > 4, "{} kills, {looks} looks", trial.reported.len());
    // Two more looks at rest: what was in flight would be missed by now.
    for _ in 0..2 {
        thread::sleep(Duration::from_millis(600));
        ensure!(trial.lost()? < 0.5, "in flight, and counted as lost: {}", trial.agent.log());
    }
    trial.end()
}
