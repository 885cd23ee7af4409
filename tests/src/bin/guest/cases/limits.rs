//! One process, and limits at every height above it.

use std::{ffi::CStr, fs};

use anyhow::{Context, Result};
use oomwatch_tests::{bench::Bench, compare::Since};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{one_kill, stand};

const KUBEPODS: &str = "/kubepods.slice";
const POD: &str = "/kubepods.slice/kubepods-burstable.slice/\
                   kubepods-burstable-pod0a3c7e51_9b1d_4c43_8f0e_2f6b3d5a7c11.slice";
const CONTAINER: &str =
    "cri-containerd-6f1c0a52b7d94e38a1c5f0e7d2b94836c5a1e0f7d3b2948c6a5e1f0d7b3c2a94.scope";
const GUARANTEED: &str = "/kubepods/pod3e1d9a70-7c55-4b0f-9f2e-6a8c2b1d4e90/\
                          1b7f3c0a52d94e38a1c5f0e7d2b94836c5a1e0f7d3b2948c6a5e1f0d7b3c2a94";
const PANIC_ON_OOM: &str = "/proc/sys/vm/panic_on_oom";

pub(super) fn own(bench: &mut Bench) -> Result<()> {
    below_limit(bench, &format!("{POD}/{CONTAINER}"), &format!("{POD}/{CONTAINER}"))
}

pub(super) fn parent(bench: &mut Bench) -> Result<()> {
    below_limit(bench, &format!("{POD}/{CONTAINER}"), POD)
}

/// A Guaranteed pod under the kubelet's cgroupfs driver: nothing stands between it and the root of all pods.
pub(super) fn grandparent(bench: &mut Bench) -> Result<()> {
    below_limit(bench, GUARANTEED, "/kubepods")
}

pub(super) fn great_grandparent(bench: &mut Bench) -> Result<()> {
    below_limit(bench, &format!("{POD}/{CONTAINER}"), KUBEPODS)
}

pub(super) fn hostile_name(bench: &mut Bench) -> Result<()> {
    let path = "/we ird,name=x\u{1b}[31m\\n/\u{fc}";
    below_limit(bench, path, path)
}

/// With 1 the kernel panics for want of the machine's memory, not of a cgroup's (`check_panic_on_oom`,
/// `mm/oom_kill.c`). With 2 it always does, before there is a kill: nothing can be reported then.
pub(super) fn panic_on_oom(bench: &mut Bench) -> Result<()> {
    fs::write(PANIC_ON_OOM, "1").context("cannot set vm.panic_on_oom")?;
    let outcome = own(bench);
    fs::write(PANIC_ON_OOM, "0").context("cannot set vm.panic_on_oom back")?;
    outcome
}

/// A process in `path` grows until the limit of `owner`, the only one there is.
fn below_limit(bench: &mut Bench, path: &str, owner: &str) -> Result<()> {
    let memcg = bench.hierarchy.create(path)?;
    memcg.limit(owner, 48 << 20)?;
    let mut hog = bench.hog(&memcg, &["anon=24", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    if seen.report.level.as_deref() == Some("kprobe") {
        let reported = seen.report.limit_owner.as_ref().and_then(|owner| owner.cgroup.as_deref());
        seen.differences.same_name("limit_owner.cgroup", reported, owner.as_bytes());
        let limit = seen.report.limit_owner.as_ref().and_then(|owner| owner.limit);
        seen.differences.equal("limit_owner.limit_bytes", limit, 48 << 20);
    }
    seen.differences.same_name("victim cgroup", seen.process.cgroup.as_deref(), path.as_bytes());
    seen.finish()
}

/// A mount of the tests' own, gone when dropped.
pub(super) struct Mounted(pub(super) &'static str);

impl Mounted {
    pub(super) fn new(kind: &str, path: &'static str) -> Result<Self> {
        Self::with(kind, path, None)
    }

    pub(super) fn with(kind: &str, path: &'static str, options: Option<&CStr>) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {path}"))?;
        mount(kind, path, kind, MountFlags::empty(), options)
            .with_context(|| format!("cannot mount {kind} at {path}"))?;
        Ok(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached, so that a process that has a file open in it does not keep it: its memory is freed with it.
        unmount(self.0, UnmountFlags::DETACH).ok();
    }
}

/// The pages of a tmpfs are charged to the cgroup and mapped by nobody: the victim is small, and its death frees
/// nothing.
pub(super) fn tmpfs(bench: &mut Bench) -> Result<()> {
    let _mounted = Mounted::new("tmpfs", "/tmp/oomwatch-tmpfs")?;
    let memcg = bench.memcg("/tmpfs", 32)?;
    let mut hog = bench.hog(&memcg, &["anon=1", "stop", "write=/tmp/oomwatch-tmpfs/grows:64"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    let rss = [seen.process.rss_anon, seen.process.rss_file, seen.process.rss_shmem];
    let rss: u64 = rss.into_iter().flatten().sum();
    seen.differences.that("the victim of a full tmpfs is small", rss < 16 << 20);
    seen.finish()
}
