//! Whose pod: an incident's processes, looked up in what the node's sources know of pods.
//!
//! The pod is that of the process's own cgroup, never that of the cgroup whose limit was hit. Along a path there may
//! be several pods: where this node is itself a container of another, or where a container made a cgroup that looks
//! like a pod's. The first from the root that the sources know is it: this node's kubelet does not know the pods of
//! the node around it, and a pod that it does know lies in no other pod of its own.

mod around;

use serde::{Deserialize, Serialize};

pub use around::name;

use crate::{
    capture::Capture,
    cgroup_path::{Candidate, CgroupKind, Place, Role, place},
    escape::escape,
    ids::{CgroupPath, ContainerId},
    incident::{Incident, Process},
    pods::{Found, Pod, PodContainer, PodIndex},
    report::{Gap, Kubernetes, NamesFrom, memory_cgroup},
    snapshot::Snapshot,
    units::{Bytes, PageSize},
};

/// The kubelet gives a pod's pause container this `oom_score_adj` (pkg/kubelet/qos/policy.go); runc's own processes
/// have it too while they start a container.
const PAUSE_ADJ: i16 = -998;

/// Whose the incident's processes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// The first victim's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Attributed>,
    /// The trigger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Attributed>,
}

/// A process's pod and container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed {
    /// What is known of them.
    pub kubernetes: Kubernetes,
    /// Components of the path down to the container, or to the pod where no container is known: what lies below is
    /// the container's own.
    pub depth: usize,
    /// The limit that was set for the pod as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_limit: Option<Bytes>,
    /// No source lists it, and none will: the pod's pause container.
    #[serde(skip)]
    pub is_unlisted: bool,
    /// What is not known, and why: fields of `kubernetes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// What is known of the node's pods, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct PodSource<'a> {
    /// Who says so.
    pub from: NamesFrom,
    /// What they say.
    pub index: &'a PodIndex,
}

impl Attribution {
    /// Looks an incident's processes up. `why_unknown` is the reason for names that are in no source: that the kubelet
    /// did not answer, say.
    pub fn new(paths: &Paths, sources: &[PodSource<'_>], why_unknown: &str) -> Self {
        let look = |owner: &Option<Owner>| attributed(owner.as_ref()?, sources, why_unknown);
        Self { victim: look(&paths.victim), trigger: look(&paths.trigger) }
    }

    /// Whether the names of the victim's pod and container are known, as far as any source will ever have them.
    pub fn is_complete(&self) -> bool {
        self.victim.as_ref().is_none_or(|victim| victim.gaps.is_empty() || victim.is_unlisted)
    }
}

/// Where an incident's processes were: all that attribution needs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    victim: Option<Owner>,
    trigger: Option<Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    path: CgroupPath,
    is_pause: bool,
}

impl Paths {
    /// Of a victim of which nothing else is known.
    pub(crate) fn of_victim(path: Option<CgroupPath>) -> Self {
        Self { victim: path.map(|path| Owner { path, is_pause: false }), trigger: None }
    }

    /// Of the victim alone, as its record has it.
    pub fn of_victim_alone(incident: &Incident) -> Self {
        let owner = |process: &Process| {
            let path = process.memcg.as_ref()?.path.clone();
            Some(Owner { path, is_pause: process.oom_score_adj.is_some_and(|adj| adj <= PAUSE_ADJ) })
        };
        Self { victim: incident.victims.first().and_then(owner), trigger: None }
    }

    /// Reads them off an incident and what was read for it.
    pub fn new(incident: &Incident, capture: &Capture, page_size: PageSize) -> Self {
        let snapshot = Snapshot::new(capture, page_size);
        let owner = |process: &Process| {
            let path = memory_cgroup(process, &snapshot)?.clone();
            Some(Owner { path, is_pause: process.oom_score_adj.is_some_and(|adj| adj <= PAUSE_ADJ) })
        };
        let trigger = incident.trigger.as_ref().filter(|trigger| !trigger.kthread);
        Self { victim: incident.victims.first().and_then(owner), trigger: trigger.and_then(owner) }
    }
}

