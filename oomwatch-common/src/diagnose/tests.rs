//! Each base rule speaks for its own scope and for no other.

use super::{Cause, Confidence, Facts, RULES, Reason, diagnose};
use crate::{
    attribution::Attribution,
    capture::Capture,
    ids::CgroupPath,
    incident::{Constraint, Incident, Memcg, MemcgLevel, Oom, ProbeLevel, Process, ProcessMemory},
    report::{Context, Report, Source, Zone},
    scope::Basis,
    surroundings::Surroundings,
    units::{BoottimeNs, Bytes, Limit, PageSize, Pages},
};

mod refinements;

const MIB: u64 = 1 << 20;

fn memcg(path: &str, usage: u64, limit: u64) -> Memcg {
    let (usage, limit) = (Some(Bytes(usage * MIB)), Some(Limit::Bytes(Bytes(limit * MIB))));
    let path = CgroupPath::parse(path.as_bytes());
    let levels = vec![MemcgLevel { usage, limit }; path.components.len()];
    Memcg { path, usage, limit, levels, ..Memcg::default() }
}

fn report(constraint: Constraint, order: i32, owner: Option<&str>, level: ProbeLevel) -> Report {
    let oom = Oom {
        constraint: Some(constraint),
        gfp_mask: Some(0xcc0),
        gfp_flags: None,
        order: Some(order),
        totalpages: Some(Pages(1)),
        chosen_points: Some(1),
        message: Some("Out of memory".into()),
        group: false,
    };
    let memory = ProcessMemory { rss_anon: Some(Bytes(60 * MIB)), ..ProcessMemory::default() };
    let memcg_of_victim = memcg("/kubepods/burstable/pod1/c1", 64, 64);
    let victim = Process { memory: Some(memory), memcg: Some(memcg_of_victim), ..Process::default() };
    let incident = Incident {
        number: 1,
        at: BoottimeNs(1),
        level,
        oom: (level == ProbeLevel::Kprobe).then_some(oom),
        trigger: None,
        victims: vec![victim],
        limit_owner: owner.map(|path| memcg(path, 128, 128)),
        gaps: Vec::new(),
    };
    let context = Context {
        node: "n".into(),
        boot_id: "b".into(),
        page_size: PageSize::default(),
        realtime_at_boot: jiff::Timestamp::UNIX_EPOCH,
        source: Source::Live,
        built_at: BoottimeNs(2),
    };
    Report::build(&incident, &Capture::default(), &Attribution::default(), &Surroundings::default(), &context)
}

#[test]
fn exactly_one_base_rule_speaks_for_each_scope() {
    use Cause as C;
    for (constraint, order, owner, cause) in [
        (Constraint::Memcg, 0, Some("/kubepods/burstable/pod1/c1"), C::ContainerLimit),
        (Constraint::Memcg, 0, Some("/kubepods/burstable/pod1"), C::PodLimit),
        (Constraint::Memcg, 0, Some("/kubepods/burstable"), C::QosLimit),
        (Constraint::Memcg, 0, Some("/kubepods"), C::NodeAllocatable),
        (Constraint::Memcg, 0, Some("/system.slice/app.service"), C::SystemServiceLimit),
        (Constraint::None, 0, None, C::NodeExhausted),
        (Constraint::None, -1, None, C::Sysrq),
        (Constraint::Cpuset, 0, None, C::Cpuset),
        (Constraint::MemoryPolicy, 0, None, C::Mempolicy),
        (Constraint::Unknown(7), 0, None, C::Unknown),
    ] {
        let report = report(constraint, order, owner, ProbeLevel::Kprobe);
        let is_cause = |reason: &Reason| matches!(reason, Reason::Cause(_));
        let causes: Vec<_> = report.findings.iter().map(|finding| finding.cause).filter(is_cause).collect();
        assert_eq!((causes.as_slice(), report.cause), ([Reason::Cause(cause)].as_slice(), cause));
        let finding = &report.findings[0];
        assert!(!finding.advice.is_empty() && finding.text.ends_with('.'), "{finding:?}");
        let victim = finding.evidence.iter().find(|evidence| evidence.name == "victim_rss_anon").unwrap();
        assert_eq!((victim.value, victim.unit.as_str(), victim.from.as_str()), (60 * MIB, "bytes", "probe"));
    }
}

#[test]
fn evidence_has_the_numbers_and_where_they_were_read() {
    let finding =
        &report(Constraint::Memcg, 0, Some("/kubepods/burstable/pod1"), ProbeLevel::Kprobe).findings[0];
    let value =
        |name: &str| finding.evidence.iter().find(|evidence| evidence.name == name).map(|found| found.value);
    assert_eq!((value("usage"), value("limit")), (Some(128 * MIB), Some(128 * MIB)));
    assert_eq!(finding.confidence, Confidence::Certain);
}

#[test]
fn a_cause_that_is_inferred_is_only_possible_and_says_so() {
    let finding = &report(Constraint::None, 0, None, ProbeLevel::Tracepoint).findings[0];
    assert_eq!(
        (finding.cause, finding.confidence),
        (Reason::Cause(Cause::ContainerLimit), Confidence::Possible)
    );
    assert!(
        finding.text.contains("probably") && finding.text.contains("/kubepods/burstable/pod1/c1"),
        "{finding:?}"
    );
    assert_eq!(finding.evidence[0].value, 64 * MIB);
}

#[test]
fn no_rule_needs_anything_but_a_scope() {
    let mut report = report(Constraint::Memcg, 0, None, ProbeLevel::Tracepoint);
    report.cgroup = None;
    report.victims.clear();
    for basis in [Basis::Kernel, Basis::EqualLimits, Basis::LevelAtLimit { depth: 9 }, Basis::Nothing] {
        for rule in RULES {
            let finding = rule(&Facts { report: &report, basis });
            assert!(finding.is_none_or(|finding| finding.evidence.iter().all(|evidence| evidence.value > 0)));
        }
        assert!(diagnose(&Facts { report: &report, basis }).len() <= 1);
    }
}

#[test]
fn a_full_memory_node_is_named_with_what_each_had_left() {
    let zone = |node, free| Zone { node, free_bytes: Some(Bytes(free * MIB)), ..Zone::default() };
    let mut report = report(Constraint::Cpuset, 0, None, ProbeLevel::Kprobe);
    report.zones = vec![zone(0, 15), zone(0, 200), zone(1, 2)];
    for (is_logged, words) in [
        (false, "When it was read, memory node 0 had 215.0 MiB and node 1 had 2.0 MiB free."),
        (true, "Of them memory node 0 had 215.0 MiB and node 1 had 2.0 MiB free."),
    ] {
        report.node_memory_from_log = is_logged;
        let text = diagnose(&Facts { report: &report, basis: Basis::Kernel }).remove(0).text;
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn causes_have_one_spelling_everywhere() {
    for cause in Cause::ALL {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
    }
}
