//! `cargo xtask bench peers`: oomwatch beside libbpf-tools', bpftrace's and bcc's `oomkill`, on the same kills in one
//! VM.

use std::{
    fmt::Write as _,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;

use super::{
    Guest,
    figures::{Compared, Spread, Turn, mebibytes, milliseconds, ratios, thousandths, thousandths_of},
    leave,
};
use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    kernels::{self, Cgroup},
    needs::Part,
    repo::Repo,
    run, say,
    setup::setup,
    vm::Root,
};

pub(super) const OURS: &str = "oomwatch";
/// The same where metrics and whole reports are served beside lines.
pub(super) const SERVED: &str = "oomwatch, served";
/// Where times mean something.
pub(super) const NATIVE: &str = "native";
/// What the others are measured by.
pub(super) const MEASURE: &str = "libbpf-tools oomkill";
/// A program's turn, of which nothing is said before its end, takes two minutes.
const SILENT_FOR: Duration = Duration::from_mins(8);
/// Bytes of the record that libbpf-tools' program sends for a kill (`struct data_t`, libbpf-tools/oomkill.h).
const MEASURE_BYTES: u64 = 48;
/// Of oomwatch's three records of a kill, without the names of cgroups (`oomwatch-common/src/record.rs`).
const OUR_BYTES: u64 = 880 + 32 + 32;

/// What `cargo xtask bench peers` takes.
#[derive(clap::Args)]
#[command(after_help = "\
Leaves target/bench/peers.md and peers.json, of this machine host.md and host.json. In an emulated VM times mean nothing
by themselves: read the ratios.

Examples:
  cargo xtask bench peers
  cargo xtask bench peers --kernel 6.12 --rounds 5
  cargo xtask bench peers --host --kills 1000")]
pub(crate) struct PeersOptions {
    /// On this machine, at level tracepoint, beside a line of bpftrace on the same tracepoint (root is needed)
    #[arg(long)]
    pub(super) host: bool,
    /// A kernel of tests/kernels.toml
    #[arg(long, value_name = "NAME", default_value = "6.1")]
    pub(super) kernel: String,
    /// How often each has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    /// Kills in each turn, as fast as can be
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) kills: u32,
    /// And before them, one at a time
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) singles: u32,
    #[command(flatten)]
    pub(super) guest: Guest,
}

impl PeersOptions {
    fn counts(&self) -> [String; 3] {
        [self.rounds, self.singles, self.kills].map(|count| count.to_string())
    }
}

