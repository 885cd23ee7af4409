//! `oomwatch run`: probe attached → capture thread → reporter → wait for the end → drain.

use std::{
    fs,
    future::pending,
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::Duration,
};

use oomwatch_common::{counters::ProbeCounter, incident::ProbeLevel, units::PageSize};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout_at},
};

use crate::{
    attach::{self, Watch},
    audit::Audit,
    capture::{self, Running},
    config::RunOptions,
    desk::{self, Desk},
    exits::Exits,
    health::Health,
    history::History,
    http::{self, Served},
    job::oom_kills,
    kmsg::{self, LogBook},
    kubernetes::{
        events::Emitter,
        pods::{Lists, Pods},
    },
    log,
    losses::{Losses, Stage},
    metrics::{self, Metrics},
    pool::Pool,
    probe::{Hooks, Probe},
    progress::Progress,
    protect,
    publish::{Audience, Ended, Publisher},
    queue::queue,
    refusal::Refusal,
    relief::Relief,
    sources::Roots,
    sys,
    tally::{Outcome, Tally},
    teller::{self, Lines, Tellers, Telling},
    unpack::Captured,
};

/// From SIGTERM to the end; Kubernetes waits 30 s, a person not 2.
const DRAIN_WITHIN: Duration = Duration::from_millis(1500);
/// Of it, what Events have at least.
const DRAIN_EVENTS_WITHIN: Duration = Duration::from_millis(300);

/// Watches until SIGTERM, SIGINT or a closed stdout.
///
/// # Errors
/// A [`Refusal`] where the start fails. After that nothing stops it.
pub fn run(options: &RunOptions) -> Result<(), Refusal> {
    be_first(options);
    let page_size = sys::page_size();
    let settings = desk_settings(options);
    let runtime = runtime()?;
    // Before the probe: a wrong option is told at once. It asks nobody until the runtime turns.
    let entered = runtime.enter();
    let node = options.node.node_name.clone().unwrap_or_else(sys::host_name);
    let pods = Pods::start(&options.kubernetes, &node)?;
    drop(entered);
    let events = runtime.block_on(Emitter::start(&options.kubernetes))?;
    let (answers, told) = (pods.outcomes(), events.as_ref().map(Emitter::counts));
    let listener = http::bind(&options.http)?;
    let (health, http_counts) = (Arc::new(Health::default()), Arc::new(http::Counts::default()));
    let history = Arc::new(History::open(&options.journal)?);
    let (losses, progress) = (Arc::new(Losses::default()), Arc::new(Progress::default()));
    let sources = metrics::Sources {
        proc: options.node.proc.clone(),
        losses: Arc::clone(&losses),
        progress: Arc::clone(&progress),
        kubelet: answers.clone(),
        events: told.clone(),
        history: Arc::clone(&history),
        health: Arc::clone(&health),
        http: Arc::clone(&http_counts),
    };
    let metrics = Arc::new(Metrics::new(&options.metrics, sources));
    let served = Served {
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        history: Arc::clone(&history),
        api: options.http.api,
        counts: http_counts,
    };
    serve(listener, served)?;
    if let Some(lists) = pods.lists() {
        runtime.spawn(follow(lists, Arc::clone(&metrics)));
    }
    // Before the probe: what is in the log by then, no probe has seen.
    let (watch, pool) = watch(options, page_size)?;
    let failed = |error| Refusal::failed(format!("making the queue to the reporter: {error}"));
    let (to_reporter, logged) = queue(options.queue.into()).map_err(failed)?;
    let relief = Relief::of_node(&options.node.proc, page_size);
    let known = pods.known();
    let audience = Audience {
        pods,
        events,
        history: Arc::clone(&history),
        metrics: Arc::clone(&metrics),
        relief,
        exits: Exits::new(settings.roots.clone(), Arc::clone(&metrics), relief),
        busy: health.reporter(),
        logged: Some(logged),
    };
    let mut publisher = Publisher::live(options, node.clone(), page_size, audience);
    announce(&watch);
    protect::from_reclaim();
    let (queue, incidents) = queue(options.queue.into()).map_err(failed)?;
    let unstarted = |error| Refusal::failed(format!("starting the capture thread: {error}"));
    let probe = match watch {
        Watch::Probe(probe, log) => {
            let (level, counters, hooks) = (probe.level.name(), probe.counters(), probe.hooks());
            let audit =
                Arc::new(Audit::new(&options.node, &probe, Arc::clone(&progress), Arc::clone(&losses)));
            let (reporter, waiting) = (health.reporter(), queue.depth());
            let is_at_rest = move || waiting.waiting() == 0 && reporter.is_at_rest();
            let told = kmsg::Told::new(&history, to_reporter, is_at_rest);
            kmsg::tell_beside_a_probe(options, page_size, log, told, audit.losses());
            metrics.attached(level, queue.depth(), Some((counters, Arc::clone(&audit))));
            let telling = Telling::new(options, node, page_size, known, Arc::clone(&losses), metrics);
            let Lines { foreteller, claims, tellers } = teller::start(telling, options).map_err(unstarted)?;
            publisher.print_what_is_left(claims);
            let mut desk = Desk::new(&settings, Arc::clone(&losses), queue, pool)
                .telling(progress)
                .foretelling(foreteller);
            rehearse(&mut desk, &mut publisher, &probe.proof, page_size);
            let running = capture::start(*probe, desk, incidents).map_err(unstarted)?;
            health.ready(running.pulse());
            let kept = async {
                end_trial(Arc::clone(&hooks));
                audit.keep(&hooks, &health).await
            };
            runtime.block_on(report(running, publisher, &losses, level, kept, tellers))
        }
        Watch::Log(mut log, _) => {
            let level = ProbeLevel::Kmsg.name();
            metrics.attached(level, queue.depth(), None);
            let told = kmsg::Told::new(&history, to_reporter.clone(), || true);
            kmsg::tell_backlog(options, log.backlog(), told);
            let telling = kmsg::Telling { losses: Arc::clone(&losses), incidents: to_reporter, open: queue };
            let running = log.follow(settings.roots, telling, incidents).map_err(unstarted)?;
            health.ready(running.pulse());
            runtime.block_on(report(running, publisher, &losses, level, pending(), Tellers::default()))
        }
    };
    runtime.block_on(history.close());
    // A write to a stdout that nobody reads may never return.
    runtime.shutdown_background();
    if let Some(probe) = probe? {
        account(&probe, &losses);
    }
    sum_up(answers.as_deref(), told.as_deref());
    Ok(())
}

