//! Each refinement speaks when its numbers are there, and is silent one step before.

mod node;
mod told;
mod usage;

use super::{super::Reason, MIB, report};
use crate::{
    cgroup_path::Qos,
    diagnose::{Cause, Confidence, Facts, Finding, Refinement as R, diagnose},
    incident::{Constraint, ProbeLevel},
    memcg_text::{MemcgEvents, MemcgStat},
    proc_text::Meminfo,
    render_text::verdict,
    report::{
        Candidate, Candidates, CandidatesFrom, Consumer, ContainerKind, FiguresFrom, Host, HostKind,
        Kubernetes, MemoryVolume, NamesFrom, NodeShares, Oom, Parent, Repeats, Report, Rss, SlabCache,
        Trigger, Workload, Zone,
    },
    scope::{Basis, Scope},
    units::Bytes,
};

#[expect(clippy::unnecessary_wraps, reason = "the fields that it is for may all be absent")]
fn mib(mib: u64) -> Option<Bytes> {
    Some(Bytes(mib * MIB))
}

fn kubernetes(pod: &str, container: &str, request: Option<u64>) -> Kubernetes {
    Kubernetes {
        names_from: Some(NamesFrom::Kubelet),
        namespace: Some("shop".into()),
        pod: Some(pod.into()),
        container: Some(container.into()),
        container_id: Some(format!("id-of-{container}")),
        qos: Some(Qos::Burstable),
        requests_bytes: request.and_then(mib),
        limits_bytes: mib(100),
        workload: Some(Workload { kind: "Deployment".into(), name: "web".into() }),
        ..Kubernetes::default()
    }
}

fn stat(report: &mut Report, values: &[(&str, u64)]) {
    let values = values.iter().map(|(name, mib)| (format!("{name}_bytes"), mib * MIB)).collect();
    report.limit_owner.as_mut().unwrap().stat = Some(MemcgStat(values));
}

/// A container of 100 MiB at its limit, of a pod of the kubelet's: of what its usage is, and whose fault, says nothing.
fn container() -> Report {
    let mut report = report(Constraint::Memcg, 0, Some("/kubepods/burstable/pod1/c1"), ProbeLevel::Kprobe);
    report.findings.clear();
    report.time = "2026-11-21T07:10:00.000000Z".into();
    let owner = report.limit_owner.as_mut().unwrap();
    owner.cgroup = "/kubepods/burstable/pod1/id-of-app".into();
    (owner.usage_bytes, owner.limit_bytes, owner.figures_from) =
        (mib(100), mib(100), Some(FiguresFrom::Probe));
    let own = report.cgroup.as_mut().unwrap();
    (own.usage_bytes, own.limit_bytes) = (mib(100), mib(100));
    report.kubernetes = Some(kubernetes("web-1", "app", Some(90)));
    let victim = &mut report.victims[0];
    victim.tgid = Some(7);
    victim.comm = Some("app".into());
    victim.oom_score_adj = Some(900);
    victim.pid_in_namespace = Some(1);
    victim.started_at = Some("2026-11-21T07:00:00.000000Z".into());
    victim.rss = Some(Rss { anon_bytes: mib(60), ..Rss::default() });
    stat(&mut report, &[("anon", 60), ("file", 40), ("inactive_file", 30)]);
    report
}

fn node() -> Report {
    let mut report = container();
    report.scope = Scope::Node;
    report.limit_owner = None;
    report.oom = Some(Oom { order: Some(0), totalpages_bytes: mib(1000), ..Oom::default() });
    report.node_memory = Some(Meminfo {
        mem_total_bytes: mib(1000),
        anon_pages_bytes: mib(700),
        swap_total_bytes: Some(Bytes(0)),
        ..Meminfo::default()
    });
    report
}

fn candidate(tgid: u32, used: u64, adjustment: i16) -> Candidate {
    Candidate {
        tgid: Some(tgid),
        comm: Some("db".into()),
        rss_bytes: mib(used),
        oom_score_adj: Some(adjustment),
        is_victim: tgid == 7,
        ..Candidate::default()
    }
}

fn candidates(report: &mut Report, processes: &[(u32, u64, i16)]) {
    let processes: Vec<_> =
        processes.iter().map(|&(tgid, used, adjustment)| candidate(tgid, used, adjustment)).collect();
    let rss = processes.iter().filter_map(|process| process.rss_bytes).map(|Bytes(rss)| rss).sum();
    report.candidates = Some(Candidates {
        from: CandidatesFrom::Proc,
        count: processes.len().try_into().unwrap(),
        unread: 0,
        undecided: 0,
        unkillable: 0,
        rss_bytes: Bytes(rss),
        swap_bytes: Bytes(0),
        pgtables_bytes: Bytes(0),
        victims_place: Some(1),
        processes,
    });
}

