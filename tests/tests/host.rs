//! The agent on the machine that builds it: a real kill in a cgroup of the test's own, at the level that every kernel
//! with BPF has, and the refusals.
//!
//! Nothing here takes memory from anybody else; a node-wide kill is made in a guest only. What else is OOM-killed on
//! this machine meanwhile is left out of account. `cargo xtask test` builds the agent and runs this.

use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use oomwatch_tests::{
    agent::{self, Agent},
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    here::{binary, is_root},
    memcg::Memcg,
    report::Around,
};

const USAGE: i32 = 64;
const NOT_PERMITTED: i32 = 77;
/// `nobody`.
const NOBODY: u32 = 65_534;
const PROMPTLY: Duration = Duration::from_secs(2);

/// The kernel's log and its rate limit are one for all tests: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn hog_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_oomwatch-guest"))
}

/// Arguments, variables, and what the refusal must name.
type Refused = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);

/// Alone, if this test can run at all.
fn alone_and_root() -> Result<Option<MutexGuard<'static, ()>>> {
    let root = is_root("makes an OOM kill")?;
    Ok(root.then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn bench(arguments: &[&str]) -> Result<Bench> {
    Bench::start(&binary()?, hog_program(), arguments, false)
}

/// A cgroup that no other run of this test has.
fn memcg(bench: &Bench, name: &str) -> Result<Memcg> {
    bench.memcg(&format!("/oomwatch-test-{}/{name}", std::process::id()), 32)
}

#[test]
fn a_kill_at_level_tracepoint_is_what_the_kernel_says() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut bench = bench(&["--output", "json", "--probe", "tracepoint"])?;
    ensure!(bench.agent.level == "tracepoint", "the agent took level {}", bench.agent.level);
    compared_kill(&mut bench)?;
    bench.stop()
}

#[test]
fn auto_takes_the_kprobe_where_the_kernel_has_one() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let mut bench = bench(&["--output", "json"])?;
    let expected = if has_kprobes { "kprobe" } else { "tracepoint" };
    ensure!(bench.agent.level == expected, "the agent took level {}, not {expected}", bench.agent.level);
    compared_kill(&mut bench)?;
    bench.stop()
}

/// A victim that waits while another process runs into the limit: every value must be what was read before.
fn compared_kill(bench: &mut Bench) -> Result<()> {
    let memcg = memcg(bench, "compared")?;
    let mut victim = bench.hog_of(NOBODY, &memcg, &["comm=a) (b \"c,d=e", "adj=300", "anon=20", "stop"])?;
    victim.go_to_stop()?;
    let status = victim.status()?;
    // It may call the OOM killer once more while the victim's pages go back, and so die after it. To protect it from
    // that would need CAP_SYS_RESOURCE, which root in a container seldom has.
    let mut trigger = bench.hog(&memcg, &["comm=trigger", "anon=1", "stop", "anon=20", "stop"])?;
    trigger.go_to_stop()?;
    bench.begin()?;
    trigger.go()?;
    victim.wait_for_kill()?;
    let (report, logged, _) = bench.observe_one(&[victim.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let process = report.victims.first().context("no victim")?;
    with_status(&mut differences, process, &status, Since::Waited, &bench.machine);
    differences.equal("trigger.tgid", report.trigger.as_ref().and_then(|trigger| trigger.tgid), trigger.pid);
    differences.same_name("victim cgroup", process.cgroup.as_deref(), memcg.path.as_bytes());
    // The second is the trigger's, see above.
    let kills = memcg.oom_kills()?;
    ensure!((1..=2).contains(&kills), "oom_kill of the cgroup is {kills}");
    differences.finish().with_context(|| report.line)
}

/// Processes of known sizes, below the cgroup that is at its limit.
#[test]
fn who_else_could_have_been_killed_is_ranked() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    for _ in 0..3 {
        if is_ranked()? {
            return Ok(());
        }
    }
    bail!("the kernel killed a second one each time")
}

/// False: the kernel killed another one too, as it may before the last pages of the first one are back: it is looked at
/// no more as soon as most of them are (`MMF_OOM_SKIP`, mm/oom_kill.c and mm/mmap.c of 6.18).
fn is_ranked() -> Result<bool> {
    let mut bench = bench(&["--output", "json"])?;
    let pod = format!("/oomwatch-test-{}/around", std::process::id());
    let [one, two] = ["one", "two"].map(|name| bench.hierarchy.create(&format!("{pod}/{name}")));
    let (one, two) = (one?, two?);
    one.limit(&pod, 28 << 20)?;
    let mut victim = bench.hog(&one, &["anon=17", "stop"])?;
    victim.go_to_stop()?;
    let mut other = bench.hog(&two, &["comm=other", "anon=7", "stop"])?;
    other.go_to_stop()?;
    // As large as it gets it stays the smallest.
    let mut trigger = bench.hog(&one, &["comm=trigger", "stop", "anon=6", "stop"])?;
    trigger.go_to_stop()?;
    let victims_size = victim.status()?.bytes("VmRSS");
    bench.begin()?;
    trigger.go_to_stop()?;
    victim.wait_for_kill()?;
    let (report, ..) = bench.observe_one(&[victim.pid])?;
    // The kernel takes back what it can before it kills, pages of a program's file too: so the other is read after.
    let Some(others_size) = other.status()?.bytes("VmRSS") else {
        other.wait_for_kill()?;
        return Ok(false);
    };
    let sizes = [victims_size, Some(others_size)];
    let around = Around::of(&report.line)?;
    let mut differences = Differences::default();
    differences.equal("candidates.count", around.candidates.count, 3);
    differences.equal("candidates.victims_place", around.candidates.victims_place, 1);
    let order = [victim.pid, other.pid, trigger.pid].to_vec();
    differences.equal("candidates", Some(around.order()), order);
    for ((hog, cgroup), size) in [(&victim, &one), (&other, &two)].into_iter().zip(sizes) {
        let seen = around.candidate(hog.pid).context("it is no candidate")?;
        let size = size.context("no VmRSS")?;
        // The victim's is the probe's, which sees what each CPU has counted for itself only where it may.
        let off_by = seen.rss.context("no RSS")?.abs_diff(size);
        let near = off_by <= if seen.is_victim { 1 << 20 } else { 0 };
        differences.that(&format!("rss: {:?} of {size}", seen.rss), near);
        differences.equal("is_victim", Some(seen.is_victim), hog.pid == victim.pid);
        differences.equal("cgroup", seen.cgroup.clone(), cgroup.path.clone());
    }
    differences.finish().with_context(|| report.line)?;
    bench.stop()?;
    Ok(true)
}

#[test]
fn what_was_captured_is_reported_after_sigterm() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut bench = bench(&["--output", "json"])?;
    let mut agent = Agent::start(&binary()?, &["--output", "json"])?;
    let mut stdout = agent.take_stdout()?;
    let pid = killed(&mut bench, "drained")?;
    agent.terminate()?;
    let (status, took) = agent.wait()?;
    let mut lines = String::new();
    stdout.read_to_string(&mut lines)?;
    ensure!(status.success(), "ended with {status}. {}", agent.log());
    ensure!(took <= PROMPTLY, "took {took:?} to end. {}", agent.log());
    ensure!(
        lines.contains(&format!("\"tgid\":{pid}")),
        "the kill was not reported: {lines:?}. {}",
        agent.log()
    );
    bench.stop()
}

