//! Scopes of paths found in the field, and of incidents.

use super::{Basis, Scope, Scoped, scope, scope_of};
use crate::{
    attribution::Attributed,
    ids::CgroupPath,
    incident::{Constraint, Incident, Memcg, MemcgLevel, Oom, ProbeLevel, Process},
    report::Kubernetes,
    units::{BoottimeNs, Bytes, Limit, PageSize},
};

const POD: &str = concat!(
    "/kubepods.slice/kubepods-burstable.slice",
    "/kubepods-burstable-pod87c52d60_fefd_45a9_a420_895256fc03b5.slice"
);
const MIB: u64 = 1 << 20;

#[test]
fn every_kind_of_path_in_the_field_has_its_scope() {
    let table = include_str!("../../../tests/fixtures/cgroup/paths.tsv");
    let mut seen = 0;
    for line in table.lines().skip(1) {
        let mut columns = line.split('\t');
        let (path, kind) = (columns.next().unwrap(), columns.next().unwrap());
        let expected = match kind {
            "pod" => Scope::Pod,
            "kubepods-qos" => Scope::Qos,
            "kubepods-root" => Scope::Kubepods,
            kind if kind.starts_with("pod-") => Scope::Container,
            _ => Scope::System,
        };
        assert_eq!(scope_of(&CgroupPath::parse(path.as_bytes())), expected, "{path}");
        seen += 1;
    }
    assert!(seen > 35, "{seen}");
}

#[test]
fn what_only_looks_like_a_pod_is_none() {
    for (path, expected) in [
        ("/podman", Scope::System),
        ("/podruntime/kubelet", Scope::System),
        ("/burstable", Scope::System),
        ("/machine.slice/machine-libpod_pod_abc.slice/libpod-abc.scope", Scope::System),
        ("/system.slice/kubepods.service", Scope::System),
        ("/kubepods/pod1/c1", Scope::Container),
        ("/kubepods/pod1", Scope::Pod),
        ("/kubepods/burstable", Scope::Qos),
        ("/kubelet/kubepods", Scope::Kubepods),
        ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice", Scope::Qos),
        ("/kubelet.slice/kubelet-kubepods.slice", Scope::Kubepods),
        ("/kubepods.slice/kubepods-podrke2.slice", Scope::Pod),
        ("/kubepods/kubepods/x", Scope::System),
    ] {
        assert_eq!(scope_of(&CgroupPath::parse(path.as_bytes())), expected, "{path}");
    }
}

#[test]
fn a_path_whose_upper_end_is_missing_is_known_only_where_the_rest_tells() {
    let path = |text: &str| CgroupPath { truncated: true, ..CgroupPath::parse(text.as_bytes()) };
    assert_eq!(scope_of(&path("/a/b")), Scope::Unknown);
    assert_eq!(scope_of(&path("/kubepods/pod1/c1/a")), Scope::Container);
}

fn memcg(path: &str, limits_leaf_first: &[(u64, Option<u64>)]) -> Memcg {
    let level = |&(usage, limit): &(u64, Option<u64>)| MemcgLevel {
        usage: Some(Bytes(usage)),
        limit: Some(limit.map_or(Limit::Unlimited, |limit| Limit::Bytes(Bytes(limit)))),
    };
    let levels: Vec<_> = limits_leaf_first.iter().map(level).collect();
    let path = CgroupPath::parse(path.as_bytes());
    Memcg { path, limit: levels.first().and_then(|level| level.limit), levels, ..Memcg::default() }
}

fn incident(constraint: Option<Constraint>, owner: Option<Memcg>, victim: Memcg) -> Incident {
    let oom = constraint.map(|constraint| Oom {
        constraint: Some(constraint),
        gfp_mask: None,
        gfp_flags: None,
        order: None,
        totalpages: None,
        chosen_points: None,
        message: None,
        group: false,
    });
    Incident {
        number: 1,
        at: BoottimeNs(1),
        level: if oom.is_some() { ProbeLevel::Kprobe } else { ProbeLevel::Tracepoint },
        oom,
        trigger: None,
        victims: vec![Process { memcg: Some(victim), ..Process::default() }],
        limit_owner: owner,
        gaps: Vec::new(),
    }
}

fn scoped(incident: &Incident) -> Scoped {
    scope(incident, None, PageSize::default())
}

