//! Victims of every kind.

use std::fs;

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, Slack, with_log, with_status},
    hog::Hog,
    status::Status,
};

use super::{Standing, limits::Mounted, one_kill, stand};

/// Of a trigger that must not die as well. A victim's pages go back in batches after the kernel stopped waiting for it
/// (`MMF_OOM_SKIP` comes before `tlb_finish_mmu`, `exit_mmap`, mm/mmap.c), so an allocation that goes on may call the
/// OOM killer once more.
pub(super) const PROTECTED: &str = "adj=-1000";

/// The victim waits meanwhile, so every value must be what the test read.
pub(super) fn other_trigger(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/trigger", 48)?;
    let mut victim = bench.hog(&memcg, &["comm=victim", "anon=30", "stop"])?;
    let standing = stand(&mut victim)?;
    let mut trigger = bench.hog(&memcg, &[PROTECTED, "comm=trigger", "anon=1", "stop", "anon=30", "stop"])?;
    trigger.go_to_stop()?;
    let mut seen = one_kill(bench, &memcg, &mut trigger, &standing, Since::Waited)?;
    trigger.wait_for_stop()?;
    let comm = seen.report.trigger.as_ref().and_then(|trigger| trigger.comm.as_deref());
    seen.differences.same_name("trigger.comm", comm, b"trigger");
    seen.finish()
}

pub(super) fn kinds_of_memory(bench: &mut Bench) -> Result<()> {
    let _tmpfs = Mounted::new("tmpfs", "/tmp/oomwatch-tmpfs")?;
    // Its pages are file pages that cannot be reclaimed: they stay mapped until the kill.
    let _ramfs = Mounted::new("ramfs", "/tmp/oomwatch-ramfs")?;
    let memcg = bench.memcg("/kinds", 64)?;
    let steps = ["anon=20", "map=/tmp/oomwatch-tmpfs/mapped:12", "map=/tmp/oomwatch-ramfs/mapped:8", "stop"];
    let mut victim = bench.hog(&memcg, &steps)?;
    let standing = stand(&mut victim)?;
    let mut trigger = bench.hog(&memcg, &[PROTECTED, "anon=1", "stop", "anon=34", "stop"])?;
    trigger.go_to_stop()?;
    let mut seen = one_kill(bench, &memcg, &mut trigger, &standing, Since::Waited)?;
    let of_ours = [
        ("rss.anon_bytes", seen.process.rss_anon, 20),
        ("rss.shmem_bytes", seen.process.rss_shmem, 12),
        ("rss.file_bytes", seen.process.rss_file, 8),
    ];
    // Before 6.2 a thread passes on what it counted only once in 64 faults (SPLIT_RSS_COUNTING, mm/memory.c).
    let counted_late = 64 * bench.machine.page;
    let slack = Slack { bytes: counted_late + bench.machine.unsummed().bytes, why: "not yet counted" };
    for (name, ours, mib) in of_ours {
        seen.differences.no_less(name, ours, mib << 20, slack);
        // The rest is the program itself: its text, stack and heap.
        seen.differences
            .that(&format!("{name} holds another kind, too: {ours:?}"), ours < Some((mib + 4) << 20));
    }
    seen.finish()
}

/// The kernel names the leader in "oom-kill:" and the worker in "Killed process": the report's tgid and tid.
pub(super) fn zombie_leader(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/zombie", 48)?;
    let steps = ["comm=hog-leader", "worker=hog-worker", "anon=16", "stop", "anon=256"];
    let mut hog = bench.hog(&memcg, &steps)?;
    hog.go_to_stop()?;
    let worker = second_thread(&hog)?;
    let standing = Standing { status: Status::of_thread(hog.pid, worker)?, pid: hog.pid };
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, logged, kernel_count) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let victim = report.victims.first().context("no victim")?;
    with_status(&mut differences, victim, &standing.status, Since::Grew, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.equal("victim tgid", victim.tgid, hog.pid);
    differences.equal("victim tid", victim.tid, worker);
    differences.same_name("victim comm", victim.comm.as_deref(), b"hog-worker");
    differences.finish().with_context(|| report.line)
}

/// The thread that a hog has beside its first.
pub(super) fn second_thread(hog: &Hog) -> Result<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", hog.pid))?;
    let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    tids.filter(|&tid| tid != hog.pid).max().context("the hog has one thread")
}

pub(super) fn threads(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/threads", 48)?;
    let mut hog = bench.hog(&memcg, &["threads=12", "anon=16", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    seen.differences.equal("victim tid", seen.process.tid, hog.pid);
    seen.finish()
}

/// Of a cgroup's processes the kernel chooses the first thread, whichever allocates.
pub(super) fn thread_triggers(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/thread", 48)?;
    let mut hog = bench.hog(&memcg, &["comm=first", "thread=second", "anon=16", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    let trigger = seen.report.trigger.clone().context("no trigger")?;
    seen.differences.same_name("trigger.comm", trigger.comm.as_deref(), b"second");
    seen.differences.that("trigger.tid is that of the first thread", trigger.tid != trigger.tgid);
    seen.differences.equal("victim tid", seen.process.tid, hog.pid);
    seen.differences.same_name("victim comm", seen.process.comm.as_deref(), b"first");
    seen.finish()
}

/// As in a container: to itself it is pid 1, in the cgroup `/`.
pub(super) fn namespaces(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/namespaces/inner", 48)?;
    let mut hog = bench.hog(&memcg, &["cgroupns", "pidns", "anon=16", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    seen.differences.equal("victim pid_in_namespace", seen.process.pid_in_namespace, 1);
    seen.differences.same_name("victim cgroup", seen.process.cgroup.as_deref(), b"/namespaces/inner");
    seen.finish()
}

pub(super) fn other_user(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/user", 48)?;
    let mut hog = bench.hog_of(65_534, &memcg, &["anon=16", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    seen.differences.equal("victim uid", seen.process.uid, 65_534);
    seen.finish()
}

pub(super) fn comm_like_the_log(bench: &mut Bench) -> Result<()> {
    named(bench, r#"a) (b "c,d=e"#, br#"a) (b "c,d=e"#)
}

pub(super) fn comm_with_control_bytes(bench: &mut Bench) -> Result<()> {
    named(bench, r"\x1b[31m\n{\x22\\\xff\x7f\x01", b"\x1b[31m\n{\"\\\xff\x7f\x01")
}

fn named(bench: &mut Bench, spelled: &str, comm: &[u8]) -> Result<()> {
    let memcg = bench.memcg("/named", 48)?;
    let mut hog = bench.hog(&memcg, &[&format!("comm={spelled}"), "anon=16", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    seen.differences.same_name("victim comm", seen.process.comm.as_deref(), comm);
    let lines = seen.report.line.bytes().filter(u8::is_ascii_control).count();
    seen.differences.equal("control bytes in the line", Some(lines), 0);
    seen.finish()
}

/// The smaller process dies, for the larger one may not.
pub(super) fn adjusted(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/adjusted", 48)?;
    let mut victim = bench.hog(&memcg, &["adj=700", "anon=10", "stop"])?;
    let standing = stand(&mut victim)?;
    let mut trigger = bench.hog(&memcg, &[PROTECTED, "anon=30", "stop", "anon=12", "stop"])?;
    trigger.go_to_stop()?;
    let mut seen = one_kill(bench, &memcg, &mut trigger, &standing, Since::Waited)?;
    trigger.wait_for_stop()?;
    seen.differences.equal("victim oom_score_adj", seen.process.oom_score_adj, 700);
    seen.finish()
}