fn found(report: &Report, refinement: R) -> Option<Finding> {
    let findings = diagnose(&Facts { report, basis: Basis::Kernel });
    findings.into_iter().find(|finding| finding.cause == Reason::Refinement(refinement))
}

type Case = (R, fn() -> Report, fn(&mut Report), Option<(Confidence, &'static [&'static str])>);

const CERTAIN: Confidence = Confidence::Certain;
const LIKELY: Confidence = Confidence::Likely;
const POSSIBLE: Confidence = Confidence::Possible;

fn zone(free: u64, free_blocks: &[u64]) -> Zone {
    Zone {
        zone: "Normal".into(),
        free_bytes: mib(free),
        min_bytes: mib(4),
        free_blocks: free_blocks.to_vec(),
        ..Zone::default()
    }
}

fn consumer(container: &str, usage: u64, request: Option<u64>) -> Consumer {
    let kubernetes = Some(kubernetes("web-2", container, request));
    Consumer { cgroup: "/c".into(), kubernetes, usage_bytes: mib(usage), ..Consumer::default() }
}

fn shares(host: u64) -> NodeShares {
    NodeShares {
        capacity_bytes: mib(1000),
        allocatable_bytes: mib(800),
        host_usage_bytes: mib(host),
        ..NodeShares::default()
    }
}

fn trigger(tgid: u32) -> Trigger {
    Trigger { tgid: Some(tgid), comm: Some("nginx".into()), cgroup: Some("/a".into()), ..Trigger::default() }
}

fn repeats(count: u64) -> Repeats {
    Repeats { count, window_seconds: 7200, first_time: None, mean_interval_seconds: Some(300) }
}

fn inner(report: &mut Report) {
    report.limit_owner.as_mut().unwrap().cgroup.push_str("/jobs");
    report.kubernetes.as_mut().unwrap().limits_bytes = mib(500);
}

fn child(report: &mut Report) {
    report.victims[0].pid_in_namespace = Some(12);
    report.victims[0].parent = Some(Parent { tgid: 3, comm: Some("app".into()) });
}

fn cases() -> impl Iterator<Item = &'static Case> {
    usage::CASES.iter().chain(node::CASES).chain(told::CASES)
}

#[test]
fn each_refinement_speaks_for_its_numbers_and_for_no_less() {
    for (index, (refinement, base, change, expected)) in cases().enumerate() {
        let mut report = base();
        change(&mut report);
        let finding = found(&report, *refinement);
        let told = || format!("case {index}, {}: {finding:#?}", refinement.name());
        let Some((confidence, words)) = expected else {
            assert!(finding.is_none(), "{}", told());
            continue;
        };
        let found = finding.as_ref().unwrap_or_else(|| panic!("{}", told()));
        let all = format!("{}\n{}", found.text, found.advice.join("\n"));
        assert_eq!(found.confidence, *confidence, "{}", told());
        assert!(words.iter().all(|words| all.contains(words)), "{}", told());
        assert!(found.text.ends_with('.') && !found.text.contains("  "), "{}", told());
    }
}

#[test]
fn every_refinement_has_a_case_in_which_it_speaks_and_one_in_which_not() {
    for refinement in R::ALL {
        for speaks in [true, false] {
            let is_it = |case: &&Case| case.0 == refinement && case.3.is_some() == speaks;
            assert!(cases().any(|case| is_it(&case)), "{} {speaks}", refinement.name());
        }
    }
}

#[test]
fn a_pods_headline_says_which_container_had_how_much() {
    let mut report = container();
    report.scope = Scope::Pod;
    candidates(&mut report, &[(7, 20, 900), (8, 30, 900), (9, 25, 900)]);
    let named = |container| Some(kubernetes("web-1", container, None));
    for (process, container) in
        report.candidates.as_mut().unwrap().processes.iter_mut().zip(["app", "log", "app"])
    {
        process.kubernetes = named(container);
    }
    let text = |report: &Report| diagnose(&Facts { report, basis: Basis::Kernel }).remove(0).text;
    assert!(text(&report).contains("By container: app 45.0 MiB and log 30.0 MiB."), "{}", text(&report));
    report.candidates.as_mut().unwrap().undecided = 1;
    assert!(!text(&report).contains("By container"), "one was not looked at");
    let candidates = report.candidates.as_mut().unwrap();
    (candidates.undecided, candidates.count) = (0, 4);
    assert!(!text(&report).contains("By container"), "one was not read");
}

