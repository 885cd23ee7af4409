//! The whole agent beside a kubelet and an API server that behave as each test says, with real kills in cgroups that
//! are named as a pod's.
//!
//! The servers stand in for real ones, with captured answers; the kills, the TLS and the agent are real.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use oomwatch_tests::{
    agent::command,
    deadline::wait_for,
    here::{binary, is_root},
    rig::Rig,
    standin::Standin,
    status::Status,
};
use serde_json::Value;

const KILLS: &str = "makes an OOM kill";
/// More than an object may have Events of its own.
const STORM: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(20);

/// `prepare` writes the stand-in's files before the agent starts.
fn start(name: &str, more: &[&str], prepare: impl FnOnce(&Standin) -> Result<()>) -> Result<Rig> {
    let standin = Path::new(env!("CARGO_BIN_EXE_oomwatch-standin"));
    Rig::start(standin, Path::new(env!("CARGO_BIN_EXE_oomwatch-guest")), name, more, prepare)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn gap<'a>(report: &'a Value, what: &str) -> Option<&'a str> {
    let gaps = report.get("gaps")?.as_array()?;
    gaps.iter().find(|gap| gap.get("what").and_then(Value::as_str) == Some(what)).map(|gap| text(gap, "/why"))
}

#[test]
fn a_kill_is_reported_and_told_by_the_names_of_its_pod() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    let records = env::temp_dir().join(format!("oomwatch-records-{}", std::process::id()));
    let record_to = records.to_str().context("the folder's name is no text")?;
    let mut rig = start("names", &["--record-to", record_to], |_| Ok(()))?;
    let report = rig.kill()?;
    let seen = ["namespace", "pod", "container", "names_from", "image", "qos"];
    let seen = seen.map(|field| text(&report, &format!("/kubernetes/{field}")));
    assert_eq!(seen, ["default", "n-multi", "steady", "kubelet", "localhost/rig/tool:1", "burstable"]);
    assert_eq!(report.pointer("/kubernetes/limits_bytes"), Some(&Value::from(32 << 20)));
    assert_eq!(gap(&report, "kubernetes.pod"), None);
    let event = wait_for("the Event", PATIENCE, || Ok(rig.events()?.pop()))?;
    assert_eq!(text(&event, "/regarding/name"), "n-multi");
    assert_eq!(text(&event, "/regarding/uid"), rig.pod);
    assert_eq!(text(&event, "/regarding/fieldPath"), "spec.containers{steady}");
    assert_eq!((text(&event, "/reason"), text(&event, "/type")), ("OOMKill", "Warning"));
    assert_eq!(text(&event, "/eventTime"), text(&report, "/time"));
    assert_eq!(text(&event, "/reportingInstance"), "rignode");
    // A recording has the names too: no kubelet is asked when it is shown again.
    let mut replay = command(&binary()?);
    replay.args(["replay", record_to, "--output", "json"]);
    let replayed: Value = serde_json::from_slice(&replay.output()?.stdout)?;
    fs::remove_dir_all(&records)?;
    assert_eq!(replayed, report);
    let log = rig.end()?;
    ensure!(log.contains("answered 1") && log.contains("created 1"), "{log}");
    Ok(())
}

#[test]
fn who_was_around_a_kill_has_names_too_and_a_second_kill_is_known_for_one() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    let mut rig = start("around", &[], |_| Ok(()))?;
    let memcg = rig.bench.memcg(&format!("/kubepods/burstable/pod{}/{}", rig.pod, rig.id), 32)?;
    let mut bystander = rig.bench.hog(&memcg, &["comm=bystander", "anon=4", "stop"])?;
    bystander.go_to_stop()?;
    for kills in 1..3 {
        let report = rig.kill()?;
        assert_eq!(text(&report, "/kubernetes/container_started_at"), "2026-11-20T16:06:56Z");
        let candidates = report.pointer("/candidates/processes").and_then(Value::as_array);
        let [worst, other] = candidates.context("no candidates")?.as_slice() else {
            bail!("not two candidates: {report}")
        };
        assert_eq!(worst.pointer("/is_victim"), Some(&Value::from(true)));
        let seen = ["/comm", "/kubernetes/namespace", "/kubernetes/pod", "/kubernetes/container"];
        assert_eq!(seen.map(|field| text(other, field)), ["bystander", "default", "n-multi", "steady"]);
        let repeats = report.pointer("/repeats/count").cloned();
        assert_eq!(repeats, (kills > 1).then(|| Value::from(kills)), "{report}");
    }
    rig.end().map(drop)
}