/// The verifier takes its time, and so does it to touch all memory of the pool.
fn watch(options: &RunOptions, page_size: PageSize) -> Result<(Watch<LogBook>, Arc<Pool>), Refusal> {
    let log = LogBook::open(options, page_size);
    let pool = || Pool::new(options.queue.into());
    thread::scope(|scope| {
        let made = scope.spawn(pool);
        let watch = attach::watch(&options.node, page_size, log)?;
        Ok((watch, made.join().unwrap_or_else(|_| pool())))
    })
}

/// Before anything is made: how memory is asked for, whom the kernel kills, whose turn it is.
fn be_first(options: &RunOptions) {
    sys::return_large_allocations();
    log::init(options.log);
    protect::from_the_oom_killer();
    // Without CAP_SYS_NICE, of which the capture thread will say that it is missing.
    if let Err(error) = sys::be_preferred() {
        tracing::debug!(%error, "the threads that report have normal priority");
    }
}

fn serve(listener: Option<http::Listener>, served: Served) -> Result<(), Refusal> {
    let unserved = |error| Refusal::failed(format!("starting the HTTP server: {error}"));
    listener.map_or(Ok(()), |listener| http::serve(listener, served).map_err(unserved))
}

/// Beside all that waits here, as it takes time.
fn end_trial(hooks: Arc<Mutex<Hooks>>) {
    let end = move || hooks.lock().unwrap_or_else(PoisonError::into_inner).end_trial();
    if let Err(error) = thread::Builder::new().name("end-trial".to_owned()).spawn(end) {
        tracing::debug!(%error, "the hook that showed that hooks fire stays in place");
    }
}

/// All that an incident will need is gone through once, for the agent's own process.
fn rehearse(desk: &mut Desk, publisher: &mut Publisher, proof: &[u8], page_size: PageSize) {
    let caught = desk.warm_up(proof, sys::boottime());
    if let Some(captured) = caught.and_then(|caught| Captured::rehearsed(&caught, proof, page_size)) {
        publisher.warm_up(&captured);
    }
}

fn desk_settings(options: &RunOptions) -> desk::Settings {
    desk::Settings {
        roots: Roots::new(&options.node.proc, &options.node.cgroup),
        deadline_ns: u64::try_from(options.capture_deadline().as_nanos()).unwrap_or(u64::MAX),
        kernel_kills: fs::read(options.node.proc.join("vmstat")).ok().and_then(|vmstat| oom_kills(&vmstat)),
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

/// One thread for everything that waits, and two more that are kept for what blocks: stdout, and what is around an
/// incident. They are there from the start, because a thread cannot be made on a node that has no memory.
fn runtime() -> Result<Runtime, Refusal> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::MAX)
        .build()
        .map_err(|error| Refusal::failed(format!("starting the async runtime: {error}")))?;
    let both = Arc::new(Barrier::new(2));
    for _ in 0..2 {
        let both = Arc::clone(&both);
        drop(runtime.spawn_blocking(move || both.wait()));
    }
    Ok(runtime)
}

/// Reports until told to stop; gives the probe back where the capture thread ended in time.
async fn report(
    mut running: Running,
    mut publisher: Publisher,
    losses: &Losses,
    level: &'static str,
    kept: impl Future<Output = Refusal>,
    tellers: Tellers,
) -> Result<Option<Probe>, Refusal> {
    let catch = |kind| signal(kind).map_err(|error| Refusal::failed(format!("catching signals: {error}")));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    sys::keep_allocations();
    tracing::info!(%level, "ready");
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

/// A container's series begin when the kubelet lists it.
async fn follow(mut lists: Lists, metrics: Arc<Metrics>) {
    while lists.next(|index| metrics.see(index.present(), sys::boottime())).await {}
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
