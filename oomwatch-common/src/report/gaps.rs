//! What a report does not have, and why: named source by source, field by field.

use super::{Gap, Report, Source, process::subject};
use crate::{
    attribution::Attribution,
    capture::{Capture, Outcome, Subject},
    ids::{CgroupPath, Tgid},
    incident::{Incident, Memcg, ProbeLevel},
    snapshot::{Missing, Snapshot},
};

/// All gaps: what the kernel side told of first, then fields, then files.
pub(super) fn gaps(
    report: &Report,
    incident: &Incident,
    capture: &Capture,
    attribution: &Attribution,
    snapshot: &Snapshot,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for gap in &incident.gaps {
        gaps.push(Gap { what: gap.what.clone(), why: gap.why.clone() });
    }
    domain(&mut gaps, report, incident);
    for (index, victim) in report.victims.iter().enumerate() {
        let fields = [
            ("tgid", victim.tgid.is_none()),
            ("tid", victim.tid.is_none()),
            ("comm", victim.comm.is_none()),
            ("uid", victim.uid.is_none()),
            ("oom_score_adj", victim.oom_score_adj.is_none()),
            ("rss", victim.rss.is_none()),
            ("swap_bytes", victim.swap_bytes.is_none()),
            ("pgtables_bytes", victim.pgtables_bytes.is_none()),
            ("total_vm_bytes", victim.total_vm_bytes.is_none()),
            ("started_at", victim.started_at.is_none()),
            ("pid_in_namespace", victim.pid_in_namespace.is_none()),
            ("parent", victim.parent.is_none()),
            ("cgroup", victim.cgroup.is_none()),
        ];
        unread(&mut gaps, incident.level, &format!("victims[{index}]"), &fields);
    }
    if let Some(trigger) = &report.trigger {
        let fields = [
            ("tgid", trigger.tgid.is_none()),
            ("comm", trigger.comm.is_none()),
            ("cgroup", trigger.cgroup.is_none()),
        ];
        unread(&mut gaps, incident.level, "trigger", &fields);
    }
    if report.cgroup.is_none() {
        not_read(&mut gaps, incident.level, "cgroup");
    }
    names(&mut gaps, attribution);
    if report.source != Source::Log {
        not_tried(&mut gaps, incident, capture);
    }
    files(&mut gaps, incident, capture, snapshot);
    gaps
}

/// Whether a gap is one of the victim's names.
pub(super) fn is_of_names(gap: &Gap) -> bool {
    gap.what.starts_with("kubernetes.")
}

/// Names of pods and containers that nobody told.
fn names(gaps: &mut Vec<Gap>, attribution: &Attribution) {
    gaps.extend(attribution.victim.iter().flat_map(|victim| victim.gaps.iter().cloned()));
    for gap in attribution.trigger.iter().flat_map(|trigger| &trigger.gaps) {
        gaps.push(Gap { what: format!("trigger.{}", gap.what), why: gap.why.clone() });
    }
}

fn domain(gaps: &mut Vec<Gap>, report: &Report, incident: &Incident) {
    let unseen = "not seen at level tracepoint";
    match (&report.oom, incident.level) {
        (None, ProbeLevel::Tracepoint) => {
            for what in ["oom", "limit_owner"] {
                gaps.push(Gap { what: what.to_owned(), why: unseen.to_owned() });
            }
        }
        (None, level) => {
            not_read(gaps, level, "oom");
            not_read(gaps, level, "limit_owner");
        }
        (Some(oom), _) => {
            let fields = [
                ("constraint", oom.constraint.is_none()),
                ("gfp_mask", oom.gfp_mask.is_none()),
                ("order", oom.order.is_none()),
                ("totalpages", oom.totalpages.is_none()),
                ("message", oom.message.is_none()),
                ("points", oom.points.is_none()),
            ];
            unread(gaps, incident.level, "oom", &fields);
            let node_wide = ["none", "cpuset", "memory_policy"];
            let has_none =
                oom.constraint.as_deref().is_some_and(|constraint| node_wide.contains(&constraint));
            if report.limit_owner.is_none() && !has_none {
                not_read(gaps, incident.level, "limit_owner");
            }
        }
    }
    for (what, cgroup) in [("limit_owner", &report.limit_owner), ("cgroup", &report.cgroup)] {
        // The root has neither.
        let Some(cgroup) = cgroup.as_ref().filter(|cgroup| cgroup.cgroup != "/") else { continue };
        let fields = [
            ("usage_bytes", cgroup.usage_bytes.is_none()),
            ("limit_bytes", cgroup.limit_bytes.is_none() && !cgroup.unlimited),
        ];
        unread(gaps, incident.level, what, &fields);
    }
    if report.trigger.is_none() {
        not_read(gaps, incident.level, "trigger");
    }
}

