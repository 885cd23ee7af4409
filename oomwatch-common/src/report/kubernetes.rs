//! The pod and the container that a process was in.

use serde::{Deserialize, Serialize};

use crate::{
    cgroup_path::{CgroupKind, Container, Pod, Qos, Role, Runtime},
    units::Bytes,
};

/// A process's pod and container. The cgroup's path tells the uid, the container's id, the QoS class and the runtime;
/// the rest is the kubelet's to tell. Names are Kubernetes' own, which admit nothing that needs escaping; what is no
/// such name is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// Who told the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_from: Option<NamesFrom>,
    /// The pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's uid. A static pod's is its manifest's, not that of its mirror in the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// A static pod: the uid of its mirror in the API, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_pod_uid: Option<String>,
    /// The container's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The container's whole id, without the runtime's name before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Of what kind the container is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_kind: Option<ContainerKind>,
    /// The container's image, as its pod names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Quality of service class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<Qos>,
    /// Who runs the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// What the pod belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The container's memory request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_bytes: Option<Bytes>,
    /// The container's memory limit, as its pod says; what the kernel enforced is `cgroup.limit_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits_bytes: Option<Bytes>,
    /// How often the container had been started again when the kubelet was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// When this instance of the container started, as the kubelet says: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_started_at: Option<String>,
    /// The memory limit that was set for the pod as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_limits_bytes: Option<Bytes>,
    /// How far a resize of the pod in place has come, as its status says: `Proposed`, `InProgress`, `Deferred`,
    /// `Infeasible`. Absent where none is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<String>,
    /// The pod's volumes that are held in memory: `emptyDir` with `medium: Memory`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_volumes: Vec<MemoryVolume>,
}

/// A volume that is held in memory. What is in it is charged to the pod, and outlives its containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryVolume {
    /// Its name in the pod's manifest.
    pub name: String,
    /// `sizeLimit`. Absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_limit_bytes: Option<Bytes>,
}

/// Who told the names of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesFrom {
    /// The kubelet's list of pods.
    Kubelet,
    /// The names of the node's log files, which tell no more than names.
    Logs,
}

/// Of what kind a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    /// Of `spec.containers`.
    Regular,
    /// Of `spec.initContainers`, sidecars among them.
    Init,
    /// Of `spec.ephemeralContainers`: what `kubectl debug` adds.
    Ephemeral,
}

/// What made a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob`, `Job`, `ReplicaSet`, any other owner's kind; `StaticPod`
    /// for a manifest of the node, `Pod` for a pod that nobody owns.
    pub kind: String,
    /// Its name. A static pod's and a bare pod's is the pod's.
    pub name: String,
}

impl Kubernetes {
    /// What a path alone says, by what it was found to be. `None` for a cgroup that is no pod's.
    pub(crate) fn by_kind(kind: CgroupKind) -> Option<Self> {
        match kind {
            CgroupKind::Container { pod, container } => Some(Self::of(Some(pod), container)),
            CgroupKind::Pod(pod) => Some(Self::of(Some(pod), Container::default())),
            // Seen from a cgroup namespace: the pod is left out, but only the kubelet has containers so named.
            CgroupKind::PlainContainer(container) if is_of_cri(&container) => Some(Self::of(None, container)),
            _ => None,
        }
    }

    /// What a path says of a pod and its container.
    pub(crate) fn of(pod: Option<Pod>, container: Container) -> Self {
        let (pod_uid, qos) = pod.map_or((None, None), |pod| (Some(pod.uid.as_str().to_owned()), pod.qos));
        // A monitor and a virtual machine are not the container that the id is of, or has none.
        let id = container.id.filter(|_| container.role == Role::Workload);
        let container_id = id.map(|id| id.as_str().to_owned());
        Self { pod_uid, container_id, qos, runtime: container.runtime, ..Self::default() }
    }
}

/// `cri-containerd` and `crio` are names that only containers of the kubelet have; docker's and podman's may be
/// anyone's.
fn is_of_cri(container: &Container) -> bool {
    container.role == Role::Workload && matches!(container.runtime, Some(Runtime::Containerd | Runtime::CriO))
}

#[cfg(test)]
mod tests {
    use super::Kubernetes;
    use crate::{cgroup_path::place, ids::CgroupPath};

    #[test]
    fn only_what_the_path_says_of_a_pod_is_there() {
        let id = "a126df15fba5713f57f1abad9c484cb75569e9f48f1169bd9710f63bb8af0e46";
        for (path, expected) in [
            ("/kubepods/burstable/pod1/ID/x", r#"{"pod_uid":"1","container_id":"ID","qos":"burstable"}"#),
            (
                "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope",
                r#"{"pod_uid":"1","container_id":"ID","qos":"guaranteed","runtime":"cri-o"}"#,
            ),
            // Not the container, but what watches it, or holds all of the pod's.
            (
                "/kubepods.slice/kubepods-pod1.slice/crio-conmon-ID.scope",
                r#"{"pod_uid":"1","qos":"guaranteed","runtime":"cri-o"}"#,
            ),
            ("/kubepods/besteffort/pod1/kata_ID", r#"{"pod_uid":"1","qos":"besteffort","runtime":"kata"}"#),
            ("/kubepods/besteffort/pod1", r#"{"pod_uid":"1","qos":"besteffort"}"#),
            ("/../cri-containerd-ID.scope", r#"{"container_id":"ID","runtime":"containerd"}"#),
            ("/system.slice/crio-conmon-ID.scope", "null"),
            ("/docker/ID", "null"),
            ("/kubepods", "null"),
            ("/system.slice/kubelet.service", "null"),
            ("/", "null"),
        ] {
            let kubernetes =
                Kubernetes::by_kind(place(&CgroupPath::parse(path.replace("ID", id).as_bytes())).kind);
            assert_eq!(serde_json::to_string(&kubernetes).unwrap(), expected.replace("ID", id), "{path}");
        }
    }
}
