//! The series of containers: born at 0 when a container is known, kept for a while after its pod has gone, bounded.
//!
//! They are keyed by names, so a restarted container goes on counting, as one that a StatefulSet makes anew does.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use oomwatch_common::{escape::escape, pods::Pod, report::Kubernetes, scope::Scope, units::BoottimeNs};
use prometheus_client::metrics::exemplar::CounterWithExemplar;

use super::{persist::Counted, table::CONTAINER_LABELS};

/// Scopes whose counters are there at 0 as soon as a container is known: Prometheus takes the first value that it sees
/// for where a counter began, so one that begins at 1 is no increase. The others are too rare to pay for.
const BORN_AT_ZERO: &[Scope] = &[Scope::Container, Scope::Pod, Scope::Qos, Scope::Kubepods, Scope::Node];
/// The same for what is in no pod, or in one whose names nobody told.
const HOST_BORN_AT_ZERO: &[Scope] =
    &[Scope::Container, Scope::Pod, Scope::Qos, Scope::Kubepods, Scope::Node, Scope::System];
/// Where nothing was counted nobody has anything left to read; a kill can still be told of a pod for as long as the
/// index of pods remembers it.
const GRACE_AT_ZERO_NS: u64 = 10 * 60 * 1_000_000_000;
/// No namespace can be called so: for kills of containers that have no series of their own.
const OTHER: &str = "_other";

/// A container by its names; all empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

/// What made a container's pod: its kind and name; empty where that is not known.
pub(super) type WorkloadOf = (String, String);

/// A counter that remembers the last incident that raised it.
pub(super) type Kills = CounterWithExemplar<Vec<(&'static str, String)>>;

/// The series of one container.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// As [`CONTAINER_LABELS`] has them.
    pub labels: Arc<Vec<(&'static str, String)>>,
    /// By scope, in the order of [`Scope::ALL`]; `None`: no series yet.
    pub kills: [Option<Kills>; Scope::ALL.len()],
    /// Seconds since 1970.
    pub last_oom: Option<f64>,
    /// `None`: its pod is there.
    gone_since: Option<BoottimeNs>,
}

/// A kill that is to be counted.
pub(super) struct Kill<'a> {
    /// Whose it is.
    pub kubernetes: Option<&'a Kubernetes>,
    pub scope: Scope,
    /// Processes.
    pub victims: u64,
    pub incident_id: &'a str,
    /// Seconds since 1970.
    pub at: f64,
}

/// The series of all containers.
pub(super) struct Containers {
    series: HashMap<Key, Series>,
    /// Totals of before the agent's start, of containers that were not seen since.
    remembered: HashMap<Key, Vec<Counted>>,
    most: usize,
    grace_ns: u64,
    dropped: u64,
    /// Those of the last list that were dropped: they are counted once, not at each list.
    known_dropped: HashSet<Key>,
}

