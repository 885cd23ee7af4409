//! The kernel's own memory is a large part: of a cgroup's usage, or of the node.

use super::{
    Confidence, Facts, Finding, Refinement, evidence::EvidenceList, facts::percent, many_processes::many,
    words::list,
};
use crate::{
    report::{Composition, size},
    units::Bytes,
};

/// From this share of the usage, or of the node's memory, on, percent.
const WORTH_A_WORD: u64 = 20;
const LEAST: Bytes = Bytes(4 << 20);
/// Slab caches that are named.
const CACHES: usize = 3;
/// What the kernel needs for an ordinary process of one thread: tables, a stack, its structures. Measured: 44 KiB for
/// busybox's `sleep` on 6.1.
const A_PROCESS: Bytes = Bytes(256 << 10);
const FEWER: &str = "Have fewer processes: each has page tables, a stack and structures of its own.";

pub(super) fn kernel_memory(facts: &Facts<'_>) -> Option<Finding> {
    if facts.is_node_wide() { of_node(facts) } else { of_cgroup(facts) }
}

fn of_cgroup(facts: &Facts<'_>) -> Option<Finding> {
    let made = facts.composition()?;
    let all = Bytes(made.kernel.0.saturating_add(made.sockets.0));
    if all < LEAST || made.percent(all) < WORTH_A_WORD {
        return unlisted(facts, &made);
    }
    let kinds = [
        (
            made.slab,
            "slab",
            "slab",
            "Slab: look for very many files, inotify watches or connections, or for messages in sockets that nobody \
             reads (slabtop on the node).",
        ),
        (
            made.pagetables,
            "page_tables",
            "page tables",
            "Page tables: look for many processes that map the same large memory, each with tables of its own; huge \
             pages need few.",
        ),
        (made.stacks, "kernel_stacks", "kernel stacks", "Stacks: look for very many threads."),
        (
            made.percpu,
            "per_cpu_memory",
            "per-CPU memory",
            "Per-CPU memory: look for very many cgroups, BPF maps or network devices.",
        ),
        (
            made.sockets,
            "socket_buffers",
            "socket buffers",
            "Socket buffers: look for receivers that do not read (ss -tm in the container).",
        ),
        (
            made.other_kernel(),
            "other_kernel",
            "pages that it counts under no other name",
            "Such pages are most often those of full pipes that nobody reads (lsof in the container shows pipes), else \
             of BPF maps, io_uring or a driver.",
        ),
    ];
    let mut evidence = EvidenceList::default();
    let from = facts.stat_from();
    evidence.bytes("kernel", Some(made.kernel), from);
    for (part, label, ..) in kinds {
        evidence.bytes(label, Some(part).filter(|part| part.0 > 0), from);
    }
    let &(most, _, name, advice) = kinds.iter().max_by_key(|(part, ..)| *part)?;
    let each = each_process(facts, all);
    let text = format!(
        "{}, {} % of the usage, is the kernel's own memory for these processes, {} of it {name}. No process's \
         RSS has it.{}",
        size(all),
        made.percent(all).min(100),
        size(most),
        by_number(each),
    );
    let advice = vec![each.map_or(advice, |_| FEWER).to_owned()];
    Some(Finding::refining(Refinement::KernelMemory, Confidence::Certain, text, evidence, advice))
}

fn by_number(each: Option<(u64, Bytes)>) -> String {
    each.map_or(String::new(), |(count, each)| {
        format!(" There are {count} processes: for each the kernel has {}.", size(each))
    })
}

/// How many processes there are, and the kernel's memory for each, where that is what any process costs.
fn each_process(facts: &Facts<'_>, Bytes(all): Bytes) -> Option<(u64, Bytes)> {
    let count = many(facts)?;
    let each = Bytes(all / count.max(1));
    (each <= A_PROCESS).then_some((count, each))
}

/// On cgroup v1 `memory.stat` does not list the kernel's memory, and on v2 before 5.18 not all of it: it is what the
/// rest leaves of the usage.
fn unlisted(facts: &Facts<'_>, made: &Composition) -> Option<Finding> {
    let rest = not_listed(facts, made);
    if rest < LEAST || made.percent(rest) < WORTH_A_WORD {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("not_in_memory_stat", Some(rest), facts.stat_from());
    let lists_slab = made.slab.0 > 0;
    let kind = if lists_slab { "It is no slab." } else { "Of which kind, is not told here." };
    let each = each_process(facts, rest);
    let text = format!(
        "{}, {} % of the usage, is neither memory of processes nor page cache nor tmpfs: the kernel's own \
         memory for these processes is what is left. {kind}{}",
        size(rest),
        made.percent(rest),
        by_number(each),
    );
    let advice = match each {
        Some(_) => FEWER,
        None if lists_slab => {
            "Look for full pipes that nobody reads (lsof in the container shows pipes), and for very many \
             processes: this kernel's memory.stat does not list pages of pipes, nor page tables."
        }
        None => {
            "Look at memory.kmem.slabinfo of the cgroup (v1), and at slabtop and ss -tm on the node: very many \
             files, watches or connections, socket buffers, or full pipes that nobody reads."
        }
    };
    let advice = vec![advice.to_owned()];
    Some(Finding::refining(Refinement::KernelMemory, Confidence::Likely, text, evidence, advice))
}

/// What `memory.stat` leaves of the usage. Nothing, where it was read after the victim's memory had been freed, which
/// leaves a rest, too.
pub(super) fn not_listed(facts: &Facts<'_>, made: &Composition) -> Bytes {
    let is_of_later = facts.victims_anon() > Some(made.anon);
    if is_of_later { Bytes(0) } else { made.unexplained() }
}

fn of_node(facts: &Facts<'_>) -> Option<Finding> {
    let memory = facts.report.node_memory?;
    let (total, slab) = (memory.mem_total_bytes?, memory.sunreclaim_bytes?);
    if percent(slab, total) < WORTH_A_WORD {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("sunreclaim", Some(slab), facts.node_from());
    evidence.bytes("mem_total", Some(total), facts.node_from());
    let caches: Vec<_> = facts
        .report
        .slab
        .iter()
        .take(CACHES)
        .map(|cache| format!("{} {}", cache.name, size(cache.size_bytes)))
        .collect();
    let largest =
        if caches.is_empty() { String::new() } else { format!(" The largest caches: {}.", list(&caches)) };
    let text = format!(
        "{} of slab that cannot be reclaimed, {} % of the node's memory: the kernel's own objects grew.{largest}",
        size(slab),
        percent(slab, total),
    );
    let advice = vec![
        "Look at slabtop -s c over time: a cache that only grows is a leak of the kernel or of a driver, or \
         of whoever opens files, sockets or watches and never closes them."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::KernelMemory, Confidence::Certain, text, evidence, advice))
}