#[test]
fn a_closed_stdout_ends_the_agent_quietly() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    let mut bench = bench(&["--output", "json"])?;
    let mut agent = Agent::start(&binary()?, &["--output", "json"])?;
    drop(agent.take_stdout()?);
    killed(&mut bench, "unread")?;
    let (status, _) = agent.wait().with_context(|| agent.log())?;
    let log = agent.log();
    ensure!(status.success() && !log.contains("panicked"), "ended with {status}. {log}");
    bench.stop()
}

/// Makes a kill that the bench's own agent reports.
fn killed(bench: &mut Bench, name: &str) -> Result<u32> {
    let memcg = memcg(bench, name)?;
    bench.begin()?;
    let mut hog = bench.hog(&memcg, &["anon=256"])?;
    hog.go()?;
    hog.wait_for_kill()?;
    bench.observe_one(&[hog.pid])?;
    Ok(hog.pid)
}

#[test]
fn what_is_unknown_or_unparsable_is_refused_with_one_line() -> Result<()> {
    let table: &[Refused] = &[
        (&["run", "--outptu", "json"], &[], "outptu"),
        (&["run", "--output", "xml"], &[], "xml"),
        (&["run", "--probe", "magic"], &[], "magic"),
        (&["walk"], &[], "walk"),
        (&[], &[], ""),
        (&["run"], &[("OOMWATCH_OUTPUT", "xml")], "xml"),
        (&["run"], &[("OOMWATCH_PROBE", "")], "probe"),
        (&["run"], &[("OOMWATCH_OUTPTU", "json")], "OOMWATCH_OUTPTU"),
    ];
    for (arguments, variables, named) in table {
        let (status, log) = agent::run(&binary()?, arguments, variables, None)?;
        let what = format!("{arguments:?} {variables:?} ended with {status}: {log}");
        ensure!(status.code() == Some(USAGE), "{what}");
        ensure!(log.to_lowercase().contains(&named.to_lowercase()), "does not name {named:?}: {what}");
        ensure!(log.trim_end().lines().count() == 1, "more than one line: {what}");
    }
    Ok(())
}

#[test]
fn without_root_the_missing_permission_is_named() -> Result<()> {
    let Some(_guard) = alone_and_root()? else { return Ok(()) };
    // Nobody may not be allowed to reach the build's folder.
    let copy = env::temp_dir().join(format!("oomwatch-for-nobody-{}", std::process::id()));
    std::fs::copy(binary()?, &copy)?;
    let ended = agent::run(&copy, &["run"], &[], Some(NOBODY));
    std::fs::remove_file(&copy)?;
    let (status, log) = ended?;
    ensure!(status.code() == Some(NOT_PERMITTED), "ended with {status}: {log}");
    ensure!(log.contains("CAP_BPF") || log.contains("root"), "names no way to give the permission: {log}");
    Ok(())
}
