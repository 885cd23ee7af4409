//! The lines that peers print.

use serde_json::Value;

use crate::agent;

/// Begins the line that a changed copy adds.
pub(super) const STATUS: &str = "status";
/// It was read and had memory.
pub(super) const ALIVE: &str = "alive";
/// It was not.
pub(super) const GONE: &str = "gone";

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its hooks are in place.
    Ready,
    /// Whether the status of a victim was read while it had memory.
    Status {
        /// It was.
        alive: bool,
    },
    /// A kill of that process.
    Kill(u32),
    /// So many kills were lost.
    Lost(u64),
    /// Nothing of these.
    Other,
}

impl Line {
    /// Of text without its end.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("Tracing ") {
            return Self::Ready;
        }
        if let Some(rest) = text.strip_prefix(STATUS) {
            return Self::Status { alive: rest.trim_start().starts_with(ALIVE) };
        }
        // libbpf-tools: "Lost 3 events on CPU #0!"; bcc: "Possibly lost 3 samples"; bpftrace: "Lost 3 events".
        let lost = text.split_once("ost ").filter(|(before, _)| before.ends_with(['L', 'l']));
        if let Some(count) = lost.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok()) {
            return Self::Lost(count);
        }
        kill(text).map_or(Self::Other, Self::Kill)
    }

    /// Of oomwatch's: of its log, or a report as a line or in JSON, of which only the first victim counts.
    pub fn of_oomwatch(text: &str) -> Self {
        if agent::ready_level(text).is_some() {
            return Self::Ready;
        }
        if let Some((_, process)) = text.split_once(" OOM kill: ") {
            let pid = process.split_once(" (pid ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
            return pid.map_or(Self::Other, Self::Kill);
        }
        let report: Value = serde_json::from_str(text).unwrap_or_default();
        let pid = report.pointer("/victims/0/tgid").and_then(Value::as_u64);
        pid.and_then(|pid| u32::try_from(pid).ok()).map_or(Self::Other, Self::Kill)
    }
}

/// The victim of `… OOM kill of PID 210 ("tail"), …`, the form of all three.
pub fn kill(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("OOM kill of PID ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Line, Line::*};

    #[test]
    fn the_lines_of_all_peers_are_understood() {
        for (text, expected) in [
            ("Tracing OOM kills... Ctrl-C to stop.", Ready),
            ("Tracing oom_kill_process()... Hit Ctrl-C to end.", Ready),
            ("Attaching 2 probes...", Other),
            (
                "15:05:37 Triggered by PID 7 (\"x\"), OOM kill of PID 210 (\"tail\"), 5120 pages, loadavg: 1",
                Kill(210),
            ),
            ("status alive 7", Status { alive: true }),
            ("status gone 7", Status { alive: false }),
            ("Lost 3 events on CPU #0!", Lost(3)),
            ("Possibly lost 12 samples", Lost(12)),
            ("Lost 4 events", Lost(4)),
            ("", Other),
        ] {
            assert_eq!(Line::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn oomwatchs_lines_are_understood() {
        for (text, expected) in [
            ("2026-11-20T10:00:00Z  INFO ready level=kprobe", Ready),
            (r#"{"victims":[{"tgid":7},{"tgid":8}]}"#, Kill(7)),
            (r#"{"victims":[]}"#, Other),
            ("2026-11-20T10:00:00Z OOM kill: a (b) (pid 7, uid 0) in /x: 1.0 MiB anon; …", Kill(7)),
            ("INFO ended", Other),
        ] {
            assert_eq!(Line::of_oomwatch(text), expected, "{text}");
        }
    }
}
