//! Who else could have been killed, and who used the memory.

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since},
    report::Around,
};

use super::{compared, processes::PROTECTED, stand};

const POD: &str = "/kubepods/burstable/pod7d0e5a91-1c2b-4f3a-8e6d-5b4c3a2f1e0d";
const LARGE: &str = "a1b7f3c0a52d94e38a1c5f0e7d2b94836c5a1e0f7d3b2948c6a5e1f0d7b3c2a9";
const SMALL: &str = "b2c8f3c0a52d94e38a1c5f0e7d2b94836c5a1e0f7d3b2948c6a5e1f0d7b3c2a9";
const SERVICE: &str = "/system.slice/noise.service";

/// In a pod at its limit the smaller process dies: its `oom_score_adj` makes it the worse one.
pub(super) fn smaller_by_adjustment(bench: &mut Bench) -> Result<()> {
    let large = bench.hierarchy.create(&format!("{POD}/{LARGE}"))?;
    large.limit(POD, 160 << 20)?;
    let small = bench.hierarchy.create(&format!("{POD}/{SMALL}"))?;
    let mut larger = bench.hog(&large, &["comm=larger", "anon=72", "stop"])?;
    let larger_stands = stand(&mut larger)?;
    // A victim's pages are given back some 10,000 at a time (MAX_GATHER_BATCH_COUNT, mm/mmu_gather.c), and the last of
    // them only after the kernel takes it for gone (MMF_OOM_SKIP, exit_mmap): one of fewer may cost a second its life.
    let mut victim = bench.hog(&small, &["comm=smaller", "adj=900", "anon=48", "stop"])?;
    let standing = stand(&mut victim)?;
    let mut trigger = bench.hog(&large, &[PROTECTED, "comm=trigger", "anon=4", "stop", "anon=38", "stop"])?;
    trigger.go_to_stop()?;
    bench.begin()?;
    let before = small.oom_kills()?;
    trigger.go()?;
    let (report, logged, kernel_count, is_followed) = bench.observe_first(victim.pid, larger.pid)?;
    let observed = (report, logged, kernel_count);
    let mut seen = compared(bench, (&small, before), trigger.pid, (&standing, Since::Waited), observed)?;
    trigger.wait_for_stop()?;
    if is_followed {
        // 7.2 does so, also where no agent runs. Who else was there when the files were read, is chance then.
        return seen.finish();
    }
    let around = Around::of(&seen.report.line)?;
    let differences = &mut seen.differences;
    differences.equal("candidates.count", around.candidates.count, 3);
    differences.equal("candidates.victims_place", around.candidates.victims_place, 1);
    let order = Some(around.order());
    differences.equal("candidates", order, [victim.pid, larger.pid, trigger.pid].to_vec());
    let larger_seen = around.candidate(larger.pid).context("the larger process is no candidate")?;
    let size = larger_stands.status.bytes("VmRSS").context("no VmRSS")?;
    differences.equal("rss of the larger", larger_seen.rss, size);
    differences.equal("cgroup of the larger", larger_seen.cgroup.clone(), format!("{POD}/{LARGE}"));
    differences.that("the victim is marked", around.candidate(victim.pid).is_some_and(|one| one.is_victim));
    let protected = around.candidate(trigger.pid).context("the trigger is no candidate")?;
    differences.equal("oom_score_adj of the trigger", protected.oom_score_adj, -1000);
    differences.that("one that cannot be killed has no badness", protected.badness.is_none());
    seen.finish()
}

/// The node runs out, and the report says which container and which service had how much.
pub(super) fn consumers_of_the_node(bench: &mut Bench) -> Result<()> {
    let container = bench.hierarchy.create(&format!("{POD}/{LARGE}"))?;
    let service = bench.hierarchy.create(SERVICE)?;
    let mut app = bench.hog(&container, &["comm=app", PROTECTED, "anon=24", "stop"])?;
    let app_stands = stand(&mut app)?;
    let mut noise = bench.hog(&service, &["comm=noise", PROTECTED, "anon=12", "stop"])?;
    noise.go_to_stop()?;
    let mut hog = bench.unlimited_hog(&["comm=node-hog", "anon=64", "stop", "anon=8192"])?;
    hog.go_to_stop()?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, _, _) = bench.observe_one(&[hog.pid])?;
    let around = Around::of(&report.line)?;
    let mut differences = Differences::default();
    let mib = |size: Option<u64>| size.map(|size| size >> 20);
    let within =
        |size: Option<u64>, least: u64| mib(size).is_some_and(|size| (least..least + 8).contains(&size));
    differences.that("the container used 24 MiB", within(around.used_by(&format!("{POD}/{LARGE}")), 24));
    differences.that("the service used 12 MiB", within(around.used_by(SERVICE), 12));
    differences.that("all pods used 24 MiB", within(around.node_shares.pods, 24));
    differences.that("the host used 12 MiB and more", mib(around.node_shares.host) >= Some(12));
    differences.that("zones are there", !around.zones.is_empty());
    let app_seen = around
        .candidate(app.pid)
        .with_context(|| format!("the container's process is no candidate: {}", report.line))?;
    differences.equal(
        "rss of the container's process",
        app_seen.rss,
        app_stands.status.bytes("VmRSS").unwrap_or(0),
    );
    differences.that("PID 1 is none", around.candidate(1).is_none());
    differences.equal("candidates.victims_place", around.candidates.victims_place, 1);
    differences.that("the victim is marked", around.candidate(hog.pid).is_some_and(|one| one.is_victim));
    differences.finish().with_context(|| report.line.clone())
}