impl Containers {
    /// At most so many containers, each kept for so long after its pod has gone.
    pub(super) fn new(most: usize, grace: Duration) -> Self {
        let mut containers = Self {
            series: HashMap::new(),
            remembered: HashMap::new(),
            most,
            grace_ns: u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX),
            dropped: 0,
            known_dropped: HashSet::new(),
        };
        // Neither counts as a container, and neither ever leaves.
        containers
            .series
            .insert(Key::default(), Series::new(&Key::default(), WorkloadOf::default(), HOST_BORN_AT_ZERO));
        containers
    }

    /// Takes the pods that are on the node now.
    pub(super) fn see<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>, now: BoottimeNs) {
        for series in self.series.values_mut() {
            series.gone_since.get_or_insert(now);
        }
        let mut present = HashSet::new();
        for pod in pods {
            let workload = pod.workload.as_ref();
            for container in &pod.containers {
                let key = Key {
                    // As reports spell them.
                    namespace: escape(pod.namespace.as_bytes()),
                    pod: escape(pod.name.as_bytes()),
                    container: escape(container.name.as_bytes()),
                };
                let workload = workload.map(|workload| (workload.kind.clone(), workload.name.clone()));
                present.insert(key.clone());
                if let Some(series) = self.known(key, workload.unwrap_or_default(), now) {
                    series.gone_since = None;
                }
            }
        }
        self.known_dropped.retain(|key| present.contains(key));
        self.sweep(now);
    }

    /// Counts a kill, and says which container's it is counted as, and its new total.
    pub(super) fn count(&mut self, kill: &Kill<'_>, now: BoottimeNs) -> (Key, WorkloadOf, u64) {
        let (key, workload) = kill.kubernetes.map(names).unwrap_or_default();
        let key = if self.known(key.clone(), workload, now).is_some() { key } else { other() };
        let series = self
            .series
            .entry(key.clone())
            .or_insert_with(|| Series::new(&key, WorkloadOf::default(), BORN_AT_ZERO));
        if series.gone_since.is_some() {
            series.gone_since = Some(now);
        }
        let exemplar = vec![("incident_id", kill.incident_id.to_owned())];
        let total = series.counter(kill.scope).map_or(0, |kills| {
            kills.inc_by(kill.victims, Some(exemplar), Some(std::time::SystemTime::now()));
            kills.get().0
        });
        series.last_oom = Some(kill.at);
        let workload = series.workload();
        self.sweep(now);
        (key, workload, total)
    }

    /// Takes a total of before the agent's start. Given oldest first.
    pub(super) fn restore(&mut self, counted: Counted, killed_ago: Duration, now: BoottimeNs) {
        let key = counted.key();
        let is_recent = u64::try_from(killed_ago.as_nanos()).is_ok_and(|ago| ago < self.grace_ns);
        if key == Key::default() || key == other() || is_recent {
            let workload = (counted.workload_kind.clone(), counted.workload.clone());
            let zero = if key == Key::default() { HOST_BORN_AT_ZERO } else { BORN_AT_ZERO };
            let series = self.series.entry(key).or_insert_with_key(|key| Series::new(key, workload, zero));
            series.gone_since.get_or_insert(now);
            series.restore(&counted);
        } else if self.remembered.len() < self.most || self.remembered.contains_key(&key) {
            let totals = self.remembered.entry(key).or_default();
            totals.retain(|before| before.scope != counted.scope);
            totals.push(counted);
        }
    }

    /// Those whose time is over leave.
    fn sweep(&mut self, now: BoottimeNs) {
        let grace_ns = self.grace_ns;
        self.series.retain(|key, series| {
            let grace_ns = if series.last_oom.is_some() { grace_ns } else { grace_ns.min(GRACE_AT_ZERO_NS) };
            let gone_for = series.gone_since.map_or(0, |since| now.0.saturating_sub(since.0));
            is_permanent(key) || gone_for < grace_ns
        });
    }

    /// All series, to be written out without holding on to this.
    pub(super) fn snapshot(&self) -> Vec<Series> {
        self.series.values().cloned().collect()
    }

    /// How many containers have series of their own.
    pub(super) fn number(&self) -> usize {
        self.series.keys().filter(|key| !is_permanent(key)).count()
    }

    /// How many have got none.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The container's series, made where there is room; `None` where there is none.
    fn known(&mut self, key: Key, workload: WorkloadOf, now: BoottimeNs) -> Option<&mut Series> {
        if !self.series.contains_key(&key) && self.series.len() > self.most && !self.make_room() {
            // However many there are, the memory for them is bounded.
            if self.known_dropped.len() < self.most && self.known_dropped.insert(key) {
                self.dropped += 1;
            }
            // There at 0 before one of them is killed.
            self.others();
            return None;
        }
        let series = match self.series.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut series = Series::new(entry.key(), workload.clone(), BORN_AT_ZERO);
                series.gone_since = Some(now);
                for counted in self.remembered.remove(entry.key()).unwrap_or_default() {
                    series.restore(&counted);
                }
                entry.insert(series)
            }
        };
        series.learn_workload(workload);
        Some(series)
    }

    /// The series of all those that have none of their own.
    fn others(&mut self) {
        let new = |key: &Key| Series::new(key, WorkloadOf::default(), BORN_AT_ZERO);
        self.series.entry(other()).or_insert_with_key(new);
    }

    /// The one that has been gone for longest leaves early.
    fn make_room(&mut self) -> bool {
        let gone =
            self.series.iter().filter(|(key, series)| !is_permanent(key) && series.gone_since.is_some());
        let longest = gone.min_by_key(|(_, series)| series.gone_since).map(|(key, _)| key.clone());
        longest.is_some_and(|key| self.series.remove(&key).is_some())
    }
}

impl Series {
    fn new(key: &Key, (workload_kind, workload): WorkloadOf, zero: &[Scope]) -> Self {
        let values = [&key.namespace, &key.pod, &key.container, &workload_kind, &workload];
        let labels = CONTAINER_LABELS.into_iter().zip(values.into_iter().cloned()).collect();
        let mut series =
            Self { labels: Arc::new(labels), kills: Default::default(), last_oom: None, gone_since: None };
        for scope in zero {
            series.counter(*scope);
        }
        series
    }

    fn counter(&mut self, scope: Scope) -> Option<&mut Kills> {
        Some(self.kills.get_mut(scope as usize)?.get_or_insert_default())
    }

    fn restore(&mut self, counted: &Counted) {
        self.last_oom = Some(self.last_oom.map_or(counted.at, |before| before.max(counted.at)));
        if let Some(kills) = self.counter(counted.scope) {
            // The last total counts, not their sum.
            let more = counted.kills.saturating_sub(kills.get().0);
            kills.inc_by(more, None, None);
        }
    }

    fn workload(&self) -> WorkloadOf {
        let value = |index: usize| self.labels.get(index).map(|(_, value)| value.clone()).unwrap_or_default();
        (value(3), value(4))
    }

    /// A workload that was not known is put in as long as nothing was counted: a new label is a new series.
    fn learn_workload(&mut self, (kind, name): WorkloadOf) {
        if !kind.is_empty() && self.last_oom.is_none() && self.workload().0 != kind {
            let mut labels = self.labels.as_ref().clone();
            labels.truncate(3);
            labels.extend([("workload_kind", kind), ("workload", name)]);
            self.labels = Arc::new(labels);
        }
    }
}

fn names(kubernetes: &Kubernetes) -> (Key, WorkloadOf) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let key = Key {
        namespace: text(&kubernetes.namespace),
        pod: text(&kubernetes.pod),
        container: text(&kubernetes.container),
    };
    let workload = kubernetes.workload.as_ref();
    (key, workload.map(|workload| (workload.kind.clone(), workload.name.clone())).unwrap_or_default())
}

fn other() -> Key {
    Key { namespace: OTHER.to_owned(), ..Key::default() }
}

fn is_permanent(key: &Key) -> bool {
    *key == Key::default() || key.namespace == OTHER
}
