//! oomwatch and its peers beside the same kills, in turn, several times over.

use std::{collections::BTreeMap, env, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    Peer, Running, Said, Status, bpf, single,
    trace::{Kill, Trace},
};
use crate::{machine::Machine, memcg::Hierarchy, status, storm::Kills};

/// oomwatch as it is started without options: a line an incident, and nobody wants more of it.
const LINES: &str = "oomwatch";
/// The same where metrics and whole reports are served beside lines, as in a cluster.
const SERVED: &str = "oomwatch, served";
/// oomwatch with whole reports.
const REPORTS: &str = "oomwatch, reports";
/// Each with what it is started with.
const OURS: [(&str, &[&str]); 3] =
    [(LINES, &[]), (SERVED, &["--listen", "0.0.0.0:0"]), (REPORTS, &["--output", "json"])];
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
    /// Kills in each turn, as fast as can be.
    pub kills: u64,
    /// And before them, one at a time.
    pub singles: u64,
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
    /// Kills one at a time in each turn.
    pub singles: u64,
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
    /// From the kernel's begin of the first kill after the start to the line about it, microseconds. All that is
    /// otherwise in caches is in none then.
    pub first_line_us: u64,
    /// Kills one at a time, of processes of 64 MiB.
    pub single: Phase,
    /// As many as can be made, of small processes.
    pub storm: Phase,
}

/// One kind of kills in a turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Phase {
    /// By the kernel's count.
    pub kills: u64,
    /// Kills that it named.
    pub named: u64,
    /// From the kernel's begin of a kill to the line about it: the median, microseconds.
    pub line_p50_us: u64,
    /// 99 of 100 took no longer.
    pub line_p99_us: u64,
    /// Nanoseconds that its BPF programs ran for a kill: the median of those that come one at a time, and of those in a
    /// storm, which cannot be told apart, the mean.
    pub bpf_ns: u64,
    /// From the begin of a kill until the victim's memory was free again: the median, nanoseconds.
    pub kill_ns: u64,
}

impl PeerBench<'_> {
    /// Makes the kills, and tells whose turn it is.
    ///
    /// # Errors
    /// Something does not start, or a kill cannot be made.
    pub fn run(&self, tell: impl Fn(&str) -> Result<()>) -> Result<Compared> {
        let machine = Machine::this()?;
        let folder = env::temp_dir();
        let peers: &[Peer] = if self.level == "tracepoint" { &[Peer::Mark] } else { &Peer::KPROBES };
        bpf::measure(true)?;
        let level = ["--probe", self.level];
        let ours = |more: &[&str]| Running::oomwatch(self.binary, &[&level, more].concat());
        // Whoever has the first turn would find a kernel that has never done this, and its own files on the disk.
        ours(&[])?.0.stop()?;
        for peer in peers {
            Running::start(*peer, Status::Unread, &folder)?.0.stop()?;
        }
        let mut turns = BTreeMap::<String, Vec<Turn>>::new();
        for round in 1..=self.rounds {
            let begins = |name: &str| tell(&format!("turn {round} of {}: {name}\n", self.rounds));
            for (name, more) in OURS {
                begins(name)?;
                let turn = self.turn(&machine, || ours(more)).context(name)?;
                turns.entry(name.to_owned()).or_default().push(turn);
            }
            for peer in peers.iter().copied() {
                begins(peer.name())?;
                let start = || Running::start(peer, Status::Unread, &folder);
                let turn = self.turn(&machine, start).with_context(|| peer.name())?;
                turns.entry(peer.name().to_owned()).or_default().push(turn);
            }
        }
        bpf::measure(false)?;
        let (kernel, cpus) = (machine.release, machine.cpus);
        Ok(Compared { kernel, cpus, rounds: self.rounds, kills: self.kills, singles: self.singles, turns })
    }

    fn turn(&self, machine: &Machine, start: impl Fn() -> Result<(Running, Duration)>) -> Result<Turn> {
        let hierarchy = Hierarchy::mounted()?;
        let trace = Trace::begin()?;
        let before = bpf::run_times()?;
        let (mut running, took) = start()?;
        let ran = || bpf::run_times().map(|times| bpf::of_new(&before, &times));
        // What a program runs once, when it starts, is of no kill.
        let (mut until_now, mut of_singles) = (ran()?, Vec::new());
        let one_by_one = single::make(&hierarchy, self.program, self.singles, || {
            let ran = ran()?;
            of_singles.push(ran.saturating_sub(until_now));
            until_now = ran;
            Ok(())
        })?;
        running.wait_for(self.singles, SILENCE)?;
        let halfway = ran()?;
        let mut kills = Kills::prepare(machine, &hierarchy, self.program, self.kills)?;
        let made = kills.make(WITHIN)?;
        running.wait_for(self.singles + made.kernel, SILENCE)?;
        let of_storm = ran()?.saturating_sub(halfway);
        let peak_bytes = status::Status::of_process(running.id())?.bytes("VmHWM").context("no VmHWM")?;
        let (said, kills) = (running.stop()?, trace.kills()?);
        let storm_ns = of_storm.checked_div(made.kernel).unwrap_or(0);
        let is_single = |pid: u32| one_by_one.contains(&pid);
        let first = one_by_one.first().and_then(|first| {
            let (pid, read_ns) = said.kills.iter().find(|(pid, _)| pid == first)?;
            late_us(*read_ns, *pid, &kills)
        });
        Ok(Turn {
            start_us: u64::try_from(took.as_micros())?,
            peak_bytes,
            first_line_us: first.context("the first kill was not named")?,
            single: phase(self.singles, percentile(of_singles, 50), &said, &kills, is_single)?,
            storm: phase(made.kernel, storm_ns, &said, &kills, |pid| !is_single(pid))?,
        })
    }
}

fn phase(
    made: u64,
    bpf_ns: u64,
    said: &Said,
    kills: &BTreeMap<u32, Kill>,
    is_of_it: impl Fn(u32) -> bool,
) -> Result<Phase> {
    let named = || said.kills.iter().filter(|(pid, _)| is_of_it(*pid));
    let late: Vec<u64> = named().filter_map(|(pid, read_ns)| late_us(*read_ns, *pid, kills)).collect();
    let took = kills.iter().filter(|(pid, _)| is_of_it(**pid)).filter_map(|(_, kill)| kill.took_ns);
    Ok(Phase {
        kills: made,
        named: u64::try_from(named().count())?,
        line_p50_us: percentile(late.clone(), 50),
        line_p99_us: percentile(late, 99),
        bpf_ns,
        kill_ns: percentile(took.collect(), 50),
    })
}

/// From the kernel's begin of a kill to its line.
fn late_us(read_ns: u64, pid: u32, kills: &BTreeMap<u32, Kill>) -> Option<u64> {
    Some(read_ns.checked_sub(kills.get(&pid)?.begun_ns)? / 1000)
}

fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
}
