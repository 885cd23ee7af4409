//! Incident and context → what a line shows of a report, before anything was read.

use jiff::Timestamp;

use super::{
    Cgroup, Host, Latency, Oom, Probe, Report, SCHEMA, Trigger, Victim, build::Context, process::rfc3339,
};
use crate::{
    attribution::Attribution,
    diagnose::{Cause, of_limit},
    incident::{Incident, Memcg},
    scope::scope,
    units::Limit,
};

impl Report {
    /// What is known before anything was read, as far as a line shows it: for [`crate::foretell`]. Its finding has no
    /// words, it has no gaps, though nearly all is missing, and is nothing to be kept or handed on. Somebody waits for
    /// it, so nothing is made that no line has.
    pub(crate) fn unread(incident: &Incident, attribution: &Attribution, context: &Context) -> Self {
        let scoped = scope(incident, attribution.victim.as_ref(), context.page_size);
        let first = incident.victims.first().and_then(|victim| victim.memcg.as_ref());
        let victims = incident.victims.iter();
        let mut report = Self {
            schema: SCHEMA,
            id: String::new(),
            time: rfc3339(context.time(incident.at).unwrap_or(Timestamp::MAX)),
            boot_id: String::new(),
            node: String::new(),
            log: None,
            probe: Probe { level: String::new() },
            source: context.source,
            scope: scoped.scope,
            cause: Cause::Unknown,
            oom: incident
                .oom
                .as_ref()
                .map(|oom| Oom { totalpages: oom.totalpages.map(|pages| pages.0), ..Oom::default() }),
            trigger: incident.trigger.as_ref().map(Trigger::of_line),
            victims: victims
                .map(|victim| Victim::of_line(victim, victim.memcg.as_ref().map(|memcg| &memcg.path)))
                .collect(),
            limit_owner: incident.limit_owner.as_ref().map(Cgroup::of_line),
            cgroup: None,
            kubernetes: attribution.victim.as_ref().map(|victim| victim.kubernetes.clone()),
            host: first.filter(|_| attribution.victim.is_none()).and_then(|memcg| Host::new(&memcg.path)),
            candidates: None,
            consumers: Vec::new(),
            node_shares: None,
            repeats: None,
            node_memory: None,
            node_memory_from_log: false,
            slab: Vec::new(),
            zones: Vec::new(),
            vmstat: None,
            load: None,
            pressure: None,
            findings: of_limit(scoped).into_iter().collect(),
            gaps: Vec::new(),
            latency: Latency::default(),
        };
        report.take_cause();
        report
    }
}

impl Cgroup {
    fn of_line(memcg: &Memcg) -> Self {
        Self { usage_bytes: memcg.usage, limit_bytes: memcg.limit.and_then(Limit::bytes), ..Self::default() }
    }
}
