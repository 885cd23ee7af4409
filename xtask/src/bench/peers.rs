//! `cargo xtask bench peers`: oomwatch beside libbpf-tools', bpftrace's and bcc's `oomkill`, on the same kills in one
//! VM.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;
use serde::Deserialize;

use super::{Guest, explain};
use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    image,
    kernels::{self, Cgroup},
    needs::Part,
    repo::Repo,
    run, say,
    setup::setup,
    vm::Root,
};

const OURS: &str = "oomwatch";
/// Where times mean something.
const NATIVE: &str = "native";
/// What the others are measured by.
const MEASURE: &str = "libbpf-tools oomkill";
/// Bytes of the record that libbpf-tools' program sends for a kill (`struct data_t`, libbpf-tools/oomkill.h).
const MEASURE_BYTES: u64 = 48;
/// Of oomwatch's four records, without the names of cgroups (`oomwatch-common/src/record.rs`).
const OUR_BYTES: u64 = 880 + 240 + 32 + 32;

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
    host: bool,
    /// A kernel of tests/kernels.toml
    #[arg(long, value_name = "NAME", default_value = "6.1")]
    kernel: String,
    /// How often each has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Kills in each turn
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    #[command(flatten)]
    guest: Guest,
}

/// As `oomwatch-guest peers` prints them (`tests/src/peers/bench.rs`).
#[derive(Deserialize)]
struct Compared {
    kernel: String,
    cpus: u64,
    rounds: u32,
    kills: u64,
    kill_ns: Vec<u64>,
    turns: BTreeMap<String, Vec<Turn>>,
}

#[derive(Clone, Copy, Deserialize)]
struct Turn {
    start_us: u64,
    peak_bytes: u64,
    kills: u64,
    named: u64,
    line_p50_us: u64,
    line_p99_us: u64,
    bpf_ns: u64,
}

