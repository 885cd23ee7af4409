//! The kubelet's own cgroups: `kubepods`, a QoS class, a pod.
//!
//! With systemd's driver a cgroup is a slice whose name repeats those above it
//! (`kubepods-burstable-podUID.slice`), dashes of the uid turned into `_`; with the cgroupfs driver it is a plain
//! directory (`burstable`, `podUID`). kubernetes/pkg/kubelet/cm/cgroup_manager_linux.go.

use std::borrow::Cow;

use super::{Container, Pod, Qos, container};
use crate::ids::PodUid;

/// What one name of a path is to the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Kubepods,
    Qos(Qos),
    Pod(Pod),
    /// containerd without `SystemdCgroup` below a kubelet with systemd's driver: `SLICE:cri-containerd:ID` is one
    /// name.
    PodAndContainer(Pod, Container),
    Other,
}

/// `above` is what the parent is: `burstable` is a QoS class only below `kubepods`, and a pod's id need not be a uid
/// there.
pub(super) fn segment(name: &[u8], above: &Segment, above_name: &[u8]) -> Segment {
    let (unit, container) = cut(name, b':');
    if let Some(stem) = unit.strip_suffix(b".slice") {
        return match (slice(stem), container) {
            (Segment::Pod(pod), Some(container)) => {
                Segment::PodAndContainer(pod, container::after_colon(container))
            }
            (segment, None) => segment,
            (_, Some(_)) => Segment::Other,
        };
    }
    let qos = qos_of(name);
    match (name, qos) {
        (b"kubepods", _) => Segment::Kubepods,
        (_, Some(qos)) if *above == Segment::Kubepods => Segment::Qos(qos),
        _ => directory_of_pod(name, above, above_name).map_or(Segment::Other, Segment::Pod),
    }
}

/// `NAME.slice` without its end.
fn slice(stem: &[u8]) -> Segment {
    match below_kubepods(stem) {
        Some(b"") => return Segment::Kubepods,
        Some(rest) => {
            if let Some(qos) = qos_of(rest) {
                return Segment::Qos(qos);
            }
            let (class, pod) = cut(rest, b'-');
            let (qos, pod) = match (qos_of(class), pod) {
                (Some(qos), Some(pod)) => (qos, pod),
                _ => (Qos::Guaranteed, rest),
            };
            if let Some(uid) = pod.strip_prefix(b"pod").and_then(uid_of_slice) {
                return Segment::Pod(Pod { uid, qos: Some(qos) });
            }
        }
        None => {}
    }
    slice_of_pod_elsewhere(stem).map_or(Segment::Other, Segment::Pod)
}

/// What follows the last `kubepods` in `kubelet-kubepods-burstable`.
fn below_kubepods(stem: &[u8]) -> Option<&[u8]> {
    let (mut rest, mut found) = (Some(stem), None);
    while let Some(name) = rest {
        let (part, after) = cut(name, b'-');
        if part == b"kubepods" {
            found = Some(after.unwrap_or_default());
        }
        rest = after;
    }
    found
}

/// A pod whose slice does not stand below `kubepods`: only what is surely a uid counts.
fn slice_of_pod_elsewhere(stem: &[u8]) -> Option<Pod> {
    [36, 32].into_iter().find_map(|length| {
        let (before, uid) = stem.split_at_checked(stem.len().checked_sub(length)?)?;
        let before = before.strip_suffix(b"pod").filter(|_| is_uid(uid))?;
        let parent = match before {
            b"" => before,
            _ => before.strip_suffix(b"-")?,
        };
        let class = parent.rsplit(|&byte| byte == b'-').next().unwrap_or_default();
        Some(Pod { uid: uid_of_slice(uid)?, qos: qos_of(class) })
    })
}

/// `podUID`. A static pod's uid is 32 hexadecimal digits, or whatever its manifest says; so where `kubepods` is above
/// it, anything that a uid can be is taken.
fn directory_of_pod(name: &[u8], above: &Segment, above_name: &[u8]) -> Option<Pod> {
    let uid = name.strip_prefix(b"pod")?;
    let is_below_kubepods = matches!(above, Segment::Kubepods | Segment::Qos(_));
    if !is_below_kubepods && (!is_uid(uid) || uid.contains(&b'_')) {
        return None;
    }
    let qos = match above {
        Segment::Kubepods => Some(Qos::Guaranteed),
        Segment::Qos(qos) => Some(*qos),
        // Seen from a cgroup namespace, `kubepods` may be missing.
        _ => qos_of(above_name),
    };
    Some(Pod { uid: PodUid::new(uid)?, qos })
}

fn qos_of(name: &[u8]) -> Option<Qos> {
    match name {
        b"burstable" => Some(Qos::Burstable),
        b"besteffort" => Some(Qos::BestEffort),
        _ => None,
    }
}

/// A UUID, its dashes perhaps turned into `_`, or 32 hexadecimal digits.
fn is_uid(uid: &[u8]) -> bool {
    let is_dash = |index: usize| uid.len() == 36 && matches!(index, 8 | 13 | 18 | 23);
    matches!(uid.len(), 32 | 36)
        && uid.iter().enumerate().all(|(index, byte)| {
            if is_dash(index) { matches!(byte, b'-' | b'_') } else { byte.is_ascii_hexdigit() }
        })
}

/// The kubelet turns `-` into `_`, which a uid does not have.
fn uid_of_slice(uid: &[u8]) -> Option<PodUid> {
    let uid: Vec<u8> = uid.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    PodUid::new(&uid)
}

/// systemd spells a dash in a unit's name that does not stand for a level as `\x2d`.
pub(super) fn undo_dash(name: &[u8]) -> Cow<'_, [u8]> {
    const DASH: &[u8] = b"\\x2d";
    if !name.windows(DASH.len()).any(|window| window == DASH) {
        return Cow::Borrowed(name);
    }
    let (mut plain, mut rest) = (Vec::with_capacity(name.len()), name);
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(DASH) {
            plain.push(b'-');
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    Cow::Owned(plain)
}

/// What stands before the first `at`, and what after it.
pub(super) fn cut(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&byte| byte == at).and_then(|index| bytes.split_at_checked(index)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (bytes, None),
    }
}
