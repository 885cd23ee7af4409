//! A recorded kubelet's answers, whole, in pieces and cut, and answers that are none.

use super::*;
use crate::units::BoottimeNs;

const MULTI: &str = include_str!("../../../tests/fixtures/kubelet/api-multi-t2.json");
const BEFORE: &str = include_str!("../../../tests/fixtures/kubelet/api-pod-t0.json");
const DELETED: &str = include_str!("../../../tests/fixtures/kubelet/api-pod-deleted-t6.json");
const MIRROR: &str = include_str!("../../../tests/fixtures/kubelet/api-static-apiserver-view.json");
const SECOND: i64 = 1_000_000_000;

/// Read in pieces of so many bytes: whatever the network makes of an answer.
fn read(text: &str, piece: usize) -> Result<PodList, ListError> {
    let mut reader = ListReader::default();
    for bytes in text.as_bytes().chunks(piece) {
        reader.push(bytes)?;
    }
    reader.finish()
}

fn pods(text: &str) -> Vec<Pod> {
    let list = read(text, 4096).unwrap();
    assert_eq!(list.malformed, 0);
    list.pods
}

fn named<'a>(pods: &'a [Pod], name: &str) -> &'a Pod {
    pods.iter().find(|pod| pod.name == name).unwrap()
}

#[test]
fn a_recorded_list_has_its_containers_of_all_kinds() {
    let pods = pods(MULTI);
    assert_eq!(pods.len(), 8);
    let multi = named(&pods, "n-multi");
    assert_eq!((multi.namespace.as_str(), multi.qos), ("default", Some(Qos::Burstable)));
    assert_eq!(multi.workload.as_ref().map(|workload| workload.kind.as_str()), Some("Pod"));
    let seen: Vec<_> =
        multi.containers.iter().map(|c| (c.name.as_str(), c.kind, c.restarts, c.ids.len())).collect();
    assert_eq!(
        seen,
        [
            ("steady", Some(ContainerKind::Regular), Some(0), 1),
            ("eater", Some(ContainerKind::Regular), Some(1), 2),
            ("side", Some(ContainerKind::Init), Some(1), 2),
        ]
    );
    let eater = &multi.containers[1];
    assert_eq!((eater.limit, eater.request), (Some(Bytes(64 << 20)), Some(Bytes(32 << 20))));
    assert_eq!(
        (eater.image.as_deref(), eater.runtime),
        (Some("localhost/rig/tool:1"), Some(Runtime::Containerd))
    );
    assert!(eater.ids[0].starts_with("2fe26da48545") && eater.ids[1].starts_with("3a51b7b2c4fe"));
    // Limits of the pod as a whole, and none of its containers'.
    let whole = named(&pods, "n-podres");
    assert_eq!((whole.limit, whole.containers[0].limit), (Some(Bytes(64 << 20)), None));
    let fixed = named(&pods, "st-static-rignode").workload.clone().unwrap();
    assert_eq!((fixed.kind.as_str(), fixed.name.as_str()), ("StaticPod", "st-static"));
}

#[test]
fn pieces_of_any_length_make_the_same_list() {
    let whole = read(MULTI, usize::MAX).unwrap();
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(read(MULTI, piece).as_ref(), Ok(&whole), "pieces of {piece}");
    }
}

#[test]
fn an_answer_that_stops_anywhere_is_no_list() {
    let end = MULTI.trim_end().len();
    for length in (0..end).step_by(997).chain([1, end - 1]) {
        let error = read(&MULTI[..length], 4096).unwrap_err();
        let expected = if length == 0 { "it is empty" } else { "its middle" };
        assert!(error.to_string().contains(expected), "{length}: {error}");
    }
}

