//! One line an incident, for a person on call. The whole story is [`crate::render_page`]'s.

use std::fmt::Write as _;

use crate::{
    diagnose::{Cause, Confidence, Reason, Refinement},
    report::{Composition, Report, Rss, Trigger, Victim, node_parts, push_size, size},
    scope::is_of_cgroup,
    units::Bytes,
};

/// Characters of a path that are shown whole; a longer one is cut to its last two components.
const PATH_CHARACTERS: usize = 60;

/// Bytes of nearly every line.
const LINE_BYTES: usize = 256;

/// The line, without a line end. Everything that a process chose is already escaped in the report.
pub fn text(report: &Report) -> String {
    // Put together in one place: it is what somebody waits for, and the parts by themselves cost more than the rest.
    let mut line = String::with_capacity(LINE_BYTES);
    push_when(&mut line, report);
    line.push(' ');
    push_headline(&mut line, report);
    if let Some(place) = place(report) {
        line.push_str(" in ");
        line.push_str(&place);
    }
    push_memory(&mut line, ": ", report);
    line.push_str("; ");
    push_verdict(&mut line, report);
    line.push_str("; ");
    push_triggered_by(&mut line, report);
    line
}

/// What `push` adds, by itself.
fn made(push: impl FnOnce(&mut String)) -> String {
    let mut text = String::with_capacity(LINE_BYTES / 2);
    push(&mut text);
    text
}

fn push_number(text: &mut String, number: impl std::fmt::Display) {
    // A String takes whatever it is given.
    write!(text, "{number}").ok();
}

/// `2026-11-21T12:00:00Z`; of a log that has no such time, what it has.
fn push_when(text: &mut String, report: &Report) {
    match (&report.log, report.time.split_once('.')) {
        (_, Some((seconds, _))) => {
            text.push_str(seconds);
            text.push('Z');
        }
        (Some(log), None) if report.time.is_empty() => text.push_str(&log.when()),
        (_, None) => text.push_str(&report.time),
    }
}

/// `OOM kill: java (pid 4242, uid 1000)`, `OOM kill of 3 processes: java (pid 4242, uid 1000) and 2 more`.
pub(crate) fn headline(report: &Report) -> String {
    made(|text| push_headline(text, report))
}

fn push_headline(text: &mut String, report: &Report) {
    text.push_str("OOM kill");
    let Some((first, others)) = report.victims.split_first() else { return };
    if !others.is_empty() {
        text.push_str(" of ");
        push_number(text, report.victims.len());
        text.push_str(" processes");
    }
    text.push_str(": ");
    push_who(text, first);
    if !others.is_empty() {
        text.push_str(" and ");
        push_number(text, others.len());
        text.push_str(" more");
    }
}

/// `java (pid 4242, uid 1000)`
pub fn who(victim: &Victim) -> String {
    made(|text| push_who(text, victim))
}

fn push_who(text: &mut String, victim: &Victim) {
    text.push_str(victim.leader_comm.as_deref().or(victim.comm.as_deref()).map_or("a process", name));
    text.push_str(" (");
    if !push_pid(text, victim.tgid, victim.tid) {
        text.push_str("pid unknown");
    }
    if let Some(uid) = victim.uid {
        text.push_str(", uid ");
        push_number(text, uid);
    }
    text.push(')');
}

/// `pid 4242`, or of a thread whose process is not known, `tid 4242`. False: neither is.
fn push_pid(text: &mut String, tgid: Option<u32>, tid: Option<u32>) -> bool {
    let (kind, number) = match (tgid, tid) {
        (Some(tgid), _) => ("pid ", tgid),
        (None, Some(tid)) => ("tid ", tid),
        (None, None) => return false,
    };
    text.push_str(kind);
    push_number(text, number);
    true
}

/// A task may have taken the empty name.
fn name(comm: &str) -> &str {
    if comm.is_empty() { "a nameless process" } else { comm }
}

/// The path that all victims share.
pub(crate) fn victims_cgroup(report: &Report) -> Option<&str> {
    let first = report.victims.first()?.cgroup.as_deref()?;
    report.victims.iter().all(|victim| victim.cgroup.as_deref() == Some(first)).then_some(first)
}

/// `namespace/pod/container` where all victims were in it, as far as its names are known.
pub(crate) fn names(report: &Report) -> Option<String> {
    let kubernetes = report.kubernetes.as_ref()?;
    let (namespace, pod) = (kubernetes.namespace.as_deref()?, kubernetes.pod.as_deref()?);
    let are_in = |id: &str| {
        let is_in = |cgroup: &String| cgroup.contains(id);
        report.victims.iter().all(|victim| victim.cgroup.as_ref().is_some_and(is_in))
    };
    if victims_cgroup(report).is_none() && !kubernetes.container_id.as_deref().is_some_and(are_in) {
        return None;
    }
    let mut names = [namespace, "/", pod].concat();
    if let Some(container) = &kubernetes.container {
        names.push('/');
        names.push_str(container);
    }
    Some(names)
}

