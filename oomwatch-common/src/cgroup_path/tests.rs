//! Paths found in the field, and shapes that follow from the rules.

use super::{Candidate, CgroupKind, Container, Place, Qos, Role, Runtime, place};
use crate::ids::CgroupPath;

mod host;
mod pods;

const ID: &str = "a126df15fba5713f57f1abad9c484cb75569e9f48f1169bd9710f63bb8af0e46";
const ID_2: &str = "40c03570b6f4c30bc8d69923d37ee698f5cfcced92c7b7df1c47f6f7887378a9";
const UID: &str = "87c52d60-fefd-45a9-a420-895256fc03b5";
const UID_2: &str = "44c76ce5-f953-4bd3-bc89-12621681af49";

fn at(path: &str) -> Place {
    place(&CgroupPath::parse(path.as_bytes()))
}

/// `ID`, `ID2`, `UID` (as a slice has it: `U_ID`) stand for ids in the tables.
fn fill(text: &str) -> String {
    text.replace("U_ID2", &UID_2.replace('-', "_"))
        .replace("U_ID", &UID.replace('-', "_"))
        .replace("UID2", UID_2)
        .replace("UID", UID)
        .replace("ID2", ID_2)
        .replace("ID", ID)
}

/// `pod UID burstable container ID containerd`: what is absent is `?`.
fn spell(pod: Option<&super::Pod>, container: Option<&Container>) -> String {
    let mut words = Vec::new();
    if let Some(pod) = pod {
        words.extend(["pod", pod.uid.as_str(), pod.qos.map_or("?", Qos::name)]);
    }
    if let Some(container) = container {
        words.push(match container.role {
            Role::Workload => "container",
            Role::Monitor => "monitor",
            Role::KataSandbox => "sandbox",
            Role::KataOverhead => "overhead",
        });
        words.push(container.id.as_ref().map_or("?", |id| id.as_str()));
        words.push(container.runtime.map_or("?", Runtime::name));
    }
    words.join(" ")
}

fn spell_kind(kind: &CgroupKind) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match kind {
        CgroupKind::Container { pod, container } => spell(Some(pod), Some(container)),
        CgroupKind::Pod(pod) => spell(Some(pod), None),
        CgroupKind::QosSlice(qos) => format!("qos {}", qos.name()),
        CgroupKind::Kubepods => "kubepods".to_owned(),
        CgroupKind::PlainContainer(container) => spell(None, Some(container)),
        CgroupKind::Service { unit, user, node_critical } => {
            let user = user.map_or(String::new(), |user| format!(" of {user}"));
            format!("service {}{user}{}", text(unit), if *node_critical { " critical" } else { "" })
        }
        CgroupKind::UserSession { uid, unit } => {
            let uid = uid.map_or("?".to_owned(), |uid| uid.to_string());
            format!("session {uid} {}", unit.as_deref().map_or("?".to_owned(), text))
        }
        CgroupKind::Scope(unit) => format!("scope {}", text(unit)),
        CgroupKind::Slice(unit) => format!("slice {}", text(unit)),
        CgroupKind::Machine(name) => format!("machine {}", text(name)),
        CgroupKind::Lxc { name, monitor } => {
            format!("lxc {}{}", text(name), if *monitor { " monitor" } else { "" })
        }
        CgroupKind::Init => "init".to_owned(),
        CgroupKind::Root => "root".to_owned(),
        CgroupKind::Other => "other".to_owned(),
    }
}

fn spell_candidate(candidate: &Candidate) -> String {
    format!("{} @{}", spell(candidate.pod.as_ref(), candidate.container.as_ref()), candidate.depth)
}

/// Every line of a table of (path, kind).
fn check(table: &[(&str, &str)]) {
    for (path, expected) in table {
        let (path, expected) = (fill(path), fill(expected));
        assert_eq!(spell_kind(&at(&path).kind), expected, "{path}");
    }
}

