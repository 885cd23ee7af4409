//! Who used the memory: containers, and what of the host is beside them, by the accounts of their cgroups.
//!
//! The tree is walked from its root, so that `kubepods` is found wherever it hangs. What is one account to a person is
//! not looked into: a container, a service, a session.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use oomwatch_common::{
    cgroup_path::{CgroupKind, place},
    escape::escape,
    ids::CgroupPath,
    memcg_text::{MemcgStat, limit_v1, limit_v2, stat_v1, stat_v2},
    proc_text::single_number,
    report::{Consumer, Gap, Host, NodeShares},
    units::{Bytes, Limit, PageSize},
    wanted::Wanted,
};

use super::{
    Until,
    files::{Dir, SMALL},
};
use crate::sources::Roots;

/// Consumers that are told of, the largest.
const MOST: usize = 20;
/// Cgroups that are looked at: a node has 110 pods as a rule, and 500 at most.
const MOST_CGROUPS: usize = 8192;
/// How far below a container or a unit that is a node itself its pods' cgroups hang.
const PODS_HANG_AT: usize = 3;
/// Nothing that matters lies deeper.
const DEEPEST: usize = 16;

/// The accounts of a node.
pub(super) struct Accounts {
    /// The largest first.
    pub(super) consumers: Vec<Consumer>,
    /// How pods and host share the node's memory.
    pub(super) shares: NodeShares,
}

/// Reads them. Nothing where there is no hierarchy; what was not read is in `gaps`.
pub(super) fn read_accounts(
    roots: &Roots,
    wanted: &Wanted,
    until: Until,
    gaps: &mut Vec<Gap>,
) -> Option<Accounts> {
    let mut gap = |why: &str| gaps.push(Gap { what: "consumers".to_owned(), why: why.to_owned() });
    let Some((root, v2)) = roots.hierarchy() else {
        gap("no hierarchy of memory cgroups is mounted");
        return None;
    };
    let mut tree = Tree {
        files: if v2 { V2 } else { V1 },
        until,
        left: MOST_CGROUPS,
        page_size: wanted.page_size,
        found: Vec::new(),
        pods: None,
        is_cut: false,
    };
    let top = tree.walk(&root);
    if tree.is_cut {
        gap("cut: not all cgroups were read, for want of time or room");
    }
    // Only the root has these (CFTYPE_NOT_ON_ROOT and CFTYPE_ONLY_ON_ROOT, kernel/cgroup/).
    let is_hosts = if v2 { !root.join("cgroup.type").exists() } else { root.join("release_agent").exists() };
    if !is_hosts {
        gap("only those from this container's own cgroup down can be read");
    }
    let (pods_usage, allocatable) = tree.pods.unzip();
    let shares = NodeShares {
        capacity_bytes: wanted.capacity,
        allocatable_bytes: allocatable.flatten(),
        pods_usage_bytes: pods_usage,
        pods_requests_bytes: None,
        host_usage_bytes: top
            .filter(|_| is_hosts && !tree.is_cut)
            .map(|top| Bytes(top.saturating_sub(pods_usage.unwrap_or_default().0))),
    };
    tree.found.retain(|found| found.path.components.starts_with(&wanted.charged_to.components));
    tree.found.sort_by_key(|found| std::cmp::Reverse(found.usage));
    tree.found.truncate(MOST);
    Some(Accounts { consumers: tree.found.iter().map(|found| tree.consumer(found)).collect(), shares })
}

/// The cgroups right below one.
pub(super) fn children(dir: &Path, path: &CgroupPath) -> Vec<(PathBuf, CgroupPath)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below
        .map(|entry| {
            let mut path = path.clone();
            path.components.push(entry.file_name().as_bytes().to_vec());
            (entry.path(), path)
        })
        .collect()
}

/// What the two versions call the same.
struct Files {
    usage: &'static str,
    limit: &'static str,
    read_limit: fn(&[u8], PageSize) -> Option<Limit>,
    read_stat: fn(&[u8]) -> Option<MemcgStat>,
}

const V2: &Files = &Files {
    usage: "memory.current",
    limit: "memory.max",
    read_limit: |text, _| limit_v2(text).ok(),
    read_stat: |text| stat_v2(text).ok(),
};
const V1: &Files = &Files {
    usage: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    read_limit: |text, page_size| limit_v1(text, page_size).ok(),
    read_stat: |text| stat_v1(text).ok(),
};

