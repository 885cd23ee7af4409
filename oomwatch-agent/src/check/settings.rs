//! Settings of the kernel that change what is killed, others that kill for want of memory, and the kernel's log.

use std::{fs, io};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};

use super::{Line, Look, proc::processes};
use crate::sys;

/// `vm.panic_on_oom`, `vm.oom_kill_allocating_task`, `vm.overcommit_memory`.
pub(super) fn settings(look: &Look<'_>) -> Vec<Line> {
    let read = |name: &str| {
        let text = fs::read_to_string(look.proc().join("sys/vm").join(name)).ok()?;
        text.trim().parse().ok()
    };
    vec![judge_settings(read("panic_on_oom"), read("oom_kill_allocating_task"), read("overcommit_memory"))]
}

/// Meanings: Documentation/admin-guide/sysctl/vm.rst; what comes before a kill: `out_of_memory`, mm/oom_kill.c.
fn judge_settings(panic: Option<u32>, allocating_task: Option<u32>, overcommit: Option<u32>) -> Line {
    let shown = |value: Option<u32>| value.map_or("?".to_owned(), |value| value.to_string());
    let mut text = format!(
        "vm.panic_on_oom={} vm.oom_kill_allocating_task={} vm.overcommit_memory={}",
        shown(panic),
        shown(allocating_task),
        shown(overcommit)
    );
    if allocating_task.is_some_and(|value| value != 0) {
        text.push_str("; where the node is exhausted, whoever asks for a page is killed, not the largest");
    }
    if overcommit == Some(2) {
        text.push_str("; allocations are refused before memory is used up, which no kill shows");
    }
    match panic {
        None => Line::not_applicable("settings", format!("{text}: not readable")),
        Some(0) => Line::ok("settings", text),
        Some(1) => Line::degraded(
            "settings",
            format!("{text}; where the node is exhausted, the kernel panics instead of killing: no report"),
            "sysctl vm.panic_on_oom=0",
        ),
        Some(_) => Line::degraded(
            "settings",
            format!("{text}; at every OOM, also that of one container, the kernel panics: no report"),
            "sysctl vm.panic_on_oom=0",
        ),
    }
}

/// Daemons that kill for want of memory by themselves (names as the kernel cuts them, to 15 bytes).
const OTHER_KILLERS: &[&str] = &["systemd-oomd", "earlyoom", "nohang", "oomd"];

/// Who else kills for want of memory: those kills are not the kernel's.
pub(super) fn other_killers(look: &Look<'_>) -> Vec<Line> {
    let mut found: Vec<String> = processes(look.proc())
        .map(|process| process.comm)
        .filter(|comm| OTHER_KILLERS.contains(&comm.as_str()))
        .collect();
    found.sort();
    found.dedup();
    vec![judge_others(&found)]
}

fn judge_others(found: &[String]) -> Line {
    if found.is_empty() {
        return Line::ok("others", "no other OOM killer (systemd-oomd, earlyoom, …) is seen to run");
    }
    let names = found.join(", ");
    Line::degraded(
        "others",
        format!("{names} kills by itself, before the kernel does: such kills are not reported"),
        format!("look for them in the log of {names}, or stop it"),
    )
}

/// The kernel's log. No report rests on it, so nothing is lost where it cannot be read.
pub(super) fn kernel_log(look: &Look<'_>) -> Vec<Line> {
    let opened =
        open(&look.options.node.kmsg, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    vec![judge_log(opened.map(drop), || sys::kernel_log().is_ok())]
}

fn judge_log(opened: Result<(), Errno>, by_syslog: impl Fn() -> bool) -> Line {
    match opened {
        Err(Errno::NOENT | Errno::PERM | Errno::ACCESS) if by_syslog() => Line::ok(
            "kernel_log",
            "readable by syslog(2) alone: with --journal, kills of before a start are told",
        ),
        Ok(()) => Line::ok("kernel_log", "readable: with --journal, kills of before a start are told"),
        Err(Errno::NOENT) => {
            Line::not_applicable("kernel_log", "none here: kills of before a start are not told")
        }
        Err(Errno::PERM | Errno::ACCESS) => Line::not_applicable(
            "kernel_log",
            "not permitted (CAP_SYSLOG): kills of before a start are not told",
        ),
        Err(error) => Line::not_applicable(
            "kernel_log",
            format!("{}: kills of before a start are not told", io::Error::from(error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_kernel_that_panics_instead_of_killing_is_said_to() {
        for (panic, allocating, overcommit, state, word) in [
            (Some(0), Some(0), Some(1), State::Ok, "vm.panic_on_oom=0"),
            (Some(0), Some(1), Some(0), State::Ok, "whoever asks"),
            (Some(0), Some(0), Some(2), State::Ok, "refused before"),
            (Some(1), Some(0), Some(1), State::Degraded, "node is exhausted"),
            (Some(2), Some(0), Some(1), State::Degraded, "every OOM"),
            (None, None, None, State::NotApplicable, "vm.panic_on_oom=?"),
        ] {
            let line = judge_settings(panic, allocating, overcommit);
            assert_eq!(line.state, state, "{line:?}");
            assert!(line.text.contains(word), "{line:?}");
        }
    }

    #[test]
    fn whoever_else_kills_is_named() {
        assert_eq!(judge_others(&[]).state, State::Ok);
        let line = judge_others(&["earlyoom".to_owned()]);
        assert!(line.state == State::Degraded && line.text.starts_with("earlyoom "), "{line:?}");
    }

    #[test]
    fn a_log_that_cannot_be_read_alarms_nobody() {
        assert_eq!(judge_log(Ok(()), || false).state, State::Ok);
        assert_eq!(judge_log(Err(Errno::PERM), || true).state, State::Ok);
        for error in [Errno::NOENT, Errno::PERM, Errno::ACCESS, Errno::IO] {
            let line = judge_log(Err(error), || false);
            assert!(line.state == State::NotApplicable && line.cure.is_none(), "{line:?}");
        }
    }
}
