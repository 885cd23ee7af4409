//! A report against the kernel's log of the same incident.

use super::{Differences, Slack};
use crate::{
    kernel_log::{Header, Killed, LoggedIncident, Summary},
    machine::Machine,
    report::{Process, Report},
};

/// Compares all that the log says. Where the level does not see the domain, the report must name it as a gap instead.
pub fn with_log(differences: &mut Differences, report: &Report, logged: &LoggedIncident, machine: &Machine) {
    let sees_domain = report.level.as_deref() == Some("kprobe");
    let victims = logged.victims();
    differences.equal("number of victims", Some(report.victims.len()), victims.len());
    for killed in victims {
        match report.victims.iter().find(|victim| victim.tid == Some(killed.tid)) {
            Some(victim) => with_killed(differences, report, victim, killed, machine),
            None => differences.wrong(format!("no victim has tid {} of \"Killed process\"", killed.tid)),
        }
    }
    if let Some(header) = &logged.header {
        with_header(differences, report, header, sees_domain);
    }
    if let Some(tid) = logged.trigger_tid {
        differences.equal("trigger.tid", report.trigger.as_ref().and_then(|trigger| trigger.tid), tid);
    }
    if let Some(summary) = &logged.summary {
        with_summary(differences, report, logged, summary, sees_domain);
    }
    if sees_domain {
        with_domain(differences, report, logged, machine);
    } else {
        for absent in ["oom", "limit_owner"] {
            let named = report.gaps.iter().any(|gap| gap.split(['.', '[']).next() == Some(absent));
            differences
                .that(&format!("{absent} is not seen at this level and must be among the gaps"), named);
        }
        let empty = report.oom.constraint.is_none() && report.oom.totalpages.is_none();
        differences.that("the domain is not seen at this level, and yet reported", empty);
    }
}

/// "Killed process". It prints kB; every value is a whole number of pages, so nothing is lost.
fn with_killed(
    differences: &mut Differences,
    report: &Report,
    victim: &Process,
    killed: &Killed,
    machine: &Machine,
) {
    let mut size = |name: &str, ours: Option<u64>, kib: u64, slack: Slack| {
        differences.close(&format!("victim {} {name}", killed.tid), ours, kib * 1024, slack);
    };
    // What the agent could not sum has the same error as what the kernel did not; where the kernel sums and the agent
    // could not, only the agent's has it. The bound is the same.
    let rss = if victim.exact == Some(true) { machine.logged_rss() } else { machine.unsummed() };
    let stands_still = report.trigger.as_ref().is_some_and(|trigger| trigger.tid == victim.tid);
    let (anon, cached) = if stands_still {
        (rss, rss)
    } else {
        (rss.or(machine.not_handed_in(false)), rss.or(machine.not_handed_in(true)))
    };
    size("total_vm_bytes", victim.total_vm, killed.total_vm_kib, Slack::NONE);
    size("rss.anon_bytes", victim.rss_anon, killed.rss_anon_kib, anon);
    size("rss.file_bytes", victim.rss_file, killed.rss_file_kib, cached);
    size("rss.shmem_bytes", victim.rss_shmem, killed.rss_shmem_kib, cached);
    size("pgtables_bytes", victim.pgtables, killed.pgtables_kib, Slack::NONE);
    differences.same_name("victim comm", victim.comm.as_deref(), &killed.comm);
    differences.equal("victim uid", victim.uid, u64::from(killed.uid));
    differences.equal("victim oom_score_adj", victim.oom_score_adj, i64::from(killed.oom_score_adj));
}

/// "invoked oom-killer".
fn with_header(differences: &mut Differences, report: &Report, header: &Header, sees_domain: bool) {
    let trigger = report.trigger.as_ref();
    let comm = trigger.and_then(|trigger| trigger.comm.as_deref());
    differences.same_name("trigger.comm", comm, &header.trigger_comm);
    let oom_score_adj = trigger.and_then(|trigger| trigger.oom_score_adj);
    differences.equal("trigger.oom_score_adj", oom_score_adj, i64::from(header.oom_score_adj));
    if sees_domain {
        differences.equal("oom.gfp_mask", report.oom.gfp_mask, u64::from(header.gfp_mask));
        differences.equal("oom.order", report.oom.order, i64::from(header.order));
    }
}

/// "oom-kill:". Its pid is that of the chosen task: the process's first thread, so the report's tgid, but with
/// `vm.oom_kill_allocating_task` the thread that allocated.
fn with_summary(
    differences: &mut Differences,
    report: &Report,
    logged: &LoggedIncident,
    summary: &Summary,
    sees_domain: bool,
) {
    let allocating = |killed: &Killed| killed.message.contains("oom_kill_allocating_task");
    let chosen_thread = logged.killed.first().is_some_and(allocating);
    let allocated =
        report.trigger.as_ref().filter(|trigger| chosen_thread && trigger.tid == Some(summary.pid));
    let is_chosen = |victim: &&Process| {
        victim.tgid == Some(summary.pid) || allocated.is_some_and(|trigger| trigger.tgid == victim.tgid)
    };
    let Some(chosen) = report.victims.iter().find(is_chosen) else {
        differences.wrong(format!("no victim has the pid {} of \"oom-kill:\"", summary.pid));
        return;
    };
    differences.equal("chosen uid", chosen.uid, u64::from(summary.uid));
    differences.same_name("chosen cgroup (task_memcg)", chosen.cgroup.as_deref(), &summary.task_memcg);
    if !sees_domain {
        return;
    }
    let constraint = summary.constraint.trim_start_matches("CONSTRAINT_").to_lowercase();
    differences.equal("oom.constraint", report.oom.constraint.clone(), constraint);
    match &summary.oom_memcg {
        Some(path) => {
            let owner = report.limit_owner.as_ref().and_then(|owner| owner.cgroup.as_deref());
            differences.same_name("limit_owner.cgroup (oom_memcg)", owner, path);
        }
        None => differences.that("a node-wide OOM has no limit_owner", report.limit_owner.is_none()),
    }
}