/// Compares; fails where something could not be measured.
pub(crate) fn peers(repo: &Repo, options: &PeersOptions) -> Result<ExitCode> {
    let parts = if options.host { Part::build(Arch::HOST) } else { Part::vm(Arch::HOST) };
    setup(repo, &[parts.as_slice(), &[Part::Image, Part::Peers]].concat())?;
    build::build_agent(repo, &BuildOptions::default())?;
    build::build_guest(repo, Arch::HOST)?;
    let (name, place, output) = if options.host {
        ("host", NATIVE.to_owned(), on_host(repo, options)?)
    } else {
        let accel = options.guest.accel.to_possible_value().context("an accelerator without a name")?;
        ("peers", accel.get_name().to_owned(), in_vm(repo, options)?)
    };
    let line = output.lines().find(|line| line.starts_with('{')).context("the comparison has no figures")?;
    let compared: Compared = serde_json::from_str(line).context("cannot read the figures")?;
    let page = page(&compared, &place)? + &own_sizes(repo, options)?;
    let folder = repo.target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (kind, content) in [("json", format!("{line}\n")), ("md", page.clone())] {
        let file = folder.join(name).with_extension(kind);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    say::output(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// At level `tracepoint`. Where tracefs is not mounted it is for as long as this takes, and for nobody else.
fn on_host(repo: &Repo, options: &PeersOptions) -> Result<String> {
    const SCRIPT: &str =
        "test -e /sys/kernel/tracing/trace || mount -t tracefs nodev /sys/kernel/tracing; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(repo.guest());
    command.args(["peers", "tracepoint", &options.rounds.to_string(), &options.kills.to_string()]);
    run::read(command.env("OOMWATCH_BIN", repo.agent()))
}

fn in_vm(repo: &Repo, options: &PeersOptions) -> Result<String> {
    let entry = kernels::choose(repo, Some(&options.kernel))?;
    let kernel = entry.fetch(repo, Arch::HOST)?;
    let headers = entry.fetch_headers(repo, &kernel)?.display().to_string();
    say::progress(&format!("bench: the peers in a VM, {}, {} CPUs", kernel.label, options.guest.cpus));
    let machine = options.guest.machine(repo, &kernel, Cgroup::V2, Root::Host);
    let (rounds, kills) = (options.rounds.to_string(), options.kills.to_string());
    let command = ["oomwatch-guest", "peers", "kprobe", &rounds, &kills, &headers];
    let mut output = Vec::new();
    let status = machine.run(repo, &command.map(str::to_owned), &mut |piece| {
        output.extend_from_slice(piece);
        Ok(())
    })?;
    let output = String::from_utf8_lossy(&output).into_owned();
    ensure!(status == 0, "the comparison failed: {}", output.trim());
    Ok(output)
}

/// Of one figure over all turns.
#[derive(Clone, Copy)]
struct Spread {
    median: u64,
    min: u64,
    max: u64,
}

fn spread(mut values: Vec<u64>) -> Spread {
    values.sort_unstable();
    let at = |index: usize| values.get(index).copied().unwrap_or(0);
    Spread { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
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

const ROWS: [Row; 5] = [
    time("start: exec until it watches", |turn| turn.start_us),
    Row { what: "peak memory (VmHWM)", figure: |turn| turn.peak_bytes, written: mebibytes, is_time: false },
    time("begin of the kill → line, p50", |turn| turn.line_p50_us),
    time("begin of the kill → line, p99", |turn| turn.line_p99_us),
    time("BPF run time of a kill", |turn| turn.bpf_ns / 1000),
];

fn page(compared: &Compared, place: &str) -> Result<String> {
    let ours = compared.turns.get(OURS).context("oomwatch was not measured")?;
    let others: Vec<(&String, &Vec<Turn>)> =
        compared.turns.iter().filter(|(name, _)| name.as_str() != OURS).collect();
    let mut page = format!(
        "Linux {}, {} CPUs ({place}), {} turns of {} kills each, in turn. A cell: oomwatch as a multiple of that \
         program, the median of the turns (and their spread).\n\n| figure | oomwatch |",
        compared.kernel, compared.cpus, compared.rounds, compared.kills
    );
    for (name, _) in &others {
        write!(page, " {name} |")?;
    }
    writeln!(page, "\n| --- | --- |{}", " --- |".repeat(others.len()))?;
    for Row { what, figure, written, is_time } in ROWS {
        let is_told = !is_time || place == NATIVE;
        let figures = |turns: &[Turn]| turns.iter().map(figure).collect::<Vec<u64>>();
        let own = if is_told { cell(spread(figures(ours)), written) } else { "1".to_owned() };
        write!(page, "| {what} | {own} |")?;
        for (_, turns) in &others {
            let ratios = figures(ours).into_iter().zip(figures(turns));
            let ratios = ratios.map(|(own, other)| (own * 1000).checked_div(other).unwrap_or(0));
            let Spread { median, min, max } = spread(ratios.collect());
            write!(page, " **{}** ({} to {})", thousandths(median), thousandths(min), thousandths(max))?;
            if is_told {
                write!(page, " of {}", cell(spread(figures(turns)), written))?;
            }
            write!(page, " |")?;
        }
        writeln!(page)?;
    }
    let lost = |turns: &[Turn]| -> String {
        let (kills, named) = turns.iter().fold((0, 0), |sum, turn| (sum.0 + turn.kills, sum.1 + turn.named));
        format!("{} of {kills}", kills.saturating_sub(named))
    };
    write!(page, "| kills not named | {} |", lost(ours))?;
    for (_, turns) in &others {
        write!(page, " {} |", lost(turns))?;
    }
    let kill = spread(compared.kill_ns.clone()).median;
    let of_kill = |turns: &[Turn]| ratio(spread(turns.iter().map(|turn| turn.bpf_ns).collect()).median, kill);
    if kill > 0 {
        write!(page, "\n| BPF run time, of that of `oom_kill_process` | {} |", of_kill(ours))?;
        for (_, turns) in &others {
            write!(page, " {} |", of_kill(turns))?;
        }
    }
    let own = spread(ours.iter().map(|turn| turn.bpf_ns).collect()).median;
    if let Some(turns) = compared.turns.get(MEASURE) {
        let other = spread(turns.iter().map(|turn| turn.bpf_ns).collect()).median;
        let by_byte = ratio(own * MEASURE_BYTES, other * OUR_BYTES);
        write!(
            page,
            "\n\nBPF run time by byte captured: **{by_byte}** of {MEASURE}'s ({OUR_BYTES} bytes and the names of \
             cgroups, {MEASURE_BYTES} bytes)."
        )?;
    }
    writeln!(page)?;
    Ok(page)
}

fn cell(spread: Spread, written: fn(u64) -> String) -> String {
    format!("{} ({} to {})", written(spread.median), written(spread.min), written(spread.max))
}

fn ratio(part: u64, whole: u64) -> String {
    (part * 1000).checked_div(whole).map_or_else(|| "?".to_owned(), thousandths)
}

/// To the hundredth, and below a tenth to the thousandth.
fn thousandths(ratio: u64) -> String {
    if ratio < 100 { format!("0.{ratio:03}") } else { format!("{}.{:02}", ratio / 1000, ratio % 1000 / 10) }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

/// What the agent is, beside what it does; on this machine also what is not compared with a peer.
fn own_sizes(repo: &Repo, options: &PeersOptions) -> Result<String> {
    let bytes = fs::metadata(repo.agent()).context("there is no agent")?.len();
    let archive = image::build_image(repo, Arch::HOST)?;
    let image = fs::metadata(&archive).with_context(|| format!("there is no {}", archive.display()))?.len();
    let mut tree = repo.cargo();
    tree.args(["tree", "--package", "oomwatch-agent", "--edges", "normal", "--prefix", "none"]);
    let crates = crates(&run::read(tree.arg("--no-dedupe"))?);
    let mut rows = format!(
        "\n| | |\n| --- | --- |\n| the agent, one file | {} |\n| its image, an archive | {} |\n| crates that are not \
         its own | {crates} |\n",
        mebibytes(bytes),
        mebibytes(image)
    );
    if options.host {
        rows += &explain::row(repo)?;
    }
    Ok(rows)
}

/// How many there are in what `cargo tree` lists, without those of this workspace.
fn crates(tree: &str) -> usize {
    let mut names: Vec<&str> = tree.lines().filter(|line| !line.contains("oomwatch-")).collect();
    names.retain(|line| !line.is_empty());
    let mut names: Vec<&str> = names.into_iter().map(|line| line.trim_end_matches(" (*)")).collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_ratios_first_and_medians_with_their_spread() {
        let turn = |start_us| Turn {
            start_us,
            peak_bytes: 5 << 20,
            kills: 100,
            named: 99,
            line_p50_us: 10,
            line_p99_us: 20,
            bpf_ns: 500,
        };
        let turns = BTreeMap::from([
            (OURS.to_owned(), vec![turn(3000), turn(1000), turn(2000)]),
            (MEASURE.to_owned(), vec![turn(8000)]),
        ]);
        let compared = Compared {
            kernel: "6.1".to_owned(),
            cpus: 2,
            rounds: 3,
            kills: 100,
            kill_ns: vec![100_000],
            turns,
        };
        let native = page(&compared, NATIVE).unwrap();
        let start =
            "2.000 ms (1.000 ms to 3.000 ms) | **0.37** (0.37 to 0.37) of 8.000 ms (8.000 ms to 8.000 ms) |";
        assert!(native.contains(start), "{native}");
        let page = page(&compared, "tcg").unwrap();
        assert!(page.contains("| start: exec until it watches | 1 | **0.37** (0.37 to 0.37) |"), "{page}");
        assert!(page.contains("| kills not named | 3 of 300 | 1 of 100 |"), "{page}");
        assert!(page.contains("| BPF run time, of that of `oom_kill_process` | 0.005 | 0.005 |"), "{page}");
    }

    #[test]
    fn crates_are_counted_once() {
        assert_eq!(
            crates("oomwatch-agent v0 (/x)\na v1\nb v1 (*)\na v1\noomwatch-common v0 (/y)\nb v1\n\n"),
            2
        );
        assert_eq!((ratio(1, 0), ratio(1, 8), ratio(5, 100)), ("?".into(), "0.12".into(), "0.050".into()));
    }
}