#[test]
fn a_kill_outside_of_all_pods_is_told_to_the_node_old_api_servers_too() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    for (is_old, namespace) in [(false, "default"), (true, "kube-system")] {
        let mut rig = start("node", &[], |standin| if is_old { standin.set("api/old", "") } else { Ok(()) })?;
        let path = format!("/system.slice/oomwatch-test-{}.service", std::process::id());
        let report = rig.kill_at(&path)?;
        assert_eq!(text(&report, "/host/kind"), "service");
        rig.kill_at(&path)?;
        let events = wait_for("the Events", PATIENCE, || {
            Ok(Some(rig.standin.events(namespace)?).filter(|events| events.len() == 2))
        })?;
        for event in events {
            assert_eq!(
                (text(&event, "/regarding/kind"), text(&event, "/regarding/name")),
                ("Node", "rignode")
            );
            assert_eq!(text(&event, "/regarding/uid"), "rignode");
        }
        let log = rig.end()?;
        ensure!(log.contains("created 2") && !log.contains("not told"), "{log}");
    }
    Ok(())
}

/// How it behaves, what the gap says, and how that is counted.
const MISBEHAVIOUR: &[(&str, &str, &str)] = &[
    ("401", "401", "unauthorized"),
    ("403", "403", "forbidden"),
    ("404", "404", "not_found"),
    ("500", "500", "other_status"),
    ("503", "503", "other_status"),
    ("garbage", "no PodList", "malformed"),
    ("html", "no PodList: <html>", "malformed"),
    ("truncated", "middle", "malformed"),
    ("endless", "no PodList", "malformed"),
    ("close", "not reachable", "unreachable"),
    ("nulls", "does not list it", "answered"),
    ("hang", "timed out", ""),
    ("drip", "timed out", ""),
    ("slow 60000", "timed out", ""),
];

#[test]
fn however_the_kubelet_misbehaves_the_report_goes_out_in_time() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    for (mode, why, counted) in MISBEHAVIOUR {
        let name = mode.replace(' ', "-");
        let mut rig = start(&name, &[], |standin| standin.set("kubelet/mode", mode))?;
        let report = rig.kill().with_context(|| format!("mode {mode}"))?;
        let said = gap(&report, "kubernetes.pod").unwrap_or_default();
        ensure!(said.contains(why), "mode {mode}: the gap says {said:?}");
        assert_eq!(text(&report, "/kubernetes/pod_uid"), rig.pod, "mode {mode}: what the path says");
        assert_eq!(text(&report, "/kubernetes/container_id"), rig.id, "mode {mode}");
        let took = report.pointer("/latency/hook_to_report_us").and_then(Value::as_u64);
        ensure!(
            took.is_some_and(|us| us < 4_000_000),
            "mode {mode}: {took:?} us from the kill to the report"
        );
        ensure!(rig.events()?.is_empty(), "mode {mode}: an Event about a pod without a name");
        let log = rig.end()?;
        ensure!(log.contains(counted) && log.contains("nameless 1"), "mode {mode}: {log}");
        let warnings = log.lines().filter(|line| line.contains("reports will lack names")).count();
        let expected = usize::from(!counted.is_empty() && *counted != "answered");
        ensure!(warnings == expected, "mode {mode}: {warnings} warnings. {log}");
    }
    Ok(())
}

#[test]
fn fifty_megabytes_of_other_pods_are_read_without_holding_them() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    let mut rig =
        start("huge", &["--report-deadline-ms", "60000"], |standin| standin.set("kubelet/mode", "huge"))?;
    let report = rig.kill()?;
    assert_eq!(text(&report, "/kubernetes/pod"), "n-multi", "{:?}", gap(&report, "kubernetes.pod"));
    let peak_kib = Status::of_process(rig.bench.agent.id())?.number("VmHWM").context("no VmHWM")?;
    ensure!(peak_kib < 48 * 1024, "the agent needed {peak_kib} KiB");
    rig.end().map(drop)
}

