//! Where the memory went: of the cgroup whose limit was hit, or of the node.

use super::paper::{Ink, Paper};
use crate::{
    proc_text::{Pressure, Stall},
    render_text::{milliseconds, short_id},
    report::{Cgroup, Composition, Report, node_parts, node_total, size},
    scope::Scope,
    units::Bytes,
};

/// Slab caches that are named.
const CACHES: usize = 5;

/// The cgroup's memory by kind, and the limits on the way up from the victim.
pub(super) fn memory(paper: &mut Paper, report: &Report) {
    let node_wide = matches!(report.scope, Scope::Node | Scope::Cpuset | Scope::Mempolicy);
    let shown = report.limit_owner.as_ref().or(report.cgroup.as_ref().filter(|_| !node_wide));
    if let Some(cgroup) = shown.filter(|cgroup| cgroup.usage_bytes.is_some()) {
        composition(paper, cgroup, report.limit_owner.is_some());
    }
    levels(paper, report);
}

fn composition(paper: &mut Paper, cgroup: &Cgroup, is_owner: bool) {
    let Some(usage) = cgroup.usage_bytes else { return };
    paper.heading(if is_owner {
        "WHERE THE MEMORY WENT: THE CGROUP AT ITS LIMIT"
    } else {
        "WHERE THE MEMORY WENT: THE VICTIM'S CGROUP"
    });
    let whole = cgroup.limit_bytes.unwrap_or(usage).max(usage);
    paper.bar("in use", usage.0, whole.0, &size(usage));
    if let Some(made) = Composition::of(cgroup) {
        for (name, part) in made.parts().into_iter().chain([("not in memory.stat", made.unexplained())]) {
            if part.0 > 0 {
                paper.bar(&format!("  {name}"), part.0, whole.0, &size(part));
            }
        }
    }
    let mut facts =
        vec![cgroup.limit_bytes.map_or("no limit".to_owned(), |limit| format!("limit {}", size(limit)))];
    for (name, value) in [("memory.high", cgroup.high_bytes), ("highest so far", cgroup.peak_bytes)] {
        facts.extend(value.map(|value| format!("{name} {}", size(value))));
    }
    facts.extend(swap("swap", cgroup.swap_usage_bytes, cgroup.swap_limit_bytes, cgroup.swap_unlimited));
    facts.extend(swap(
        "memory+swap",
        cgroup.memsw_usage_bytes,
        cgroup.memsw_limit_bytes,
        cgroup.memsw_unlimited,
    ));
    paper.paragraph("  ", &facts.join(", "), Ink::Plain);
    if let Some(events) = &cgroup.events {
        let counted: Vec<_> = events
            .0
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !counted.is_empty() {
            let has_kills = events.0.get("oom_kill").is_some_and(|kills| *kills > 0);
            let twice = if has_kills { "; a group kill counts its first victim twice" } else { "" };
            paper.entry("events", &format!("{} (since it was made{twice})", counted.join(", ")));
        }
    }
    if let Some(pressure) = &cgroup.pressure {
        paper.entry("pressure", &waited(pressure));
    }
}

fn waited(pressure: &Pressure) -> String {
    let Stall { avg10_percent, avg60_percent, .. } = pressure.some;
    format!(
        "some task waited for memory {avg10_percent} % of the last 10 s, {avg60_percent} % of the last minute"
    )
}

fn swap(name: &str, usage: Option<Bytes>, limit: Option<Bytes>, unlimited: bool) -> Option<String> {
    Some(match (usage, limit) {
        (_, Some(Bytes(0))) => format!("no {name} allowed"),
        (usage, Some(limit)) => {
            format!("{name} {} of {}", usage.map_or_else(|| "?".to_owned(), size), size(limit))
        }
        (Some(usage), None) if unlimited => format!("{name} {} (no limit)", size(usage)),
        (Some(usage), None) => format!("{name} {}", size(usage)),
        (None, None) => return None,
    })
}