#[test]
fn of_a_node_full_of_slab_its_pods_are_not_the_first_to_look_at() {
    for (slab, is_first) in [(501, true), (500, false)] {
        let mut report = node();
        report.cause = Cause::NodeExhausted;
        report.node_memory.as_mut().unwrap().slab_bytes = mib(slab);
        let advice = diagnose(&Facts { report: &report, basis: Basis::Kernel }).remove(0).advice;
        assert_eq!(advice[0].contains("belongs to no process"), is_first, "{advice:?}");
        assert_eq!(
            verdict(&report).contains("most of it slab (501.0 MiB)"),
            is_first,
            "{}",
            verdict(&report)
        );
    }
}

#[test]
fn what_fills_a_limit_beside_processes_is_told_in_the_line() {
    let mut report = container();
    for (values, words) in [
        (&[("anon", 49), ("file", 51), ("shmem", 51)][..], "most of it shared memory and tmpfs (51.0 MiB)"),
        (&[("anon", 49), ("kernel", 45), ("sock", 6)][..], "most of it kernel memory (51.0 MiB)"),
        (&[("anon", 49), ("file", 51)][..], "most of it page cache (51.0 MiB)"),
    ] {
        stat(&mut report, values);
        assert!(verdict(&report).ends_with(words), "{}", verdict(&report));
    }
    stat(&mut report, &[("anon", 50), ("file", 50), ("shmem", 50)]);
    assert_eq!(verdict(&report), "probably container limit reached");
}

#[test]
fn no_size_is_too_large_for_a_rule() {
    let most = Some(Bytes(u64::MAX));
    for mut report in [container(), node()] {
        candidates(&mut report, &[(7, 1, 999), (8, 1, 0), (9, 1, 0)]);
        let all = report.candidates.as_mut().unwrap();
        (all.count, all.rss_bytes, all.swap_bytes) = (u64::MAX, Bytes(u64::MAX), Bytes(u64::MAX));
        for process in &mut all.processes {
            (process.rss_bytes, process.swap_bytes) = (most, most);
        }
        let kubernetes = report.kubernetes.as_mut().unwrap();
        let volume = MemoryVolume { name: "v".into(), size_limit_bytes: most };
        kubernetes.memory_volumes = vec![volume.clone(), volume];
        (kubernetes.limits_bytes, kubernetes.requests_bytes) = (most, most);
        report.victims[0].rss = Some(Rss { anon_bytes: most, shmem_bytes: most, ..Rss::default() });
        report.zones = vec![Zone { free_bytes: most, ..zone(5, &[1]) }; 2];
        report.oom.as_mut().unwrap().order = Some(i32::MAX);
        report.consumers = vec![Consumer { usage_bytes: most, ..consumer("big", 1, None) }; 2];
        report.node_shares = Some(NodeShares { host_usage_bytes: most, ..shares(1) });
        if let Some(owner) = &mut report.limit_owner {
            (owner.usage_bytes, owner.limit_bytes, owner.peak_bytes) = (most, most, most);
            let values = ["anon", "file", "shmem", "kernel", "slab", "sock", "unevictable", "file_dirty"];
            let values = values.iter().map(|name| (format!("{name}_bytes"), u64::MAX)).collect();
            owner.stat = Some(MemcgStat(values));
        }
        assert!(diagnose(&Facts { report: &report, basis: Basis::Kernel }).len() > 2);
    }
}

#[test]
fn names_that_others_chose_cannot_leave_the_command_that_is_advised() {
    let mut report = container();
    let kubernetes = report.kubernetes.as_mut().unwrap();
    (kubernetes.pod, kubernetes.container) = (Some("a; reboot".into()), Some("$(reboot)".into()));
    let advice: Vec<_> = diagnose(&Facts { report: &report, basis: Basis::Kernel })
        .into_iter()
        .flat_map(|finding| finding.advice)
        .collect();
    let commands: Vec<_> = advice.iter().filter(|line| line.contains("kubectl")).collect();
    assert!(commands.len() >= 2, "{advice:?}");
    for command in commands {
        assert!(!command.contains(" a; reboot") && !command.contains(" $(reboot)"), "{command}");
    }
}
