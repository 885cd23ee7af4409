//! The node's pods: the kubelet's answer to `GET /pods` → [`Pod`]s → [`PodIndex`], by container id and by pod uid.
//!
//! The types are our own and lean: of the 7 to 20 kB that a pod is in JSON, some hundred bytes matter here. Fields that
//! are not known are passed over, `null` is as good as absent, and one pod that cannot be read does not cost the rest.

mod index;
mod json;
mod log_names;
mod quantity;
mod stream;
mod workload;

pub use self::{
    index::{Found, PodIndex},
    log_names::{ContainerLog, PodLogs, container_log, pod_logs},
    quantity::quantity,
    stream::{ListError, ListReader, PodList},
};
use crate::{
    cgroup_path::{Qos, Runtime},
    report::{ContainerKind, Workload},
    units::Bytes,
};

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, as its cgroups are named: of a static pod the one of the manifest.
    pub uid: String,
    /// A static pod: the uid of its mirror in the API. The kubelet's list has the static pod itself, and not this.
    pub mirror_uid: Option<String>,
    /// Absent where the status does not say (yet).
    pub qos: Option<Qos>,
    /// What made it.
    pub workload: Option<Workload>,
    /// Its containers of all kinds, in the order of its manifest.
    pub containers: Vec<PodContainer>,
    /// The limit that was set for the pod as a whole (`spec.resources`), and not for a container.
    pub limit: Option<Bytes>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// Its name.
    pub name: String,
    /// Regular, init, ephemeral; absent where only its logs are known.
    pub kind: Option<ContainerKind>,
    /// As the pod's manifest names it.
    pub image: Option<String>,
    /// Its memory request: the one in force where the kubelet says, else the manifest's.
    pub request: Option<Bytes>,
    /// Its memory limit, likewise.
    pub limit: Option<Bytes>,
    /// How often it was started again.
    pub restarts: Option<u32>,
    /// Ids that it has or had, the newest first: the current one, the one before, and those that the index has seen.
    pub ids: Vec<String>,
    /// Who runs it, by the scheme of its id.
    pub runtime: Option<Runtime>,
}

#[cfg(test)]
mod tests;
