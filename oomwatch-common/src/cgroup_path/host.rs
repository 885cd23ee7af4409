//! What is no pod's: systemd's units, sessions, guests, and the services of systems without systemd.

use super::{
    Candidate, CgroupKind, Container, Name, Role, Runtime, critical::is_node_critical, kubepods::undo_dash,
};

/// `container` is the deepest on the way, of which none is a pod's: a unit below it is one of a node that runs in it.
/// `is_whole`: the first name is the root's child.
pub(super) fn kind(names: &[Name<'_>], is_whole: bool, container: Option<&Candidate>) -> CgroupKind {
    if names.is_empty() {
        return if is_whole { CgroupKind::Root } else { CgroupKind::Other };
    }
    let ceiling = container.map_or(0, |container| container.depth);
    let own: Vec<&[u8]> = names.iter().filter(|name| name.depth > ceiling).map(|name| name.bytes).collect();
    let view = View { names: &own, is_top: is_whole || container.is_some(), is_host: container.is_none() };
    let found = (0..own.len()).rev().find_map(|index| view.kind_at(index));
    match (found, container.and_then(|candidate| candidate.container.clone())) {
        (Some(found), _) => found,
        (None, Some(container)) => CgroupKind::PlainContainer(container),
        (None, None) => CgroupKind::Other,
    }
}

struct View<'a> {
    names: &'a [&'a [u8]],
    /// The first name stands right below the root, or below a container that may be a node.
    is_top: bool,
    /// No container is above.
    is_host: bool,
}

impl View<'_> {
    fn kind_at(&self, index: usize) -> Option<CgroupKind> {
        let name = *self.names.get(index)?;
        let above = index.checked_sub(1).and_then(|above| self.names.get(above)).copied();
        self.unit(index, name)
            .or_else(|| guest(name, above))
            .or_else(|| self.without_systemd(index, name, above))
    }

    fn unit(&self, index: usize, name: &[u8]) -> Option<CgroupKind> {
        let is_of_slices = || self.names.iter().all(|name| name.ends_with(b".slice"));
        let is_service =
            [&b".service"[..], b".mount", b".socket", b".swap"].iter().any(|end| name.ends_with(end));
        if is_service {
            if let Some(uid) = number(name, b"user@", b".service") {
                return Some(CgroupKind::UserSession { uid: Some(uid), unit: None });
            }
            let user = self.names.iter().take(index).find_map(|name| number(name, b"user@", b".service"));
            let node_critical = user.is_none() && is_node_critical(name);
            return Some(CgroupKind::Service { unit: name.to_vec(), user, node_critical });
        }
        if let Some(stem) = name.strip_suffix(b".scope") {
            return self.scope(index, name, stem);
        }
        if name.ends_with(b".slice") {
            if let Some(uid) = number(name, b"user-", b".slice") {
                return Some(CgroupKind::UserSession { uid: Some(uid), unit: None });
            }
            return (self.is_host && is_of_slices()).then(|| CgroupKind::Slice(name.to_vec()));
        }
        None
    }

    fn scope(&self, index: usize, name: &[u8], stem: &[u8]) -> Option<CgroupKind> {
        if stem == b"init" {
            // Below something, it is that one's own PID 1.
            let is_pid_1 = index == 0 && self.is_top && self.is_host;
            return is_pid_1.then_some(CgroupKind::Init);
        }
        let above = || self.names.iter().take(index);
        let uid = above().find_map(|name| number(name, b"user-", b".slice"));
        let is_user = uid.is_some() || above().any(|name| *name == b"user.slice");
        if is_user {
            return Some(CgroupKind::UserSession { uid, unit: Some(name.to_vec()) });
        }
        if let Some(machine) = stem.strip_prefix(b"machine-") {
            return Some(CgroupKind::Machine(undo_dash(machine).into_owned()));
        }
        self.is_host.then(|| CgroupKind::Scope(name.to_vec()))
    }

    /// Talos (`/podruntime/kubelet`, `/system/apid`, `/init`), OpenRC (`/openrc.k3s`), and daemons that were given a
    /// cgroup of their name.
    fn without_systemd(&self, index: usize, name: &[u8], above: Option<&[u8]>) -> Option<CgroupKind> {
        let service = |unit: &[u8]| CgroupKind::Service {
            unit: unit.to_vec(),
            user: None,
            node_critical: is_node_critical(unit),
        };
        match (index, name, above) {
            _ if !self.is_top => None,
            (0, b"init", _) => self.is_host.then_some(CgroupKind::Init),
            // Not `docker`: that one holds its containers.
            (0, b"kubelet" | b"k3s" | b"containerd" | b"crio", _)
            | (1, _, Some(b"podruntime" | b"system")) => Some(service(name)),
            (0, ..) => name.strip_prefix(b"openrc.").map(service),
            _ => None,
        }
    }
}

/// LXC's containers, and podman's monitor, which has no container's id.
fn guest(name: &[u8], above: Option<&[u8]>) -> Option<CgroupKind> {
    let lxc = |name: &[u8], monitor| Some(CgroupKind::Lxc { name: name.to_vec(), monitor });
    let named = |prefix: &[u8]| name.strip_prefix(prefix).filter(|name| !name.is_empty());
    if let Some(name) = named(b"lxc.payload.") {
        return lxc(name, false);
    }
    if let Some(name) = named(b"lxc.monitor.") {
        return lxc(name, true);
    }
    match (above?, name) {
        (b"lxc", _) => lxc(name, false),
        (b"libpod_parent", b"conmon") => Some(CgroupKind::PlainContainer(Container {
            id: None,
            runtime: Some(Runtime::Podman),
            role: Role::Monitor,
        })),
        _ => None,
    }
}

fn number(name: &[u8], before: &[u8], after: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?.parse().ok()
}
