//! The line that bcc's oomkill prints (tools/oomkill.py of iovisor/bcc since 2c31dd7a), for drop-in use:
//! `HH:MM:SS Triggered by PID 42 ("a"), OOM kill of PID 43 ("b"), 8192 pages, loadavg: 0.10 0.20 0.30 1/99 44`.
//!
//! One line an incident, also for a group kill: it names the process that the kernel chose. Byte for byte the same
//! but for two things. Control characters in names are spelled `\xNN`, so that a name cannot forge lines. And what
//! was not read is `?`, where bcc always has a number: at level tracepoint the pages are not seen.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    escape::{decode_replacing, unescape},
    report::Report,
};

/// The kernel's message where the chosen task is the one that allocated: a thread, not a process's first one.
const ALLOCATING_TASK: &str = "Out of memory (oom_kill_allocating_task)";

/// The line, without a line end. bcc prints local wall time.
pub fn bcc(report: &Report, zone: &TimeZone) -> String {
    let unread = || "?".to_owned();
    let trigger = report.trigger.as_ref();
    let victim = report.victims.first();
    let allocating_task =
        report.oom.as_ref().is_some_and(|oom| oom.message.as_deref() == Some(ALLOCATING_TASK));
    // bcc reads the chosen task, which is the process's first thread but for that case.
    let chosen = victim
        .and_then(|victim| victim.leader_comm.as_ref().filter(|_| !allocating_task).or(victim.comm.as_ref()));
    let number = |value: Option<u32>| value.map_or_else(unread, |value| value.to_string());
    let pages = report.oom.as_ref().and_then(|oom| oom.totalpages);
    format!(
        "{} Triggered by PID {} (\"{}\"), OOM kill of PID {} (\"{}\"), {} pages, loadavg: {}",
        clock(report, zone),
        number(trigger.and_then(|trigger| trigger.tgid)),
        name(trigger.and_then(|trigger| trigger.comm.as_ref())),
        number(victim.and_then(|victim| victim.tgid)),
        name(chosen),
        pages.map_or_else(unread, |pages| pages.to_string()),
        report.load.as_ref().map_or("?", |load| load.text.as_str()),
    )
}

fn clock(report: &Report, zone: &TimeZone) -> String {
    match report.time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
        Err(_) => "??:??:??".to_owned(),
    }
}

/// As bcc decodes it, from the bytes that the report's text stands for.
fn name(escaped: Option<&String>) -> String {
    escaped.map_or_else(
        || "?".to_owned(),
        |escaped| unescape(escaped).map_or_else(|| escaped.clone(), |bytes| decode_replacing(&bytes)),
    )
}
