//! One of two memory nodes is full, and the process may not use the other: no cgroup's limit, and the machine has
//! memory left.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    hog::Hog,
    memcg::Version,
};

use super::{processes::PROTECTED, stand};

/// The node that is filled; the kernel has most of its own on the other.
const NODE: &str = "1";

/// A cgroup whose processes may use that node alone; gone when dropped.
struct Cpuset(PathBuf);

impl Cpuset {
    fn new(version: Version) -> Result<Self> {
        let root = match version {
            Version::V1 => "/sys/fs/cgroup/cpuset",
            Version::V2 => "/sys/fs/cgroup",
        };
        if version == Version::V2 {
            fs::write(Path::new(root).join("cgroup.subtree_control"), "+cpuset")
                .context("no cpuset controller")?;
        }
        let cpuset = Self(Path::new(root).join("oomwatch-nodes"));
        fs::create_dir_all(&cpuset.0)?;
        if version == Version::V1 {
            let cpus = fs::read(Path::new(root).join("cpuset.cpus"))?;
            fs::write(cpuset.0.join("cpuset.cpus"), cpus)?;
        }
        fs::write(cpuset.0.join("cpuset.mems"), NODE).context("cannot set cpuset.mems")?;
        Ok(cpuset)
    }
}

impl Drop for Cpuset {
    fn drop(&mut self) {
        // Left behind, it changes nothing for the other tests.
        fs::remove_dir(&self.0).ok();
    }
}

pub(super) fn cpuset(bench: &mut Bench) -> Result<()> {
    let cpuset = Cpuset::new(bench.hierarchy.version)?;
    let mut hog = bench.unlimited_hog(&["anon=16", "stop", "anon=8192"])?;
    fs::write(cpuset.0.join("cgroup.procs"), hog.pid.to_string())?;
    full_node(bench, &mut hog, "cpuset")
}

pub(super) fn mempolicy(bench: &mut Bench) -> Result<()> {
    let mut hog = bench.unlimited_hog(&[&format!("bind={NODE}"), "anon=16", "stop", "anon=8192"])?;
    full_node(bench, &mut hog, "mempolicy")
}

fn full_node(bench: &mut Bench, hog: &mut Hog, confined_by: &str) -> Result<()> {
    let mut bystander = bench.unlimited_hog(&[PROTECTED, "anon=8", "stop"])?;
    bystander.go_to_stop()?;
    let standing = stand(hog)?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, logged, kernel_count) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let victim = report.victims.first().context("no victim")?;
    with_status(&mut differences, victim, &standing.status, Since::Grew, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.equal("scope", report.scope.as_deref(), confined_by);
    differences.equal("cause", report.cause.as_deref(), confined_by);
    // Present pages and swap (`constrained_alloc`, mm/oom_kill.c): a little more than the node's MemTotal, and less
    // than twice that.
    let (domain, node) = (report.oom.totalpages_bytes, node_memory()?);
    let within =
        domain.is_some_and(|domain| (node..2 * node).contains(&domain.saturating_sub(bench.machine.swap)));
    differences.that(&format!("oom.totalpages_bytes {domain:?} is not that of the node, {node}"), within);
    differences.that("a bystander died", bystander.alive()?);
    differences.finish().with_context(|| report.line)
}

/// `Node 1 MemTotal:  257792 kB`, as bytes.
fn node_memory() -> Result<u64> {
    let path = format!("/sys/devices/system/node/node{NODE}/meminfo");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find(|line| line.contains("MemTotal:")).context("no MemTotal of the node")?;
    let kib: u64 = line.split_whitespace().nth(3).context("no MemTotal of the node")?.parse()?;
    Ok(kib << 10)
}
