//! One line of the agent's JSON (schema 1, docs/report-schema.md) as the comparisons need it.
//!
//! The only module that knows the names of the schema. A value that is absent there is `None` here; text is turned back
//! into the bytes that it spells.

mod around;
mod brief;

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub use self::{around::Around, brief::Brief};

use crate::escaped::unescape;

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The line itself, for the text of a failure.
    pub line: String,
    /// `probe.level`
    pub level: Option<String>,
    /// `scope`
    pub scope: Option<String>,
    /// `cause`
    pub cause: Option<String>,
    /// `oom`
    pub oom: Oom,
    /// `trigger`
    pub trigger: Option<Process>,
    /// `victims`
    pub victims: Vec<Process>,
    /// `limit_owner`
    pub limit_owner: Option<Memcg>,
    /// `node_memory` is there.
    pub has_node_memory: bool,
    /// `kubernetes`
    pub kubernetes: Kubernetes,
    /// `latency.hook_to_report_us`
    pub hook_to_report_us: Option<u64>,
    /// `gaps[].what`
    pub gaps: Vec<String>,
    /// `gaps[].why`
    pub reasons: Vec<String>,
}

/// `kubernetes`: empty where the victim was in no pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// `kubelet` or `logs`
    pub names_from: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The container's name.
    pub container: Option<String>,
}

/// `oom`: empty where the level does not see the domain.
#[derive(Clone, Debug, Default)]
pub struct Oom {
    /// `none`, `cpuset`, `memory_policy`, `memcg`
    pub constraint: Option<String>,
    /// `"0xcc0"`, as a number.
    pub gfp_mask: Option<u64>,
    /// -1: sysrq-f.
    pub order: Option<i64>,
    /// Pages.
    pub totalpages: Option<u64>,
    /// The same in bytes.
    pub totalpages_bytes: Option<u64>,
    /// `Memory cgroup out of memory`, …
    pub message: Option<String>,
    /// `memory.oom.group` was in force.
    pub group: Option<bool>,
}

/// `trigger` or one of `victims`.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Process.
    pub tgid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// The thread's name.
    pub comm: Option<Vec<u8>>,
    /// Real uid.
    pub uid: Option<u64>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// Bytes.
    pub total_vm: Option<u64>,
    /// Bytes.
    pub rss_anon: Option<u64>,
    /// Bytes.
    pub rss_file: Option<u64>,
    /// Bytes.
    pub rss_shmem: Option<u64>,
    /// RSS is summed over the CPUs.
    pub exact: Option<bool>,
    /// Bytes.
    pub swap: Option<u64>,
    /// Bytes.
    pub pgtables: Option<u64>,
    /// As the process sees itself.
    pub pid_in_namespace: Option<u64>,
    /// `parent.tgid`
    pub parent: Option<u64>,
    /// Another process with the same memory.
    pub shares_memory_with: Option<u32>,
    /// Path.
    pub cgroup: Option<Vec<u8>>,
}

/// `limit_owner` or `cgroup`.
#[derive(Clone, Debug, Default)]
pub struct Memcg {
    /// Path.
    pub cgroup: Option<Vec<u8>>,
    /// Bytes.
    pub usage: Option<u64>,
    /// Bytes.
    pub limit: Option<u64>,
}

impl Process {
    /// Its process id, or, where the kernel told the agent no more, the thread's number.
    pub fn number(&self) -> Option<u32> {
        self.tgid.or(self.tid)
    }
}

