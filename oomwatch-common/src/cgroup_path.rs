//! A cgroup's path → what it is: whose container or pod, or which part of the host.
//!
//! By path segments, root first, and never anchored at the root: a node may itself run in a container, in LXC, or in
//! a user's session, so that anything may stand above `kubepods`. Both cgroup versions have the same paths. What is
//! known here is shape alone; whose pod a uid is, and whether this node knows it, is not.
//!
//! Whoever makes a cgroup names it, and a container that may make cgroups can make one that looks like another pod's.
//! So everything along the path is a [`Candidate`]: which of them it is, [`crate::attribution`] tells by the node's
//! pods.

mod container;
mod critical;
mod host;
mod kubepods;

use serde::{Deserialize, Serialize};

use crate::ids::{CgroupPath, ContainerId, PodUid};

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the cgroup is, by its path alone. The deepest pod counts, and what lies below its container is the
    /// container's; without a pod the deepest unit, session or container.
    pub kind: CgroupKind,
    /// Every pod and container along the path, deepest first.
    pub candidates: Vec<Candidate>,
}

/// What a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupKind {
    /// A pod's container, or a cgroup below it.
    Container {
        /// The pod.
        pod: Pod,
        /// The container.
        container: Container,
    },
    /// A pod: all of its containers.
    Pod(Pod),
    /// All pods of a QoS class.
    QosSlice(Qos),
    /// All pods.
    Kubepods,
    /// A container outside Kubernetes, or one whose path does not name its pod.
    PlainContainer(Container),
    /// A service of the host: a systemd unit (a mount or a socket too), or what Talos or OpenRC run as one.
    Service {
        /// `containerd.service`, as systemd spells it; Talos and OpenRC have bare names.
        unit: Vec<u8>,
        /// It belongs to this user's own systemd.
        user: Option<u32>,
        /// The node is no node without it: the kubelet, a container runtime, systemd's own.
        node_critical: bool,
    },
    /// A user's session, or a program that a desktop started in it.
    UserSession {
        /// The user.
        uid: Option<u32>,
        /// `session-92.scope`
        unit: Option<Vec<u8>>,
    },
    /// A scope that is none of these: `run-r1234.scope`.
    Scope(Vec<u8>),
    /// A slice, all that is in it.
    Slice(Vec<u8>),
    /// A virtual machine or other guest that systemd-machined knows.
    Machine(Vec<u8>),
    /// An LXC or LXD container.
    Lxc {
        /// Its name.
        name: Vec<u8>,
        /// Not the container but the process that watches it.
        monitor: bool,
    },
    /// PID 1.
    Init,
    /// The root of the hierarchy.
    Root,
    /// None of these.
    Other,
}

/// A pod, as a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its uid. For a static pod the one of its manifest, not that of its mirror in the API.
    pub uid: PodUid,
    /// Absent where the path does not say.
    pub qos: Option<Qos>,
}

/// A container, as a path names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Absent where the name is not made of one.
    pub id: Option<ContainerId>,
    /// Absent where the name does not tell: the cgroupfs driver of containerd and docker uses the bare id.
    pub runtime: Option<Runtime>,
    /// What it is to its pod.
    pub role: Role,
}

/// A pod or a container on the way to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The pod, where the path names one.
    pub pod: Option<Pod>,
    /// The container; absent for a pod's own cgroup.
    pub container: Option<Container>,
    /// Components of the path down to it: what follows is a cgroup below it.
    pub depth: usize,
}

/// Quality of service class of a pod, spelled as its cgroups are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Qos {
    /// Limits and requests of all containers are equal.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// None has.
    BestEffort,
}

/// Who runs a container, as the API's container ids spell it: `cri-o://…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// containerd
    Containerd,
    /// CRI-O
    CriO,
    /// docker, in Kubernetes through cri-dockerd
    Docker,
    /// podman
    Podman,
    /// Kata Containers: a virtual machine for each pod.
    Kata,
}

/// What a container's cgroup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// The container's processes. A pod's pause container looks like any other.
    #[default]
    Workload,
    /// Not the container but the process that watches it: conmon.
    Monitor,
    /// The virtual machine of a pod; the id is the sandbox's, which the kubelet does not list.
    KataSandbox,
    /// What Kata needs outside the pod for its virtual machine; the id is the sandbox's.
    KataOverhead,
}

impl Qos {
    /// `burstable`
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "guaranteed",
            Self::Burstable => "burstable",
            Self::BestEffort => "besteffort",
        }
    }
}

impl Runtime {
    /// `cri-o`
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Kata => "kata",
        }
    }
}

/// A component of a path, and how many there are down to it.
#[derive(Clone, Copy)]
struct Name<'a> {
    bytes: &'a [u8],
    depth: usize,
}

/// Tells what a cgroup is.
pub fn place(path: &CgroupPath) -> Place {
    let names = names(path);
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut above = kubepods::Segment::Other;
    let mut above_name: &[u8] = b"";
    for name in &names {
        let bytes = kubepods::undo_dash(name.bytes);
        let segment = kubepods::segment(&bytes, &above, above_name);
        let candidate = |pod, container| Candidate { pod, container, depth: name.depth };
        match &segment {
            kubepods::Segment::Pod(pod) => candidates.push(candidate(Some(pod.clone()), None)),
            kubepods::Segment::PodAndContainer(pod, container) => {
                candidates.push(candidate(Some(pod.clone()), Some(container.clone())));
            }
            _ => match (&above, candidates.last_mut()) {
                (kubepods::Segment::Pod(_), Some(last)) => {
                    last.container = Some(container::in_pod(&bytes));
                    last.depth = name.depth;
                }
                _ => candidates
                    .extend(container::plain(&bytes, above_name).map(|found| candidate(None, Some(found)))),
            },
        }
        (above, above_name) = (segment, name.bytes);
    }
    candidates.reverse();
    Place { kind: kind(path, &names, &above, &candidates), candidates }
}

fn kind(
    path: &CgroupPath,
    names: &[Name<'_>],
    last: &kubepods::Segment,
    candidates: &[Candidate],
) -> CgroupKind {
    for candidate in candidates {
        match (&candidate.pod, &candidate.container) {
            (Some(pod), Some(container)) => {
                return CgroupKind::Container { pod: pod.clone(), container: container.clone() };
            }
            (Some(pod), None) => return CgroupKind::Pod(pod.clone()),
            (None, _) => {}
        }
    }
    match last {
        kubepods::Segment::Kubepods => CgroupKind::Kubepods,
        kubepods::Segment::Qos(qos) => CgroupKind::QosSlice(*qos),
        _ => {
            // Seen from a cgroup namespace, or too long to be followed: the first name is not the root's child.
            let is_whole = !path.truncated && path.components.len() == names.len();
            host::kind(names, is_whole, candidates.first())
        }
    }
}

/// `..` stands at the beginning of a path that is seen from a cgroup namespace: what it leaves out is not known.
fn names(path: &CgroupPath) -> Vec<Name<'_>> {
    let components = path.components.iter().enumerate();
    components
        .map(|(index, component)| Name { bytes: alive(component), depth: index + 1 })
        .filter(|name| !name.bytes.is_empty() && name.bytes != b"..")
        .collect()
}

/// `/proc/PID/cgroup` marks the path of a cgroup that is gone (proc_cgroup_show in
/// kernel/cgroup/cgroup.c).
fn alive(name: &[u8]) -> &[u8] {
    name.strip_suffix(b" (deleted)").unwrap_or(name)
}

#[cfg(test)]
mod tests;