#[test]
fn a_pod_slice_at_the_limit_of_its_only_container_is_the_containers_limit() {
    let container = format!("{POD}/cri-containerd-abc.scope");
    let owner = memcg(POD, &[(64 * MIB, Some(64 * MIB))]);
    let memcg_constraint = Some(Constraint::Memcg);
    for (container_limit, sub, scope, basis) in [
        (Some(64 * MIB), "", Scope::Container, Basis::EqualLimits),
        (Some(64 * MIB), "/init.scope", Scope::Container, Basis::EqualLimits),
        (Some(32 * MIB), "", Scope::Pod, Basis::Kernel),
        (None, "", Scope::Pod, Basis::Kernel),
    ] {
        let mut levels = vec![(63 * MIB, container_limit), (64 * MIB, Some(64 * MIB)), (64 * MIB, None)];
        if !sub.is_empty() {
            levels.insert(0, (63 * MIB, None));
        }
        let victim = memcg(&format!("{container}{sub}"), &levels);
        let incident = incident(memcg_constraint, Some(owner.clone()), victim);
        assert_eq!(scoped(&incident), Scoped { scope, basis }, "{container_limit:?} {sub}");
    }
}

#[test]
fn what_the_kernel_says_is_the_scope() {
    let anywhere = || memcg("/a", &[]);
    for (constraint, owner, scope) in [
        (Constraint::None, None, Scope::Node),
        (Constraint::Cpuset, None, Scope::Cpuset),
        (Constraint::MemoryPolicy, None, Scope::Mempolicy),
        (Constraint::Unknown(9), None, Scope::Unknown),
        (Constraint::Memcg, Some(memcg("/kubepods", &[])), Scope::Kubepods),
        (Constraint::Memcg, Some(memcg("/system.slice/app.service", &[])), Scope::System),
    ] {
        assert_eq!(scoped(&incident(Some(constraint), owner, anywhere())).scope, scope, "{constraint:?}");
    }
}

#[test]
fn without_the_kernels_word_the_level_at_its_limit_tells_and_says_so() {
    let path = format!("{POD}/cri-containerd-abc.scope");
    let below = 64 * MIB - 64 * 4096;
    let victim = memcg(&path, &[(1, None), (below, Some(64 * MIB)), (70 * MIB, None), (80 * MIB, None)]);
    let expected = Scoped { scope: Scope::Pod, basis: Basis::LevelAtLimit { depth: 3 } };
    assert_eq!(scoped(&incident(None, None, victim)), expected);
    let victim = memcg(&path, &[(1, None), (below - 1, Some(64 * MIB)), (70 * MIB, None), (80 * MIB, None)]);
    let expected = Scoped { scope: Scope::Unknown, basis: Basis::NoLevelAtLimit };
    assert_eq!(scoped(&incident(None, None, victim)), expected);
    let expected = Scoped { scope: Scope::Unknown, basis: Basis::Nothing };
    assert_eq!(scoped(&incident(None, None, memcg(&path, &[]))), expected);
}

#[test]
fn a_limit_of_the_pod_itself_is_the_pods() {
    let victim = memcg(
        &format!("{POD}/cri-containerd-abc.scope"),
        &[(64 * MIB, Some(64 * MIB)), (64 * MIB, Some(64 * MIB))],
    );
    let incident = incident(Some(Constraint::Memcg), Some(memcg(POD, &[(64 * MIB, Some(64 * MIB))])), victim);
    let whose = Attributed { pod_limit: Some(Bytes(64 * MIB)), ..Attributed::default() };
    let expected = Scoped { scope: Scope::Pod, basis: Basis::Kernel };
    assert_eq!(scope(&incident, Some(&whose), PageSize::default()), expected);
    let expected = Scoped { scope: Scope::Container, basis: Basis::EqualLimits };
    assert_eq!(scope(&incident, Some(&Attributed::default()), PageSize::default()), expected);
}

#[test]
fn what_a_container_makes_below_itself_is_its_own_whatever_its_name() {
    let container = format!("{POD}/cri-containerd-abc.scope");
    let depth = CgroupPath::parse(container.as_bytes()).components.len();
    let kubernetes = Kubernetes { container_id: Some("abc".to_owned()), ..Kubernetes::default() };
    let whose = Attributed { kubernetes, depth, ..Attributed::default() };
    let of = |owner: &str| {
        let victim = memcg(&format!("{container}/kubepods/podx/c"), &[(MIB, Some(MIB))]);
        let incident = incident(Some(Constraint::Memcg), Some(memcg(owner, &[(MIB, Some(MIB))])), victim);
        scope(&incident, Some(&whose), PageSize::default()).scope
    };
    assert_eq!(of(&format!("{container}/kubepods/podx")), Scope::Container);
    assert_eq!(of(&container), Scope::Container);
    assert_eq!(of(POD), Scope::Pod);
    assert_eq!(of("/kubepods.slice"), Scope::Kubepods);
}
