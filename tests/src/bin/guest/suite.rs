//! Runs the cases one after another and says how each went, in the words of Rust's own test harness.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use oomwatch_tests::{
    agent::{Agent, command},
    bench::Bench,
    machine::Machine,
    memcg::{Hierarchy, Version},
};

use crate::cases::CASES;

/// Where `cargo xtask vm --swap` puts the disk.
pub(crate) const SWAP_DISK: &str = "/dev/nvme0n1";

/// `OOM_SCORE_ADJ_MIN`: never the victim.
const NEVER: &str = "-1000";

/// Beyond this a machine is taken for somebody's own, on which no node-wide OOM may be made.
const GUEST_RAM: u64 = 2 << 30;

/// How a case has the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Running, at the highest level that the kernel has.
    Highest,
    /// Running with `--probe kprobe`: what only that level tells.
    Kprobe,
    /// Running where `perf_event_open` is not permitted: whole incidents, by fentry and fexit.
    Trampolines,
    /// Running with `--probe tracepoint`.
    Tracepoint,
    /// Running with `--probe kmsg`.
    Kmsg,
}

/// What a case needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A memory controller, of whichever version.
    Memcg,
    /// cgroup v2.
    V2,
    /// A second memory node.
    TwoNodes,
    /// A disk to swap to, and nothing else that is swapped to.
    SwapDisk,
    /// That, and a kernel that limits swap by cgroup.
    SwapLimit,
}

/// One case.
pub(crate) struct Case {
    /// A sentence.
    pub(crate) name: &'static str,
    /// How it has the agent.
    pub(crate) setup: Setup,
    /// What it needs.
    pub(crate) needs: Needs,
    /// The case.
    pub(crate) run: fn(&mut Bench) -> Result<()>,
}

/// The agent's path.
pub(crate) fn agent_binary() -> PathBuf {
    env::var_os("OOMWATCH_BIN").map_or_else(|| PathBuf::from("/bin/oomwatch"), PathBuf::from)
}

/// Refuses a machine that is not a guest, and keeps this process from being the victim.
pub(crate) fn claim_guest() -> Result<()> {
    let machine = Machine::this()?;
    ensure!(
        machine.ram <= GUEST_RAM,
        "more than 2 GiB of RAM: this is no guest, and memory will be exhausted here"
    );
    set_own_adj(NEVER)
}

fn set_own_adj(adj: &str) -> Result<()> {
    fs::write("/proc/self/oom_score_adj", adj).context("cannot set oom_score_adj (root is needed)")
}

/// Runs the cases whose names contain one of `filters`, or all.
pub(crate) fn run(filters: &[&str]) -> Result<()> {
    claim_guest()?;
    let begun = Instant::now();
    let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let hierarchy = Hierarchy::mounted()?;
    let selected: Vec<&Case> = CASES.iter().filter(|case| is_selected(case.name, filters)).collect();
    say(&format!(
        "\nrunning {} tests on {} ({:?})\n",
        selected.len(),
        Machine::this()?.release,
        hierarchy.version
    ))?;
    let (mut passed, mut failures, mut skipped) = (0, Vec::new(), 0);
    let mut agent = Running::default();
    for case in selected {
        say(&format!("test {} ... ", case.name))?;
        let outcome = match reason_to_skip(case, &hierarchy, has_kprobes) {
            Ok(Some(reason)) => {
                skipped += 1;
                say(&format!("skipped ({reason})\n"))?;
                continue;
            }
            Ok(None) => agent.bench(case.setup, has_kprobes).and_then(case.run),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                passed += 1;
                say("ok\n")?;
            }
            Err(error) => {
                say("FAILED\n")?;
                failures.push(format!("---- {} ----\n{error:#}{}", case.name, agent.log()));
                // What went wrong must not go on in the next case.
                agent = Running::default();
            }
        }
    }
    if let Err(error) = agent.stop() {
        failures.push(format!("---- the agent's end ----\n{error:#}"));
    }
    if !failures.is_empty() {
        say(&format!("\nfailures:\n\n{}\n", failures.join("\n\n")))?;
    }
    let outcome = if failures.is_empty() { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {outcome}. {passed} passed; {} failed; {skipped} skipped; finished in {:.2}s\n",
        failures.len(),
        begun.elapsed().as_secs_f64()
    ))?;
    ensure!(passed + skipped > 0 || !failures.is_empty(), "no test has such a name");
    if failures.is_empty() { Ok(()) } else { bail!("{} failed", failures.len()) }
}

fn is_selected(name: &str, filters: &[&str]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
}

