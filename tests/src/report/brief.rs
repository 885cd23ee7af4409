//! The few members that a storm counts, without copying the rest of a line.

use std::borrow::Cow;

use anyhow::{Result, ensure};
use serde::{Deserialize, de::IgnoredAny};

/// A report.
#[derive(Debug, Deserialize)]
pub struct Brief<'a> {
    schema: u32,
    /// `id`
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// `victims`
    #[serde(borrow)]
    pub victims: Vec<Victim<'a>>,
    /// `latency`
    pub latency: Latency,
    /// `gaps`
    #[serde(borrow, default)]
    pub gaps: Vec<Gap<'a>>,
}

/// One of `victims`.
#[derive(Debug, Deserialize)]
pub struct Victim<'a> {
    #[serde(borrow)]
    cgroup: Option<Cow<'a, str>>,
    /// `tgid`
    pub tgid: Option<u32>,
    /// `proc` or `kernel`
    #[serde(borrow)]
    pub status_from: Cow<'a, str>,
    status: Option<Status>,
}

#[derive(Debug, Deserialize)]
struct Status {
    vm_rss_bytes: Option<IgnoredAny>,
}

/// `latency`
#[derive(Debug, Deserialize)]
pub struct Latency {
    /// Microseconds.
    pub hook_to_capture_us: Option<u64>,
    /// Microseconds.
    pub hook_to_report_us: Option<u64>,
}

/// One of `gaps`.
#[derive(Debug, Deserialize)]
pub struct Gap<'a> {
    /// `what`
    #[serde(borrow)]
    pub what: Cow<'a, str>,
    /// `why`
    #[serde(borrow)]
    pub why: Cow<'a, str>,
}

impl<'a> Brief<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// It is not a JSON object of schema 1.
    pub fn parse(line: &'a [u8]) -> Result<Self> {
        let report: Self = serde_json::from_slice(line)?;
        ensure!(report.schema == 1, "schema {}", report.schema);
        Ok(report)
    }
}

impl Victim<'_> {
    /// In a cgroup below that one.
    pub fn is_below(&self, cgroup: &str) -> bool {
        let path = self.cgroup.as_deref().unwrap_or_default();
        path.strip_prefix(cgroup).is_some_and(|rest| rest.starts_with('/'))
    }

    /// `status` was read while the process had its memory: a zombie has none.
    pub fn has_memory(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.vm_rss_bytes.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::Brief;

    #[test]
    fn a_zombies_status_has_no_memory() {
        let line = |status: &str| {
            format!(
                r#"{{"schema":1,"id":"a","victims":[{{"cgroup":"/a/b","status_from":"proc","status":{status}}}],
                    "latency":{{"hook_to_capture_us":7}},"gaps":[{{"what":"load","why":"denied"}}]}}"#
            )
        };
        for (status, alive) in [(r#"{"vm_rss_bytes":1,"name":"x"}"#, true), (r#"{"name":"x"}"#, false)] {
            let line = line(status);
            let report = Brief::parse(line.as_bytes()).unwrap();
            assert_eq!(report.victims[0].has_memory(), alive, "{line}");
            assert!(report.victims[0].is_below("/a"));
            assert!(!report.victims[0].is_below("/a/b") && !report.victims[0].is_below("/"));
        }
        assert!(Brief::parse(b"{}").is_err());
    }
}
