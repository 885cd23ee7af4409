//! A pod as the API spells it: the fields that matter here, borrowed from the answer.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::super::quantity;
use crate::units::Bytes;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodJson<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) spec: Spec<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) status: Status<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) uid: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) labels: Labels<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) annotations: Annotations<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) owner_references: Vec<Option<Owner<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Labels<'a> {
    #[serde(borrow, rename = "pod-template-hash")]
    pub(super) template_hash: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "rollouts-pod-template-hash")]
    pub(super) rollout_hash: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations<'a> {
    #[serde(borrow, rename = "kubernetes.io/config.source")]
    pub(super) source: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "kubernetes.io/config.mirror")]
    pub(super) mirror: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Owner<'a> {
    #[serde(borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    pub(super) node_name: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) resources: Resources<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) containers: Vec<Option<ContainerSpec<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Option<ContainerSpec<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) ephemeral_containers: Vec<Option<ContainerSpec<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) volumes: Vec<Option<Volume<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Volume<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) empty_dir: Option<EmptyDir<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct EmptyDir<'a> {
    #[serde(borrow)]
    pub(super) medium: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) size_limit: Option<Amount<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerSpec<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) image: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) resources: Resources<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status<'a> {
    #[serde(borrow)]
    pub(super) phase: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) resize: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) conditions: Vec<Option<Condition<'a>>>,
    #[serde(borrow)]
    pub(super) qos_class: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) container_statuses: Vec<Option<ContainerStatus<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) init_container_statuses: Vec<Option<ContainerStatus<'a>>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) ephemeral_container_statuses: Vec<Option<ContainerStatus<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) reason: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) image: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "containerID")]
    pub(super) container_id: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) state: State<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) last_state: State<'a>,
    pub(super) restart_count: Option<u32>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) resources: Resources<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct State<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) running: Running<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) terminated: Terminated<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Running<'a> {
    #[serde(borrow)]
    pub(super) started_at: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated<'a> {
    #[serde(borrow, rename = "containerID")]
    pub(super) container_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) started_at: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) limits: Amounts<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) requests: Amounts<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Amounts<'a> {
    #[serde(borrow)]
    pub(super) memory: Option<Amount<'a>>,
}

/// The API writes quantities as text and reads numbers too.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Amount<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Number(u64),
}

impl Resources<'_> {
    pub(super) fn limit(&self) -> Option<Bytes> {
        self.limits.bytes()
    }

    pub(super) fn request(&self) -> Option<Bytes> {
        self.requests.bytes()
    }
}

impl Amounts<'_> {
    pub(super) fn bytes(&self) -> Option<Bytes> {
        self.memory.as_ref()?.bytes()
    }
}

impl Amount<'_> {
    pub(super) fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Text(text) => quantity(text),
            Self::Number(bytes) => Some(Bytes(*bytes)),
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