/// A skip is a claim about the machine, and each is checked here and nowhere else. That of a machine which was to have
/// what is missing is an error of whoever booted it: xtask looks whether each case ran on any.
fn reason_to_skip(case: &Case, hierarchy: &Hierarchy, has_kprobes: bool) -> Result<Option<&'static str>> {
    if matches!(case.setup, Setup::Kprobe | Setup::Trampolines) && !has_kprobes {
        ensure!(!symbol_exists("register_kprobe")?, "this kernel has kprobes, but no way to attach to them");
        return Ok(Some("this kernel has no kprobes"));
    }
    if case.setup == Setup::Trampolines && !has_trampolines()? {
        return Ok(Some("this kernel has no trampolines at the entry of its functions"));
    }
    Ok(match case.needs {
        Needs::V2 if hierarchy.version == Version::V1 => {
            ensure!(!hierarchy.has("memory.oom.group")?, "cgroup v1 has memory.oom.group");
            Some("memory.oom.group is of cgroup v2, and memory is managed by v1 here")
        }
        Needs::TwoNodes => (!Path::new("/sys/devices/system/node/node1").exists())
            .then_some("this machine has one memory node"),
        Needs::SwapDisk | Needs::SwapLimit if !Path::new(SWAP_DISK).exists() => {
            Some("this machine has no disk to swap to")
        }
        Needs::Memcg | Needs::V2 | Needs::SwapDisk => None,
        Needs::SwapLimit => {
            (!hierarchy.limits_swap()?).then_some("this kernel does not account for swap by cgroup")
        }
    })
}

/// Whether fentry and fexit can be at a function of this kernel: by direct calls out of ftrace, which x86-64 has since
/// 5.5 and arm64 since 6.4 (`DYNAMIC_FTRACE_WITH_DIRECT_CALLS`).
pub(crate) fn has_trampolines() -> Result<bool> {
    let found = symbol_exists("register_ftrace_direct")?;
    ensure!(found || env::consts::ARCH != "x86_64", "this kernel has kprobes, but no trampolines");
    Ok(found)
}

fn symbol_exists(name: &str) -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    Ok(symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(name)))
}

/// The agent without `CAP_SYS_ADMIN`, at the setting that Debian's kernels have of their own.
fn without_perf_events(args: &[&str]) -> Result<Agent> {
    fs::write("/proc/sys/kernel/perf_event_paranoid", "3")?;
    let mut by = command(&env::current_exe()?);
    by.args(["without", "CAP_SYS_ADMIN"]).arg(agent_binary()).arg("run").args(args);
    Agent::start_command(by)
}

/// The agent that runs, kept from one case to the next.
#[derive(Default)]
struct Running(Option<(Setup, Bench)>);

impl Running {
    fn bench(&mut self, setup: Setup, has_kprobes: bool) -> Result<&mut Bench> {
        // Where there are kprobes, the highest level is the kprobe's, and one agent serves both.
        let setup = if has_kprobes && setup == Setup::Kprobe { Setup::Highest } else { setup };
        if self.0.as_ref().is_none_or(|(running, _)| *running != setup) {
            std::mem::take(self).stop()?;
            // The agent is to protect itself.
            set_own_adj("0")?;
            let probe = match setup {
                Setup::Highest => "auto",
                Setup::Kprobe | Setup::Trampolines => "kprobe",
                Setup::Tracepoint => "tracepoint",
                Setup::Kmsg => "kmsg",
            };
            let args = ["--output", "json", "--probe", probe];
            let mut bench = if setup == Setup::Trampolines {
                Bench::beside(without_perf_events(&args)?, env::current_exe()?, true)?
            } else {
                Bench::start(&agent_binary(), env::current_exe()?, &args, true)?
            };
            set_own_adj(NEVER)?;
            let log = bench.agent.log();
            ensure!(log.contains("fentry") == (setup == Setup::Trampolines), "by which hooks? {log}");
            let expected = match setup {
                Setup::Kmsg => "kmsg",
                Setup::Tracepoint => "tracepoint",
                _ if has_kprobes => "kprobe",
                _ => "tracepoint",
            };
            ensure!(
                bench.agent.level == expected,
                "the agent took level {}, not {expected}",
                bench.agent.level
            );
            self.0 = Some((setup, bench));
        }
        self.0.as_mut().map(|(_, bench)| bench).context("no agent")
    }

    fn log(&mut self) -> String {
        self.0.as_mut().map_or_else(String::new, |(_, bench)| format!("\n{}", bench.agent.log()))
    }

    fn stop(self) -> Result<()> {
        self.0.map_or(Ok(()), |(_, bench)| bench.stop())
    }
}

/// To stdout, at once.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}