#[test]
fn what_is_no_list_says_what_it_is() {
    let status = r#"{"kind":"Status","status":"Failure","message":"nodes \"n1\" not found","code":404}"#;
    for (answer, said) in [
        ("<html>\n<title>login</title>", "no PodList: <html"),
        ("[]", "no PodList: ["),
        ("null", "no PodList"),
        ("\u{feff}{}", "no PodList"),
        ("{}", "no PodList: {}"),
        (r#"{"kind":"List","items":[]}"#, r#"no PodList: {"kind":"List""#),
        (r#"{"items":[]}"#, "no PodList"),
        (status, "nodes \"n1\" not found"),
        (r#"{"kind":"PodList","items":[]} x"#, "no PodList"),
        (r#"{"kind":"PodList","items":[],}"#, "no PodList"),
        (r#"{"kind":"PodList" "items":[]}"#, "no PodList"),
        (r#"}{"kind":"PodList","items":[]}"#, "no PodList"),
    ] {
        let error = read(answer, 5).expect_err(answer).to_string();
        assert!(error.contains(said), "{answer}: {error}");
    }
    let endless = format!("{{\"kind\":\"PodList\",\"x\":\"{}", "a".repeat(100_000));
    assert!(read(&endless, 4096).unwrap_err().to_string().contains("no PodList"));
}

#[test]
fn nulls_strange_items_and_unknown_fields_cost_no_other_pod() {
    let answer = r#"{"items":[null,"x, {[",7,[{"metadata":{}}],{},{"metadata":null},
        {"metadata":{"name":"a","uid":"u","labels":null,"annotations":null,"ownerReferences":[null],
                     "new":{"items":[]}},
         "spec":{"containers":[null,{"name":"c","resources":{"limits":{"memory":67108864}},"x":1}],
                 "initContainers":null,
                 "resources":null},
         "status":{"qosClass":null,"containerStatuses":[null,{"name":"c","state":null,"lastState":{"terminated":null},
                   "containerID":"","restartCount":null},{"name":"late","image":"i","containerID":"cri-o://0a"}]}},
        {"metadata":{"name":7,"uid":"u2"}},
        {"metadata":{"name":"b \"{[\\","uid":"u3"},"spec":null,"status":null}],
        "metadata":{"items":[{"x":1}]},"kind":"PodList","apiVersion":"v1"}"#;
    for piece in [1, 4096] {
        let list = read(answer, piece).unwrap();
        assert_eq!(list.malformed, 3, "two without metadata, one with a number for a name");
        let names: Vec<&str> = list.pods.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, ["a", "b \"{[\\"]);
        let containers = &list.pods[0].containers;
        assert_eq!((containers[0].limit, containers[0].ids.len()), (Some(Bytes(64 << 20)), 0));
        assert_eq!((containers[1].name.as_str(), containers[1].runtime), ("late", Some(Runtime::CriO)));
    }
    for empty in [r#"{"kind":"PodList","items":null}"#, r#"{"kind":"PodList"}"#] {
        assert_eq!(read(empty, 9), Ok(PodList::default()));
    }
}

#[test]
fn a_pod_that_is_too_long_is_passed_over_and_a_list_without_end_is_not() {
    let big = "a".repeat(3 << 20);
    let answer = format!(
        r#"{{"kind":"PodList","items":[{{"metadata":{{"name":"{big}","uid":"1"}}}},
            {{"metadata":{{"name":"b","uid":"2"}}}}]}}"#
    );
    let list = read(&answer, 65_536).unwrap();
    assert_eq!((list.malformed, list.pods[0].name.as_str()), (1, "b"));
    let mut reader = ListReader::default();
    reader.push(br#"{"kind":"PodList","items":["#).unwrap();
    let more = br#"{"metadata":{"name":"b","uid":"2"}},"#;
    let error = (0..20_000).find_map(|_| reader.push(more).err());
    assert_eq!(error, Some(ListError::TooMany));
}

#[test]
fn a_mirror_pod_is_found_by_the_uid_of_its_cgroups() {
    let pods = pods(MIRROR);
    let mirror = named(&pods, "st-static-rignode");
    assert_eq!(mirror.uid, "c901761e662caad59206e2d006a7de18");
    assert_eq!(mirror.mirror_uid.as_deref(), Some("e3da138e-7289-4450-a30a-969ccd2e0363"));
    assert_eq!(mirror.workload.as_ref().map(|workload| workload.name.as_str()), Some("st-static"));
}

#[test]
fn ids_of_before_are_known_and_pods_that_left_are_remembered_for_a_while() {
    let at = |seconds: i64| BoottimeNs((seconds * SECOND).unsigned_abs());
    let first = PodIndex::default().updated(pods(BEFORE), at(0));
    let second = first.updated(pods(MULTI), at(60)).updated(pods(MULTI), at(120));
    let burst = "9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e";
    for id in [
        "4e1123f458ebbe74d6defe84e886121644e5ee7b0fcd82c63b41d605aab4f3ab",
        "c56b45eabb31accbc115a09366a55df93410ba7d150ee150f62bcf1533aee857",
    ] {
        let Found::Container(pod, container) = second.find(Some(burst), Some(id)) else { panic!("{id}") };
        assert_eq!((pod.name.as_str(), container.name.as_str()), ("n-burst", "hog"));
        // By the id alone, and by a uid as systemd spells it.
        assert!(matches!(second.find(None, Some(id)), Found::Container(..)));
        assert!(matches!(second.find(Some(&burst.replace('-', "_")), Some(id)), Found::Container(..)));
        // Somebody named a cgroup so, in another pod.
        assert_eq!(second.find(Some("31e4ac4c-a87c-4e95-b7ca-137573839af1"), Some(id)), Found::Nothing);
    }
    assert!(matches!(second.find(Some(burst), Some("ffff")), Found::Pod(pod) if pod.name == "n-burst"));
    assert!(matches!(second.find(Some(burst), None), Found::Pod(_)));
    assert_eq!(second.find(None, None), Found::Nothing);
    assert_eq!(second.find(Some("none"), Some("ffff")), Found::Nothing);

    let third = second.updated(pods(DELETED), at(180));
    assert_eq!(third.pods_known(), 8, "one of them has left");
    assert!(matches!(third.find(Some(burst), None), Found::Pod(_)));
    let later = third.updated(pods(DELETED), at(180 + 599));
    assert!(matches!(later.find(Some(burst), None), Found::Pod(_)));
    let much_later = later.updated(pods(DELETED), at(180 + 600));
    assert_eq!(much_later.find(Some(burst), None), Found::Nothing);
}

#[test]
fn a_crash_loop_and_a_flood_of_pods_do_not_grow_the_index() {
    let round = |round: usize| -> Vec<Pod> {
        let mut pods = pods(MULTI);
        pods[0].containers[0].ids = vec![format!("{round:064x}")];
        pods.extend((0..400).map(|pod| Pod { uid: format!("{round}-{pod}"), ..Pod::default() }));
        pods
    };
    let mut index = PodIndex::default();
    for number in 0..50 {
        index = index.updated(round(number), BoottimeNs(0));
    }
    assert!(matches!(index.find(None, Some(&format!("{:064x}", 45))), Found::Container(..)));
    assert_eq!(index.find(None, Some(&format!("{:064x}", 5))), Found::Nothing);
    assert_eq!(index.pods_known(), 408 + 512);
}

#[test]
fn names_of_log_files_make_an_index() {
    let uid = "9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e";
    let id = "4e1123f458ebbe74d6defe84e886121644e5ee7b0fcd82c63b41d605aab4f3ab";
    let directory = format!("default_n-burst_{uid}");
    let (link, target) =
        (format!("n-burst_default_ho-{id}.log"), format!("/var/log/pods/{directory}/hog/0.log"));
    let other = format!("gone_default_c-{}.log", "0".repeat(64));
    let index = PodIndex::from_logs(
        [directory.as_str(), "lost+found"],
        [(link.as_str(), target.as_str()), (other.as_str(), ""), ("nonsense", "")],
    );
    let Found::Container(pod, container) = index.find(Some(uid), Some(id)) else { panic!() };
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str(), container.name.as_str()),
        ("default", "n-burst", "hog")
    );
    assert_eq!((container.kind, container.limit, pod.workload.clone()), (None, None, None));
    assert!(matches!(index.find(Some(uid), None), Found::Pod(_)));
    // Without a target its pod's uid is not known, and none contradicts it.
    assert!(matches!(index.find(Some("any"), Some(&"0".repeat(64))), Found::Container(..)));
}

