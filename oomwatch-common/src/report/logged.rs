//! An incident of a log that was given → report. It knows no clock, no node and no files, only what the log has.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Context, Gap, Latency, Report, Source, process::rfc3339};
use crate::{
    attribution::{Attribution, Paths, PodSource},
    capture::Capture,
    kernel_log::Logged,
    surroundings::Surroundings,
};

/// Where in a log an incident stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// The time of its first line as it is written there. Absent: it has none, or none but the kernel's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The kernel's clock on its first line, microseconds since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_us: Option<u64>,
    /// The number of its first line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The kernel's release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

const NO_ZONE: &str = "the log has no date with a year and a zone; `log.time` is what it has";
const NO_TIME: &str = "the log has no time but the kernel's clock, which begins at boot";
const NONE: &str = "the log has no time";

impl LogPlace {
    /// `Nov 21 12:00:00`, `[   12.345678]`, `line 7`: the best that there is, for people.
    pub fn when(&self) -> String {
        match (&self.time, self.clock_us, self.line) {
            (Some(time), ..) => time.clone(),
            (None, Some(clock), _) => format!("[{:5}.{:06}]", clock / 1_000_000, clock % 1_000_000),
            (None, None, Some(line)) => format!("line {line}"),
            (None, None, None) => "?".to_owned(),
        }
    }
}

impl Report {
    /// All that is to be said of an incident that a log has. `pods` may know the names; `why_unknown` is why a name is
    /// not known.
    pub fn of_log(logged: &Logged, pods: &[PodSource<'_>], why_unknown: &str) -> Self {
        let (incident, capture) = (&logged.incident, Capture::default());
        let context = Context {
            node: String::new(),
            boot_id: String::new(),
            page_size: logged.page_size,
            realtime_at_boot: Timestamp::UNIX_EPOCH,
            source: Source::Log,
            built_at: incident.at,
        };
        let paths = Paths::new(incident, &capture, logged.page_size);
        let attribution = Attribution::new(&paths, pods, why_unknown);
        let mut report =
            Self::build(incident, &capture, &attribution, &Surroundings::of_log(logged), &context);
        let clock_us = Some(incident.at.0 / 1000).filter(|clock| *clock > 0);
        let time = logged.wall.as_deref().and_then(timestamp);
        let why = match (&logged.wall, clock_us) {
            (Some(_), _) => NO_ZONE,
            (None, Some(_)) => NO_TIME,
            (None, None) => NONE,
        };
        let absent = [("time", time.is_none(), why), ("node", logged.host.is_none(), "not in the log")];
        for (what, _, why) in absent.into_iter().filter(|(_, is_absent, _)| *is_absent) {
            report.gaps.push(Gap { what: what.to_owned(), why: why.to_owned() });
        }
        report.id = match &logged.boot_id {
            Some(boot_id) if clock_us.is_some() => format!("{}-{}", dashed(boot_id), incident.at.0),
            _ => format!("log-{:016x}-{}", fingerprint(logged, &report), incident.at.0),
        };
        report.time = time.map(rfc3339).unwrap_or_default();
        report.boot_id = logged.boot_id.as_deref().map(dashed).unwrap_or_default();
        report.node = logged.host.clone().unwrap_or_default();
        report.latency = Latency::default();
        report.log = Some(LogPlace {
            time: logged.wall.clone(),
            clock_us,
            line: logged.line,
            kernel: logged.release.as_deref().map(|release| crate::escape::escape(release.as_bytes())),
        });
        report
    }
}

/// `2026-11-21T12:00:00,123456+00:00`, `Sat 2026-11-21 12:00:00 UTC`. `None` for what has no year or no zone: a guess
/// may be hours or a year off.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.replace(',', ".");
    let text = text.split_once(' ').filter(|(day, _)| day.len() == 3).map_or(text.as_str(), |(_, rest)| rest);
    let text = text.strip_suffix(" UTC").map_or_else(|| text.to_owned(), |text| format!("{text}Z"));
    match text.split_once('.') {
        // journalctl -o short-unix
        Some((seconds, micros)) if micros.len() == 6 && seconds.bytes().all(|byte| byte.is_ascii_digit()) => {
            Timestamp::from_microsecond(format!("{seconds}{micros}").parse().ok()?).ok()
        }
        _ => text.parse().ok(),
    }
}

/// The journal writes a boot's id without dashes, `/proc` with them.
fn dashed(boot_id: &str) -> String {
    if boot_id.len() != 32 || !boot_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return boot_id.to_owned();
    }
    let mut dashed = boot_id.to_owned();
    for at in [8, 13, 18, 23] {
        dashed.insert(at, '-');
    }
    dashed
}

/// The same for the same incident, however its log is wrapped (FNV-1a, 64 bits).
fn fingerprint(logged: &Logged, report: &Report) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    // Where the kernel's clock is known, no other time is needed, and not every wrapping has another.
    match &logged.wall {
        _ if logged.incident.at.0 > 0 => {}
        Some(wall) => add(wall),
        None => add(&logged.line.unwrap_or_default().to_string()),
    }
    for victim in &report.victims {
        add(&victim.tid.unwrap_or_default().to_string());
        add(victim.comm.as_deref().unwrap_or_default());
        add(&victim.total_vm_bytes.unwrap_or_default().0.to_string());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{dashed, timestamp};

    #[test]
    fn a_time_is_one_only_with_year_and_zone() {
        for (text, expected) in [
            ("2026-11-21T12:00:00,123456+00:00", Some("2026-11-21T12:00:00.123456Z")),
            ("2026-11-21T12:00:00+0200", Some("2026-11-21T10:00:00Z")),
            ("2026-11-21T12:00:00.5Z", Some("2026-11-21T12:00:00.5Z")),
            ("Sat 2026-11-21 12:00:00 UTC", Some("2026-11-21T12:00:00Z")),
            ("1795262400.123456", Some("2026-11-21T12:00:00.123456Z")),
            ("2026-11-21T12:00:00", None),
            ("Sat 2026-11-21 12:00:00", None),
            ("Sat Nov 21 12:00:00 2026", None),
            ("Nov 21 12:00:00", None),
            ("7月 12 12:11:16", None),
            ("", None),
        ] {
            assert_eq!(timestamp(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_boot_is_named_as_the_agent_names_it() {
        let id = "0f3c9f5e5d1b4a7f8e1d2c3b4a596877";
        assert_eq!(dashed(id), "0f3c9f5e-5d1b-4a7f-8e1d-2c3b4a596877");
        for other in ["", "x", "0f3c9f5e-5d1b-4a7f-8e1d-2c3b4a596877"] {
            assert_eq!(dashed(other), other);
        }
    }
}
