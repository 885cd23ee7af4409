//! oomwatch and its peers beside the same kills, in turn, several times over.

use std::{collections::BTreeMap, env, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Peer, Running, Status, bpf, trace::Trace};
use crate::{
    machine::Machine,
    memcg::Hierarchy,
    status,
    storm::{Kills, Made},
};

/// No line for so long means that none will come any more.
const SILENCE: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_mins(10);

/// What is to be compared.
#[derive(Clone, Copy, Debug)]
pub struct PeerBench<'a> {
    /// oomwatch.
    pub binary: &'a Path,
    /// `oomwatch-guest`
    pub program: &'a Path,
    /// oomwatch's level: `kprobe`, or `tracepoint`, at which there is only one peer.
    pub level: &'a str,
    /// How often each has its turn.
    pub rounds: u32,
    /// Kills in each turn.
    pub kills: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// `uname -r`
    pub kernel: String,
    /// CPUs that are online.
    pub cpus: u64,
    /// Turns of each.
    pub rounds: u32,
    /// Kills in each turn, at least.
    pub kills: u64,
    /// How long the kernel took for one kill with nobody watching, nanoseconds, by turn the median.
    pub kill_ns: Vec<u64>,
    /// By name, its turns.
    pub turns: BTreeMap<String, Vec<Turn>>,
}

/// One turn of one of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Turn {
    /// From exec until it says that it watches.
    pub start_us: u64,
    /// `VmHWM` after the last kill was named, bytes.
    pub peak_bytes: u64,
    /// By the kernel's count.
    pub kills: u64,
    /// Kills that it named.
    pub named: u64,
    /// From the kernel's begin of a kill to the line about it: the median, microseconds.
    pub line_p50_us: u64,
    /// 99 of 100 took no longer.
    pub line_p99_us: u64,
    /// Nanoseconds that its BPF programs ran, by kill.
    pub bpf_ns: u64,
}

impl PeerBench<'_> {
    /// Makes the kills.
    ///
    /// # Errors
    /// Something does not start, or a kill cannot be made.
    pub fn run(&self) -> Result<Compared> {
        let machine = Machine::this()?;
        let folder = env::temp_dir();
        let peers: &[Peer] = if self.level == "tracepoint" { &[Peer::Mark] } else { &Peer::KPROBES };
        bpf::measure(true)?;
        let (mut kill_ns, mut turns) = (Vec::new(), BTreeMap::<String, Vec<Turn>>::new());
        for _ in 0..self.rounds {
            kill_ns.push(self.unwatched(&machine)?);
            let oomwatch = || Running::oomwatch(self.binary, &["--probe", self.level]);
            let turn = self.turn(&machine, oomwatch).context("oomwatch")?;
            turns.entry("oomwatch".to_owned()).or_default().push(turn);
            for peer in peers.iter().copied() {
                let start = || Running::start(peer, Status::Unread, &folder);
                let turn = self.turn(&machine, start).with_context(|| peer.name())?;
                turns.entry(peer.name().to_owned()).or_default().push(turn);
            }
        }
        bpf::measure(false)?;
        let (kernel, cpus) = (machine.release, machine.cpus);
        Ok(Compared { kernel, cpus, rounds: self.rounds, kills: self.kills, kill_ns, turns })
    }

    fn make(&self, machine: &Machine) -> Result<(Made, Kills)> {
        let mut kills = Kills::prepare(machine, &Hierarchy::mounted()?, self.program, self.kills)?;
        Ok((kills.make(WITHIN)?, kills))
    }

    fn unwatched(&self, machine: &Machine) -> Result<u64> {
        let trace = Trace::begin()?;
        let (_, _cgroups) = self.make(machine)?;
        Ok(percentile(trace.kills()?.values().map(|kill| kill.took_ns).collect(), 50))
    }

    fn turn(&self, machine: &Machine, start: impl Fn() -> Result<(Running, Duration)>) -> Result<Turn> {
        let trace = Trace::begin()?;
        let before = bpf::run_times()?;
        let (mut running, took) = start()?;
        let (made, _cgroups) = self.make(machine)?;
        running.wait_for(made.kernel, SILENCE)?;
        let after = bpf::run_times()?;
        let peak_bytes = status::Status::of_process(running.id())?.bytes("VmHWM").context("no VmHWM")?;
        let (said, kills) = (running.stop()?, trace.kills()?);
        let late = said.kills.iter().filter_map(|(pid, read_ns)| {
            let begun = kills.get(pid)?.begun_ns;
            Some(read_ns.checked_sub(begun)? / 1000)
        });
        let late: Vec<u64> = late.collect();
        Ok(Turn {
            start_us: u64::try_from(took.as_micros())?,
            peak_bytes,
            kills: made.kernel,
            named: u64::try_from(said.kills.len())?,
            line_p50_us: percentile(late.clone(), 50),
            line_p99_us: percentile(late, 99),
            bpf_ns: bpf::of_new(&before, &after).checked_div(made.kernel).unwrap_or(0),
        })
    }
}

fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
}
