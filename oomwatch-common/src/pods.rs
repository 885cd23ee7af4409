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
use jiff::Timestamp;

use crate::{
    cgroup_path::{Qos, Runtime},
    report::{ContainerKind, MemoryVolume, Workload},
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
    /// The request that was set for the pod as a whole.
    pub request: Option<Bytes>,
    /// Its volumes that are held in memory.
    pub memory_volumes: Vec<MemoryVolume>,
    /// How far a resize in place has come; absent where none is under way.
    pub resize: Option<Resize>,
    /// All of its containers have ended, for good: phase `Succeeded` or `Failed`.
    pub is_over: bool,
}

impl Pod {
    /// What the scheduler holds back for it of the node's memory (k8s.io/component-helpers/resource/helpers.go, without
    /// a runtime class's overhead): its own request, or that of its containers, sidecars among them; or of an init
    /// container that asks for more.
    pub fn requested(&self) -> Bytes {
        let of = |kind| self.containers.iter().filter(move |container| container.kind == Some(kind));
        let sum =
            |sum: u64, container: &PodContainer| sum.saturating_add(container.request.unwrap_or_default().0);
        let sidecars = of(ContainerKind::Init).filter(|container| container.is_sidecar).fold(0, sum);
        let all = of(ContainerKind::Regular).fold(sidecars, sum);
        let init = of(ContainerKind::Init).filter_map(|container| container.request).max();
        self.request.unwrap_or_else(|| Bytes(all.max(init.unwrap_or_default().0)))
    }
}

/// How far a resize of a pod in place has come (KEP-1287).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Asked for, and not yet looked at.
    Proposed,
    /// The kubelet is at it.
    InProgress,
    /// The node has no room for it now.
    Deferred,
    /// The node never has room for it.
    Infeasible,
}

impl Resize {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proposed => "Proposed",
            Self::InProgress => "InProgress",
            Self::Deferred => "Deferred",
            Self::Infeasible => "Infeasible",
        }
    }
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// When each of these started, in the same order, as far as it is known.
    pub started_at: Vec<Option<Timestamp>>,
    /// An init container that goes on running (`restartPolicy: Always`).
    pub is_sidecar: bool,
    /// Who runs it, by the scheme of its id.
    pub runtime: Option<Runtime>,
}

impl PodContainer {
    /// When the instance of this id started.
    pub fn started(&self, id: &str) -> Option<Timestamp> {
        let place = self.ids.iter().position(|known| known == id)?;
        self.started_at.get(place).copied().flatten()
    }
}

#[cfg(test)]
mod tests;