fn unread(gaps: &mut Vec<Gap>, level: ProbeLevel, of: &str, fields: &[(&str, bool)]) {
    for (field, is_absent) in fields {
        if *is_absent {
            not_read(gaps, level, &format!("{of}.{field}"));
        }
    }
}

/// Names a field as a gap, unless it has been named with a reason of its own.
fn not_read(gaps: &mut Vec<Gap>, level: ProbeLevel, what: &str) {
    if gaps.iter().any(|gap| gap.what == what) {
        return;
    }
    let why = match level {
        ProbeLevel::Kprobe | ProbeLevel::Tracepoint => "not read by the probe",
        ProbeLevel::Kmsg => "not in the kernel's log",
    };
    gaps.push(Gap { what: what.to_owned(), why: why.to_owned() });
}

/// Whoever's files were not even looked for.
fn not_tried(gaps: &mut Vec<Gap>, incident: &Incident, capture: &Capture) {
    let mut expect = |whose: String, subject: Option<Subject>, why: &str| {
        if !subject.is_some_and(|subject| capture.sources.iter().any(|source| source.subject == subject)) {
            gaps.push(Gap { what: whose, why: format!("not tried: {why}") });
        }
    };
    for (index, victim) in incident.victims.iter().enumerate() {
        let subject = subject(victim).map(Subject::Process);
        expect(format!("victims[{index}]/*"), subject, "its files below /proc were not looked for");
    }
    for (whose, memcg) in memcgs(incident).filter(|(_, memcg)| memcg.path != CgroupPath::default()) {
        let why = "its directory is not known, or its hierarchy is not mounted";
        expect(format!("{whose}/*"), memcg.id.map(Subject::Cgroup), why);
    }
    expect("node/*".to_owned(), Some(Subject::Node), "the node's files were not looked for");
}

/// File by file; one gap for all of a process's or a cgroup's files where all went the same way.
fn files(gaps: &mut Vec<Gap>, incident: &Incident, capture: &Capture, snapshot: &Snapshot) {
    let mut all_gone: Vec<Subject> = Vec::new();
    for Missing { subject, file, outcome } in &snapshot.missing {
        // The root cgroup has no limit and no usage of its own: the files are not missing there.
        if *outcome == Outcome::Unsupported && is_root(*subject, incident) || all_gone.contains(subject) {
            continue;
        }
        let why = match outcome {
            Outcome::Read => "cut: longer than what is kept of it",
            outcome => outcome.name(),
        };
        let whose = whose(*subject, incident);
        let tried = capture.sources.iter().filter(|source| source.subject == *subject).count();
        let alike = |missing: &&Missing| missing.subject == *subject && missing.outcome == *outcome;
        let is_all = tried > 1 && snapshot.missing.iter().filter(alike).count() == tried;
        if is_all {
            all_gone.push(*subject);
        }
        let file = if is_all { "*" } else { file };
        gaps.push(Gap { what: format!("{whose}/{file}"), why: why.to_owned() });
    }
}

fn memcgs(incident: &Incident) -> impl Iterator<Item = (&'static str, &Memcg)> {
    let victims = incident.victims.first().and_then(|victim| victim.memcg.as_ref());
    let both = [("limit_owner", incident.limit_owner.as_ref()), ("cgroup", victims)];
    both.into_iter().filter_map(|(whose, memcg)| Some((whose, memcg?)))
}

fn is_root(subject: Subject, incident: &Incident) -> bool {
    memcgs(incident).any(|(_, memcg)| {
        memcg.id.map(Subject::Cgroup) == Some(subject) && memcg.path == CgroupPath::default()
    })
}

fn whose(subject: Subject, incident: &Incident) -> String {
    match subject {
        Subject::Process(tgid) => whose_process(tgid, incident),
        Subject::Cgroup(_) => memcgs(incident)
            .find(|(_, memcg)| memcg.id.map(Subject::Cgroup) == Some(subject))
            .map_or("cgroup", |(whose, _)| whose)
            .to_owned(),
        Subject::Node => "node".to_owned(),
    }
}

fn whose_process(tgid: Tgid, incident: &Incident) -> String {
    match incident.victims.iter().position(|victim| subject(victim) == Some(tgid)) {
        Some(index) => format!("victims[{index}]"),
        None if incident.trigger.as_ref().and_then(subject) == Some(tgid) => "trigger".to_owned(),
        // Chosen, read, and then found to be exiting already.
        None => format!("process[{}]", tgid.0),
    }
}
