//! Incident, capture and context → report.

use jiff::{SignedDuration, Timestamp};

use super::{
    Candidates, Cgroup, Host, Latency, Oom, Probe, Report, SCHEMA, Source, Trigger, Victim,
    gaps::gaps,
    process::{memory_cgroup, rfc3339},
};
use crate::{
    attribution::{Attributed, Attribution},
    capture::Capture,
    diagnose::{Cause, Facts, Reason, diagnose},
    escape::escape,
    incident::{self, Constraint, Incident},
    scope::{Basis, Scope, level, scope},
    snapshot::Snapshot,
    surroundings::Surroundings,
    units::{BoottimeNs, Bytes, PageSize},
};

/// What a report needs beside the incident: the core has no clock and reads no environment.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the node.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`, without its line end.
    pub boot_id: String,
    /// Size of a page of the kernel that the incident is from.
    pub page_size: PageSize,
    /// Wall time at boottime 0: now minus `CLOCK_BOOTTIME`.
    pub realtime_at_boot: Timestamp,
    /// Where the incident was learnt of.
    pub source: Source,
    /// `CLOCK_BOOTTIME` now.
    pub built_at: BoottimeNs,
}

impl Context {
    /// Wall time of a moment since boot. `None` beyond the calendar.
    pub(super) fn time(&self, at: BoottimeNs) -> Option<Timestamp> {
        let since_boot = SignedDuration::try_from_nanos_i128(at.0.into())?;
        self.realtime_at_boot.checked_add(since_boot).ok()
    }
}

impl Report {
    /// The whole analysis: types what was read, tells what hit its limit, diagnoses, names the gaps.
    pub fn build(
        incident: &Incident,
        capture: &Capture,
        attribution: &Attribution,
        surroundings: &Surroundings,
        context: &Context,
    ) -> Self {
        let snapshot = Snapshot::new(capture, context.page_size);
        let scoped = scope(incident, attribution.victim.as_ref(), context.page_size);
        let mut report =
            Self::assembled(incident, &snapshot, scoped.scope, attribution, surroundings, context);
        let since_hook = |at: BoottimeNs| at.0.saturating_sub(incident.at.0) / 1000;
        report.latency = Latency {
            hook_to_capture_us: since_hook(capture.taken_at),
            hook_to_read_us: since_hook(capture.done_at),
            hook_to_report_us: since_hook(context.built_at),
        };
        let memcg = incident.victims.first().and_then(|victim| victim.memcg.as_ref());
        report.cgroup = memcg.map(|memcg| Cgroup::new(memcg, &snapshot, incident.level));
        let at_limit = memcg.and_then(|memcg| match scoped.basis {
            Basis::LevelAtLimit { depth } => level(memcg, depth)?.limit?.bytes(),
            _ => None,
        });
        let totalpages = totalpages(&report, at_limit, context.page_size);
        report.candidates = surroundings
            .tasks
            .as_ref()
            .map(|tasks| Candidates::new(tasks, &report.victims, totalpages, context.page_size));
        if let Some(candidates) = report.candidates.as_mut().filter(|_| !kills_who_asks(incident)) {
            candidates.mark_grown();
        }
        report.findings = diagnose(&Facts { report: &report, basis: scoped.basis });
        report.take_cause();
        report.gaps = gaps(&report, incident, capture, attribution, &snapshot);
        report.gaps.extend(surroundings.gaps.iter().cloned());
        report
    }

    pub(super) fn take_cause(&mut self) {
        if let Some(Reason::Cause(cause)) = self.findings.first().map(|finding| finding.cause) {
            self.cause = cause;
        }
    }

