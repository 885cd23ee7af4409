//! One pod of the kubelet's answer (`k8s.io/api/core/v1` types.go, `Pod`) → [`Pod`].

mod wire;

use std::borrow::Cow;

use jiff::Timestamp;

use self::wire::{Amount, Condition, ContainerSpec, ContainerStatus, PodJson, Volume};
use super::{Pod, PodContainer, Resize, workload};
use crate::{
    cgroup_path::{Qos, Runtime},
    escape::escape,
    report::{ContainerKind, MemoryVolume},
};

/// Volumes kept of a pod.
const VOLUMES: usize = 32;

/// Reads one pod. `None` for what has no name and uid.
pub(super) fn pod(json: &[u8]) -> Option<Pod> {
    let read: PodJson<'_> = serde_json::from_slice(json).ok()?;
    let PodJson { metadata, spec, status } = read;
    let (name, api_uid) = (metadata.name?.into_owned(), metadata.uid?);
    let annotations = metadata.annotations;
    // In the API's view of a static pod the cgroups' uid is an annotation, and its own uid is the mirror's.
    let (uid, mirror_uid) = match annotations.mirror {
        Some(hash) if hash != api_uid => (hash.into_owned(), Some(api_uid.into_owned())),
        _ => (api_uid.into_owned(), None),
    };
    let owners = || metadata.owner_references.iter().flatten();
    let owner = owners().find(|owner| owner.controller == Some(true)).or_else(|| owners().next());
    let owned = workload::Owned {
        pod: &name,
        node: spec.node_name.as_deref(),
        owner: owner.and_then(|owner| Some((owner.kind.as_deref()?, owner.name.as_deref()?))),
        is_static: annotations.source.is_some_and(|source| source != "api"),
        template_hash: metadata.labels.template_hash.as_deref(),
        rollout_hash: metadata.labels.rollout_hash.as_deref(),
    };
    let workload = Some(workload::workload(owned));
    let mut containers = Vec::new();
    for (kind, specs, statuses) in [
        (ContainerKind::Regular, spec.containers, status.container_statuses),
        (ContainerKind::Init, spec.init_containers, status.init_container_statuses),
        (ContainerKind::Ephemeral, spec.ephemeral_containers, status.ephemeral_container_statuses),
    ] {
        join(&mut containers, kind, specs, statuses);
    }
    let namespace = metadata.namespace.map_or_else(|| "default".to_owned(), Cow::into_owned);
    let qos = status.qos_class.and_then(|class| match class.as_ref() {
        "Guaranteed" => Some(Qos::Guaranteed),
        "Burstable" => Some(Qos::Burstable),
        "BestEffort" => Some(Qos::BestEffort),
        _ => None,
    });
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let resize = resize(status.resize.as_deref(), &status.conditions);
    let volumes = spec.volumes.iter().flatten().filter_map(memory_volume);
    Some(Pod {
        namespace,
        name,
        uid,
        mirror_uid,
        qos,
        workload,
        containers,
        limit: spec.resources.limit(),
        request: spec.resources.request(),
        memory_volumes: volumes.take(VOLUMES).collect(),
        resize,
        is_over,
    })
}

fn memory_volume(volume: &Volume<'_>) -> Option<MemoryVolume> {
    let held = volume.empty_dir.as_ref().filter(|held| held.medium.as_deref() == Some("Memory"))?;
    let size_limit_bytes = held.size_limit.as_ref().and_then(Amount::bytes);
    Some(MemoryVolume { name: escape(volume.name.as_deref()?.as_bytes()), size_limit_bytes })
}

/// By two conditions of the pod (since Kubernetes 1.33), or before that by a field of its own.
fn resize(field: Option<&str>, conditions: &[Option<Condition<'_>>]) -> Option<Resize> {
    let of_reason = |reason: Option<&str>| match reason {
        Some("Proposed") => Some(Resize::Proposed),
        Some("InProgress") => Some(Resize::InProgress),
        Some("Deferred") => Some(Resize::Deferred),
        Some("Infeasible") => Some(Resize::Infeasible),
        _ => None,
    };
    let is_true = |condition: &&Condition<'_>| condition.status.as_deref() == Some("True");
    let by_condition =
        conditions.iter().flatten().filter(is_true).find_map(|condition| match condition.kind.as_deref() {
            Some("PodResizePending") => of_reason(condition.reason.as_deref()).or(Some(Resize::Proposed)),
            Some("PodResizeInProgress") => Some(Resize::InProgress),
            _ => None,
        });
    by_condition.or_else(|| of_reason(field))
}

/// Manifest and status of a kind of containers, by name: either may lack some of them.
fn join(
    containers: &mut Vec<PodContainer>,
    kind: ContainerKind,
    specs: Vec<Option<ContainerSpec<'_>>>,
    statuses: Vec<Option<ContainerStatus<'_>>>,
) {
    let mut statuses: Vec<ContainerStatus<'_>> = statuses.into_iter().flatten().collect();
    for spec in specs.into_iter().flatten() {
        let Some(name) = spec.name.as_deref() else { continue };
        let of_it = statuses.iter().position(|status| status.name.as_deref() == Some(name));
        let status = of_it.map(|index| statuses.swap_remove(index));
        containers.push(container(kind, name.to_owned(), &spec, status.unwrap_or_default()));
    }
    for mut status in statuses {
        let Some(name) = status.name.take() else { continue };
        let spec = ContainerSpec { image: status.image.take(), ..ContainerSpec::default() };
        containers.push(container(kind, name.into_owned(), &spec, status));
    }
}

fn container(
    kind: ContainerKind,
    name: String,
    spec: &ContainerSpec<'_>,
    status: ContainerStatus<'_>,
) -> PodContainer {
    let ContainerStatus { state, last_state, container_id, restart_count, resources, .. } = status;
    let (ended, before) = (state.terminated, last_state.terminated);
    let urls = [
        (container_id, state.running.started_at),
        (ended.container_id, ended.started_at),
        (before.container_id, before.started_at),
    ];
    let (mut ids, mut started_at): (Vec<String>, Vec<Option<Timestamp>>) = (Vec::new(), Vec::new());
    let mut runtime = None;
    for (url, started) in &urls {
        let Some((scheme, id)) = url.as_ref().and_then(|url| url.split_once("://")) else { continue };
        let started = started.as_ref().and_then(|started| started.parse().ok());
        runtime = runtime.or(of_scheme(scheme));
        match ids.iter().position(|known| known == id) {
            // What ended is named twice, and only the second time with its start.
            Some(place) => {
                if let Some(known) = started_at.get_mut(place) {
                    *known = known.or(started);
                }
            }
            None if !id.is_empty() => {
                ids.push(id.to_owned());
                started_at.push(started);
            }
            None => {}
        }
    }
    PodContainer {
        name,
        kind: Some(kind),
        image: spec.image.as_deref().map(str::to_owned),
        // After an in-place resize the two differ until the kubelet has made it so (KEP-1287).
        request: resources.request().or_else(|| spec.resources.request()),
        limit: resources.limit().or_else(|| spec.resources.limit()),
        restarts: restart_count,
        ids,
        started_at,
        is_sidecar: spec.restart_policy.as_deref() == Some("Always"),
        runtime,
    }
}

/// `containerd://…`
fn of_scheme(scheme: &str) -> Option<Runtime> {
    [Runtime::Containerd, Runtime::CriO, Runtime::Docker].into_iter().find(|runtime| runtime.name() == scheme)
}
