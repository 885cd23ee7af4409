//! A container's own cgroup, by its name: `cri-containerd-ID.scope`, `crio-ID`, a bare `ID`.

use super::{Container, Role, Runtime, kubepods::cut};
use crate::ids::ContainerId;

/// What stands before the id, and what that says.
const PREFIXES: &[(&[u8], Option<Runtime>, Role)] = &[
    (b"cri-containerd", Some(Runtime::Containerd), Role::Workload),
    (b"crio-conmon", Some(Runtime::CriO), Role::Monitor),
    (b"crio", Some(Runtime::CriO), Role::Workload),
    (b"docker", Some(Runtime::Docker), Role::Workload),
    (b"libpod-conmon", Some(Runtime::Podman), Role::Monitor),
    (b"libpod-payload", Some(Runtime::Podman), Role::Workload),
    (b"libpod", Some(Runtime::Podman), Role::Workload),
    (b"kata_overhead", Some(Runtime::Kata), Role::KataOverhead),
    (b"kata-overhead", Some(Runtime::Kata), Role::KataOverhead),
    (b"kata", Some(Runtime::Kata), Role::KataSandbox),
];

/// The cgroup right below a pod's: the kubelet lets runtimes make nothing else there. A name that is not made of an
/// id is a container without one.
pub(super) fn in_pod(name: &[u8]) -> Container {
    whole_id(name).or_else(|| after_prefix(name, ContainerId::new)).unwrap_or_default()
}

/// A container that no pod stands above: only 64 hexadecimal digits are an id there.
pub(super) fn plain(name: &[u8], above: &[u8]) -> Option<Container> {
    if let (_, Some(after)) = cut(name, b':') {
        return Some(after_colon(after)).filter(|container| is_id(id_of(container)));
    }
    let container = whole_id(name).or_else(|| after_prefix(name, hex_id))?;
    if container.runtime.is_some() || name.ends_with(b".scope") {
        return Some(container);
    }
    let (runtime, role) = match above {
        b"docker" => (Some(Runtime::Docker), Role::Workload),
        b"kata_overhead" => (Some(Runtime::Kata), Role::KataOverhead),
        // podman's pods
        b"libpod_parent" => return None,
        _ => (None, container.role),
    };
    Some(Container { runtime, role, ..container })
}

/// `cri-containerd:ID`, what follows the slice's name.
pub(super) fn after_colon(text: &[u8]) -> Container {
    let (prefix, id) = cut(text, b':');
    let (runtime, role) = meaning(prefix);
    Container { id: id.and_then(ContainerId::new), runtime, role }
}

/// A bare id, or `PREFIX-ID.scope` of a runtime that is not listed.
fn whole_id(name: &[u8]) -> Option<Container> {
    let stem = name.strip_suffix(b".scope").unwrap_or(name);
    let (before, id) = stem.split_at_checked(stem.len().checked_sub(64)?)?;
    let id = hex_id(id)?;
    if before.is_empty() {
        return Some(Container { id: Some(id), ..Container::default() });
    }
    let prefix = before.strip_suffix(b"-")?;
    let (runtime, role) = meaning(prefix);
    (runtime.is_some() || stem.len() < name.len()).then_some(Container { id: Some(id), runtime, role })
}

/// `PREFIX-ID`, `PREFIX-ID.scope`; Kata's have a `_`.
fn after_prefix(name: &[u8], id: impl Fn(&[u8]) -> Option<ContainerId>) -> Option<Container> {
    let stem = name.strip_suffix(b".scope").unwrap_or(name);
    PREFIXES.iter().find_map(|&(prefix, runtime, role)| {
        let after = stem.strip_prefix(prefix)?;
        let after = match role {
            Role::KataSandbox | Role::KataOverhead => {
                after.strip_prefix(b"_").or_else(|| after.strip_prefix(b"-"))
            }
            Role::Workload | Role::Monitor => after.strip_prefix(b"-"),
        };
        Some(Container { id: Some(id(after?)?), runtime, role })
    })
}

fn meaning(prefix: &[u8]) -> (Option<Runtime>, Role) {
    let known = PREFIXES.iter().find(|(known, ..)| *known == prefix);
    known.map_or((None, Role::Workload), |&(_, runtime, role)| (runtime, role))
}

fn id_of(container: &Container) -> &[u8] {
    container.id.as_ref().map_or(b"", |id| id.as_str().as_bytes())
}

fn hex_id(id: &[u8]) -> Option<ContainerId> {
    if is_id(id) { ContainerId::new(id) } else { None }
}

fn is_id(id: &[u8]) -> bool {
    id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit)
}
