//! When the kernel began each kill and how long it took: from its own trace, with the clock of who reads the lines. On
//! a kernel without kprobes there is the mark of each victim alone.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};

const TRACING: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/oomwatch-bench";
const HOOK: &str = "oomwatch_bench_hook";
const DONE: &str = "oomwatch_bench_done";

/// The trace of kills; switched off when dropped.
#[derive(Debug)]
pub(super) struct Trace {
    file: String,
    kprobes: bool,
}

/// A kill as the kernel made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// When `oom_kill_process` began, or where that is not known the victim was marked: nanoseconds of
    /// `CLOCK_MONOTONIC`, to the microsecond.
    pub(super) begun_ns: u64,
    /// How long it took, nanoseconds; 0 where that is not known.
    pub(super) took_ns: u64,
}

impl Trace {
    /// Switches it on.
    ///
    /// # Errors
    /// tracefs is not mounted, or this is not root.
    pub(super) fn begin() -> Result<Self> {
        let write = |path: &str, text: &str| {
            fs::write(path, text).with_context(|| format!("cannot write {text:?} to {path}"))
        };
        let probes = format!("{TRACING}/kprobe_events");
        let kprobes = Path::new(&probes).exists();
        if !Path::new(INSTANCE).exists() {
            fs::create_dir(INSTANCE).with_context(|| format!("cannot create {INSTANCE}"))?;
            if kprobes {
                let both = format!("p:kprobes/{HOOK} oom_kill_process\nr:kprobes/{DONE} oom_kill_process\n");
                write(&probes, &both)?;
            }
        }
        write(&format!("{INSTANCE}/trace_clock"), "mono")?;
        write(&format!("{INSTANCE}/buffer_size_kb"), "2048")?;
        let trace = Self { file: format!("{INSTANCE}/trace"), kprobes };
        write(&trace.file, "")?;
        trace.switch("1")?;
        Ok(trace)
    }

    fn switch(&self, on: &str) -> Result<()> {
        let kprobes = [HOOK, DONE].iter().filter(|_| self.kprobes).map(|name| format!("kprobes/{name}"));
        for event in kprobes.chain(["oom/mark_victim".to_owned()]) {
            let path = format!("{INSTANCE}/events/{event}/enable");
            fs::write(&path, on).with_context(|| format!("cannot write {path}"))?;
        }
        Ok(())
    }

    /// The kills since, by victim.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub(super) fn kills(&self) -> Result<BTreeMap<u32, Kill>> {
        let text = fs::read_to_string(&self.file).context("cannot read the trace")?;
        Ok(parse(&text, self.kprobes))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.switch("0").ok();
    }
}

/// The kernel makes one kill at a time, so the events of one follow each other.
fn parse(text: &str, kprobes: bool) -> BTreeMap<u32, Kill> {
    let mut kills = BTreeMap::new();
    let (mut begun, mut victim) = (None, None);
    for (at, event, rest) in text.lines().filter_map(event) {
        match event {
            HOOK => (begun, victim) = (Some(at), None),
            "mark_victim" => {
                let pid = rest.split_whitespace().find_map(|word| word.strip_prefix("pid=")?.parse().ok());
                victim = victim.or(pid);
                if let Some(pid) = pid.filter(|_| !kprobes) {
                    kills.insert(pid, Kill { begun_ns: at, took_ns: 0 });
                }
            }
            DONE => {
                if let (Some(begun_ns), Some(pid)) = (begun.take(), victim.take()) {
                    kills.insert(pid, Kill { begun_ns, took_ns: at.saturating_sub(begun_ns) });
                }
            }
            _ => {}
        }
    }
    kills
}

/// Time, name and the rest of `tail-7  [001] d..2.  12.345678: mark_victim: pid=7`.
fn event(line: &str) -> Option<(u64, &str, &str)> {
    let (head, rest) = line.split_once(": ")?;
    let (name, rest) = rest.split_once(':')?;
    let (seconds, micros) = head.rsplit(' ').next()?.split_once('.')?;
    let nanoseconds = micros.parse::<u64>().ok()?.checked_mul(1000)?;
    Some((seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?, name, rest))
}

#[cfg(test)]
mod tests {
    use super::{Kill, parse};

    #[test]
    fn a_kill_is_its_three_events() {
        let text = "\
# tracer: nop
          victim-9   [000] d..2.    12.000100: oomwatch_bench_hook: (oom_kill_process+0x0/0x1c0)
          victim-9   [000] d..3.    12.000150: mark_victim: pid=9 comm=victim
          victim-9   [000] d..2.    12.000350: oomwatch_bench_done: (out_of_memory+0x1/0x2 <- oom_kill_process)
          odd: na-8   [001] d..2.    13.000001: oomwatch_bench_hook: (oom_kill_process+0x0/0x1c0)
          odd: na-8   [001] d..2.    13.000002: oomwatch_bench_done: (out_of_memory+0x1/0x2 <- oom_kill_process)
";
        let kills = parse(text, true);
        let expected = Kill { begun_ns: 12_000_100_000, took_ns: 250_000 };
        assert_eq!(
            kills.into_iter().collect::<Vec<_>>(),
            [(9, expected)],
            "without a victim nobody was killed"
        );
    }
}
