//! What `oomwatch run` makes beside the probe, while the kernel verifies that: all that reports need.

use std::{
    fs,
    sync::{Arc, Barrier, mpsc::Receiver as Proved},
    time::Duration,
};

use oomwatch_common::units::PageSize;
use tokio::runtime::{self, Runtime};

use crate::{
    config::RunOptions,
    desk::{self, Desk},
    exits::Exits,
    health::Health,
    history::History,
    http::{self, Served},
    job::Caught,
    kmsg::FromLog,
    kubernetes::{
        events::{Counts, Emitter},
        outcomes::Outcomes,
        pods::{Lists, Pods},
    },
    losses::Losses,
    marks::oom_kills,
    metrics::{self, Metrics},
    pool::Pool,
    progress::Progress,
    protect,
    publish::{Audience, Publisher},
    queue::{Receiver, Sender, queue},
    refusal::Refusal,
    relief::Relief,
    sources::Roots,
    sys,
    teller::{self, Lines, Tellers, Telling},
    unpack::Captured,
};

/// What is there before the first incident.
pub struct Prepared {
    /// Turns what waits.
    pub runtime: Runtime,
    /// The way of an incident to whoever reports it.
    pub ways: Ways,
    /// Who report it.
    pub reporters: Reporters,
    /// Where the probe's records become incidents; `None`: there was no probe.
    pub desk: Option<Desk>,
    /// Where files are looked for.
    pub roots: Roots,
    /// Who keeps incidents.
    pub history: Arc<History>,
    /// Who says how the agent is.
    pub health: Arc<Health>,
    /// Who counts.
    pub metrics: Arc<Metrics>,
    /// What was lost where.
    pub losses: Arc<Losses>,
    /// How far captures have come.
    pub progress: Arc<Progress>,
    /// How asking the kubelet went; `None`: nobody asks.
    pub answers: Option<Arc<Outcomes>>,
    /// How telling Kubernetes went; `None`: nobody does.
    pub told: Option<Arc<Counts>>,
}

/// The way of an incident to whoever reports it.
pub struct Ways {
    /// For what the kernel's log gives.
    pub to_reporter: Sender<FromLog>,
    /// For what is captured.
    pub queue: Sender<Caught>,
    /// Its other end.
    pub incidents: Receiver<Caught>,
}

/// Those who report incidents.
pub struct Reporters {
    /// Who makes reports.
    pub publisher: Publisher,
    /// Who print lines before that.
    pub tellers: Tellers,
    /// What the desk caught of the agent itself.
    rehearsal: Option<Captured>,
}

impl Reporters {
    /// Goes through all that they will need, so that it is there when the node has no memory.
    pub fn rehearse(&mut self) {
        self.tellers.warm_up();
        if let Some(captured) = self.rehearsal.take() {
            self.publisher.warm_up(&captured);
        }
    }
}

/// Makes all of it; then, when a probe is proved, has the desk catch the agent itself.
///
/// # Errors
/// A [`Refusal`]: a wrong option before all others.
pub fn prepare(
    options: &RunOptions,
    settings: desk::Settings,
    page_size: PageSize,
    proved: &Proved<Vec<u8>>,
) -> Result<Prepared, Refusal> {
    let runtime = runtime()?;
    // It asks nobody until the runtime turns.
    let entered = runtime.enter();
    let node = options.node.node_name.clone().unwrap_or_else(sys::host_name);
    let pods = Pods::start(&options.kubernetes, &node)?;
    drop(entered);
    let events = runtime.block_on(Emitter::start(&options.kubernetes))?;
    let lines_are_all = events.is_none() && are_lines_all(options);
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
    let pool = Pool::new(options.queue.into());
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
    let (queue, incidents) = queue(options.queue.into()).map_err(failed)?;
    let names_are_known = known.is_all();
    let telling = Telling::new(options, node, page_size, known, Arc::clone(&losses), Arc::clone(&metrics));
    let unstarted = |error| Refusal::failed(format!("starting what prints lines: {error}"));
    let Lines { foreteller, claims, mut tellers } = teller::start(telling, options).map_err(unstarted)?;
    let mut desk = Desk::new(&settings, Arc::clone(&losses), queue.clone(), pool)
        .telling(Arc::clone(&progress))
        .foretelling(foreteller)
        .for_lines_alone(lines_are_all, names_are_known);
    let proof = proved.recv().ok();
    // Behind the verifier, whose code nobody needs again.
    protect::from_reclaim();
    let mut rehearsal = None;
    if let Some(proof) = &proof {
        publisher.print_what_is_left(claims);
        rehearsal = rehearse(&mut desk, proof, page_size);
    } else {
        tellers = Tellers::default();
    }
    Ok(Prepared {
        runtime,
        ways: Ways { to_reporter, queue, incidents },
        reporters: Reporters { publisher, tellers, rehearsal },
        desk: proof.map(|_| desk),
        roots: settings.roots,
        history,
        health,
        metrics,
        losses,
        progress,
        answers,
        told,
    })
}

fn serve(listener: Option<http::Listener>, served: Served) -> Result<(), Refusal> {
    let unserved = |error| Refusal::failed(format!("starting the HTTP server: {error}"));
    listener.map_or(Ok(()), |listener| http::serve(listener, served).map_err(unserved))
}

/// A container's series begin when the kubelet lists it.
async fn follow(mut lists: Lists, metrics: Arc<Metrics>) {
    while lists.next(|index| metrics.see(index.present(), sys::boottime())).await {}
}

/// Whether a report would be seen by nobody once its line is printed: it is not kept, served or recorded.
fn are_lines_all(options: &RunOptions) -> bool {
    let (kept, recorded) = (options.journal.journal.is_some(), options.record_to.is_some());
    options.http.listen.is_none() && !kept && !recorded
}

/// All that capturing will need is gone through once, for the agent's own process.
fn rehearse(desk: &mut Desk, proof: &[u8], page_size: PageSize) -> Option<Captured> {
    let caught = desk.warm_up(proof, sys::boottime())?;
    Captured::rehearsed(&caught, proof, page_size)
}

/// What the desk begins with. The kernel's count in it has to be older than the probe.
pub fn desk_settings(options: &RunOptions) -> desk::Settings {
    desk::Settings {
        roots: Roots::new(&options.node.proc, &options.node.cgroup),
        deadline_ns: u64::try_from(options.capture_deadline().as_nanos()).unwrap_or(u64::MAX),
        kernel_kills: fs::read(options.node.proc.join("vmstat")).ok().and_then(|vmstat| oom_kills(&vmstat)),
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