#[test]
fn a_kubelet_that_comes_back_and_a_token_that_rotates_are_no_trouble() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    let mut rig =
        start("back", &["--report-deadline-ms", "15000"], |standin| standin.set("kubelet/mode", "503 2"))?;
    let report = rig.kill()?;
    assert_eq!(text(&report, "/kubernetes/pod"), "n-multi", "{:?}", gap(&report, "kubernetes.pod"));
    rig.standin.set("serviceaccount/token", "the-next-one\n")?;
    // Started again under a new id, which only the next answer has.
    let next = rig.id.replace('0', "f");
    let list = fs::read_to_string(rig.standin.dir.join("pods.json"))?;
    rig.standin.set("pods.json", &list.replace(&rig.id, &next))?;
    let report = rig.kill_in(&next)?;
    assert_eq!(
        text(&report, "/kubernetes/container"),
        "steady",
        "{:?}",
        gap(&report, "kubernetes.container")
    );
    let log = rig.end()?;
    ensure!(log.contains("answers again") && !log.contains("unauthorized"), "{log}");
    Ok(())
}

/// How the API server behaves for some requests, and how the kill is counted in the end.
const UNWILLING: &[(&str, &str)] = &[
    ("429 2", "created 1"),
    ("500 2", "created 1"),
    ("503 1", "created 1"),
    ("close 2", "created 1"),
    ("garbage 1", "created 1"),
    ("409", "already_told 1"),
    ("401", "denied 1"),
    ("403", "denied 1"),
    ("404", "rejected 1"),
    ("422", "rejected 1"),
    ("terminating", "rejected 1"),
];

#[test]
fn however_the_api_server_misbehaves_the_report_does_not_wait() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    for (mode, counted) in UNWILLING {
        let name = format!("api-{}", mode.replace(' ', "-"));
        let mut rig = start(&name, &[], |standin| standin.set("api/mode", mode))?;
        let report = rig.kill().with_context(|| format!("mode {mode}"))?;
        assert_eq!(text(&report, "/kubernetes/pod"), "n-multi", "mode {mode}");
        let took = report.pointer("/latency/hook_to_report_us").and_then(Value::as_u64);
        ensure!(
            took.is_some_and(|us| us < 4_000_000),
            "mode {mode}: {took:?} us from the kill to the report"
        );
        let expected = usize::from(*counted == "created 1");
        let posts =
            |rig: &Rig| rig.standin.requests("api").iter().filter(|line| line.starts_with("POST")).count();
        let tries =
            mode.split_once(' ').map_or(Ok(1), |(_, times)| times.parse::<usize>().map(|times| times + 1))?;
        wait_for(&format!("{tries} requests in mode {mode}"), PATIENCE, || {
            let told = rig.events()?.len() == expected && posts(&rig) >= tries;
            Ok(told.then_some(()))
        })?;
        let log = rig.end()?;
        ensure!(log.contains(counted), "mode {mode}: {log}");
        let warnings = log.lines().filter(|line| line.contains("Kubernetes is not told")).count();
        let expected = usize::from(matches!(*mode, "401" | "403" | "422"));
        ensure!(warnings == expected, "mode {mode}: {warnings} warnings. {log}");
    }
    Ok(())
}

#[test]
fn an_api_server_that_hangs_keeps_neither_reports_nor_the_end() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    let mut rig = start("api-hang", &[], |standin| standin.set("api/mode", "hang"))?;
    for _ in 0..3 {
        rig.kill()?;
    }
    let begun = Instant::now();
    rig.end()?;
    ensure!(begun.elapsed() < Duration::from_secs(3), "{:?} to end", begun.elapsed());
    Ok(())
}

#[test]
fn every_kill_of_a_storm_is_in_some_event() -> Result<()> {
    if !is_root(KILLS)? {
        return Ok(());
    }
    let mut rig = start("storm", &[], |_| Ok(()))?;
    for _ in 0..STORM {
        rig.kill()?;
    }
    let standin_dir = rig.standin.dir.clone();
    wait_for("the first Events", PATIENCE, || Ok((rig.events()?.len() >= 5).then_some(())))?;
    let pod = rig.pod.clone();
    // What is left is told at the end: keep the folder until it was looked at.
    rig.bench.agent.terminate()?;
    let (status, _) = rig.bench.agent.wait()?;
    let log = rig.bench.agent.log();
    ensure!(status.success(), "ended with {status}. {log}");
    let events = rig.events()?;
    ensure!(events.len() < 12, "{} Events in {}", events.len(), standin_dir.display());
    let stood_for: u64 =
        events.iter().map(|event| event.pointer("/series/count").and_then(Value::as_u64).unwrap_or(1)).sum();
    assert_eq!(stood_for, STORM, "{log}");
    assert!(events.iter().all(|event| text(event, "/regarding/uid") == pod));
    Ok(())
}
