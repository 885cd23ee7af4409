//! Capabilities: which are there, and what each missing one costs.

use std::fs;

use super::{Line, Look};
use crate::{
    preflight::{CAP_BPF, CAP_PERFMON, effective_capabilities, has, lets_use_bpf},
    refusal::Kind,
};

/// Where capabilities are given.
const HOW: &str = "securityContext.capabilities.add, in systemd AmbientCapabilities=";

/// To raise limits.
const CAP_SYS_RESOURCE: u32 = 24;
/// To read kernel addresses.
pub(super) const CAP_SYSLOG: u32 = 34;
/// To look into processes of others.
pub(super) const CAP_SYS_PTRACE: u32 = 19;

/// A capability, and what is lost without it.
struct Use {
    number: u32,
    name: &'static str,
    /// Whether nothing goes without it.
    required: bool,
    /// What is lost without it.
    loss: &'static str,
}

/// What oomwatch uses (numbers: include/uapi/linux/capability.h).
const USES: &[Use] = &[
    Use { number: CAP_BPF, name: "CAP_BPF", required: true, loss: "no probe can be loaded" },
    Use { number: CAP_PERFMON, name: "CAP_PERFMON", required: true, loss: "no probe can be loaded" },
    Use {
        number: CAP_SYSLOG,
        name: "CAP_SYSLOG",
        required: false,
        loss: "since Linux 6.2 the RSS of victims is approximate, as in the kernel's own log",
    },
    Use {
        number: 23,
        name: "CAP_SYS_NICE",
        required: false,
        loss: "no real-time priority: on a busy node a victim may be gone before its files are read",
    },
    Use {
        number: 14,
        name: "CAP_IPC_LOCK",
        required: false,
        loss: "memory is not locked beyond the limit: reports may be late where memory is exhausted",
    },
    Use {
        number: CAP_SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        required: false,
        loss: "a victim's executable is not read, and its arguments are not where the node is exhausted",
    },
];

/// One line for all that are there, one for each that is not.
pub(super) fn capabilities(look: &Look<'_>) -> Vec<Line> {
    let effective = effective_capabilities(&look.status);
    let mut lines = judge_capabilities(effective);
    let refused = look.attached.as_ref().err().is_some_and(|refusal| refusal.kind == Kind::NotPermitted);
    lines.extend(effective.filter(|_| refused).and_then(judge_locked_memory));
    // Only the first user namespace maps all users to themselves; capabilities in any other count for nothing in BPF.
    let map = fs::read_to_string(look.proc().join("self/uid_map")).unwrap_or_default();
    if is_of_user_namespace(&map) {
        lines.push(Line::failed(
            "user_namespace",
            "in a user namespace of its own capabilities count for nothing outside it",
            "hostUsers: true",
        ));
    }
    lines
}

fn judge_capabilities(effective: Option<u64>) -> Vec<Line> {
    let Some(effective) = effective else {
        return vec![Line::failed(
            "capabilities",
            "/proc/self/status cannot be read, so they are not known",
            "is --proc right?",
        )];
    };
    let is_there = |needed: &Use| {
        if needed.required { lets_use_bpf(effective, needed.number) } else { has(effective, needed.number) }
    };
    let there: Vec<&str> = USES.iter().filter(|needed| is_there(needed)).map(|needed| needed.name).collect();
    let mut lines = match there.as_slice() {
        [] => vec![Line::failed(
            "capabilities",
            "none of those that oomwatch uses",
            format!("run as root, or give them: {HOW}"),
        )],
        there => vec![Line::ok("capabilities", there.join(" "))],
    };
    lines.extend(USES.iter().filter(|needed| !is_there(needed)).map(|needed| {
        let text = format!("missing: {}", needed.loss);
        if needed.required {
            Line::failed(needed.name, text, format!("run as root, or give it: {HOW}"))
        } else {
            Line::degraded(needed.name, text, format!("give it: {HOW}"))
        }
    }));
    lines
}

/// Where the probe is not permitted although its own two capabilities are there: before 5.11 its maps count as locked
/// memory. No version is asked for: on later kernels this is not what stands in the way, and is not missed.
fn judge_locked_memory(effective: u64) -> Option<Line> {
    let needed = [CAP_BPF, CAP_PERFMON].iter().all(|&capability| lets_use_bpf(effective, capability));
    (needed && !has(effective, CAP_SYS_RESOURCE)).then(|| {
        Line::failed(
            "CAP_SYS_RESOURCE",
            "missing: before Linux 5.11 the probe's maps count as locked memory, whose limit is then too low",
            format!("give it: {HOW}; in systemd LimitMEMLOCK=infinity does it too"),
        )
    })
}

/// `uid_map`: the first user namespace has the one line `0 0 4294967295`.
fn is_of_user_namespace(map: &str) -> bool {
    let mut words = map.split_ascii_whitespace();
    words.next().is_some() && map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn names(mask: Option<u64>, state: State) -> Vec<&'static str> {
        let lines = judge_capabilities(mask);
        lines.iter().filter(|line| line.state == state).map(|line| line.check).collect()
    }

    #[test]
    fn each_missing_capability_is_a_line_and_only_bpf_and_perfmon_are_failures() {
        let needed = 1 << CAP_BPF | 1 << CAP_PERFMON;
        let optional = ["CAP_SYSLOG", "CAP_SYS_NICE", "CAP_IPC_LOCK", "CAP_SYS_PTRACE"];
        assert_eq!(names(Some(0x1ff_ffff_ffff), State::Degraded), [""; 0]);
        assert_eq!(names(Some(0x1ff_ffff_ffff), State::Ok), ["capabilities"]);
        assert_eq!(names(Some(needed), State::Degraded), optional);
        assert_eq!(names(Some(needed), State::Failed), [""; 0]);
        assert_eq!(names(Some(1 << CAP_BPF), State::Failed), ["CAP_PERFMON"]);
        assert_eq!(names(Some(0), State::Failed), ["capabilities", "CAP_BPF", "CAP_PERFMON"]);
        // CAP_SYS_ADMIN stands for those two and for no other.
        assert_eq!(names(Some(1 << 21), State::Failed), [""; 0]);
        assert_eq!(names(Some(1 << 21), State::Degraded), optional);
        assert_eq!(names(None, State::Failed), ["capabilities"]);
    }

    #[test]
    fn locked_memory_is_named_only_where_nothing_else_is_missing() {
        let needed = 1 << CAP_BPF | 1 << CAP_PERFMON;
        assert!(judge_locked_memory(needed).is_some());
        assert!(judge_locked_memory(1 << 21).is_some());
        assert_eq!(judge_locked_memory(needed | 1 << CAP_SYS_RESOURCE), None);
        assert_eq!(judge_locked_memory(1 << CAP_BPF), None);
    }

    #[test]
    fn only_the_first_user_namespace_maps_everybody_to_themselves() {
        for (map, own) in [
            ("         0          0 4294967295\n", false),
            ("         0     100000      65536\n", true),
            ("0 0 1\n1 100000 65536\n", true),
            ("", false),
        ] {
            assert_eq!(is_of_user_namespace(map), own, "{map:?}");
        }
    }
}
