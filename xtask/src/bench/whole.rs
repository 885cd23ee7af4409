//! `cargo xtask bench`: all that there are targets for, in one table, and what it rests on behind it.

use std::{fs, process::Command, process::ExitCode, thread};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::{
    Guest,
    explain::{self, Explained},
    figures::{Compared, Turn, mebibytes, ratios, thousandths},
    idle::{self, Idle},
    leave,
    peers::{self, MEASURE, OURS, PeersOptions, SERVED},
    sizes::{self, Sizes},
    storm,
    table::Table,
};
use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    needs::Part,
    repo::Repo,
    run, say,
    setup::setup,
};

pub(super) const HELP: &str = "\
Needs root, and takes half an hour, most of it in VMs. Leaves target/bench/bench.md and bench.json; docs/benchmarks.md
has the latest. Ratios come first: in an emulated VM times mean nothing by themselves. A target that is missed is no
failure of the command.

Examples:
  cargo xtask bench                                     everything
  cargo xtask bench --kernel 6.12 --idle-seconds 60
  cargo xtask bench peers --host                        a part alone";

/// A figure of a turn.
type Of = fn(&Turn) -> u64;

/// Begins the part of a page that is written anew.
const BEGIN: &str = "<!-- bench: made by `cargo xtask bench --keep` -->\n";
const END: &str = "<!-- bench end -->\n";

/// What it takes without a part.
#[derive(clap::Args)]
pub(super) struct WholeOptions {
    /// A kernel of tests/kernels.toml, for what is measured in VMs
    #[arg(long, value_name = "NAME", default_value = "6.1")]
    kernel: String,
    /// How often oomwatch and each of its peers have their turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Kills of a storm
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    storm: u32,
    /// For how long the agent is watched while nothing is killed
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    idle_seconds: u64,
    /// Put the table into docs/benchmarks.md
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    guest: Guest,
}

