//! Names and numbers of processes and cgroups, each a type of its own.

use std::fmt;

/// A process id: the kernel's `tgid`, userspace's PID, in the initial pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tgid(pub u32);

/// A thread id: the kernel's `pid`, in the initial pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub u32);

/// `kernfs_node.id` of a cgroup; on v2 its directory's inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// A task's name, at most 15 bytes of the task's own choosing: any byte but NUL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Comm(Vec<u8>);

impl Comm {
    /// Takes what stands before the first NUL.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
    }

    /// The bytes as the kernel has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Comm(\"{}\")", self.0.escape_ascii())
    }
}

/// A cgroup's path from the root of its hierarchy: components of any bytes but `/` and NUL. The root has none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct CgroupPath {
    /// Root first.
    pub components: Vec<Vec<u8>>,
    /// The upper end is missing: the path was too long to be followed.
    pub truncated: bool,
}

impl CgroupPath {
    /// `/a/b`, or `/` for the root: the bytes as the kernel writes them, not yet escaped.
    pub fn to_bytes(&self) -> Vec<u8> {
        let len: usize = self.components.iter().map(|component| component.len() + 1).sum();
        let mut path = Vec::with_capacity(len + 4);
        if self.truncated {
            path.extend_from_slice(b"/...");
        }
        for component in &self.components {
            path.push(b'/');
            path.extend_from_slice(component);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    /// Reads `/a/b`. Empty components are left out.
    pub fn parse(path: &[u8]) -> Self {
        let components = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec);
        Self { components: components.collect(), truncated: false }
    }
}

impl fmt::Debug for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CgroupPath(\"{}\")", self.to_bytes().escape_ascii())
    }
}

/// A pod's uid, dashes as the kubelet's API has them. A UUID; of a static pod 32 hexadecimal digits, or whatever its
/// manifest says: letters, digits, `-`, `.` and `_`, which is safe to print anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(String);

impl PodUid {
    /// `None` for what no uid can be.
    pub fn new(uid: &[u8]) -> Option<Self> {
        plain_name(uid).map(Self)
    }

    /// The uid as the API spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A container's id, as its runtime knows it: 64 hexadecimal digits from all that Kubernetes uses. Safe to print.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// `None` for what no id can be.
    pub fn new(id: &[u8]) -> Option<Self> {
        plain_name(id).map(Self)
    }

    /// The whole id, without the runtime's name before it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// NAME_MAX of Linux: no component of a path is longer.
const LONGEST_NAME: usize = 255;

fn plain_name(name: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && name.iter().all(is_plain);
    fits.then(|| String::from_utf8(name.to_vec()).ok()).flatten()
}
