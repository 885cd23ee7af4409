//! `oomwatch run`: probe attached → capture thread → reporter → wait for the end → drain.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
    thread,
    time::Duration,
};

use oomwatch_common::{counters::ProbeCounter, incident::ProbeLevel, units::PageSize};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout_at},
};

use crate::{
    attach::{self, Ahead, Watch},
    audit::Audit,
    capture::{self, Running},
    config::RunOptions,
    kmsg::{self, LogBook},
    log,
    losses::{Losses, Stage},
    prepared::{self, Prepared, Reporters, Ways},
    probe::{Hooks, Probe},
    protect,
    publish::Ended,
    refusal::Refusal,
    sys,
    tally::{Outcome, Tally},
};

/// From SIGTERM to the end; Kubernetes waits 30 s, a person not 2.
const DRAIN_WITHIN: Duration = Duration::from_millis(1500);
/// Of it, what Events have at least.
const DRAIN_EVENTS_WITHIN: Duration = Duration::from_millis(300);

/// Watches until SIGTERM, SIGINT or a closed stdout.
///
/// # Errors
/// A [`Refusal`] where the start fails. After that nothing stops it.
pub fn run(options: &RunOptions, ahead: Option<Ahead>) -> Result<(), Refusal> {
    be_first(options);
    let page_size = sys::page_size();
    let (watch, prepared) = start(options, page_size, ahead.unwrap_or_else(Ahead::begin))?;
    announce(&watch);
    let Prepared { runtime, ways, reporters, desk, history, health, metrics, losses, .. } = prepared;
    let Ways { to_reporter, queue, incidents } = ways;
    let unstarted = |error| Refusal::failed(format!("starting the capture thread: {error}"));
    let probe = match watch {
        Watch::Probe(probe, log) => {
            let desk = desk.ok_or_else(|| Refusal::failed("the probe was not proved"))?;
            let (level, counters, hooks) = (probe.level.name(), probe.counters(), probe.hooks());
            let audit = Arc::new(Audit::new(&options.node, &probe, prepared.progress, Arc::clone(&losses)));
            let (reporter, waiting) = (health.reporter(), queue.depth());
            let is_at_rest = move || waiting.waiting() == 0 && reporter.is_at_rest();
            let told = kmsg::Told::new(&history, to_reporter, is_at_rest);
            kmsg::tell_beside_a_probe(options, page_size, log, told, audit.losses());
            metrics.attached(level, queue.depth(), Some((counters, Arc::clone(&audit))));
            // The desk's own is the only one: with it the reports end.
            drop(queue);
            let running = capture::start(*probe, desk, incidents).map_err(unstarted)?;
            health.ready(running.pulse());
            let kept = async {
                end_trial(Arc::clone(&hooks));
                audit.keep(&hooks, &health).await
            };
            runtime.block_on(report(running, reporters, &losses, level, kept))
        }
        Watch::Log(mut log, _) => {
            let level = ProbeLevel::Kmsg.name();
            metrics.attached(level, queue.depth(), None);
            let told = kmsg::Told::new(&history, to_reporter.clone(), || true);
            kmsg::tell_backlog(options, log.backlog(), told);
            let telling = kmsg::Telling { losses: Arc::clone(&losses), incidents: to_reporter, open: queue };
            let running = log.follow(prepared.roots, telling, incidents).map_err(unstarted)?;
            health.ready(running.pulse());
            runtime.block_on(report(running, reporters, &losses, level, pending()))
        }
    };
    runtime.block_on(history.close());
    // A write to a stdout that nobody reads may never return.
    runtime.shutdown_background();
    if let Some(probe) = probe? {
        account(&probe, &losses);
    }
    sum_up(prepared.answers.as_deref(), prepared.told.as_deref());
    Ok(())
}

/// The verifier takes its time, and so does all that is made for the reports.
fn start(
    options: &RunOptions,
    page_size: PageSize,
    ahead: Ahead,
) -> Result<(Watch<LogBook>, Prepared), Refusal> {
    // Before the probe: what is in the log by then, no probe has seen, and what the kernel has counted.
    let log = LogBook::open(options, page_size);
    let settings = prepared::desk_settings(options);
    let (proved, proof) = sync_channel::<Vec<u8>>(1);
    thread::scope(|scope| {
        let prepared = scope.spawn(move || prepared::prepare(options, settings, page_size, &proof));
        let watch = attach::watch(&options.node, page_size, log, ahead, |proof| {
            // A further attempt at a lower level proves the same.
            proved.try_send(proof.to_vec()).ok();
        });
        drop(proved);
        let prepared = prepared.join().unwrap_or_else(|_| Err(Refusal::failed("the start panicked")))?;
        Ok((watch?, prepared))
    })
}