#[test]
fn what_a_diagnosis_needs_of_a_pod_is_read() {
    let eater = &named(&pods(MULTI), "n-multi").containers[1].clone();
    let started = |id: &str| eater.started(id).map(|started| started.to_string());
    assert_eq!(started(&eater.ids[0]).as_deref(), Some("2026-11-20T16:11:29Z"));
    assert_eq!(started(&eater.ids[1]).as_deref(), Some("2026-11-20T16:07:09Z"));
    assert_eq!(started("another"), None);
    let answer = |more: &str, status: &str| {
        format!(
            r#"{{"kind":"PodList","items":[{{"metadata":{{"name":"a","uid":"u"}},
            "spec":{{"volumes":[null,{{"name":"disk","emptyDir":{{}}}},{{"name":"cfg","configMap":{{"name":"c"}}}},
              {{"name":"none","emptyDir":null}},{{"name":"shm","emptyDir":{{"medium":"Memory"}}}},
              {{"name":"cache","emptyDir":{{"medium":"Memory","sizeLimit":"64Mi"}}}}]{more}}},
            "status":{{{status}}}}}]}}"#
        )
    };
    let volume = |name: &str, size_limit_bytes| MemoryVolume { name: name.to_owned(), size_limit_bytes };
    let pod = pods(&answer("", "")).remove(0);
    assert_eq!(pod.memory_volumes, [volume("shm", None), volume("cache", Some(Bytes(64 << 20)))]);
    assert_eq!((pod.resize, pod.is_over, pod.requested()), (None, false, Bytes(0)));
    for (status, resize, is_over) in [
        (r#""phase":"Running","resize":"Proposed""#, Some(Resize::Proposed), false),
        (r#""phase":"Succeeded","resize":"""#, None, true),
        (r#""phase":"Failed","conditions":null"#, None, true),
        (
            r#""conditions":[null,{"type":"Ready","status":"True"},
               {"type":"PodResizePending","status":"True","reason":"Infeasible"}]"#,
            Some(Resize::Infeasible),
            false,
        ),
        (r#""conditions":[{"type":"PodResizePending","status":"False","reason":"Deferred"}]"#, None, false),
        (r#""conditions":[{"type":"PodResizeInProgress","status":"True"}]"#, Some(Resize::InProgress), false),
    ] {
        let pod = pods(&answer("", status)).remove(0);
        assert_eq!((pod.resize, pod.is_over), (resize, is_over), "{status}");
    }
    let memory = |mebibytes: u64| format!(r#""resources":{{"requests":{{"memory":"{mebibytes}Mi"}}}}"#);
    for (containers, of_init, sidecar, of_pod, expected) in [
        (&[10, 20][..], 5, false, None, 30),
        (&[10, 20], 50, false, None, 50),
        (&[10, 20], 5, true, None, 35),
        (&[10, 20], 5, true, Some(100), 100),
    ] {
        let all: Vec<_> =
            containers.iter().map(|size| format!(r#"{{"name":"c{size}",{}}}"#, memory(*size))).collect();
        let policy = if sidecar { r#","restartPolicy":"Always""# } else { "" };
        let whole = of_pod.map_or_else(String::new, |size| format!(",{}", memory(size)));
        let more = format!(
            r#","containers":[{}],"initContainers":[{{"name":"i",{}{policy}}}]{whole}"#,
            all.join(","),
            memory(of_init)
        );
        let pod = pods(&answer(&more, "")).remove(0);
        assert_eq!(pod.requested(), Bytes(expected << 20), "{more}");
    }
}