/// The counters of the cgroup, the message, the group.
fn with_domain(differences: &mut Differences, report: &Report, logged: &LoggedIncident, machine: &Machine) {
    differences.equal("oom.group", report.oom.group, logged.group);
    if let Some(first) = logged.killed.first() {
        differences.equal("oom.message", report.oom.message.clone(), first.message.clone());
    }
    if let Some(pages) = report.oom.totalpages {
        differences.equal("oom.totalpages_bytes", report.oom.totalpages_bytes, pages * machine.page);
    }
    let Some(memory) = logged.memory else {
        // With another constraint the domain is some of the node's memory; the log does not say how much.
        if report.oom.constraint.as_deref() == Some("none") {
            let node = machine.ram + machine.swap;
            differences.equal("oom.totalpages_bytes (RAM and swap)", report.oom.totalpages_bytes, node);
        }
        return;
    };
    let owner = report.limit_owner.as_ref();
    let usage = owner.and_then(|owner| owner.usage);
    differences.close("limit_owner.usage_bytes", usage, memory.usage_kib * 1024, machine.stocked());
    let limit = owner.and_then(|owner| owner.limit);
    differences.equal("limit_owner.limit_bytes", limit, memory.limit_kib * 1024);
    // The tests' cgroups may not swap, so the domain is the limit alone (mem_cgroup_get_max, mm/memcontrol.c).
    if machine.swap == 0 {
        differences.equal(
            "oom.totalpages_bytes (the limit)",
            report.oom.totalpages_bytes,
            memory.limit_kib * 1024,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::with_log;
    use crate::{
        compare::Differences,
        kernel_log::{LoggedIncident, incidents},
        kmsg::Record,
        machine::Machine,
        report::Report,
    };

    const REPORT: &str = r#"{"schema":1,"probe":{"level":"kprobe"},
        "oom":{"constraint":"memcg","gfp_mask":"0xcc0","order":0,"totalpages":8192,"totalpages_bytes":33554432,
               "message":"Memory cgroup out of memory","group":false},
        "trigger":{"tgid":97,"tid":97,"comm":"hog","oom_score_adj":0},
        "victims":[{"tgid":97,"tid":97,"comm":"hog","uid":0,"oom_score_adj":0,"total_vm_bytes":34656256,
            "rss":{"anon_bytes":33189888,"file_bytes":4096,"shmem_bytes":716800,"exact":false},
            "pgtables_bytes":102400,"cgroup":"/docker/abc123"}],
        "limit_owner":{"cgroup":"/docker/abc123","usage_bytes":33554432,"limit_bytes":33554432},"gaps":[]}"#;

    fn logged() -> LoggedIncident {
        let log = include_str!("../../fixtures/kmsg/5.10.0-46-cloud-amd64-v1.kmsg");
        incidents(&log.lines().filter_map(|line| Record::parse(line.as_bytes())).collect::<Vec<_>>())
            .remove(0)
    }

    fn compared(report: &str) -> anyhow::Result<()> {
        let release = "5.10.0-46-cloud-amd64".to_owned();
        let machine = Machine {
            release,
            version: (5, 10),
            cpus: 2,
            page: 4096,
            ram: 1 << 29,
            swap: 0,
            mark_victim_passes_task: true,
        };
        let mut differences = Differences::default();
        with_log(&mut differences, &Report::parse(report)?, &logged(), &machine);
        differences.finish()
    }

    #[test]
    fn a_true_report_agrees_with_the_log() {
        compared(REPORT).unwrap();
    }

    #[test]
    fn every_false_value_is_found() {
        for (truth, falsehood) in [
            (r#""constraint":"memcg""#, r#""constraint":"none""#),
            ("0xcc0", "0xcc1"),
            (r#""order":0"#, r#""order":1"#),
            (r#""totalpages":8192"#, r#""totalpages":8191"#),
            (r#""totalpages_bytes":33554432"#, r#""totalpages_bytes":33550336"#),
            (r#""group":false"#, r#""group":true"#),
            (r#""tid":97"#, r#""tid":98"#),
            (r#""tgid":97"#, r#""tgid":98"#),
            (r#""comm":"hog""#, r#""comm":"dog""#),
            (r#""uid":0"#, r#""uid":1"#),
            (r#""oom_score_adj":0"#, r#""oom_score_adj":5"#),
            ("34656256", "34652160"),
            ("33189888", "33185792"),
            (r#""file_bytes":4096"#, r#""file_bytes":0"#),
            ("716800", "712704"),
            ("102400", "98304"),
            (r#""cgroup":"/docker/abc123""#, r#""cgroup":"/docker""#),
            (r#""usage_bytes":33554432"#, r#""usage_bytes":23554432"#),
            (r#""limit_bytes":33554432"#, r#""limit_bytes":33554433"#),
            (r#""level":"kprobe""#, r#""level":"tracepoint""#),
            (r#""message":"Memory cgroup out of memory""#, r#""message":"Out of memory""#),
        ] {
            assert!(REPORT.contains(truth), "{truth}");
            assert!(compared(&REPORT.replace(truth, falsehood)).is_err(), "{falsehood}");
        }
    }
}
