//! Where it happened, who was killed, who asked.

use super::paper::{Ink, Paper};
use crate::{
    incident::ProbeLevel,
    render_text::{names, short_id, trigger_name, triggered_by, victims_cgroup},
    report::{ContainerKind, Host, HostKind, Kubernetes, Report, Source, StatusFrom, Victim, size},
    units::Bytes,
};

/// Victims that are shown; further ones are counted.
const VICTIMS: usize = 20;
/// Characters of a command line that are shown.
const COMMAND: usize = 400;

/// The victims' pod and container, their cgroup, and the limit owner's where it is another.
pub(super) fn place(paper: &mut Paper, report: &Report) {
    let victims = victims_cgroup(report);
    if let Some(kubernetes) =
        report.kubernetes.as_ref().filter(|_| victims.is_some() || names(report).is_some())
    {
        pod_and_container(paper, kubernetes);
    }
    if let Some(host) = report.host.as_ref().filter(|_| victims.is_some()) {
        host_part(paper, host);
    }
    if let Some(cgroup) = victims {
        paper.entry("cgroup", cgroup);
    }
    if let Some(owner) = report.limit_owner.as_ref().filter(|owner| Some(owner.cgroup.as_str()) != victims) {
        paper.entry("whose limit", &owner.cgroup);
    }
    if let Some(repeats) = report.repeats.as_ref().filter(|repeats| repeats.count > 1) {
        let since = repeats.first_time.as_deref().and_then(|time| time.split_once('.'));
        let since = since.map_or(String::new(), |(time, _)| format!(" since {}", time.replace('T', " ")));
        paper.entry("repeats", &format!("kill {} of this container{since}", repeats.count));
    }
}

/// The root is in the cgroup's path already.
fn host_part(paper: &mut Paper, host: &Host) {
    let user = host.uid.map(|uid| format!("uid {uid}"));
    let runtime = host.runtime.map(|runtime| runtime.name().to_owned());
    let critical = host.node_critical.then(|| "node-critical".to_owned());
    let about: Vec<String> = [user, runtime, critical].into_iter().flatten().collect();
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
    let name = match (&host.name, host.kind) {
        (Some(id), HostKind::Container) => short_id(id),
        (Some(name), _) => name.clone(),
        (None, _) if about.is_empty() => return,
        (None, _) => "of the system".to_owned(),
    };
    let kind = if host.kind == HostKind::UserSession { "session" } else { host.kind.words() };
    paper.entry(kind, &format!("{name}{about}"));
}

/// Names where they are known, ids where not: the whole ids are in the cgroup's path below.
fn pod_and_container(paper: &mut Paper, kubernetes: &Kubernetes) {
    let Kubernetes { namespace, pod, pod_uid, container, container_id, container_kind, .. } = kubernetes;
    let class = kubernetes.qos.map_or(String::new(), |qos| format!(" ({})", qos.name()));
    match (namespace.as_ref().zip(pod.as_ref()), pod_uid) {
        (Some((namespace, pod)), _) => paper.entry("pod", &format!("{namespace}/{pod}{class}")),
        (None, Some(uid)) => paper.entry("pod", &format!("{uid}{class}")),
        (None, None) => {}
    }
    let id = container_id.as_ref().map(|id| short_id(id));
    let kind = match container_kind {
        Some(ContainerKind::Init) => Some("init container".to_owned()),
        Some(ContainerKind::Ephemeral) => Some("ephemeral container".to_owned()),
        Some(ContainerKind::Regular) | None => None,
    };
    let about = [
        kind,
        id.clone().filter(|_| container.is_some()),
        kubernetes.runtime.map(|runtime| runtime.name().to_owned()),
        kubernetes.image.as_ref().map(|image| format!("image {image}")),
        kubernetes.restarts.filter(|restarts| *restarts > 0).map(|restarts| format!("restarts: {restarts}")),
    ];
    let about: Vec<String> = about.into_iter().flatten().collect();
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
    if let Some(name) = container.as_ref().or(id.as_ref()) {
        paper.entry("container", &format!("{name}{about}"));
    }
    if let Some(workload) = &kubernetes.workload {
        paper.entry("workload", &format!("{} {}", workload.kind, workload.name));
    }
    let amount = |bytes: Option<Bytes>| bytes.map_or_else(|| "none".to_owned(), size);
    if kubernetes.image.is_some() {
        let (request, limit) = (amount(kubernetes.requests_bytes), amount(kubernetes.limits_bytes));
        paper.entry("in its spec", &format!("memory request {request}, limit {limit}"));
    }
}

pub(super) fn victims(paper: &mut Paper, report: &Report) {
    let count = report.victims.len();
    let heading = if count == 1 { "KILLED".to_owned() } else { format!("KILLED: {count} PROCESSES") };
    paper.heading(&heading);
    let columns = ["pid", "uid", "adj", "anon", "file", "shmem", "swap", "page tables"];
    let header = row(&columns.map(str::to_owned), "name");
    let header = paper.inked(Ink::Faint, &header);
    paper.line(&header);
    for victim in report.victims.iter().take(VICTIMS) {
        table_row(paper, victim);
    }
    if count > VICTIMS {
        paper.line(&format!("  … and {} more", count - VICTIMS));
    }
    if let Some(first) = report.victims.first() {
        details(paper, report, first, count > 1);
    }
}

fn row(columns: &[String; 8], name: &str) -> String {
    let [pid, uid, adj, anon, file, shmem, swap, tables] = columns;
    format!("  {pid:>8} {uid:>6} {adj:>5} {anon:>11} {file:>10} {shmem:>10} {swap:>10} {tables:>11}  {name}")
}

