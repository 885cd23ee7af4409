//! Paths against a recorded kubelet's pods.

use super::*;
use crate::{
    pods::ListReader,
    report::{CandidatesFrom, Consumer, NodeShares},
    surroundings::{Surroundings, Task, Tasks},
    units::BoottimeNs,
};

const MULTI: &str = include_str!("../../../tests/fixtures/kubelet/api-multi-t2.json");
const MULTI_UID: &str = "4e3b9b0a-c2ea-401c-9a5c-0c1a15523d69";
const STEADY: &str = "6f7066ff5d9d4d090ef46e2471a431d08bb5b269f25f5ba9758b2cdb44e8c0d3";
const EATER_BEFORE: &str = "3a51b7b2c4fe6af46aec4b1decba0b7a86bdf9bfad646afa35aab6960dad2651";
const BURST_UID: &str = "9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e";
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000001";

fn index() -> PodIndex {
    let mut reader = ListReader::default();
    reader.push(MULTI.as_bytes()).unwrap();
    PodIndex::default().updated(reader.finish().unwrap().pods, BoottimeNs(0))
}

fn paths(path: &str, is_pause: bool) -> Paths {
    let path = path.replace("MULTI", MULTI_UID).replace("BURST", BURST_UID);
    let path = path.replace("STEADY", STEADY).replace("EATER", EATER_BEFORE).replace("UNKNOWN", UNKNOWN);
    Paths { victim: Some(Owner { path: CgroupPath::parse(path.as_bytes()), is_pause }), trigger: None }
}

fn kubelet(index: &PodIndex) -> [PodSource<'_>; 1] {
    [PodSource { from: NamesFrom::Kubelet, index }]
}

/// `pod/container depth gaps`
fn told(path: &str, sources: &[PodSource<'_>]) -> String {
    let Some(victim) = Attribution::new(&paths(path, false), sources, "WHY").victim else {
        return "-".to_owned();
    };
    let Attributed { kubernetes, depth, gaps, .. } = victim;
    let gaps: Vec<String> = gaps.iter().map(|gap| format!(" {}: {}", gap.what, gap.why)).collect();
    let name = |name: Option<String>| name.unwrap_or_else(|| "?".to_owned());
    format!("{}/{} {depth}{}", name(kubernetes.pod), name(kubernetes.container), gaps.concat())
}

#[test]
fn whose_pod_a_path_is() {
    let index = index();
    for (path, expected) in [
        ("/kubepods/burstable/podMULTI/STEADY", "n-multi/steady 4"),
        ("/kubepods/burstable/podMULTI/EATER/its/own", "n-multi/eater 4"),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podMULTI.slice/cri-containerd-STEADY.scope",
            "n-multi/steady 4",
        ),
        // The path leaves the pod out, and the id tells it.
        ("/../cri-containerd-STEADY.scope", "n-multi/steady 2"),
        ("/kubepods/burstable/podMULTI", "n-multi/? 3"),
        (
            "/kubepods/burstable/podBURST/UNKNOWN",
            "n-burst/hog 4 kubernetes.container: WHY: taken to be the pod's only container",
        ),
        (
            "/kubepods/burstable/podMULTI/UNKNOWN",
            "n-multi/? 4 kubernetes.container: WHY: one of steady, eater, side",
        ),
        ("/kubepods/burstable/pod1/UNKNOWN", "?/? 4 kubernetes.pod: WHY"),
        ("/kubepods/burstable/pod1", "?/? 3 kubernetes.pod: WHY"),
        ("/system.slice/kubelet.service", "-"),
        ("/docker/UNKNOWN", "-"),
        ("/", "-"),
    ] {
        assert_eq!(told(path, &kubelet(&index)), expected, "{path}");
    }
}

#[test]
fn of_several_pods_in_a_path_it_is_the_one_that_this_node_runs() {
    let index = index();
    let inner = "kubelet/kubepods/burstable/pod1/UNKNOWN";
    for (path, expected) in [
        // A node in a container of this node, with pods that only its own kubelet knows.
        (format!("/kubepods/burstable/podMULTI/STEADY/{inner}"), "n-multi/steady 4"),
        // This node is in a container of another.
        (
            "/kubepods/burstable/pod1/UNKNOWN/kubepods/burstable/podMULTI/STEADY".to_owned(),
            "n-multi/steady 8",
        ),
        ("/docker/UNKNOWN/kubelet/kubepods/podMULTI/STEADY".to_owned(), "n-multi/steady 6"),
        // A container made a cgroup that looks like another pod's.
        ("/kubepods/burstable/podBURST/UNKNOWN/kubepods/podMULTI/STEADY".to_owned(), "n-burst/hog 4 "),
        // No container of that id is in that pod: the cgroup is somebody's invention.
        ("/kubepods/burstable/podBURST/STEADY".to_owned(), "?/? 4 kubernetes.pod: WHY"),
    ] {
        let told = told(&path, &kubelet(&index));
        assert!(told.starts_with(expected), "{path}: {told}");
    }
}

#[test]
fn everything_that_the_kubelet_tells_is_there() {
    let index = index();
    let attribution =
        Attribution::new(&paths("/kubepods/burstable/podMULTI/EATER", false), &kubelet(&index), "WHY");
    assert!(attribution.is_complete());
    let json = serde_json::to_value(attribution.victim.unwrap().kubernetes).unwrap();
    let expected = serde_json::json!({
        "names_from": "kubelet", "namespace": "default", "pod": "n-multi", "pod_uid": MULTI_UID,
        "container": "eater", "container_id": EATER_BEFORE, "container_kind": "regular",
        "image": "localhost/rig/tool:1", "qos": "burstable", "runtime": "containerd",
        "workload": {"kind": "Pod", "name": "n-multi"},
        "requests_bytes": 32 << 20, "limits_bytes": 64 << 20, "restarts": 1,
        "container_started_at": "2026-11-20T16:07:09Z",
    });
    assert_eq!(json, expected);
}

