//! One pod of the kubelet's answer (`k8s.io/api/core/v1` types.go, `Pod`) → [`Pod`].

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::{Pod, PodContainer, quantity, workload};
use crate::{
    cgroup_path::{Qos, Runtime},
    report::ContainerKind,
    units::Bytes,
};

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
    Some(Pod { namespace, name, uid, mirror_uid, qos, workload, containers, limit: spec.resources.limit() })
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
    let urls = [container_id, state.terminated.container_id, last_state.terminated.container_id];
    let mut ids: Vec<String> = Vec::new();
    let mut runtime = None;
    for (scheme, id) in urls.iter().flatten().filter_map(|url| url.split_once("://")) {
        runtime = runtime.or(of_scheme(scheme));
        if !id.is_empty() && !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
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
        runtime,
    }
}

/// `containerd://…`
fn of_scheme(scheme: &str) -> Option<Runtime> {
    [Runtime::Containerd, Runtime::CriO, Runtime::Docker].into_iter().find(|runtime| runtime.name() == scheme)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodJson<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    spec: Spec<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    status: Status<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    labels: Labels<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    annotations: Annotations<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    owner_references: Vec<Option<Owner<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels<'a> {
    #[serde(borrow, rename = "pod-template-hash")]
    template_hash: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "rollouts-pod-template-hash")]
    rollout_hash: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations<'a> {
    #[serde(borrow, rename = "kubernetes.io/config.source")]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "kubernetes.io/config.mirror")]
    mirror: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Owner<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    node_name: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    resources: Resources<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    containers: Vec<Option<ContainerSpec<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    init_containers: Vec<Option<ContainerSpec<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    ephemeral_containers: Vec<Option<ContainerSpec<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerSpec<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    image: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    resources: Resources<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow)]
    qos_class: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    container_statuses: Vec<Option<ContainerStatus<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    init_container_statuses: Vec<Option<ContainerStatus<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    ephemeral_container_statuses: Vec<Option<ContainerStatus<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    image: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "containerID")]
    container_id: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    state: State<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    last_state: State<'a>,
    restart_count: Option<u32>,
    #[serde(borrow, deserialize_with = "or_default")]
    resources: Resources<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    terminated: Terminated<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Terminated<'a> {
    #[serde(borrow, rename = "containerID")]
    container_id: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    limits: Amounts<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    requests: Amounts<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Amounts<'a> {
    #[serde(borrow)]
    memory: Option<Amount<'a>>,
}

/// The API writes quantities as text and reads numbers too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Number(u64),
}

impl Resources<'_> {
    fn limit(&self) -> Option<Bytes> {
        self.limits.bytes()
    }

    fn request(&self) -> Option<Bytes> {
        self.requests.bytes()
    }
}

impl Amounts<'_> {
    fn bytes(&self) -> Option<Bytes> {
        match self.memory.as_ref()? {
            Amount::Text(text) => quantity(text),
            Amount::Number(bytes) => Some(Bytes(*bytes)),
        }
    }
}

/// `null` is as good as absent.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
