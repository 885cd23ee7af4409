//! When the kernel began each kill and how long it took, until the victim's memory was free again: from its own trace,
//! with the clock of who reads the lines. On a kernel without kprobes a kill begins with the victim's mark.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};

const TRACING: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/oomwatch-bench";
const HOOK: &str = "oomwatch_bench_hook";
/// In `do_exit` (kernel/exit.c) behind `exit_mm`, until 6.15; since then before it.
const EXIT: &str = "sched_process_exit";

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
    /// From there until the victim had given its memory back, nanoseconds; `None`: its end was not seen.
    pub(super) took_ns: Option<u64>,
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
            // Names of tasks are not wanted. The kernel takes note of them at each switch from one to the next
            // (`tracing_start_cmdline_record`, kernel/trace/trace_sched_switch.c), and for that patches `__schedule`,
            // which an emulator does not always outlive (`is_emulators_fault`, xtask/src/vm.rs). An instance has it
            // from the tracer as it is when that is made.
            let names = format!("{TRACING}/options/record-cmd");
            let kept = fs::read_to_string(&names).with_context(|| format!("cannot read {names}"))?;
            write(&names, "0")?;
            let created = fs::create_dir(INSTANCE).with_context(|| format!("cannot create {INSTANCE}"));
            write(&names, kept.trim())?;
            created?;
            if kprobes {
                write(&probes, &format!("p:kprobes/{HOOK} oom_kill_process\n"))?;
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
        let kprobe = self.kprobes.then(|| format!("kprobes/{HOOK}"));
        for event in kprobe.into_iter().chain(["oom/mark_victim".to_owned(), format!("sched/{EXIT}")]) {
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

/// The kernel begins one kill at a time, so the mark that follows a begin is of it.
fn parse(text: &str, kprobes: bool) -> BTreeMap<u32, Kill> {
    let mut kills = BTreeMap::<u32, Kill>::new();
    let mut begun = None;
    for (at, event, rest) in text.lines().filter_map(event) {
        let pid = || rest.split_whitespace().find_map(|word| word.strip_prefix("pid=")?.parse::<u32>().ok());
        match event {
            HOOK => begun = Some(at),
            "mark_victim" => {
                let begun = if kprobes { begun.take() } else { Some(at) };
                if let Some((pid, begun_ns)) = pid().zip(begun) {
                    kills.insert(pid, Kill { begun_ns, took_ns: None });
                }
            }
            EXIT => {
                if let Some(kill) = pid().and_then(|pid| kills.get_mut(&pid)) {
                    kill.took_ns.get_or_insert(at.saturating_sub(kill.begun_ns));
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
    fn a_kill_lasts_from_its_begin_to_the_end_of_its_victim() {
        let text = "\
# tracer: nop
          victim-9   [000] d..2.    12.000100: oomwatch_bench_hook: (oom_kill_process+0x0/0x1c0)
          victim-9   [000] d..3.    12.000150: mark_victim: pid=9 comm=victim
            bash-3   [001] d..2.    12.000200: sched_process_exit: comm=bash pid=3 prio=120
           other-8   [001] d..2.    12.000300: oomwatch_bench_hook: (oom_kill_process+0x0/0x1c0)
          victim-9   [000] d..2.    12.004100: sched_process_exit: comm=victim pid=9 prio=120
           other-8   [001] d..2.    12.004200: mark_victim: pid=8 comm=other
           other-7   [001] d..2.    12.004300: mark_victim: pid=7 comm=other
";
        let kills = |kprobes| parse(text, kprobes).into_iter().collect::<Vec<_>>();
        let kill = |begun_ns, took_ns| Kill { begun_ns, took_ns };
        let nine = kill(12_000_100_000, Some(4_000_000));
        let expected = [(8, kill(12_000_300_000, None)), (9, nine)];
        assert_eq!(kills(true), expected, "a mark without a begin is none of a kill");
        let marked = [
            (7, kill(12_004_300_000, None)),
            (8, kill(12_004_200_000, None)),
            (9, kill(12_000_150_000, Some(3_950_000))),
        ];
        assert_eq!(kills(false), marked);
    }
}