    /// All that needs no other part of the report.
    fn assembled(
        incident: &Incident,
        snapshot: &Snapshot,
        scope: Scope,
        attribution: &Attribution,
        surroundings: &Surroundings,
        context: &Context,
    ) -> Self {
        let kubernetes = |attributed: &Option<Attributed>| Some(attributed.as_ref()?.kubernetes.clone());
        let trigger = |trigger| Trigger::new(trigger, snapshot, kubernetes(&attribution.trigger));
        let host = |victim| Host::new(memory_cgroup(victim, snapshot)?);
        Self {
            schema: SCHEMA,
            id: format!("{}-{}", context.boot_id, incident.at.0),
            time: rfc3339(context.time(incident.at).unwrap_or(Timestamp::MAX)),
            boot_id: context.boot_id.clone(),
            node: escape(context.node.as_bytes()),
            log: None,
            probe: Probe { level: incident.level.name().to_owned() },
            source: context.source,
            scope,
            cause: Cause::Unknown,
            oom: incident.oom.as_ref().map(|oom| domain(oom, context.page_size)),
            trigger: incident.trigger.as_ref().map(trigger),
            victims: incident.victims.iter().map(|victim| Victim::new(victim, snapshot, context)).collect(),
            limit_owner: incident
                .limit_owner
                .as_ref()
                .map(|owner| Cgroup::new(owner, snapshot, incident.level)),
            cgroup: None,
            kubernetes: kubernetes(&attribution.victim),
            host: incident.victims.first().filter(|_| attribution.victim.is_none()).and_then(host),
            candidates: None,
            consumers: surroundings.consumers.clone(),
            node_shares: surroundings.node_shares,
            repeats: surroundings.repeats.clone(),
            node_memory: snapshot.node.meminfo.or(surroundings.node_memory),
            node_memory_from_log: snapshot.node.meminfo.is_none() && surroundings.node_memory.is_some(),
            slab: surroundings.slab.clone(),
            zones: surroundings.zones.clone(),
            vmstat: snapshot.node.vmstat,
            load: snapshot.node.load.clone(),
            pressure: snapshot.node.pressure,
            findings: Vec::new(),
            gaps: Vec::new(),
            latency: Latency::default(),
        }
    }
}

/// The size of the OOM domain in pages: the kernel's, or where it did not say so, as in its log, reckoned as it does
/// (`mem_cgroup_get_max`, mm/memcontrol.c; `constrained_alloc`, mm/oom_kill.c). How much swap a node has is not in the
/// log of a cgroup's limit: there it is taken for none. At level tracepoint `at_limit` is the limit that was reached;
/// how much swap it allowed is not known then, unless there was none.
fn totalpages(report: &Report, at_limit: Option<Bytes>, page_size: PageSize) -> Option<u64> {
    let reckoned = || {
        let swap = report.node_memory.and_then(|memory| memory.swap_total_bytes);
        let bytes = match (report.scope, &report.limit_owner) {
            (Scope::Node, _) => report.node_memory?.mem_total_bytes?.0.checked_add(swap?.0)?,
            (_, Some(owner)) => {
                let allowed = owner.swap_limit_bytes.into_iter().chain(swap).min().unwrap_or_default();
                owner.limit_bytes?.0.checked_add(allowed.0)?
            }
            (_, None) => at_limit.filter(|_| swap == Some(Bytes(0)))?.0,
        };
        Some(bytes / page_size.get().0)
    };
    report.oom.as_ref().and_then(|oom| oom.totalpages).or_else(reckoned)
}

/// `vm.oom_kill_allocating_task` is set (`out_of_memory`, mm/oom_kill.c, says so): nobody was ranked.
fn kills_who_asks(incident: &Incident) -> bool {
    let message = incident.oom.as_ref().and_then(|oom| oom.message.as_deref());
    message.is_some_and(|message| message.contains("oom_kill_allocating_task"))
}

fn domain(oom: &incident::Oom, page_size: PageSize) -> Oom {
    let constraint = oom.constraint.map(|constraint| match constraint {
        Constraint::None => "none".to_owned(),
        Constraint::Cpuset => "cpuset".to_owned(),
        Constraint::MemoryPolicy => "memory_policy".to_owned(),
        Constraint::Memcg => "memcg".to_owned(),
        Constraint::Unknown(number) => format!("unknown_{number}"),
    });
    Oom {
        constraint,
        gfp_mask: oom.gfp_mask.map(|mask| format!("{mask:#x}")),
        gfp_flags: oom.gfp_flags.clone(),
        order: oom.order,
        totalpages: oom.totalpages.map(|pages| pages.0),
        totalpages_bytes: oom.totalpages.map(|pages| page_size.bytes(pages)),
        message: oom.message.as_ref().map(|message| escape(message.as_bytes())),
        group: oom.group,
        points: oom.chosen_points,
    }
}