/// Where it happened: names, or a path that fits on the line, or else, of a pod's, what tells its pod and container
/// apart from all others.
fn place(report: &Report) -> Option<String> {
    if let Some(names) = names(report) {
        return Some(names);
    }
    let cgroup = victims_cgroup(report)?;
    let kubernetes = report.kubernetes.as_ref().filter(|_| !fits(cgroup));
    let pod = kubernetes.and_then(|kubernetes| kubernetes.pod_uid.as_deref());
    let container = kubernetes.and_then(|kubernetes| kubernetes.container_id.as_deref()).map(short_id);
    match (container, pod) {
        (Some(container), Some(pod)) => Some(["container ", &container, " of pod ", pod].concat()),
        (Some(container), None) => Some(["container ", &container].concat()),
        (None, Some(pod)) => Some(["pod ", pod].concat()),
        (None, None) => {
            let mut place = short_path(cgroup);
            if report.host.as_ref().is_some_and(|host| host.node_critical) {
                place.push_str(" (node-critical)");
            }
            Some(place)
        }
    }
}

/// `497.9 MiB anon + 1.2 MiB file of a 512.0 MiB limit`
pub(crate) fn memory(report: &Report) -> Option<String> {
    Some(made(|text| push_memory(text, "", report))).filter(|text| !text.is_empty())
}

/// The same with `before` before it; nothing where nothing is known.
fn push_memory(text: &mut String, before: &str, report: &Report) {
    let mut sums = [None; 3];
    for Rss { anon_bytes, file_bytes, shmem_bytes, .. } in
        report.victims.iter().filter_map(|victim| victim.rss)
    {
        for (sum, part) in sums.iter_mut().zip([anon_bytes, file_bytes, shmem_bytes]) {
            let Some(Bytes(part)) = part else { continue };
            *sum = Some(Bytes(sum.map_or(0, |Bytes(sum)| sum).saturating_add(part)));
        }
    }
    let parts = sums.into_iter().zip([" anon", " file", " shmem"]);
    let mut between = before;
    let start = text.len();
    for (sum, name) in parts.filter_map(|(sum, name)| Some((sum.filter(|sum| sum.0 > 0)?, name))) {
        text.push_str(between);
        push_size(text, sum);
        text.push_str(name);
        between = " + ";
    }
    let limit = report.limit_owner.as_ref().and_then(|owner| owner.limit_bytes);
    if let Some(limit) = limit.filter(|_| text.len() > start) {
        text.push_str(" of a ");
        push_size(text, limit);
        text.push_str(" limit");
    }
}

/// What hit its limit, in a few words.
pub(crate) fn verdict(report: &Report) -> String {
    made(|text| push_verdict(text, report))
}

fn push_verdict(text: &mut String, report: &Report) {
    let is_certain = report.findings.first().is_some_and(|finding| finding.confidence == Confidence::Certain);
    if !is_certain && report.cause != Cause::Unknown {
        text.push_str("probably ");
    }
    text.push_str(match report.cause {
        Cause::ContainerLimit => "container limit reached",
        Cause::PodLimit => "pod limit reached",
        Cause::QosLimit => "limit of the QoS class reached",
        Cause::NodeAllocatable => "node allocatable exhausted (limit of all pods)",
        Cause::SystemServiceLimit => "cgroup limit reached (outside Kubernetes)",
        Cause::NodeExhausted => return text.push_str(&node_wide(report)),
        Cause::Cpuset => "the memory nodes of its cpuset ran out",
        Cause::Mempolicy => "the memory nodes of its memory policy ran out",
        Cause::Sysrq => "asked for by sysrq-f",
        Cause::Unknown => unknown(report),
    });
    let most = match report.cause {
        Cause::ContainerLimit | Cause::PodLimit | Cause::SystemServiceLimit => most_of_cgroup(report),
        _ => None,
    };
    if let Some(most) = most {
        text.push_str(", ");
        text.push_str(&most);
    }
}

/// What the kernel's message alone tells.
fn unknown(report: &Report) -> &'static str {
    let message = report.oom.as_ref().and_then(|oom| oom.message.as_deref());
    if message.is_some_and(is_of_cgroup) {
        "a cgroup limit reached, not known which"
    } else {
        "cause not known"
    }
}

/// `most of it kernel memory (45.7 MiB)`: what is neither the victim's nor any process's, and so does not show above.
fn most_of_cgroup(report: &Report) -> Option<String> {
    let made = Composition::of(report.limit_owner.as_ref()?)?;
    let kernel = Bytes(made.kernel.0.saturating_add(made.sockets.0));
    let parts =
        [(made.shmem, "shared memory and tmpfs"), (kernel, "kernel memory"), (made.cache, "page cache")];
    most(&parts, made.usage)
}