#[test]
fn the_pause_container_is_not_taken_for_the_only_one() {
    let index = index();
    let attribution =
        Attribution::new(&paths("/kubepods/burstable/podBURST/UNKNOWN", true), &kubelet(&index), "WHY");
    assert!(attribution.is_complete(), "no report waits for it");
    let victim = attribution.victim.unwrap();
    assert_eq!((victim.kubernetes.pod.as_deref(), victim.kubernetes.container), (Some("n-burst"), None));
    assert!(victim.gaps[0].why.contains("pause container"), "{:?}", victim.gaps);
}

#[test]
fn a_second_source_fills_what_the_first_does_not_know() {
    let directory = format!("default_n-multi_{MULTI_UID}");
    let link = format!("n-multi_default_steady-{UNKNOWN}.log");
    let target = format!("/var/log/pods/{directory}/steady/3.log");
    let logs = PodIndex::from_logs([directory.as_str()], [(link.as_str(), target.as_str())]);
    let (kubelet_index, path) = (index(), "/kubepods/burstable/podMULTI/UNKNOWN");
    let logs = PodSource { from: NamesFrom::Logs, index: &logs };
    let both = [kubelet(&kubelet_index)[0], logs];
    assert_eq!(told(path, &both), "n-multi/steady 4");
    let victim = Attribution::new(&paths(path, false), &both, "WHY").victim.unwrap();
    assert_eq!(victim.kubernetes.names_from, Some(NamesFrom::Kubelet));
    assert_eq!(victim.kubernetes.workload.map(|workload| workload.kind), Some("Pod".to_owned()));
    let victim = Attribution::new(&paths(path, false), &[logs], "WHY").victim.unwrap();
    assert_eq!(victim.kubernetes.names_from, Some(NamesFrom::Logs));
    assert_eq!((victim.kubernetes.namespace.as_deref(), victim.kubernetes.workload), (Some("default"), None));
}

#[test]
fn names_that_no_api_admits_are_escaped() {
    let uid = "11111111-2222-3333-4444-555555555555";
    let pod = Pod {
        namespace: "a\u{1b}[2J".to_owned(),
        name: "b\nc".to_owned(),
        uid: uid.to_owned(),
        ..Pod::default()
    };
    let index = PodIndex::default().updated(vec![pod], BoottimeNs(0));
    let path = format!("/kubepods/pod{uid}");
    let victim = Attribution::new(&paths(&path, false), &kubelet(&index), "").victim.unwrap();
    assert_eq!(victim.kubernetes.namespace.as_deref(), Some("a\\x1b[2J"));
    assert_eq!(victim.kubernetes.pod.as_deref(), Some("b\\x0ac"));
}

#[test]
fn candidates_get_names_and_consumers_what_they_were_granted() {
    let index = index();
    let at =
        |path: &str| path.replace("MULTI", MULTI_UID).replace("STEADY", STEADY).replace("UNKNOWN", UNKNOWN);
    let steady = at("/kubepods/burstable/podMULTI/STEADY");
    let task = |cgroup: Option<String>| Task { cgroup, ..Task::default() };
    let rows = vec![task(Some(steady.clone())), task(Some("/system.slice/a.service".to_owned())), task(None)];
    let consumer = |cgroup: String| Consumer { cgroup, ..Consumer::default() };
    let mut around = Surroundings {
        tasks: Some(Tasks { from: CandidatesFrom::Proc, count: 3, undecided: 0, rows }),
        consumers: vec![
            consumer(steady),
            // A pod of which nobody knows more than the path.
            consumer(at("/kubepods/besteffort/pod0b1e6f1d-3a47-4d1e-9c55-0b7e6f1d2a3c/UNKNOWN")),
            consumer(r"/system.slice/odd\x1b.service".to_owned()),
        ],
        node_shares: Some(NodeShares::default()),
        ..Surroundings::default()
    };
    name(&mut around, &kubelet(&index));
    let json = |kubernetes: &Option<Kubernetes>| serde_json::to_value(kubernetes).unwrap();
    let named = serde_json::json!({ "namespace": "default", "pod": "n-multi", "container": "steady" });
    let rows: Vec<_> =
        around.tasks.iter().flat_map(|tasks| &tasks.rows).map(|row| json(&row.kubernetes)).collect();
    assert_eq!(rows, [named, serde_json::Value::Null, serde_json::Value::Null]);
    let consumers: Vec<_> = around.consumers.iter().map(|consumer| json(&consumer.kubernetes)).collect();
    let expected = [
        serde_json::json!({
            "namespace": "default", "pod": "n-multi", "container": "steady", "qos": "burstable",
            "workload": { "kind": "Pod", "name": "n-multi" }, "requests_bytes": 16 << 20, "limits_bytes": 32 << 20,
        }),
        serde_json::json!({
            "pod_uid": "0b1e6f1d-3a47-4d1e-9c55-0b7e6f1d2a3c", "container_id": UNKNOWN, "qos": "besteffort",
        }),
        serde_json::Value::Null,
    ];
    assert_eq!(consumers, expected);
    assert_eq!(around.node_shares.unwrap().pods_requests_bytes, Some(Bytes(192 << 20)));
    // Without the kubelet nobody knows.
    name(&mut around, &[]);
    assert_eq!(around.node_shares.unwrap().pods_requests_bytes, None);
}