/// The victim's path, leaf first: which levels have a limit, and how near they were to it.
fn levels(paper: &mut Paper, report: &Report) {
    let Some(cgroup) = report.cgroup.as_ref().filter(|cgroup| cgroup.levels.len() > 1) else { return };
    paper.heading("FROM THE VICTIM'S CGROUP UPWARD (→ WHOSE LIMIT)");
    for level in &cgroup.levels {
        let usage = level.usage_bytes.map_or_else(|| "?".to_owned(), size);
        let limit = match level.limit_bytes {
            Some(limit) => format!("of {}", size(limit)),
            None if level.unlimited => "no limit".to_owned(),
            None => "limit unread".to_owned(),
        };
        let is_owner = report.limit_owner.as_ref().is_some_and(|owner| owner.cgroup == level.cgroup);
        let mark = if is_owner { "→" } else { "" };
        let name = short_id(level.cgroup.rsplit('/').next().unwrap_or_default());
        paper.paragraph(&format!("  {usage:>10} {limit:<12} {mark:<1} "), &name, Ink::Plain);
    }
}

/// The node: as bars where it ran out, else in a few words.
pub(super) fn node(paper: &mut Paper, report: &Report) {
    let node_wide = matches!(report.scope, Scope::Node | Scope::Cpuset | Scope::Mempolicy | Scope::Unknown);
    if report.node_memory.is_none() && report.load.is_none() && report.pressure.is_none() {
        return;
    }
    let heading = if node_wide { "WHERE THE NODE'S MEMORY WENT" } else { "THE NODE" };
    let when = if report.node_memory_from_log {
        "AS THE KERNEL LOGGED IT".to_owned()
    } else {
        format!("{} LATER", milliseconds(report.latency.hook_to_read_us))
    };
    paper.heading(&format!("{heading}, {when}"));
    if node_wide {
        bars(paper, report);
    }
    let mut memory = Vec::new();
    if let Some(node) = report.node_memory {
        for (name, value) in [("total", node.mem_total_bytes), ("available", node.mem_available_bytes)] {
            memory.extend(value.map(|value| format!("{} {name}", size(value))));
        }
        match (node.swap_total_bytes, node.swap_free_bytes) {
            (Some(Bytes(0)), _) => memory.push("no swap".to_owned()),
            (Some(total), Some(free)) => {
                memory.push(format!("{} of {} of swap free", size(free), size(total)));
            }
            _ => {}
        }
    }
    if !memory.is_empty() {
        paper.entry("memory", &memory.join(", "));
    }
    if let Some(load) = &report.load {
        let averages = load.text.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let text =
            format!("{averages} (1, 5, 15 minutes), {} of {} tasks runnable", load.runnable, load.tasks);
        paper.entry("load", &text);
    }
    if let Some(pressure) = &report.pressure {
        paper.entry("pressure", &waited(pressure));
    }
    for zone in &report.zones {
        let parts = [(zone.free_bytes, "free"), (zone.min_bytes, "min"), (zone.low_bytes, "low")];
        let parts = parts.into_iter().filter_map(|(bytes, name)| Some(format!("{name} {}", size(bytes?))));
        let parts = parts.collect::<Vec<_>>().join(", ");
        if node_wide && !parts.is_empty() {
            paper.entry("zone", &format!("{} of memory node {}: {parts}", zone.zone, zone.node));
        }
    }
    if !report.slab.is_empty() {
        let caches = report.slab.iter().take(CACHES);
        let caches: Vec<_> =
            caches.map(|cache| format!("{} {}", cache.name, size(cache.size_bytes))).collect();
        paper.entry("slab", &format!("the largest caches: {}", caches.join(", ")));
    }
    if let Some(kills) = report.vmstat.and_then(|vmstat| vmstat.oom_kill) {
        paper.entry("kills", &format!("{kills} OOM kills counted by the kernel since boot"));
    }
}

fn bars(paper: &mut Paper, report: &Report) {
    let Some(node) = report.node_memory else { return };
    let Some(total) = node_total(&node) else { return };
    let mut rest = total.0;
    for (name, Bytes(part)) in node_parts(&node) {
        rest = rest.saturating_sub(part);
        if part > 0 {
            paper.bar(name, part, total.0, &size(Bytes(part)));
        }
    }
    if rest > 0 {
        paper.bar("not counted above", rest, total.0, &size(Bytes(rest)));
    }
}