/// The same of the node.
fn most_of_node(report: &Report) -> Option<String> {
    let memory = report.node_memory?;
    let parts = node_parts(&memory).into_iter().filter_map(|(name, part)| match name {
        "anonymous" | "free" => None,
        "shared, tmpfs" => Some((part, "shared memory and tmpfs")),
        "huge pages, reserved" => Some((part, "huge pages")),
        _ => Some((part, name)),
    });
    let parts: Vec<_> = parts.collect();
    most(&parts, memory.mem_total_bytes?)
}

fn most(parts: &[(Bytes, &str)], whole: Bytes) -> Option<String> {
    let (part, name) = parts.iter().find(|(part, _)| part.0 > whole.0 / 2)?;
    Some(format!("most of it {name} ({})", size(*part)))
}

/// `node-wide: its 463.4 MiB ran out, most of it slab (383.0 MiB), 12.0 MiB available 1.9 ms later`
fn node_wide(report: &Report) -> String {
    let page_fault = Reason::Refinement(Refinement::PageFault);
    if report.findings.iter().any(|finding| finding.cause == page_fault) {
        return "node-wide, for a page fault that failed".to_owned();
    }
    let memory = report.node_memory.unwrap_or_default();
    let total =
        memory.mem_total_bytes.map_or("its memory".to_owned(), |total| format!("its {}", size(total)));
    let available = memory.mem_available_bytes.map_or(String::new(), |available| {
        format!(", {} available {} later", size(available), milliseconds(report.latency.hook_to_read_us))
    });
    let most = most_of_node(report).map_or(String::new(), |most| format!(", {most}"));
    format!("node-wide: {total} ran out{most}{available}")
}

/// `1.9 ms`
pub(crate) fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

/// Who asked for the page that was not there.
pub(crate) fn triggered_by(report: &Report) -> String {
    made(|text| push_triggered_by(text, report))
}

fn push_triggered_by(text: &mut String, report: &Report) {
    let Some(trigger) = &report.trigger else { return text.push_str("trigger not known") };
    text.push_str("triggered by ");
    if trigger.tgid.is_some() && report.victims.iter().any(|victim| victim.tgid == trigger.tgid) {
        text.push_str(if report.victims.len() == 1 { "itself" } else { "one of them" });
    } else {
        push_trigger_name(text, trigger);
    }
}

pub(crate) fn trigger_name(trigger: &Trigger) -> String {
    made(|text| push_trigger_name(text, trigger))
}

fn push_trigger_name(text: &mut String, trigger: &Trigger) {
    if trigger.kernel_thread {
        text.push_str("kernel thread ");
    }
    text.push_str(trigger.comm.as_deref().map_or("a task", name));
    let before = text.len();
    text.push_str(" (");
    if push_pid(text, trigger.tgid, trigger.tid) { text.push(')') } else { text.truncate(before) }
}

fn fits(path: &str) -> bool {
    // No text has more characters than bytes.
    path.len() <= PATH_CHARACTERS || path.chars().count() <= PATH_CHARACTERS
}

/// A path that fits on a line: whole where it is short, else its last two components, ids cut to 12 digits.
pub(crate) fn short_path(path: &str) -> String {
    if fits(path) {
        return path.to_owned();
    }
    let components: Vec<_> = path.split('/').filter(|component| !component.is_empty()).collect();
    let last_two = components.get(components.len().saturating_sub(2)..).unwrap_or_default();
    let shown: Vec<_> = last_two.iter().map(|component| short_id(component)).collect();
    let above = if components.len() > 2 { "/…" } else { "" };
    format!("{above}/{}", shown.join("/"))
}

/// Cuts a run of 64 hexadecimal digits to its first 12, as every container tool shows it.
pub(crate) fn short_id(component: &str) -> String {
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match component.split(['-', '.', ':']).find(is_id) {
        Some(id) => component.replace(id, id.get(..12).unwrap_or(id)),
        None => component.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::short_path;

    #[test]
    fn long_paths_keep_the_pod_and_the_container() {
        let id = "c56b45eabb31accbc115a09366a55df93410ba7d150ee150f62bcf1533aee857";
        let pod = "kubepods-burstable-pod9d1f7b3e_b2f2_4cdf_afae_de4f2c5c7d3e.slice";
        for (path, short) in [
            ("/".to_owned(), "/".to_owned()),
            ("/system.slice/app.service".to_owned(), "/system.slice/app.service".to_owned()),
            (
                format!("/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{id}.scope"),
                format!("/…/{pod}/cri-containerd-c56b45eabb31.scope"),
            ),
            (format!("/docker/{id}"), "/docker/c56b45eabb31".to_owned()),
        ] {
            assert_eq!(short_path(&path), short);
        }
    }
}