/// Compares; fails where something could not be measured.
pub(crate) fn peers(repo: &Repo, options: &PeersOptions) -> Result<ExitCode> {
    let (compared, place) = compare(repo, options)?;
    let page = page(&compared, &place)?;
    leave(repo, if options.host { "host.md" } else { "peers.md" }, &page)?;
    say::output(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the kills, and says where that was.
pub(super) fn compare(repo: &Repo, options: &PeersOptions) -> Result<(Compared, String)> {
    let parts = if options.host { Part::build(Arch::HOST) } else { Part::vm(Arch::HOST) };
    setup(repo, &[parts.as_slice(), &[Part::Peers]].concat())?;
    build::build_agent(repo, &BuildOptions::default())?;
    build::build_guest(repo, Arch::HOST)?;
    let (place, output) = if options.host {
        (NATIVE.to_owned(), on_host(repo, options)?)
    } else {
        let accel = options.guest.accel.to_possible_value().context("an accelerator without a name")?;
        (accel.get_name().to_owned(), in_vm(repo, options)?)
    };
    let line = output.lines().find(|line| line.starts_with('{')).context("the comparison has no figures")?;
    leave(repo, if options.host { "host.json" } else { "peers.json" }, &format!("{line}\n"))?;
    Ok((serde_json::from_str(line).context("cannot read the figures")?, place))
}

/// At level `tracepoint`. Where tracefs is not mounted it is for as long as this takes, and for nobody else.
fn on_host(repo: &Repo, options: &PeersOptions) -> Result<String> {
    const SCRIPT: &str =
        "test -e /sys/kernel/tracing/trace || mount -t tracefs nodev /sys/kernel/tracing; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(repo.guest());
    command.args(["peers", "tracepoint"]).args(options.counts());
    run::read(command.env("OOMWATCH_BIN", repo.agent()))
}

fn in_vm(repo: &Repo, options: &PeersOptions) -> Result<String> {
    let entry = kernels::choose(repo, Some(&options.kernel))?;
    let kernel = entry.fetch(repo, Arch::HOST)?;
    let headers = entry.fetch_headers(repo, &kernel)?.display().to_string();
    say::progress(&format!("bench: the peers in a VM, {}, {} CPUs", kernel.label, options.guest.cpus));
    let mut machine = options.guest.machine(repo, &kernel, Cgroup::V2, Root::Host);
    machine.timeout = machine.timeout.saturating_mul(options.rounds);
    machine.silence = Some(SILENT_FOR);
    let [rounds, singles, kills] = options.counts();
    let command = ["oomwatch-guest", "peers", "kprobe", &rounds, &singles, &kills, &headers];
    let (mut output, mut shown) = (Vec::new(), 0);
    let status = machine.run(repo, &command.map(str::to_owned), &mut |piece| {
        output.extend_from_slice(piece);
        let new = output.get(shown..).unwrap_or_default();
        for line in new.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if line.starts_with(b"turn ") {
                say::progress(&format!("bench: {}", String::from_utf8_lossy(line).trim_end()));
            }
            shown += line.len();
        }
        Ok(())
    })?;
    let output = String::from_utf8_lossy(&output).into_owned();
    ensure!(status == 0, "the comparison failed: {}", output.trim());
    Ok(output)
}

/// A row: what it is, its figure, and how it is written.
struct Row {
    what: &'static str,
    figure: fn(&Turn) -> u64,
    written: fn(u64) -> String,
    /// Of an emulated machine it means nothing by itself.
    is_time: bool,
}

const fn time(what: &'static str, figure: fn(&Turn) -> u64) -> Row {
    Row { what, figure, written: milliseconds, is_time: true }
}

const ROWS: [Row; 9] = [
    time("start: exec until it watches", |turn| turn.start_us),
    Row { what: "peak memory (VmHWM)", figure: |turn| turn.peak_bytes, written: mebibytes, is_time: false },
    time("begin of the kill → line, one kill at a time, p50", |turn| turn.single.line_p50_us),
    time("the same, p99", |turn| turn.single.line_p99_us),
    time("the same, of the first kill after the start", |turn| turn.first_line_us),
    time("begin of the kill → line, as many kills as can be made, p50", |turn| turn.storm.line_p50_us),
    time("the same, p99", |turn| turn.storm.line_p99_us),
    time("BPF run time of a kill, one at a time", |turn| turn.single.bpf_ns / 1000),
    time("the same, as many as can be made", |turn| turn.storm.bpf_ns / 1000),
];

/// The whole comparison, a column for each program.
pub(super) fn page(compared: &Compared, place: &str) -> Result<String> {
    let ours = compared.turns.get(OURS).context("oomwatch was not measured")?;
    let others: Vec<(&String, &Vec<Turn>)> =
        compared.turns.iter().filter(|(name, _)| name.as_str() != OURS).collect();
    let Compared { kernel, cpus, rounds, kills, singles, .. } = compared;
    let mut page = format!(
        "Linux {kernel}, {cpus} CPUs ({place}), {rounds} turns, in turn, of {singles} kills one at a time, of \
         processes of 64 MiB, and {kills} of small ones as fast as can be. A cell: oomwatch as a multiple of that \
         program, the median of the turns (and their spread).\n\n| figure | oomwatch |"
    );
    for (name, _) in &others {
        write!(page, " {name} |")?;
    }
    writeln!(page, "\n| --- | --- |{}", " --- |".repeat(others.len()))?;
    for Row { what, figure, written, is_time } in ROWS {
        let is_told = !is_time || place == NATIVE;
        let cell = |turns: &[Turn]| {
            let Spread { median, min, max } = Spread::of(turns.iter().map(figure));
            format!("{} ({} to {})", written(median), written(min), written(max))
        };
        write!(page, "| {what} | {} |", if is_told { cell(ours) } else { "1".to_owned() })?;
        for (_, turns) in &others {
            let Spread { median, min, max } = ratios(ours, turns, figure);
            write!(page, " **{}** ({} to {})", thousandths(median), thousandths(min), thousandths(max))?;
            if is_told {
                write!(page, " of {}", cell(turns))?;
            }
            write!(page, " |")?;
        }
        writeln!(page)?;
    }
    let each = |what: &str, cell: &dyn Fn(&[Turn]) -> String| {
        let cells: Vec<String> = others.iter().map(|(_, turns)| cell(turns)).collect();
        format!("| {what} | {} | {} |\n", cell(ours), cells.join(" | "))
    };
    page += &each("BPF run time, of the kill's own, one at a time", &|turns| percent(share(turns)));
    page += &each("kills not named", &|turns| {
        let (unnamed, kills) = unnamed(turns);
        format!("{unnamed} of {kills}")
    });
    Ok(page)
}

/// BPF run time of a kill, of the time from its begin until the victim's memory is free again: hundredths of a percent,
/// medians of the turns.
pub(super) fn share(turns: &[Turn]) -> u64 {
    let median = |figure: fn(&Turn) -> u64| Spread::of(turns.iter().map(figure)).median;
    let (bpf, kill) = (median(|turn| turn.single.bpf_ns), median(|turn| turn.single.kill_ns));
    bpf.saturating_mul(10_000).checked_div(kill).unwrap_or(0)
}

/// Hundredths of a percent.
pub(super) fn percent(hundredths: u64) -> String {
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// Kills that were not named, of how many.
pub(super) fn unnamed(turns: &[Turn]) -> (u64, u64) {
    let phases = turns.iter().flat_map(|turn| [turn.single, turn.storm]);
    let (kills, named) = phases.fold((0, 0), |sum, phase| (sum.0 + phase.kills, sum.1 + phase.named));
    (kills.saturating_sub(named), kills)
}

/// BPF run time by byte captured, as a multiple of what is measured by, in thousandths. `None`: that was not measured.
pub(super) fn by_byte(compared: &Compared) -> Option<u64> {
    let median = |turns: &[Turn]| Spread::of(turns.iter().map(|turn| turn.single.bpf_ns)).median;
    let (own, other) = (compared.turns.get(OURS)?, compared.turns.get(MEASURE)?);
    Some(thousandths_of(median(own) * MEASURE_BYTES, median(other) * OUR_BYTES))
}

#[cfg(test)]
mod tests {
    use super::{super::figures::Phase, *};

    #[test]
    fn a_page_has_ratios_first_and_medians_with_their_spread() {
        let phase = |named| Phase {
            kills: 100,
            named,
            line_p50_us: 10,
            line_p99_us: 20,
            bpf_ns: 500,
            kill_ns: 100_000,
        };
        let turn = |start_us| Turn {
            start_us,
            peak_bytes: 5 << 20,
            first_line_us: 20,
            single: phase(99),
            storm: phase(100),
        };
        let turns = std::collections::BTreeMap::from([
            (OURS.to_owned(), vec![turn(3000), turn(1000), turn(2000)]),
            (MEASURE.to_owned(), vec![turn(8000)]),
        ]);
        let compared =
            Compared { kernel: "6.1".to_owned(), cpus: 2, rounds: 3, kills: 100, singles: 100, turns };
        let native = page(&compared, NATIVE).unwrap();
        let start =
            "2.000 ms (1.000 ms to 3.000 ms) | **0.37** (0.37 to 0.37) of 8.000 ms (8.000 ms to 8.000 ms) |";
        assert!(native.contains(start), "{native}");
        let page = page(&compared, "tcg").unwrap();
        assert!(page.contains("| start: exec until it watches | 1 | **0.37** (0.37 to 0.37) |"), "{page}");
        assert!(page.contains("| kills not named | 3 of 600 | 1 of 200 |"), "{page}");
        assert!(
            page.contains("| BPF run time, of the kill's own, one at a time | 0.50 % | 0.50 % |"),
            "{page}"
        );
        assert_eq!(by_byte(&compared), Some(1000 * MEASURE_BYTES / OUR_BYTES));
    }
}
