//! What a process outside of all pods belonged to: a service, a session, a container of somebody else.

use serde::{Deserialize, Serialize};

use super::cgroup::is_false;
use crate::{
    cgroup_path::{CgroupKind, Runtime, place},
    escape::escape,
    ids::CgroupPath,
};

/// A part of the host, by the path of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Of what kind it is.
    pub kind: HostKind,
    /// As the host calls it: `containerd.service`, `session-92.scope`, a container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A user's: the user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Who runs it, where it is a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The node is no node without it: the kubelet, a container runtime, systemd's own. Absent otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub node_critical: bool,
}

/// Of what kind a part of the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    /// A systemd unit, or what Talos or OpenRC run as one.
    Service,
    /// A user's session, or a program that a desktop started in it.
    UserSession,
    /// A scope that is none of these.
    Scope,
    /// A slice.
    Slice,
    /// A container that is no pod's.
    Container,
    /// An LXC or LXD container.
    Lxc,
    /// A virtual machine or other guest of systemd-machined.
    Machine,
    /// PID 1.
    Init,
    /// The root of the hierarchy: kernel threads, and whatever was never put elsewhere.
    Root,
}

impl HostKind {
    /// `user session`
    pub fn words(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::UserSession => "user session",
            Self::Scope => "scope",
            Self::Slice => "slice",
            Self::Container => "container",
            Self::Lxc => "LXC",
            Self::Machine => "machine",
            Self::Init => "init",
            Self::Root => "root cgroup",
        }
    }
}

impl Host {
    /// `None` for what is Kubernetes', and for paths that are of no known shape.
    pub fn new(path: &CgroupPath) -> Option<Self> {
        let named = |kind, name: Option<&[u8]>| Self {
            kind,
            name: name.map(escape),
            uid: None,
            runtime: None,
            node_critical: false,
        };
        Some(match place(path).kind {
            CgroupKind::Service { unit, user, node_critical } => {
                Self { uid: user, node_critical, ..named(HostKind::Service, Some(&unit)) }
            }
            CgroupKind::UserSession { uid, unit } => {
                Self { uid, ..named(HostKind::UserSession, unit.as_deref()) }
            }
            CgroupKind::Scope(name) => named(HostKind::Scope, Some(&name)),
            CgroupKind::Slice(name) => named(HostKind::Slice, Some(&name)),
            CgroupKind::Machine(name) => named(HostKind::Machine, Some(&name)),
            CgroupKind::Lxc { name, .. } => named(HostKind::Lxc, Some(&name)),
            CgroupKind::PlainContainer(container) => {
                let id = container.id.as_ref().map(|id| id.as_str().as_bytes());
                Self { runtime: container.runtime, ..named(HostKind::Container, id) }
            }
            CgroupKind::Init => Self { node_critical: true, ..named(HostKind::Init, None) },
            CgroupKind::Root => named(HostKind::Root, None),
            CgroupKind::Container { .. }
            | CgroupKind::Pod(_)
            | CgroupKind::QosSlice(_)
            | CgroupKind::Kubepods
            | CgroupKind::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_is_named_and_what_the_node_needs_is_flagged() {
        let id = "89e89703fbd1e88b72d279d951ce389d3742874205196d73f96e0dcbc0da0659";
        for (path, expected) in [
            (
                "/system.slice/kubelet.service",
                r#"{"kind":"service","name":"kubelet.service","node_critical":true}"#,
            ),
            ("/podruntime/kubelet", r#"{"kind":"service","name":"kubelet","node_critical":true}"#),
            ("/system.slice/app.service", r#"{"kind":"service","name":"app.service"}"#),
            (
                "/user.slice/user-501.slice/session-92.scope",
                r#"{"kind":"user_session","name":"session-92.scope","uid":501}"#,
            ),
            (
                "/machine.slice/libpod-ID.scope/container",
                r#"{"kind":"container","name":"ID","runtime":"podman"}"#,
            ),
            ("/lxc.payload.first", r#"{"kind":"lxc","name":"first"}"#),
            ("/init.scope", r#"{"kind":"init","node_critical":true}"#),
            ("/", r#"{"kind":"root"}"#),
            ("/kubepods/burstable/pod1/ID", "null"),
            ("/kubepods", "null"),
            ("/made/by/hand", "null"),
        ] {
            let host = Host::new(&CgroupPath::parse(path.replace("ID", id).as_bytes()));
            assert_eq!(serde_json::to_string(&host).unwrap(), expected.replace("ID", id), "{path}");
        }
    }
}
