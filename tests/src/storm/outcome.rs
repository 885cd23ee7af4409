//! What came of a storm, for people and for machines.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// So many that were gone are named.
const MOST_GONE: usize = 20;

/// What came of a storm.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Processor and memory.
    pub machine: String,
    /// `uname -r`
    pub kernel: String,
    /// CPUs that are online.
    pub cpus: u64,
    /// `v1` or `v2`: which manages memory.
    pub cgroup: String,
    /// The agent's level.
    pub level: String,
    /// Kills by the kernel's count.
    pub kills: u64,
    /// Children of the makers that died by SIGKILL.
    pub kills_waited_for: u64,
    /// Of the kernel's count.
    pub kills_per_second: f64,
    /// From the first kill to the last.
    pub seconds: f64,
    /// From the first kill until the last report was read, or none came any more.
    pub seconds_until_reported: f64,
    /// Reports.
    pub incidents: u64,
    /// Victims in them.
    pub victims: u64,
    /// Reports whose id an earlier one had.
    pub twice: u64,
    /// What the agent says that it lost.
    pub lost: Lost,
    /// The agent's.
    pub memory: Memory,
    /// Of the victims.
    pub status: StatusCaptured,
    /// Those of them that were gone before they were read.
    pub gone: Vec<Gone>,
    /// What reports name as not read, with the reason, and how often.
    pub reads_left_out: BTreeMap<String, u64>,
    /// From the hook to the first read of the victim.
    pub capture: Latency,
    /// From the hook to the report.
    pub report: Latency,
}

/// By stage, as the agent names them at its end.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Lost(pub BTreeMap<String, u64>);

/// Resident memory of the agent, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Before the first kill.
    pub start_bytes: u64,
    /// When half of the reports had come.
    pub middle_bytes: u64,
    /// After the last.
    pub end_bytes: u64,
    /// `VmHWM`
    pub peak_bytes: u64,
}

/// How many victims' `/proc/PID/status` was had.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StatusCaptured {
    /// Of so many.
    pub victims: u64,
    /// Read, if only as a zombie's.
    pub read: u64,
    /// With the lines of a process that has memory.
    pub alive: u64,
}

/// A victim whose `status` came too late.
#[derive(Clone, Debug, Serialize)]
pub struct Gone {
    /// The id of its report.
    pub incident: String,
    /// Its own.
    pub pid: Option<u32>,
    /// When it was looked for, after the hook.
    pub hook_to_capture_us: Option<u64>,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl StatusCaptured {
    /// One more victim.
    pub fn count(&mut self, alive: bool) {
        self.victims += 1;
        self.read += u64::from(alive);
        self.alive += u64::from(alive);
    }
}

impl Latency {
    /// Of these.
    pub fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |percent| {
            let index = times.len().saturating_sub(1) * percent / 100;
            times.get(index).copied().unwrap_or(0)
        };
        Self { p50_us: at(50), p99_us: at(99), max_us: at(100) }
    }
}

impl Lost {
    /// From the last line of the agent's log, `… ended … lost_queue_full=0 …`.
    pub fn read(log: &str) -> Option<Self> {
        let line = log.lines().rev().find(|line| line.contains("lost_"))?;
        let stages = line.split_whitespace().filter_map(|word| {
            let (stage, count) = word.strip_prefix("lost_")?.split_once('=')?;
            Some((stage.to_owned(), count.parse().ok()?))
        });
        Some(Self(stages.collect())).filter(|lost: &Self| !lost.0.is_empty())
    }

    /// At all stages together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl Outcome {
    /// Each kill was reported once, and nothing was lost.
    pub fn is_complete(&self) -> bool {
        self.kills > 0
            && self.incidents == self.kills
            && self.victims == self.kills
            && self.kills_waited_for == self.kills
            && self.twice == 0
            && self.lost.total() == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, incidents, lost, memory, status, .. } = self;
        writeln!(
            f,
            "storm: Linux {}, cgroup {}, level {}; {} ({} CPUs)",
            self.kernel, self.cgroup, self.level, self.machine, self.cpus
        )?;
        writeln!(
            f,
            "  kills       {kills} by the kernel's count, {:.0} a second for {:.0} s ({} were waited for)",
            self.kills_per_second, self.seconds, self.kills_waited_for
        )?;
        writeln!(
            f,
            "  incidents   {incidents} reported, {} twice, {} victims; the last {:.1} s after the last kill",
            self.twice,
            self.victims,
            self.seconds_until_reported - self.seconds
        )?;
        let stages: Vec<String> = lost.0.iter().map(|(stage, count)| format!("{stage} {count}")).collect();
        writeln!(f, "  lost        {} ({})", lost.total(), stages.join(", "))?;
        writeln!(
            f,
            "  status      {} of {} alive = {}, {} read",
            status.alive,
            status.victims,
            Percent(status.alive, status.victims),
            status.read
        )?;
        for gone in self.gone.iter().take(MOST_GONE) {
            let after = Milliseconds(gone.hook_to_capture_us.unwrap_or(0));
            writeln!(
                f,
                "  gone        pid {}, when looked for {after} after the hook",
                gone.pid.unwrap_or(0)
            )?;
        }
        writeln!(
            f,
            "  agent RSS   {} at the start, {} in the middle, {} at the end, {} at most",
            Mib(memory.start_bytes),
            Mib(memory.middle_bytes),
            Mib(memory.end_bytes),
            Mib(memory.peak_bytes)
        )?;
        for (what, latency) in [("hook→capture", self.capture), ("hook→report", self.report)] {
            let [p50, p99, max] = [latency.p50_us, latency.p99_us, latency.max_us].map(Milliseconds);
            writeln!(f, "  {what:<11} p50 {p50}, p99 {p99}, at most {max}")?;
        }
        for (gap, count) in self.reads_left_out.iter().filter(|(gap, _)| !gap.contains("kubernetes")) {
            writeln!(f, "  not read    {count} × {gap}")?;
        }
        let verdict =
            if self.is_complete() { "every kill is one incident" } else { "NOT every kill is one incident" };
        writeln!(f, "  {verdict}")
    }
}

/// A part of a whole, printed down to the hundredth below, so that 100 % is all of them.
pub struct Percent(pub u64, pub u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, whole) = *self;
        let hundredths = (part * 10_000).checked_div(whole).unwrap_or(0);
        write!(f, "{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} MiB", self.0 >> 20, ((self.0 & 0xf_ffff) * 10) >> 20)
    }
}

struct Milliseconds(u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_from_the_agents_last_line() {
        for (log, expected) in [
            ("ready\n INFO ended invocations=3 lost_queue_full=2 lost_output=0", Some(2)),
            ("INFO ended lost_queue_full=0", Some(0)),
            ("INFO ended", None),
            ("", None),
        ] {
            assert_eq!(Lost::read(log).map(|lost| lost.total()), expected, "{log}");
        }
    }

    #[test]
    fn latencies_are_those_of_the_sorted() {
        let latency = Latency::of((1..=200).rev().collect());
        assert_eq!((latency.p50_us, latency.p99_us, latency.max_us), (100, 198, 200));
        assert_eq!(Latency::of(Vec::new()).max_us, 0);
    }

    #[test]
    fn almost_all_is_not_a_hundred_percent() {
        assert_eq!(Percent(99_999, 100_000).to_string(), "99.99 %");
        assert_eq!(Percent(7, 7).to_string(), "100.00 %");
        assert_eq!(Percent(0, 0).to_string(), "0.00 %");
    }
}