/// Measures everything.
pub(super) fn whole(repo: &Repo, options: &WholeOptions) -> Result<ExitCode> {
    setup(repo, &[Part::vm(Arch::HOST).as_slice(), &[Part::Image, Part::Peers]].concat())?;
    build::build_agent(repo, &BuildOptions::default())?;
    build::build_guest(repo, Arch::HOST)?;
    build::build_standin(repo)?;
    let full = full(repo)?;
    let (host, native) = peers::compare(repo, &options.peers(true))?;
    let (explained, sizes) = (explain::usual(repo)?, sizes::sizes(repo)?);
    let (vm, place) = peers::compare(repo, &options.peers(false))?;
    // What is killed in a VM is none of this machine's.
    let (idle, storms) = thread::scope(|scope| {
        let idle = scope.spawn(|| idle::measured(repo, options.idle_seconds));
        let storms = storms(repo, options);
        let idle = idle.join().unwrap_or_else(|_| Err(anyhow!("the measurement of an idle agent panicked")));
        (idle, storms)
    });
    let (idle, storms) = (idle?, storms?);
    let mut table = Table::default();
    compared(&mut table, &vm)?;
    stormy(&mut table, &storms);
    alone(&mut table, &idle, &full, &explained, &sizes);
    let page = format!(
        "{}\nBeside the peers in a VM:\n\n{}\nBeside a line of bpftrace on this machine, at level `tracepoint`:\n\n{}",
        table.page(),
        peers::page(&vm, &place)?,
        peers::page(&host, &native)?
    );
    let figures = json!({ "table": table, "vm": vm, "host": host, "storms": storms, "full": full });
    leave(repo, "bench.md", &page)?;
    leave(repo, "bench.json", &format!("{figures:#}\n"))?;
    if options.keep {
        keep(repo, &page)?;
    }
    say::output(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl WholeOptions {
    fn peers(&self, host: bool) -> PeersOptions {
        PeersOptions {
            host,
            kernel: self.kernel.clone(),
            rounds: self.rounds,
            kills: 100,
            singles: 60,
            guest: self.guest.clone(),
        }
    }
}

/// With one CPU, with two, and beside each peer that reads the victim's status.
fn storms(repo: &Repo, options: &WholeOptions) -> Result<[Value; 2]> {
    let one = Guest { cpus: 1, ..options.guest.clone() };
    Ok([
        storm::figures(repo, &one, &options.kernel, options.storm, 0)?,
        storm::figures(repo, &options.guest, &options.kernel, options.storm, options.storm)?,
    ])
}

/// The agent with a kubelet, metrics, journal and HTTP, on this machine.
fn full(repo: &Repo) -> Result<Value> {
    const KILLS: &str = "300";
    say::progress("bench: the agent with 110 pods, metrics, journal and HTTP");
    let mut command = Command::new(repo.guest());
    command.arg("full").arg(repo.standin()).arg(KILLS).env("OOMWATCH_BIN", repo.agent());
    serde_json::from_str(&run::read(&mut command)?).context("cannot read the figures of the full agent")
}

fn compared(table: &mut Table, vm: &Compared) -> Result<()> {
    let ours = vm.turns.get(OURS).context("oomwatch was not measured")?;
    let measure = vm.turns.get(MEASURE).with_context(|| format!("{MEASURE} was not measured"))?;
    let beside = |table: &mut Table, figure, target, of: Of| {
        let ratio = ratios(ours, measure, of).median;
        table.add(figure, target, format!("{} of {MEASURE}'s", thousandths(ratio)), ratio < 1000);
    };
    beside(table, "start: exec until probes are attached and ready", "below libbpf-tools'", |turn| {
        turn.start_us
    });
    beside(table, "peak memory (VmHWM), no Kubernetes", "below libbpf-tools'", |turn| turn.peak_bytes);
    // Others than oomwatch with whole reports.
    let peers = || vm.turns.iter().filter(|(name, _)| !name.starts_with(OURS));
    let lines: [(&str, Of); 4] = [
        ("hook → line, one kill at a time, p50", |turn| turn.single.line_p50_us),
        ("hook → line, one kill at a time, p99", |turn| turn.single.line_p99_us),
        ("hook → line, as many kills as can be made, p50", |turn| turn.storm.line_p50_us),
        ("hook → line, as many kills as can be made, p99", |turn| turn.storm.line_p99_us),
    ];
    let served = vm.turns.get(SERVED).with_context(|| format!("{SERVED} was not measured"))?;
    let lines = [(ours, ""), (served, ", reports served too")]
        .into_iter()
        .flat_map(|(ours, how)| lines.map(|(figure, of)| (ours, format!("{figure}{how}"), of)));
    for (ours, figure, of) in lines {
        let each = peers().map(|(name, turns)| (name, ratios(ours, turns, of).median));
        let each: Vec<(&String, u64)> = each.collect();
        let written: Vec<String> =
            each.iter().map(|(name, ratio)| format!("{} of {name}'s", thousandths(*ratio))).collect();
        table.add(
            &figure,
            "below each peer's",
            written.join(", "),
            each.iter().all(|(_, ratio)| *ratio < 1000),
        );
    }
    let by_byte = peers::by_byte(vm).context("nothing to compare BPF run time with")?;
    table.add(
        "BPF run time of a kill, by byte captured",
        "≤ 2 × libbpf-tools'",
        format!("{} of {MEASURE}'s", thousandths(by_byte)),
        by_byte <= 2000,
    );
    let share = peers::share(ours);
    let written = format!("{} ({MEASURE}: {})", peers::percent(share), peers::percent(peers::share(measure)));
    table.add(
        "BPF run time, of the kill's own (begin until 64 MiB are free again)",
        "< 1 %",
        written,
        share < 100,
    );
    Ok(())
}

fn stormy(table: &mut Table, [one, two]: &[Value; 2]) {
    let number = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let ours = |value: &Value| value.get("oomwatch").unwrap_or(value).clone();
    for (cpus, storm) in [("1 CPU", ours(one)), ("2 CPUs", ours(two))] {
        let (kills, alive) = (number(&storm, "/kills"), number(&storm, "/status/alive"));
        let figure = format!("victims whose status was captured alive, loaded, {cpus}");
        table.add(&figure, "100 %", format!("{alive} of {kills}"), alive >= kills && kills > 0);
        let (incidents, twice) = (number(&storm, "/incidents"), number(&storm, "/twice"));
        let lost = kills.saturating_sub(incidents) + twice;
        table.add(
            &format!("kills lost in a storm, {cpus}"),
            "0",
            format!("{lost} of {kills}"),
            lost == 0 && kills > 0,
        );
    }
    for peer in two.get("peers").and_then(Value::as_array).into_iter().flatten() {
        let name = peer.get("name").and_then(Value::as_str).unwrap_or_default();
        let (kills, lines, alive) = (number(peer, "/kills"), number(peer, "/lines"), number(peer, "/alive"));
        let lost = kills.saturating_sub(lines);
        let written = format!("{lost} of {kills} not named, status of {alive} alive");
        table.add(&format!("beside it: {name}, made to read the status"), "none", written, true);
    }
}

fn alone(table: &mut Table, idle: &Idle, full: &Value, explained: &Explained, sizes: &Sizes) {
    const MIB: u64 = 1 << 20;
    let peak = full.get("peak_bytes").and_then(Value::as_u64).unwrap_or(u64::MAX);
    table.add(
        "peak memory with 110 pods, metrics, journal, HTTP (this machine)",
        "≤ 16 MiB",
        mebibytes(peak),
        peak <= 16 * MIB,
    );
    let Idle { wakeups, syscalls, seconds, .. } = idle;
    let cpu = idle.cpu_hundredths();
    table.add(
        "idle, with journal and HTTP (this machine)",
        "no wakeups or system calls, 0.00 %",
        format!("{wakeups} wakeups, {syscalls} system calls in {seconds} s, {}", peers::percent(cpu)),
        wakeups + syscalls == 0 && cpu == 0,
    );
    let times = explained.took.as_secs_f64() / explained.searched.as_secs_f64();
    let kib = explained.peak_kib;
    table.add(
        "`explain` on a log of 1 GiB (this machine)",
        "≤ 3 × `grep -c`, < 16 MiB",
        format!("{times:.2} × `grep -c`, {} MiB", kib.div_ceil(1024)),
        times <= 3.0 && kib < 16 * 1024,
    );
    table.add("binary", "< 6 MiB", mebibytes(sizes.agent), sizes.agent < 6 * MIB);
    table.add("image, an archive", "< 7 MiB", mebibytes(sizes.image), sizes.image < 7 * MIB);
    let written = format!("{}: docs/dependencies.md", sizes.crates);
    table.add("crates that are not its own", "fewest that serve", written, true);
}

/// Replaces what an earlier one has left in the page.
fn keep(repo: &Repo, page: &str) -> Result<()> {
    let file = repo.root().join("docs/benchmarks.md");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.context("docs/benchmarks.md has no place for the table")?;
    fs::write(&file, format!("{before}{BEGIN}\n{page}\n{END}{after}"))
        .with_context(|| format!("cannot write {}", file.display()))
}
