//! Events of golden reports, and of such as are made worse.

use super::*;

/// The golden report of a pod's container that is killed whole.
fn report() -> Report {
    serde_json::from_str(include_str!("../../../tests/golden/pod-group-kill.json")).unwrap()
}

fn node_wide() -> Report {
    serde_json::from_str(include_str!("../../../tests/golden/node-wide.json")).unwrap()
}

fn kinds(report: &Report) -> (Vec<String>, bool) {
    let told = told(report);
    (told.notices.into_iter().map(|notice| notice.regarding.kind).collect(), told.is_nameless)
}

#[test]
fn a_pod_is_told_of_its_kill() {
    let told = told(&report());
    let [notice] = told.notices.as_slice() else { panic!("{told:?}") };
    let regarding = serde_json::to_value(&notice.regarding).unwrap();
    let expected = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "n-burst",
        "uid": "9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e", "fieldPath": "spec.containers{hog}",
    });
    assert_eq!(regarding, expected);
    assert_eq!((notice.namespace.as_str(), notice.instance.as_str()), ("default", "worker-3"));
    assert_eq!(notice.time, "2026-11-21T02:03:05.719954Z");
    assert!(notice.name.starts_with("n-burst.oomwatch-"), "{}", notice.name);
    let begins = "OOM kill of 4 processes: java (pid 155, uid 0) and 3 more in container hog: 57.1 MiB anon + \
                  6.9 MiB shmem of a 64.0 MiB limit; container limit reached. Container default/n-burst/hog \
                  reached its memory limit of 64.0 MiB: ";
    assert!(notice.note.starts_with(begins), "{}", notice.note);
    assert!(notice.note.contains("Whose limit: /kubepods.slice/"), "{}", notice.note);
}

#[test]
fn who_is_told() {
    let mut pod = report();
    assert_eq!(kinds(&pod), (vec!["Pod".to_owned()], false));
    for scope in [Scope::Node, Scope::Kubepods, Scope::Qos, Scope::Cpuset, Scope::Mempolicy] {
        pod.scope = scope;
        assert_eq!(kinds(&pod), (vec!["Pod".to_owned(), "Node".to_owned()], false), "{scope:?}");
    }
    pod.scope = Scope::Container;
    pod.kubernetes.as_mut().unwrap().namespace = None;
    assert_eq!(kinds(&pod), (vec![], true), "only its uid is known");
    pod.scope = Scope::Node;
    assert_eq!(kinds(&pod), (vec!["Node".to_owned()], true));
    assert_eq!(kinds(&node_wide()), (vec!["Node".to_owned()], false));
}

#[test]
fn a_nodes_event_is_where_the_kubelets_are() {
    let notice = told(&node_wide()).notices.remove(0);
    assert_eq!((notice.namespace.as_str(), notice.regarding.namespace), ("default", None));
    assert_eq!(notice.regarding.uid.as_deref(), Some("worker-3"));
    assert!(notice.note.starts_with("OOM kill: batch-worker (pid 251"), "{}", notice.note);
}

#[test]
fn one_incident_has_one_name_for_each_object() {
    let mut pod = report();
    pod.scope = Scope::Node;
    let first = told(&pod).notices;
    assert_eq!(first, told(&pod).notices);
    pod.id.push('1');
    let names: std::collections::BTreeSet<String> =
        first.into_iter().chain(told(&pod).notices).map(|notice| notice.name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn containers_of_all_kinds_are_pointed_at() {
    let mut pod = report();
    for (kind, expected) in [
        (Some(ContainerKind::Init), Some("spec.initContainers{hog}")),
        (Some(ContainerKind::Ephemeral), Some("spec.ephemeralContainers{hog}")),
        (None, Some("spec.containers{hog}")),
    ] {
        pod.kubernetes.as_mut().unwrap().container_kind = kind;
        assert_eq!(told(&pod).notices[0].regarding.field_path.as_deref(), expected);
    }
    let kubernetes = pod.kubernetes.as_mut().unwrap();
    (kubernetes.container, kubernetes.mirror_pod_uid) = (None, Some("mirror".to_owned()));
    let regarding = told(&pod).notices.remove(0).regarding;
    assert_eq!((regarding.field_path, regarding.uid.as_deref()), (None, Some("mirror")));
}

#[test]
fn what_is_too_long_is_cut_at_whole_characters() {
    let mut pod = report();
    for (name, stem) in [("a".repeat(300), 227), (format!("{}--..-", "b".repeat(222)), 222)] {
        pod.kubernetes.as_mut().unwrap().pod = Some(name);
        let name = &told(&pod).notices[0].name;
        assert!(name.len() <= 253 && name.find(".oomwatch-") == Some(stem), "{name}");
    }
    pod.node = "é".repeat(100);
    for length in 900..1100 {
        pod.findings[0].text = format!("{}{}", "x".repeat(length), "…".repeat(100));
        let notice = &told(&pod).notices[0];
        assert!(notice.note.len() <= 1024 && notice.note.ends_with('…'), "{}", notice.note);
        assert!(notice.instance.len() <= 128);
    }
}

#[test]
fn what_a_process_called_itself_is_harmless() {
    let hostile: Report =
        serde_json::from_str(include_str!("../../../tests/golden/hostile-names.json")).unwrap();
    let note = told(&hostile).notices.remove(0).note;
    assert!(!note.chars().any(char::is_control) && note.len() <= 1024, "{note}");
}