fn table_row(paper: &mut Paper, victim: &Victim) {
    let number = |value: Option<i64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let bytes = |value: Option<Bytes>| value.map_or_else(|| "?".to_owned(), size);
    let rss = victim.rss.unwrap_or_default();
    let columns = [
        number(victim.tgid.map(i64::from)),
        number(victim.uid.map(i64::from)),
        number(victim.oom_score_adj),
        bytes(rss.anon_bytes),
        bytes(rss.file_bytes),
        bytes(rss.shmem_bytes),
        bytes(victim.swap_bytes),
        bytes(victim.pgtables_bytes),
    ];
    let start = row(&columns, "");
    let name = victim.comm.as_deref().unwrap_or("?");
    paper.paragraph(&start, victim.leader_comm.as_deref().unwrap_or(name), Ink::Plain);
}

/// What is known of one victim beside its memory.
fn details(paper: &mut Paper, report: &Report, victim: &Victim, of_several: bool) {
    if of_several {
        paper.line("");
        paper.line("  The one that the kernel chose:");
    }
    command(paper, victim.cmdline.as_deref());
    if let (Some(_), Some(comm), Some(tid)) = (&victim.leader_comm, &victim.comm, victim.tid) {
        paper.entry(
            "thread",
            &format!("{comm} (tid {tid}): the kernel's log names it, not the process's first thread"),
        );
    }
    if let Some(exe) = &victim.exe {
        paper.entry("program", exe);
    }
    if let Some(parent) = &victim.parent {
        let comm = parent.comm.as_deref().unwrap_or("?");
        paper.entry("parent", &format!("{comm} (pid {})", parent.tgid));
    }
    let inside = victim.pid_in_namespace.filter(|inside| Some(*inside) != victim.tgid);
    if let Some(inside) = inside {
        paper.entry("inside", &format!("pid {inside} in its own pid namespace"));
    }
    if let Some(other) = victim.shares_memory_with {
        paper.entry(
            "shared",
            &format!(
                "its memory is that of pid {other} as well (vfork, CLONE_VM): the kernel killed both and logged one"
            ),
        );
    }
    if let Some(started) = &victim.started_at {
        let started = started.split_once('.').map_or(started.as_str(), |(seconds, _)| seconds);
        paper.entry("started", &started.replace('T', " ").replace('Z', ""));
    }
    let mut sizes = Vec::new();
    let peak = victim.status.as_ref().and_then(|status| status.vm_hwm_bytes).or(victim.hiwater_rss_bytes);
    // The kernel raises its high-water mark late: the present RSS may be above it.
    let rss = victim.rss.map(|rss| rss.total());
    if let Some(peak) = peak.filter(|peak| Some(*peak) > rss) {
        sizes.push(format!("RSS was {} at its highest", size(peak)));
    }
    if let Some(total_vm) = victim.total_vm_bytes {
        sizes.push(format!("{} of address space reserved", size(total_vm)));
    }
    if let Some(threads) = victim.status.as_ref().and_then(|status| status.threads) {
        sizes.push(if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") });
    }
    if !sizes.is_empty() {
        paper.entry("also", &sizes.join(", "));
    }
    if victim.rss.is_some_and(|rss| !rss.exact) {
        paper.entry(
            "note",
            "RSS is approximate, as in the kernel's own log: some pages of each thread or CPU are missing",
        );
    }
    if victim.status_from == StatusFrom::Kernel && report.source != Source::Log {
        let from =
            if report.probe.level == ProbeLevel::Kmsg.name() { "the kernel's log" } else { "the probe" };
        let note = format!("its files below /proc could not be read in time: all of this is from {from}");
        paper.entry("note", &note);
    }
}

pub(super) fn trigger(paper: &mut Paper, report: &Report) {
    let Some(trigger) = &report.trigger else { return };
    paper.heading("WHO ASKED");
    let name = trigger_name(trigger);
    let by = triggered_by(report);
    let what = report.oom.as_ref().and_then(|oom| {
        let pages = match oom.order? {
            -1 => return None,
            0 => "one page".to_owned(),
            order => format!("2^{order} contiguous pages"),
        };
        Some(format!(
            " asked for {pages}{}",
            oom.gfp_mask.as_ref().map_or(String::new(), |mask| {
                let flags = oom.gfp_flags.as_ref().map_or(String::new(), |flags| format!(" {flags}"));
                format!(" (gfp {mask}{flags})")
            })
        ))
    });
    let itself = match by.as_str() {
        "triggered by itself" => ", the victim itself,",
        "triggered by one of them" => ", one of the victims,",
        _ => "",
    };
    paper.paragraph(
        "  ",
        format!("{name}{itself}{}", what.unwrap_or_default()).trim_end_matches(','),
        Ink::Plain,
    );
    let is_victims = trigger.cgroup.as_deref() == victims_cgroup(report);
    if let Some(cgroup) = trigger.cgroup.as_ref().filter(|_| !is_victims) {
        paper.entry("cgroup", cgroup);
    }
    if itself.is_empty() {
        command(paper, trigger.cmdline.as_deref());
    }
}

/// A command line, unless it is empty as a zombie's is; what JSON has of a very long one is cut once more.
fn command(paper: &mut Paper, cmdline: Option<&[String]>) {
    let Some(cmdline) = cmdline.filter(|cmdline| !cmdline.is_empty()) else { return };
    let whole = cmdline.join(" ");
    let shown: String = whole.chars().take(COMMAND).collect();
    let cut = if shown.len() < whole.len() { " …" } else { "" };
    paper.entry("command", &format!("{shown}{cut}"));
}
