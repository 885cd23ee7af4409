//! The node's pods by container id and by pod uid, and for a while those that left.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Pod, PodContainer, container_log, pod_logs};
use crate::units::BoottimeNs;

/// How long a pod that is gone is remembered. A kill is told within seconds; a slow poll is a minute.
const REMEMBERED_NS: u64 = 10 * 60 * 1_000_000_000;
/// How many of those at once, the newest.
const REMEMBERED: usize = 512;
/// Ids that a container is known by. The kubelet names two; in a crash loop more are seen between two polls.
const IDS: usize = 8;

/// The pods that were seen on this node.
#[derive(Clone, Debug, Default)]
pub struct PodIndex {
    pods: Vec<Known>,
    by_id: HashMap<String, (usize, usize)>,
    by_uid: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Known {
    pod: Pod,
    gone_at: Option<BoottimeNs>,
}

/// What the index knows of a pod and container that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Both.
    Container(&'a Pod, &'a PodContainer),
    /// The pod, and no container of this id in it.
    Pod(&'a Pod),
    /// Nothing.
    Nothing,
}

impl PodIndex {
    /// The index after the kubelet's next answer: its pods, and those of before that are not long gone.
    #[must_use]
    pub fn updated(&self, pods: Vec<Pod>, now: BoottimeNs) -> Self {
        let mut known: Vec<Known> = pods.into_iter().map(|pod| Known { pod, gone_at: None }).collect();
        for now_known in &mut known {
            if let Some(before) =
                self.by_uid.get(&key(&now_known.pod.uid)).and_then(|index| self.pods.get(*index))
            {
                remember_ids(&mut now_known.pod, &before.pod);
            }
        }
        let present: HashSet<String> = known.iter().map(|known| key(&known.pod.uid)).collect();
        let is_remembered = |known: &Known| {
            let gone_for = known.gone_at.map_or(0, |gone_at| now.0.saturating_sub(gone_at.0));
            gone_for < REMEMBERED_NS && !present.contains(&key(&known.pod.uid))
        };
        let mut gone: Vec<Known> = self.pods.iter().filter(|known| is_remembered(known)).cloned().collect();
        for known in &mut gone {
            known.gone_at.get_or_insert(now);
        }
        gone.sort_by_key(|known| std::cmp::Reverse(known.gone_at));
        gone.truncate(REMEMBERED);
        known.extend(gone);
        Self::of(known)
    }

    /// What the names of log files tell: directories of `/var/log/pods`, and the links of `/var/log/containers` with
    /// what each points to. A link names the container of an id, its target also the pod's uid.
    pub fn from_logs<'a>(
        directories: impl IntoIterator<Item = &'a str>,
        links: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut pods = LogPods::new();
        for logs in directories.into_iter().filter_map(pod_logs) {
            pod_of(&mut pods, logs.namespace, logs.pod, logs.uid);
        }
        for (link, target) in links {
            let Some(log) = container_log(link) else { continue };
            let mut components = target.rsplit('/').skip(1);
            let (container, directory) = (components.next(), components.next().and_then(pod_logs));
            // A target elsewhere tells nothing; the link's own names may be cut.
            let uid = directory.map_or("", |directory| directory.uid);
            let pod =
                pod_of(&mut pods, log.namespace, directory.map_or(log.pod, |directory| directory.pod), uid);
            let name = container.filter(|_| directory.is_some()).unwrap_or(log.container);
            match pod.containers.iter_mut().find(|container| container.name == name) {
                Some(container) => container.ids.push(log.id.to_owned()),
                None => pod.containers.push(PodContainer {
                    name: name.to_owned(),
                    ids: vec![log.id.to_owned()],
                    ..PodContainer::default()
                }),
            }
        }
        Self::of(pods.into_values().map(|pod| Known { pod, gone_at: None }).collect())
    }

    /// Looks for what a path names. An id that is known, but as another pod's, is not found: somebody made a cgroup of
    /// that name.
    pub fn find(&self, pod_uid: Option<&str>, container_id: Option<&str>) -> Found<'_> {
        let is_named = |pod: &Pod| pod_uid.is_none_or(|uid| pod.uid.is_empty() || key(uid) == key(&pod.uid));
        if let Some((pod, container)) = container_id.and_then(|id| self.by_id.get(id)) {
            let known = self.pods.get(*pod).map(|known| &known.pod);
            let container = known.and_then(|pod| Some((pod, pod.containers.get(*container)?)));
            return match container {
                Some((pod, container)) if is_named(pod) => Found::Container(pod, container),
                _ => Found::Nothing,
            };
        }
        let index = pod_uid.and_then(|uid| self.by_uid.get(&key(uid)));
        index.and_then(|index| self.pods.get(*index)).map_or(Found::Nothing, |known| Found::Pod(&known.pod))
    }

    /// The pods that are there now.
    pub fn present(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|known| known.gone_at.is_none()).map(|known| &known.pod)
    }

    /// How many pods are known, those that left among them.
    pub fn pods_known(&self) -> usize {
        self.pods.len()
    }

    fn of(pods: Vec<Known>) -> Self {
        let (mut by_id, mut by_uid) = (HashMap::new(), HashMap::new());
        for (pod_index, known) in pods.iter().enumerate() {
            if !known.pod.uid.is_empty() {
                by_uid.entry(key(&known.pod.uid)).or_insert(pod_index);
            }
            for (index, container) in known.pod.containers.iter().enumerate() {
                for id in &container.ids {
                    by_id.entry(id.clone()).or_insert((pod_index, index));
                }
            }
        }
        Self { pods, by_id, by_uid }
    }
}

/// A pod's uid in a systemd slice has `_` for `-`; a static pod's own may have either.
fn key(uid: &str) -> String {
    uid.replace('_', "-")
}

/// The kubelet forgets all ids of a container but the last two.
fn remember_ids(pod: &mut Pod, before: &Pod) {
    for container in &mut pod.containers {
        let earlier = before.containers.iter().find(|earlier| earlier.name == container.name);
        for (id, earlier) in
            earlier.iter().flat_map(|earlier| earlier.ids.iter().map(move |id| (id, earlier)))
        {
            if container.ids.len() < IDS && !container.ids.contains(id) {
                container.started_at.resize(container.ids.len(), None);
                container.started_at.push(earlier.started(id));
                container.ids.push(id.clone());
            }
        }
    }
}

type LogPods = BTreeMap<(String, String, String), Pod>;

fn pod_of<'a>(pods: &'a mut LogPods, namespace: &str, name: &str, uid: &str) -> &'a mut Pod {
    let [namespace, name, uid] = [namespace, name, uid].map(str::to_owned);
    pods.entry((namespace.clone(), name.clone(), uid.clone())).or_insert_with(|| Pod {
        namespace,
        name,
        uid,
        ..Pod::default()
    })
}