impl Report {
    /// Reads a line.
    ///
    /// # Errors
    /// It is not a JSON object of schema 1 with victims.
    pub fn parse(line: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        if at(&json, "/schema").and_then(Value::as_u64) != Some(1) {
            bail!("not schema 1: {line}");
        }
        let list = |path| at(&json, path).and_then(Value::as_array).cloned().unwrap_or_default();
        let oom = |path| at(&json, &format!("/oom{path}"));
        Ok(Self {
            line: line.to_owned(),
            level: text(&json, "/probe/level"),
            scope: text(&json, "/scope"),
            cause: text(&json, "/cause"),
            oom: Oom {
                constraint: text(&json, "/oom/constraint"),
                gfp_mask: oom("/gfp_mask").and_then(hexadecimal),
                order: oom("/order").and_then(Value::as_i64),
                totalpages: oom("/totalpages").and_then(Value::as_u64),
                totalpages_bytes: oom("/totalpages_bytes").and_then(Value::as_u64),
                message: text(&json, "/oom/message"),
                group: oom("/group").and_then(Value::as_bool),
            },
            trigger: at(&json, "/trigger").map(Process::read),
            victims: list("/victims").iter().map(Process::read).collect(),
            limit_owner: at(&json, "/limit_owner").map(Memcg::read),
            has_node_memory: at(&json, "/node_memory").is_some(),
            hook_to_report_us: at(&json, "/latency/hook_to_report_us").and_then(Value::as_u64),
            kubernetes: Kubernetes {
                names_from: text(&json, "/kubernetes/names_from"),
                namespace: text(&json, "/kubernetes/namespace"),
                pod: text(&json, "/kubernetes/pod"),
                container: text(&json, "/kubernetes/container"),
            },
            gaps: list("/gaps").iter().filter_map(|gap| text(gap, "/what")).collect(),
            reasons: list("/gaps").iter().filter_map(|gap| text(gap, "/why")).collect(),
        })
    }
}

impl Process {
    fn read(json: &Value) -> Self {
        let number = |path| at(json, path).and_then(Value::as_u64);
        let id = |path| number(path).and_then(|number| u32::try_from(number).ok());
        Self {
            tgid: id("/tgid"),
            tid: id("/tid"),
            comm: bytes(json, "/comm"),
            uid: number("/uid"),
            oom_score_adj: at(json, "/oom_score_adj").and_then(Value::as_i64),
            total_vm: number("/total_vm_bytes"),
            rss_anon: number("/rss/anon_bytes"),
            rss_file: number("/rss/file_bytes"),
            rss_shmem: number("/rss/shmem_bytes"),
            exact: at(json, "/rss/exact").and_then(Value::as_bool),
            swap: number("/swap_bytes"),
            pgtables: number("/pgtables_bytes"),
            pid_in_namespace: number("/pid_in_namespace"),
            parent: number("/parent/tgid"),
            shares_memory_with: id("/shares_memory_with"),
            cgroup: bytes(json, "/cgroup"),
        }
    }
}

impl Memcg {
    fn read(json: &Value) -> Self {
        Self {
            cgroup: bytes(json, "/cgroup"),
            usage: at(json, "/usage_bytes").and_then(Value::as_u64),
            limit: at(json, "/limit_bytes").and_then(Value::as_u64),
        }
    }
}

/// What is there. The schema leaves out what was not read; a `null` would be an error that the comparisons then find.
fn at<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    json.pointer(path).filter(|value| !value.is_null())
}

fn text(json: &Value, path: &str) -> Option<String> {
    at(json, path)?.as_str().map(str::to_owned)
}

fn bytes(json: &Value, path: &str) -> Option<Vec<u8>> {
    at(json, path)?.as_str().map(|text| unescape(text.as_bytes()))
}

fn hexadecimal(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn names_of_the_schema_are_read() {
        let report = Report::parse(
            r#"{"schema":1,"probe":{"level":"kprobe"},"oom":{"constraint":"memcg","gfp_mask":"0xcc0","order":-1},
                "victims":[{"tgid":7,"comm":"a\\x0ab","rss":{"anon_bytes":4096,"exact":true},"parent":{"tgid":1}}],
                "limit_owner":{"cgroup":"/a","limit_bytes":8192},"gaps":[{"what":"load","why":"denied"}]}"#,
        );
        let report = report.unwrap();
        assert_eq!(
            (report.oom.gfp_mask, report.oom.order, report.oom.totalpages),
            (Some(0xcc0), Some(-1), None)
        );
        let victim = &report.victims[0];
        assert_eq!((victim.tgid, victim.comm.as_deref()), (Some(7), Some(b"a\nb".as_slice())));
        assert_eq!((victim.rss_anon, victim.rss_file, victim.parent), (Some(4096), None, Some(1)));
        assert_eq!(report.limit_owner.unwrap().limit, Some(8192));
        assert_eq!(report.gaps, ["load"]);
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for line in ["", "ready", "{}", r#"{"schema":2}"#, "[1]"] {
            assert!(Report::parse(line).is_err(), "{line}");
        }
    }
}