/// Before anything is made that stays: whom the kernel kills, whose turn it is.
fn be_first(options: &RunOptions) {
    log::init(options.log);
    protect::from_the_oom_killer();
    // Without CAP_SYS_NICE, of which the capture thread will say that it is missing.
    if let Err(error) = sys::be_preferred(true) {
        tracing::debug!(%error, "the threads that report have normal priority");
    }
}

/// Beside all that waits here, as it takes time.
fn end_trial(hooks: Arc<Mutex<Hooks>>) {
    let end = move || hooks.lock().unwrap_or_else(PoisonError::into_inner).end_trial();
    if let Err(error) = thread::Builder::new().name("end-trial".to_owned()).spawn(end) {
        tracing::debug!(%error, "the hook that showed that hooks fire stays in place");
    }
}

/// How asking and telling others went.
fn sum_up<A: Outcome, T: Outcome>(answers: Option<&Tally<A>>, told: Option<&Tally<T>>) {
    if let Some(answers) = answers {
        tracing::info!(answers = answers.summary(), "the kubelet was asked");
    }
    if let Some(told) = told {
        tracing::info!(kills = told.summary(), "Kubernetes was told");
    }
}

/// Reports until told to stop; gives the probe back where the capture thread ended in time.
async fn report(
    mut running: Running,
    mut reporters: Reporters,
    losses: &Losses,
    level: &'static str,
    kept: impl Future<Output = Refusal>,
) -> Result<Option<Probe>, Refusal> {
    let catch = |kind| signal(kind).map_err(|error| Refusal::failed(format!("catching signals: {error}")));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    tracing::info!(%level, "ready");
    // Kills are caught already. Of what is made of them the first would take this time as well.
    sys::keep_allocations();
    reporters.rehearse();
    let Reporters { mut publisher, tellers, .. } = reporters;
    let stopper = running.stopper();
    let mut refused = None;
    let mut publishing = Box::pin(publisher.publish_all(&mut running.incidents, losses));
    let ended = tokio::select! {
        ended = &mut publishing => Some(ended),
        () = tellers.stdout_closed() => Some(Ended::StdoutClosed),
        () = either(&mut terminate, &mut interrupt) => None,
        refusal = kept => {
            refused = Some(refusal);
            None
        }
    };
    let told_to_end = ended.is_none();
    let until = Instant::now() + DRAIN_WITHIN;
    stopper.stop();
    let ended = match ended {
        Some(ended) => Some(ended),
        None => timeout_at(until, &mut publishing).await.ok(),
    };
    drop(publishing);
    if let Some(events) = publisher.take_events() {
        events.drain(until.saturating_duration_since(Instant::now()).max(DRAIN_EVENTS_WITHIN)).await;
    }
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    match ended {
        Some(Ended::Drained) if !told_to_end => {
            Err(Refusal::failed("the capture thread ended by itself: its reason stands above"))
        }
        Some(Ended::Drained | Ended::StdoutClosed) => {
            let probe = running.join();
            tellers.wait();
            Ok(probe)
        }
        None => {
            tracing::warn!("stdout did not take all reports in time");
            Ok(None)
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn announce(watch: &Watch<LogBook>) {
    let probe = match watch {
        Watch::Probe(probe, _) => probe,
        Watch::Log(_, None) => {
            return tracing::info!(level = %"kmsg", "the kernel's log is read, as was asked for");
        }
        Watch::Log(_, Some(why)) => {
            return tracing::warn!(level = %"kmsg", %why, "no probe: the kernel's log is read, after SIGKILL");
        }
    };
    match &probe.why_not_higher {
        None => {
            tracing::info!(level = %probe.level.name(), "probe attached, its layout proved on this process");
        }
        Some(why) => {
            tracing::warn!(level = %probe.level.name(), %why, "probe attached at a lower level: victims only");
        }
    }
    if let Some(why) = &probe.why_trampolines {
        tracing::info!(%why, "the functions are hooked by fentry and fexit: that is as good");
    }
    if let Some(why) = probe.rss_inexact {
        tracing::info!(%why, "RSS will be approximate, as in the kernel's own log");
    }
    if !probe.absent.is_empty() {
        let fields = probe.absent.join(", ");
        tracing::info!(%fields, "this kernel does not have these fields: reports leave them out");
    }
}

/// The last line of the log: what came, and what was lost where.
fn account(probe: &Probe, losses: &Losses) {
    let counters = probe.counters();
    let counter = |counter| counters.get(counter).unwrap_or(0);
    tracing::info!(
        invocations = counter(ProbeCounter::Invocations),
        already_exiting = counter(ProbeCounter::AlreadyExiting),
        records = counter(ProbeCounter::Submitted),
        lost_ring_buffer_full = counter(ProbeCounter::RingBufferFull),
        lost_malformed = losses.get(Stage::Malformed),
        lost_queue_full = losses.get(Stage::Queue),
        lost_output = losses.get(Stage::Output),
        "ended"
    );
}
