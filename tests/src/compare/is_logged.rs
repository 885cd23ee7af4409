//! A report that was made of the kernel's log against the tests' own reading of that log: nothing may differ.

use super::{Differences, Slack};
use crate::{kernel_log::LoggedIncident, report::Report};

/// Everything that both have.
pub fn is_logged(differences: &mut Differences, report: &Report, logged: &LoggedIncident) {
    let victims = logged.victims();
    differences.equal("probe.level", report.level.as_deref(), "kmsg");
    differences.equal("number of victims", Some(report.victims.len()), victims.len());
    for (ours, killed) in report.victims.iter().zip(victims) {
        let mut size = |name: &str, ours: Option<u64>, kib: u64| {
            differences.close(&format!("victim {} {name}", killed.tid), ours, kib * 1024, Slack::NONE);
        };
        size("total_vm_bytes", ours.total_vm, killed.total_vm_kib);
        size("rss.anon_bytes", ours.rss_anon, killed.rss_anon_kib);
        size("rss.file_bytes", ours.rss_file, killed.rss_file_kib);
        size("rss.shmem_bytes", ours.rss_shmem, killed.rss_shmem_kib);
        size("pgtables_bytes", ours.pgtables, killed.pgtables_kib);
        differences.equal("victim tid", ours.tid, killed.tid);
        differences.same_name("victim comm", ours.comm.as_deref(), &killed.comm);
        differences.equal("victim uid", ours.uid, u64::from(killed.uid));
        differences.equal("victim oom_score_adj", ours.oom_score_adj, i64::from(killed.oom_score_adj));
    }
    differences.equal("oom.group", report.oom.group, logged.group);
    if let Some(header) = &logged.header {
        let trigger = report.trigger.as_ref();
        differences.same_name(
            "trigger comm",
            trigger.and_then(|it| it.comm.as_deref()),
            &header.trigger_comm,
        );
        differences.equal("gfp_mask", report.oom.gfp_mask, u64::from(header.gfp_mask));
        differences.equal("order", report.oom.order, i64::from(header.order));
    }
    if let Some(summary) = &logged.summary {
        let constraint = summary.constraint.trim_start_matches("CONSTRAINT_").to_lowercase();
        differences.equal("constraint", report.oom.constraint.clone(), constraint);
        if let Some(owner) = &summary.oom_memcg {
            let ours = report.limit_owner.as_ref();
            differences.same_name("limit_owner.cgroup", ours.and_then(|it| it.cgroup.as_deref()), owner);
            if let Some(memory) = logged.memory {
                differences.equal("usage", ours.and_then(|it| it.usage), memory.usage_kib * 1024);
                differences.equal("limit", ours.and_then(|it| it.limit), memory.limit_kib * 1024);
            }
        }
    }
}
