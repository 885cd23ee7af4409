//! What Prometheus scrapes: counted as reports go out, read from where it stands as a scrape comes.
//!
//! `table.rs` has every metric with its labels and words; `collect.rs` knows where each value is; `containers.rs` keeps
//! the series that come and go with pods. One lock is held, for as long as it takes to count or to copy.

mod classic;
mod collect;
mod containers;
mod own;
mod persist;
mod table;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use oomwatch_common::{
    capture::{Capture, Outcome as Read},
    diagnose::Cause,
    pods::Pod,
    report::{NamesFrom, Report},
    units::BoottimeNs,
};
use prometheus_client::{
    encoding::{prometheus_protobuf, text},
    metrics::histogram::{Histogram, NativeHistogramConfig, exponential_buckets},
    registry::Registry,
};

use self::{
    containers::{Containers, Kill},
    persist::Counted,
};
use crate::{
    audit::Audit,
    config::MetricsOptions,
    health::Health,
    history::History,
    http,
    job::Caught,
    kubernetes::{events, outcomes::Outcomes},
    losses::Losses,
    probe::Counters,
    progress::{Lost, Progress},
    queue::Depth,
    sys,
    tally::{Outcome, Tally},
};

/// How a scrape wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`: with exemplars.
    OpenMetrics,
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/vnd.google.protobuf`, delimited `io.prometheus.client.MetricFamily`: with native histograms.
    Protobuf,
}

/// The metrics.
pub struct Metrics {
    registry: Registry,
    values: Arc<Values>,
}

/// What is counted, and where the rest is read from.
pub(crate) struct Values {
    containers: Mutex<Containers>,
    incidents: Tally<Cause>,
    reads: Tally<Read>,
    named: Tally<Named>,
    victim_memory: Histogram,
    limit: Histogram,
    latency: Histogram,
    to_exit: Histogram,
    /// Kills, counted as the kernel does.
    kills: AtomicU64,
    health: Arc<Health>,
    started: SystemTime,
    vmstat: PathBuf,
    losses: Arc<Losses>,
    progress: Arc<Progress>,
    later: OnceLock<Later>,
    kubelet: Option<Arc<Outcomes>>,
    events: Option<Arc<events::Counts>>,
    history: Arc<History>,
    http: Arc<http::Counts>,
}

/// What is there only once the probe is attached.
struct Later {
    level: &'static str,
    /// Without them where the kernel's log is all there is.
    probe: Option<(Counters, Arc<Audit>)>,
    queue: Depth<Caught>,
}

/// Who told the names of a victim's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// The kubelet's list.
    Kubelet,
    /// The names of log files.
    Logs,
    /// Nobody did.
    None,
    /// There is no pod.
    Host,
}

/// Whom the values are read from, besides what is counted here.
pub struct Sources {
    /// `/proc`
    pub proc: PathBuf,
    /// What is lost, by stage.
    pub losses: Arc<Losses>,
    /// What is lost, in processes.
    pub progress: Arc<Progress>,
    /// How the kubelet answers.
    pub kubelet: Option<Arc<Outcomes>>,
    /// How telling Kubernetes goes.
    pub events: Option<Arc<events::Counts>>,
    /// What is kept, and how that goes.
    pub history: Arc<History>,
    /// Whether kills are caught.
    pub health: Arc<Health>,
    /// How serving goes.
    pub http: Arc<http::Counts>,
}

impl Metrics {
    /// Metrics at their beginning, or where the history's last run ended.
    pub fn new(options: &MetricsOptions, sources: Sources) -> Self {
        let containers = Containers::new(options.metrics_containers.into(), options.grace());
        // 1 MiB to 1 TiB, 10 ms to 5 min: four to the factor of four, or of three.
        let bytes = || histogram(exponential_buckets(1_048_576.0, 4.0, 11));
        let values = Arc::new(Values {
            containers: Mutex::new(containers),
            incidents: Tally::default(),
            reads: Tally::default(),
            named: Tally::default(),
            victim_memory: bytes(),
            limit: bytes(),
            latency: histogram([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0]),
            to_exit: histogram([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]),
            kills: AtomicU64::new(0),
            health: sources.health,
            started: SystemTime::now(),
            vmstat: sources.proc.join("vmstat"),
            losses: sources.losses,
            progress: sources.progress,
            later: OnceLock::new(),
            kubelet: sources.kubelet,
            events: sources.events,
            history: sources.history,
            http: sources.http,
        });
        let now = sys::boottime();
        values.history.each_counts(|counted| values.restore(counted, now));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&values)));
        Self { registry, values }
    }

    /// The kernel is watched.
    pub fn attached(&self, level: &'static str, queue: Depth<Caught>, probe: Option<(Counters, Arc<Audit>)>) {
        if self.values.later.set(Later { level, probe, queue }).is_err() {
            tracing::debug!("the probe was already there");
        }
    }

    /// Takes the pods that are on the node now.
    pub fn see<'a>(&self, pods: impl Iterator<Item = &'a Pod>, now: BoottimeNs) {
        self.values.containers().see(pods, now);
    }

    /// Counts an incident. What it gives is kept beside the report, for the next start.
    pub fn count(&self, report: &Report, capture: &Capture, now: BoottimeNs) -> String {
        let values = &self.values;
        let victims = u64::try_from(report.victims.len()).unwrap_or(u64::MAX);
        let is_group = report.oom.as_ref().map_or(report.victims.len() > 1, |oom| oom.group);
        values.kills.fetch_add(victims.saturating_add(u64::from(is_group)), Ordering::Relaxed);
        values.incidents.count(report.cause);
        values.named.count(Named::of(report));
        for source in &capture.sources {
            values.reads.count(source.outcome);
        }
        for rss in report.victims.iter().filter_map(|victim| victim.rss) {
            values.victim_memory.observe(float(rss.total().0));
        }
        if let Some(limit) = report.limit_owner.as_ref().and_then(|owner| owner.limit_bytes) {
            values.limit.observe(float(limit.0));
        }
        let at = report.time.parse().map_or(0.0, |time: jiff::Timestamp| time.as_duration().as_secs_f64());
        let kill = Kill {
            kubernetes: report.kubernetes.as_ref(),
            scope: report.scope,
            victims,
            incident_id: &report.id,
            at,
        };
        let (key, (workload_kind, workload), kills) = values.containers().count(&kill, now);
        let counted = Counted {
            namespace: key.namespace,
            pod: key.pod,
            container: key.container,
            workload_kind,
            workload,
            scope: report.scope,
            kills,
            at,
            cause: report.cause,
            incidents: values.incidents.get(report.cause),
        };
        serde_json::to_string(&counted).unwrap_or_default()
    }

    /// A report went out so long after its hook.
    pub fn reported(&self, after: Duration) {
        self.values.latency.observe(after.as_secs_f64());
    }

    /// A report of so many processes could not be written.
    pub fn unwritten(&self, victims: u64) {
        self.values.progress.lost.add(Lost::Output, victims);
    }

    /// A victim ended so long after its kill.
    pub fn exited(&self, after: Duration) {
        self.values.to_exit.observe(after.as_secs_f64());
    }

    /// All metrics.
    ///
    /// # Errors
    /// A value could not be written, which none of ours is known to do.
    pub fn encode(&self, format: Format) -> Result<Vec<u8>, fmt::Error> {
        match format {
            Format::Protobuf => prometheus_protobuf::encode_to_vec(&self.registry).map_err(|_| fmt::Error),
            Format::OpenMetrics => self.openmetrics().map(String::into_bytes),
            Format::Text => self.openmetrics().map(|text| classic::classic(&text).into_bytes()),
        }
    }

    fn openmetrics(&self) -> Result<String, fmt::Error> {
        let mut openmetrics = String::new();
        text::encode(&mut openmetrics, &self.registry)?;
        Ok(openmetrics)
    }
}

impl Values {
    fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what [`Metrics::count`] gave in earlier runs, oldest first. What is not of that form is passed over.
    fn restore(&self, counted: &str, now: BoottimeNs) {
        let Ok(counted) = serde_json::from_str::<Counted>(counted) else {
            tracing::debug!("a total that the journal keeps is of another form");
            return;
        };
        let more = counted.incidents.saturating_sub(self.incidents.get(counted.cause));
        self.incidents.add(counted.cause, more);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ago = wall.saturating_sub(Duration::try_from_secs_f64(counted.at).unwrap_or_default());
        self.containers().restore(counted, ago, now);
    }
}

/// Classic buckets for everybody, and native ones of 2^(1/8) for who scrapes protobuf.
fn histogram(buckets: impl IntoIterator<Item = f64>) -> Histogram {
    Histogram::new_classic_and_native(buckets, NativeHistogramConfig::with_schema(3).max_buckets(160))
}

/// Exact up to 2^53, which is 8 PiB.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
fn float(value: u64) -> f64 {
    value as f64
}

impl Named {
    fn of(report: &Report) -> Self {
        match &report.kubernetes {
            None => Self::Host,
            Some(kubernetes) => match kubernetes.names_from {
                Some(NamesFrom::Kubelet) => Self::Kubelet,
                Some(NamesFrom::Logs) => Self::Logs,
                None => Self::None,
            },
        }
    }
}

impl Outcome for Named {
    const ALL: &'static [Self] = &[Self::Kubelet, Self::Logs, Self::None, Self::Host];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Logs => "logs",
            Self::None => "none",
            Self::Host => "host",
        }
    }
}

impl Outcome for Cause {
    const ALL: &'static [Self] = &Self::ALL;

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl Outcome for Read {
    const ALL: &'static [Self] = &Self::ALL;

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            other => Self::name(other),
        }
    }
}

#[cfg(test)]
mod tests;