fn attributed(owner: &Owner, sources: &[PodSource<'_>], why_unknown: &str) -> Option<Attributed> {
    let Place { kind, candidates } = place(&owner.path);
    let known = candidates.iter().rev().find_map(|candidate| {
        let found: Vec<(NamesFrom, Found<'_>)> =
            sources.iter().map(|source| (source.from, find(source.index, candidate))).collect();
        found.iter().any(|(_, found)| *found != Found::Nothing).then_some((candidate, found))
    });
    let Some((candidate, found)) = known else { return unknown(owner, kind, &candidates, why_unknown) };
    let mut attributed = Attributed {
        kubernetes: Kubernetes::of(candidate.pod.clone(), candidate.container.clone().unwrap_or_default()),
        depth: candidate.depth,
        ..Attributed::default()
    };
    for (from, found) in found {
        match found {
            Found::Container(pod, container) => {
                attributed.fill_pod(pod, from);
                attributed.fill_container(container);
            }
            Found::Pod(pod) => attributed.fill_pod(pod, from),
            Found::Nothing => {}
        }
    }
    if attributed.kubernetes.container_id.is_some() && attributed.kubernetes.container.is_none() {
        let pods = sources.iter().filter_map(|source| match find(source.index, candidate) {
            Found::Pod(pod) => Some(pod),
            _ => None,
        });
        attributed.without_container(
            pods.max_by_key(|pod| pod.containers.len()),
            owner.is_pause,
            why_unknown,
        );
    }
    Some(attributed)
}

/// Whose pod and container a cgroup is, where its path or `sources` say so.
pub fn pod_of(path: &CgroupPath, sources: &[PodSource<'_>]) -> Option<Kubernetes> {
    let owner = Owner { path: path.clone(), is_pause: false };
    attributed(&owner, sources, "").map(|attributed| attributed.kubernetes)
}

fn find<'a>(index: &'a PodIndex, candidate: &Candidate) -> Found<'a> {
    let uid = candidate.pod.as_ref().map(|pod| pod.uid.as_str());
    let container = candidate.container.as_ref().filter(|container| container.role == Role::Workload);
    index.find(uid, container.and_then(|container| container.id.as_ref()).map(ContainerId::as_str))
}

/// By its path alone: the deepest pod, as nobody knows any.
fn unknown(
    owner: &Owner,
    kind: CgroupKind,
    candidates: &[Candidate],
    why_unknown: &str,
) -> Option<Attributed> {
    let kubernetes = Kubernetes::by_kind(kind)?;
    let of_pod = candidates.iter().find(|candidate| candidate.pod.is_some()).or_else(|| candidates.first());
    Some(Attributed {
        kubernetes,
        depth: of_pod.map_or(owner.path.components.len(), |candidate| candidate.depth),
        gaps: vec![gap("kubernetes.pod", why_unknown)],
        ..Attributed::default()
    })
}

impl Attributed {
    /// Whether it is a container of a pod, known or by its path.
    pub fn has_container(&self) -> bool {
        self.kubernetes.container_id.is_some()
    }

    fn fill_pod(&mut self, pod: &Pod, from: NamesFrom) {
        let kubernetes = &mut self.kubernetes;
        if kubernetes.pod.is_none() {
            kubernetes.namespace = Some(escape(pod.namespace.as_bytes()));
            kubernetes.pod = Some(escape(pod.name.as_bytes()));
            kubernetes.names_from = Some(from);
        }
        if kubernetes.pod_uid.is_none() && !pod.uid.is_empty() {
            kubernetes.pod_uid = Some(escape(pod.uid.as_bytes()));
        }
        if kubernetes.mirror_pod_uid.is_none() {
            kubernetes.mirror_pod_uid = pod.mirror_uid.as_ref().map(|uid| escape(uid.as_bytes()));
        }
        kubernetes.qos = kubernetes.qos.or(pod.qos);
        if kubernetes.workload.is_none() {
            kubernetes.workload.clone_from(&pod.workload);
        }
        self.pod_limit = self.pod_limit.or(pod.limit);
        kubernetes.pod_limits_bytes = kubernetes.pod_limits_bytes.or(pod.limit);
        kubernetes.resize = kubernetes.resize.take().or_else(|| Some(pod.resize?.name().to_owned()));
        if kubernetes.memory_volumes.is_empty() {
            kubernetes.memory_volumes.clone_from(&pod.memory_volumes);
        }
    }

    fn fill_container(&mut self, container: &PodContainer) {
        let kubernetes = &mut self.kubernetes;
        if kubernetes.container.is_none() {
            kubernetes.container = Some(escape(container.name.as_bytes()));
        }
        if kubernetes.image.is_none() {
            kubernetes.image = container.image.as_ref().map(|image| escape(image.as_bytes()));
        }
        kubernetes.container_kind = kubernetes.container_kind.or(container.kind);
        kubernetes.runtime = kubernetes.runtime.or(container.runtime);
        kubernetes.requests_bytes = kubernetes.requests_bytes.or(container.request);
        kubernetes.limits_bytes = kubernetes.limits_bytes.or(container.limit);
        kubernetes.restarts = kubernetes.restarts.or(container.restarts);
        if kubernetes.container_started_at.is_none() {
            let started = kubernetes.container_id.as_deref().and_then(|id| container.started(id));
            kubernetes.container_started_at = started.map(|started| started.to_string());
        }
    }

    /// The pod is known and its container's id is not: it has just been started, or is the pod's pause container.
    fn without_container(&mut self, pod: Option<&Pod>, is_pause: bool, why_unknown: &str) {
        let containers: &[PodContainer] = pod.map_or(&[], |pod| &pod.containers);
        let why = match containers {
            _ if is_pause => "the pod's pause container, or the runtime as it starts a container".to_owned(),
            [only] => {
                self.fill_container(only);
                format!("{why_unknown}: taken to be the pod's only container")
            }
            [] => why_unknown.to_owned(),
            several => {
                let names: Vec<&str> = several.iter().map(|container| container.name.as_str()).collect();
                format!("{why_unknown}: one of {}", escape(names.join(", ").as_bytes()))
            }
        };
        self.is_unlisted = is_pause;
        self.gaps.push(gap("kubernetes.container", &why));
    }
}

fn gap(what: &str, why: &str) -> Gap {
    Gap { what: what.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests;