/// What the fixture's columns say of a path, in the words of [`spell_kind`], as far as they go.
#[test]
fn every_path_of_the_field_is_what_its_line_says() {
    let table = include_str!("../../../tests/fixtures/cgroup/paths.tsv");
    let mut seen = 0;
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, kind, qos, uid, id, name, _] = columns[..] else { panic!("{line}") };
        let Place { kind: found, candidates } = at(path);
        let found = spell_kind(&found);
        let first_word = name.split(' ').next().unwrap();
        let expected = match kind {
            "pod-container" => format!("pod {uid} {qos} container {id} "),
            "pod-conmon" => format!("pod {uid} {qos} monitor {id} cri-o"),
            "pod-kata-sandbox" => format!("pod {uid} {qos} sandbox {id} kata"),
            "pod" => format!("pod {uid} {qos}"),
            "kata-overhead" => format!("overhead {id} kata"),
            "container-relative" | "container-non-k8s" => format!("container {id} "),
            "kubepods-root" => "kubepods".to_owned(),
            "kubepods-qos" => format!("qos {qos}"),
            "infra" => "monitor ? podman".to_owned(),
            "service" | "talos-service" if first_word != "init" => format!("service {first_word}"),
            "scope" => format!("scope {first_word}"),
            "user-session" => format!("session 501 {first_word}"),
            "lxc" => format!("lxc {name}"),
            "lxc-monitor" => format!("lxc {name} monitor"),
            "init" | "talos-service" => "init".to_owned(),
            "root" => "root".to_owned(),
            _ => panic!("{line}"),
        };
        if expected.ends_with(' ') {
            assert!(found.starts_with(&expected), "{path}: {found}");
        } else {
            assert_eq!(found.trim_end_matches(" critical"), expected, "{path}");
        }
        let ids = candidates.iter().filter_map(|candidate| candidate.container.as_ref()?.id.as_ref());
        assert!(id.is_empty() || ids.clone().next().unwrap().as_str() == id, "{path}");
        let depth = candidates.first().map(|candidate| candidate.depth);
        let below: Vec<_> = path.split('/').skip(1 + depth.unwrap_or(0)).collect();
        let is_pods = kind.starts_with("pod");
        assert!(!is_pods || below.join("/") == name, "{path}: {below:?}");
        seen += 1;
    }
    assert_eq!(seen, 40);
}

#[test]
fn no_bytes_make_it_panic() {
    let seeds: &[&[u8]] = &[
        b"",
        b".",
        b"..",
        b":",
        b"::",
        b"pod",
        b"pod-",
        b".slice",
        b"-.slice",
        b"kubepods-.slice",
        b"kubepods--pod.slice",
        b"kubepods-pod.slice",
        b"kubepods-burstable-pod.slice:",
        b"kubepods-podx.slice::",
        b"x.slice:a:",
        b"kata_",
        b"cri-containerd-",
        b"cri-containerd-.scope",
        b"crio-conmon-",
        b".scope",
        b".service",
        b"user-.slice",
        b"user-99999999999999999999.slice",
        b"user@+1.service",
        b"lxc.payload.",
        b"machine-.scope",
        b"\\x2d",
        b"\\x2",
        b"\xff\xfe",
        b"pod\xff",
        b"kubepods-pod\xff.slice",
        b"\x1b[2J",
        b"kubepods",
        b"burstable",
        b"snap.",
        b"openrc.",
        b" (deleted)",
        b"docker",
        b"lxc",
        b"libpod_parent",
        b"podruntime",
        b"system",
    ];
    for first in seeds {
        for second in seeds {
            for third in seeds {
                let components = vec![first.to_vec(), second.to_vec(), third.to_vec()];
                for truncated in [false, true] {
                    place(&CgroupPath { components: components.clone(), truncated });
                }
            }
        }
    }
    // A generator of its own: 64-bit LCG of Knuth's MMIX.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    let whole =
        fill("/kubepods.slice/kubepods-burstable-podU_ID.slice:cri-containerd:ID/kata_ID/docker-ID.scope");
    for _ in 0..20_000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..next() % 6 {
            let at = next() % bytes.len();
            bytes[at] = u8::try_from(next() % 256).unwrap();
        }
        bytes.truncate(next() % (bytes.len() + 1));
        place(&CgroupPath::parse(&bytes));
    }
}

#[test]
fn a_very_deep_path_takes_no_longer_than_its_length() {
    let deep = CgroupPath::parse(&b"/kubepods/pod1/c1".repeat(50_000));
    let Place { kind, candidates } = place(&deep);
    assert_eq!(spell_kind(&kind), "pod 1 guaranteed container ? ?");
    assert_eq!(candidates.len(), 50_000);
    let services = CgroupPath::parse(&b"/a".repeat(200_000));
    assert_eq!(place(&services).kind, CgroupKind::Other);
}
