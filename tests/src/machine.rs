//! The machine under test: its kernel, and how far that kernel's own numbers may be off.

use std::fs;

use anyhow::{Context, Result};

use crate::{compare::Slack, status::Status};

/// What the comparisons need to know of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `uname -r`
    pub release: String,
    /// The first two numbers of it.
    pub version: (u32, u32),
    /// CPUs that are online.
    pub cpus: u64,
    /// Bytes of a page.
    pub page: u64,
    /// RAM that the kernel manages, bytes: `totalram_pages`, printed as `MemTotal`.
    pub ram: u64,
    /// Swap, bytes.
    pub swap: u64,
    /// Tracepoint `oom/mark_victim` passes the task: since 6.9, 6.1.130 and 5.10.235; before, its thread id alone.
    pub mark_victim_passes_task: bool,
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// `/proc` is not mounted, or says something unheard of.
    pub fn this() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let release = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let version =
            version(&release).with_context(|| format!("kernel release {release} has no version"))?;
        let cpus = read("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count();
        let meminfo = Status::parse(&read("/proc/meminfo")?);
        Ok(Self {
            release,
            version,
            cpus: u64::try_from(cpus.max(1))?,
            page: u64::try_from(rustix::param::page_size())?,
            ram: meminfo.bytes("MemTotal").context("/proc/meminfo has no MemTotal")?,
            swap: meminfo.bytes("SwapTotal").unwrap_or(0),
            mark_victim_passes_task: mark_victim_format().is_none_or(|format| format.contains("total_vm")),
        })
    }

    /// How far a counter of `mm.rss_stat` that was read without its per-CPU parts may be off, in bytes.
    ///
    /// Up to 6.1 the counters are plain: nothing. Since 6.2 they are `percpu_counter`s whose parts stay below
    /// `percpu_counter_batch` = max(32, 2 × CPUs) on each CPU (`lib/percpu_counter.c`).
    pub fn unsummed(&self) -> Slack {
        if self.version < (6, 2) {
            return Slack::NONE;
        }
        let batch = 32.max(2 * self.cpus);
        Slack { bytes: self.cpus * (batch - 1) * self.page, why: "per-CPU parts of the counter, not summed" }
    }

    /// How far RSS may be off in "Killed process": since 7.0 the kernel sums (`get_mm_counter_sum`, `mm/oom_kill.c`).
    pub fn logged_rss(&self) -> Slack {
        if self.version < (7, 0) { self.unsummed() } else { Slack::NONE }
    }

    /// How far RSS may move, in bytes, between the agent's read and the kernel's while the victim has threads on other
    /// CPUs. Up to 6.1 each thread keeps what its last 64 faults mapped to itself, and hands it in when it likes or
    /// exits (`SPLIT_RSS_COUNTING`, `mm/memory.c`). A fault maps one page of anonymous memory, but of what is in the
    /// page cache up to 16 around it (`fault_around_bytes`).
    pub fn not_handed_in(&self, mapped_around: bool) -> Slack {
        if self.version < (6, 2) {
            let pages = if mapped_around { 16 } else { 1 };
            return Slack { bytes: 64 * pages * self.page, why: "pages that a thread has not yet handed in" };
        }
        Slack::NONE
    }

    /// How far a cgroup's usage may move between the agent's read and the kernel's, in bytes: each CPU keeps up to 64
    /// pages charged in stock and gives them back when another one drains it (`MEMCG_CHARGE_BATCH`, `mm/memcontrol.c`).
    pub fn stocked(&self) -> Slack {
        Slack { bytes: self.cpus * 64 * self.page, why: "pages charged in stock by each CPU" }
    }
}

fn mark_victim_format() -> Option<String> {
    let events = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
    events.iter().find_map(|events| fs::read_to_string(format!("{events}/oom/mark_victim/format")).ok())
}

/// `oom_kill` of `/proc/vmstat`: processes that this kernel's OOM killer killed since boot.
///
/// # Errors
/// The file cannot be read or has no such line (it has since 4.13).
pub fn oom_kills() -> Result<u64> {
    let vmstat = fs::read_to_string("/proc/vmstat").context("cannot read /proc/vmstat")?;
    let line = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.parse().ok()).context("/proc/vmstat has no oom_kill")
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Machine, version};

    #[test]
    fn releases_of_every_flavour_have_a_version() {
        for (release, expected) in [
            ("6.1.0-56-cloud-amd64", Some((6, 1))),
            ("7.2.13+deb14-cloud-amd64", Some((7, 2))),
            ("7.3-cloud-amd64", Some((7, 3))),
            ("next", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn the_log_is_off_between_6_2_and_6_19_only() {
        let machine = |version| Machine {
            version,
            cpus: 2,
            page: 4096,
            ram: 0,
            swap: 0,
            release: String::new(),
            mark_victim_passes_task: true,
        };
        assert_eq!(machine((6, 1)).logged_rss().bytes, 0);
        assert_eq!(machine((6, 12)).logged_rss().bytes, 2 * 31 * 4096);
        assert_eq!(machine((7, 0)).logged_rss().bytes, 0);
        assert_eq!(machine((7, 0)).unsummed().bytes, 2 * 31 * 4096);
    }
}
