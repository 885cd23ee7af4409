//! The probe, as `run` would attach it.

use oomwatch_common::{incident::ProbeLevel, kernel_layout::Resolved};

use super::{Attached, Line, Look, privileges::CAP_SYSLOG};
use crate::{
    preflight::{effective_capabilities, has},
    refusal::{Kind, Refusal},
};

/// Whether the kernel's own description of its structures is there, and has what is needed.
pub(super) fn btf(look: &Look<'_>) -> Vec<Line> {
    let from = look.options.node.btf.display();
    let line = match &look.resolved {
        Ok(Resolved { absent, .. }) if absent.is_empty() => {
            Line::ok("btf", format!("{from}: every field that reports use is in it"))
        }
        Ok(Resolved { absent, .. }) => {
            let fields = absent.join(", ");
            Line::ok("btf", format!("{from}; this kernel has no {fields}, so reports leave that out"))
        }
        Err(refusal) => Line::refused("btf", refusal),
    };
    vec![line]
}

/// Loaded, proved on this process, attached, and detached again.
pub(super) fn probe(look: &Look<'_>) -> Vec<Line> {
    let filtered = look.status("Seccomp").is_some_and(|mode| mode == "2");
    vec![judge_probe(&look.attached, filtered)]
}

fn judge_probe(attached: &Result<Attached, Refusal>, filtered: bool) -> Line {
    match attached {
        Ok(Attached { level: ProbeLevel::Kprobe, .. }) => {
            Line::ok("probe", "level kprobe: loaded, proved on this process, attached, detached")
        }
        Ok(Attached { level: ProbeLevel::Tracepoint, why_not_higher: Some(why), .. }) => Line::degraded(
            "probe",
            format!("level tracepoint: victims only, after SIGKILL, not whose limit it was; {why}"),
            "a kernel with CONFIG_KPROBES=y, where whole incidents are wanted",
        ),
        Ok(Attached { level: ProbeLevel::Tracepoint, .. }) => Line::degraded(
            "probe",
            "level tracepoint, as was asked for: victims only, after SIGKILL, not whose limit it was",
            "--probe auto",
        ),
        Ok(Attached { level: ProbeLevel::Kmsg, why_not_higher: Some(why), .. }) => Line::degraded(
            "probe",
            format!("level kmsg: what the kernel logs, after SIGKILL; {why}"),
            "a kernel with BPF, BTF and kprobes, where whole incidents are wanted",
        ),
        Ok(Attached { level: ProbeLevel::Kmsg, .. }) => Line::degraded(
            "probe",
            "level kmsg, as was asked for: what the kernel logs, after SIGKILL",
            "--probe auto",
        ),
        Err(refusal) if refusal.kind == Kind::NotPermitted && filtered => Line::failed(
            "probe",
            &refusal.text,
            "where the capabilities are there, seccomp forbids it: update the container runtime (its default profile \
             must know CAP_BPF), or set seccompProfile Unconfined",
        ),
        Err(refusal) => Line::refused("probe", refusal),
    }
}

/// Whether the memory of victims will be told to the page.
pub(super) fn rss(look: &Look<'_>) -> Vec<Line> {
    let line = match (&look.attached, &look.resolved) {
        (Err(_), _) | (_, Err(_)) => Line::not_applicable("rss", "no probe, no sizes"),
        (Ok(Attached { rss_inexact: None, .. }), _) => Line::ok("rss", "exact: summed over all CPUs"),
        // Per-CPU counters, since 6.2, can be summed; the older ones cannot.
        (Ok(Attached { rss_inexact: Some(why), .. }), Ok(resolved))
            if resolved.layout.counts_rss_per_cpu() =>
        {
            Line::degraded(
                "rss",
                format!("approximate, as in the kernel's own log: {why}"),
                if effective_capabilities(&look.status).is_some_and(|mask| has(mask, CAP_SYSLOG)) {
                    "a kernel with CONFIG_KALLSYMS_ALL=y; kernel.kptr_restrict must be 0 or 1"
                } else {
                    "give CAP_SYSLOG; kernel.kptr_restrict must be 0 or 1"
                },
            )
        }
        (Ok(Attached { rss_inexact: Some(why), .. }), Ok(_)) => {
            Line::ok("rss", format!("approximate, as in the kernel's own log: {why}"))
        }
    };
    vec![line]
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn judged(level: ProbeLevel, why_not_higher: Option<&str>) -> Line {
        let why_not_higher = why_not_higher.map(str::to_owned);
        judge_probe(&Ok(Attached { level, why_not_higher, rss_inexact: None }), true)
    }

    #[test]
    fn a_lower_level_says_why() {
        assert_eq!(judged(ProbeLevel::Kprobe, None).state, State::Ok);
        let lower = judged(ProbeLevel::Tracepoint, Some("no kprobe on x"));
        assert_eq!(lower.state, State::Degraded);
        assert!(lower.text.ends_with("no kprobe on x") && lower.cure.unwrap().contains("CONFIG_KPROBES"));
        let asked = judged(ProbeLevel::Tracepoint, None);
        assert_eq!(asked.cure.as_deref(), Some("--probe auto"));
    }

    #[test]
    fn seccomp_is_named_only_where_there_is_a_filter_and_a_refusal() {
        let refused = || Err(Refusal::not_permitted("the kernel does not permit"));
        assert!(judge_probe(&refused(), true).cure.unwrap().contains("seccomp"));
        assert_eq!(judge_probe(&refused(), false).cure, None);
        let unsupported = Err(Refusal::not_supported("no ring buffer"));
        assert_eq!(judge_probe(&unsupported, true).cure, None);
    }
}
