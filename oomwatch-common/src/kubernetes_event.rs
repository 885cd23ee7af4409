//! What Kubernetes is told of an incident: Events (`events.k8s.io/v1`) on the pod, on the Node, or on both.
//!
//! The rules are the API server's (pkg/apis/core/validation/events.go of Kubernetes): lengths in bytes, a name that
//! is a DNS subdomain, a Node's Event in `default`. `kubectl describe` finds an Event by its object's uid: a static
//! pod's is the one that the kubelet itself names in its Events, which is its manifest's.

use serde::{Deserialize, Serialize};

use crate::{
    render_text::{headline, memory, verdict},
    report::{ContainerKind, Kubernetes, Report},
    scope::Scope,
};

/// `metadata.name`: a DNS subdomain.
const NAME_BYTES: usize = 253;
/// `note`
const NOTE_BYTES: usize = 1024;
/// `reportingInstance`
const INSTANCE_BYTES: usize = 128;

/// An Event about one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where the Event is kept.
    pub namespace: String,
    /// Its name: the same whenever this incident is told again.
    pub name: String,
    /// What it is about.
    pub regarding: Regarding,
    /// What happened, at most 1024 bytes.
    pub note: String,
    /// When: RFC 3339, microseconds.
    pub time: String,
    /// The node.
    pub instance: String,
}

/// The object that an Event is about (`ObjectReference`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Regarding {
    /// `v1`
    pub api_version: String,
    /// `Pod`, `Node`
    pub kind: String,
    /// A pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid; a Node's Events have its name here, as the kubelet's do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The container: `spec.containers{api}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
}

/// What is to be told of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The Events.
    pub notices: Vec<Notice>,
    /// The victim was in a pod, of which only the uid is known: nobody can be told.
    pub is_nameless: bool,
}

/// What Kubernetes is to be told.
pub fn told(report: &Report) -> Told {
    let pod = report.kubernetes.as_ref().and_then(pod);
    let is_nameless = report.kubernetes.is_some() && pod.is_none();
    let concerns_node =
        matches!(report.scope, Scope::Node | Scope::Cpuset | Scope::Mempolicy | Scope::Kubepods | Scope::Qos)
            || report.kubernetes.is_none();
    let node = concerns_node.then(|| Regarding {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        namespace: None,
        name: report.node.clone(),
        uid: Some(report.node.clone()),
        field_path: None,
    });
    let notices = pod.into_iter().chain(node).map(|regarding| notice(report, regarding)).collect();
    Told { notices, is_nameless }
}

fn pod(kubernetes: &Kubernetes) -> Option<Regarding> {
    let field_path = kubernetes.container.as_ref().map(|container| {
        let list = match kubernetes.container_kind {
            Some(ContainerKind::Init) => "initContainers",
            Some(ContainerKind::Ephemeral) => "ephemeralContainers",
            Some(ContainerKind::Regular) | None => "containers",
        };
        format!("spec.{list}{{{container}}}")
    });
    Some(Regarding {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(kubernetes.namespace.clone()?),
        name: kubernetes.pod.clone()?,
        uid: kubernetes.mirror_pod_uid.clone().or_else(|| kubernetes.pod_uid.clone()),
        field_path,
    })
}

fn notice(report: &Report, regarding: Regarding) -> Notice {
    let number = hash(&[&report.id, &regarding.kind]);
    let suffix = format!(".oomwatch-{number:016x}");
    let stem = cut(&regarding.name, NAME_BYTES - suffix.len()).trim_end_matches(['.', '-']);
    Notice {
        namespace: regarding.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        name: format!("{stem}{suffix}"),
        note: ellipsized(&note(report, regarding.kind == "Node"), NOTE_BYTES),
        time: report.time.clone(),
        instance: cut(&report.node, INSTANCE_BYTES).to_owned(),
        regarding,
    }
}

/// The most important first: what is too long is cut at its end.
fn note(report: &Report, on_node: bool) -> String {
    let place = place(report, on_node).map_or(String::new(), |place| format!(" in {place}"));
    let memory = memory(report).map_or(String::new(), |memory| format!(": {memory}"));
    let why = report.findings.first().map_or(String::new(), |finding| format!(". {}", finding.text));
    let owner = report.limit_owner.as_ref();
    let owner = owner.map_or(String::new(), |owner| format!(" Whose limit: {}", owner.cgroup));
    format!("{}{place}{memory}; {}{why}{owner}", headline(report), verdict(report))
}

/// On a pod: its container. On a node: the whole of it.
fn place(report: &Report, on_node: bool) -> Option<String> {
    let Some(kubernetes) = &report.kubernetes else {
        return report.victims.first()?.cgroup.clone();
    };
    let container = kubernetes.container.as_ref();
    if !on_node {
        return container.map(|container| format!("container {container}"));
    }
    let (namespace, pod) = kubernetes.namespace.as_ref().zip(kubernetes.pod.as_ref())?;
    Some(container.map_or_else(
        || format!("pod {namespace}/{pod}"),
        |container| format!("pod {namespace}/{pod}, container {container}"),
    ))
}

/// At most so many bytes, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn ellipsized(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", cut(text, most - "…".len()).trim_end())
}

/// FNV-1a, 64 bits: names must not collide by accident, and need no more.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