struct Tree {
    files: &'static Files,
    until: Until,
    left: usize,
    page_size: PageSize,
    found: Vec<Found>,
    /// Usage and limit of all pods together.
    pods: Option<(Bytes, Option<Bytes>)>,
    is_cut: bool,
}

struct Found {
    path: CgroupPath,
    dir: Dir,
    usage: Bytes,
}

impl Tree {
    /// What is charged to everything right below the root together, bytes.
    fn walk(&mut self, root: &Path) -> Option<u64> {
        let mut top = None;
        for (dir, path) in children(root, &CgroupPath::default()) {
            self.visit(&dir, &path);
            let usage = Dir::open(&dir).ok().and_then(|dir| self.usage(&dir));
            top = top.into_iter().chain(usage.map(|usage| usage.0)).reduce(u64::saturating_add);
        }
        top
    }

    /// Whether there was an account in it.
    fn visit(&mut self, dir: &Path, path: &CgroupPath) -> bool {
        if self.left == 0 || path.components.len() > DEEPEST || self.until.is_over() {
            self.is_cut = true;
            return true;
        }
        self.left -= 1;
        let is_one = match place(path).kind {
            CgroupKind::Container { .. } => true,
            CgroupKind::Kubepods => {
                self.note_pods(dir);
                false
            }
            CgroupKind::Pod(_) | CgroupKind::QosSlice(_) | CgroupKind::Slice(_) | CgroupKind::Root => false,
            // A node in a container (kind, k3d) or in a unit has its pods in there.
            _ => !holds_accounts(dir, path, PODS_HANG_AT),
        };
        let mut any = false;
        if !is_one {
            for (dir, path) in children(dir, path) {
                any |= self.visit(&dir, &path);
            }
        }
        // A pod whose containers are gone may still be charged for its volumes, and a slice is the account of what
        // below it has none.
        any || self.add(dir, path)
    }

    fn add(&mut self, dir: &Path, path: &CgroupPath) -> bool {
        let Ok(dir) = Dir::open(dir) else { return false };
        let Some(usage) = self.usage(&dir) else { return false };
        // Descriptors are few: only the largest are held on to.
        if self.found.len() >= 2 * MOST {
            self.found.sort_by_key(|found| std::cmp::Reverse(found.usage));
            self.found.truncate(MOST);
        }
        self.found.push(Found { path: path.clone(), dir, usage });
        true
    }

    fn note_pods(&mut self, dir: &Path) {
        let Some(dir) = Dir::open(dir).ok().filter(|_| self.pods.is_none()) else { return };
        if let Some(usage) = self.usage(&dir) {
            self.pods = Some((usage, self.limit(&dir)));
        }
    }

    fn usage(&self, dir: &Dir) -> Option<Bytes> {
        single_number(&dir.read(self.files.usage, SMALL)?).ok().map(Bytes)
    }

    fn limit(&self, dir: &Dir) -> Option<Bytes> {
        (self.files.read_limit)(&dir.read(self.files.limit, SMALL)?, self.page_size)?.bytes()
    }

    fn consumer(&self, found: &Found) -> Consumer {
        let stat = || (self.files.read_stat)(&found.dir.read("memory.stat", SMALL)?);
        let stat = Some(found.usage).filter(|_| !self.until.is_over()).and_then(|_| stat());
        let size = |name: &str| stat.as_ref().and_then(|stat| stat.size(name));
        Consumer {
            cgroup: escape(&found.path.to_bytes()),
            kubernetes: None,
            host: Host::new(&found.path),
            usage_bytes: Some(found.usage),
            working_set_bytes: size("inactive_file").map(|file| Bytes(found.usage.0.saturating_sub(file.0))),
            anon_bytes: size("anon"),
            file_bytes: size("file"),
            shmem_bytes: size("shmem"),
            limit_bytes: self.limit(&found.dir),
        }
    }
}

/// Whether pods' cgroups hang in it, so many levels down; or, where it is nothing known itself, containers: `/docker`.
fn holds_accounts(dir: &Path, path: &CgroupPath, levels: usize) -> bool {
    let is_unknown = place(path).kind == CgroupKind::Other;
    children(dir, path).iter().any(|(dir, path)| match place(path).kind {
        CgroupKind::Kubepods | CgroupKind::QosSlice(_) | CgroupKind::Pod(_) => true,
        CgroupKind::PlainContainer(_) if is_unknown => true,
        _ => levels > 1 && holds_accounts(dir, path, levels - 1),
    })
}
