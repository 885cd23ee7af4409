//! `cargo xtask test`: every check and every test. One failure does not keep the rest from running.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    alerts,
    arch::Arch,
    build::{self, BuildOptions},
    deployed, fuzz, kernels, manifests,
    matrix::Matrix,
    needs::{self, Part},
    repo::Repo,
    run, say,
    setup::setup,
    tally::Tally,
    tidy,
};

/// The host's crates: all but the kernel side, which another toolchain builds.
const HOST_CRATES: [&str; 3] = ["--workspace", "--exclude", "oomwatch-ebpf"];

/// What `cargo xtask test` takes.
#[derive(clap::Args, Default)]
pub(crate) struct TestOptions {
    /// Boot every kernel of tests/kernels.toml on every of its machines, not only the quick ones; and fuzz, briefly
    #[arg(long)]
    all_kernels: bool,
    /// Run the tests in a VM alone, with this kernel of tests/kernels.toml, on all of its machines
    #[arg(long, value_name = "NAME", conflicts_with = "no_vm")]
    kernel: Option<String>,
    /// Run the tests in a VM alone, on machines of this architecture
    #[arg(long, value_enum, value_name = "ARCH", conflicts_with = "no_vm")]
    arch: Option<Arch>,
    /// Leave out the tests that need a VM
    #[arg(long)]
    no_vm: bool,
    /// Run only tests whose name contains this, and no checks
    filter: Option<String>,
}

/// Runs everything and ends with one line, `N passed, N failed`.
pub(crate) fn test(repo: &Repo, options: &TestOptions) -> Result<ExitCode> {
    let arch = options.arch.unwrap_or(Arch::HOST);
    let in_vms_alone = options.kernel.is_some() || options.arch.is_some();
    let parts = if in_vms_alone {
        Part::vm(arch)
    } else if options.no_vm {
        vec![Part::Build, Part::Check, Part::Manifests, Part::Prometheus]
    } else {
        Part::ALL.to_vec()
    };
    setup(repo, &parts)?;
    let run = Run { started: Instant::now(), tally: Mutex::new(Tally::default()) };
    if in_vms_alone {
        build::build_agent(repo, &BuildOptions::of(arch))?;
        build::build_guest(repo, arch)?;
        run_matrix(repo, &run, options)?;
        return run.end();
    }
    if options.filter.is_none() {
        run.step("tidy", || Tally::one(report(tidy::tidy(repo))));
        run.step("format", || Tally::one(report(format(repo))));
    }
    // A release is for minutes linked by one CPU, and a VM waits more than it works. What else is to be compiled is
    // compiled meanwhile, where it leaves room for that.
    let object = build::lock_object(repo)?;
    let compiled = Event::default();
    thread::scope(|scope| {
        scope.spawn(|| beside(repo, &run, options, &compiled));
        // Without the agent there is nothing to test.
        let built = build::build_ebpf(repo, &[], Arch::HOST);
        drop(object);
        built?;
        test_released(repo, &run, options)?;
        compiled.wait();
        run.step("tests on this host", || {
            cargo_test(repo, test_command(repo).args(["--test", "*"]), options.filter.as_deref(), true)
        });
        Ok::<_, anyhow::Error>(())
    })?;
    run.end()
}

/// What is tested as it is released: the agent's manifests and alerts, and all that runs in VMs.
fn test_released(repo: &Repo, run: &Run, options: &TestOptions) -> Result<()> {
    build::build_agent(repo, &BuildOptions::default())?;
    if options.filter.is_none() {
        run.step("manifests", || check_manifests(repo));
        run.step("alerts", || Tally::one(report(alerts::check(repo))));
    }
    if options.no_vm {
        return Ok(());
    }
    build::build_guest(repo, Arch::HOST)?;
    if options.filter.is_none() {
        run.step("the image as it is deployed, in a VM", || of_vm(|output| deployed::test(repo, output)));
    }
    run_matrix(repo, run, options)
}

/// What is compiled for this host, and what of it disturbs nobody.
fn beside(repo: &Repo, run: &Run, options: &TestOptions, compiled: &Event) {
    run.step("clippy of the host's crates, and compiling their tests", || {
        Tally::one(report(compile_tests(repo)))
    });
    compiled.happened();
    run.step("unit tests", || {
        let mut command = run::at_leisure(test_command(repo).args(["--lib", "--bins"]));
        cargo_test(repo, &mut command, options.filter.as_deref(), false)
    });
    if options.filter.is_none() {
        run.step("clippy of the kernel side", || Tally::one(report(ebpf_clippy(repo))));
    }
    // It takes minutes.
    if options.filter.is_none() && options.all_kernels {
        run.step("fuzzing, briefly", || fuzz::briefly(repo));
    }
}

/// The guest's tests, on the kernels and machines that are asked for.
fn run_matrix(repo: &Repo, run: &Run, options: &TestOptions) -> Result<()> {
    let list = kernels::list(repo)?;
    let mut matrix = Matrix::default();
    let arch = options.arch.unwrap_or(Arch::HOST);
    let chosen = options.kernel.as_deref().map(|name| kernels::choose(repo, Some(name))).transpose()?;
    for entry in chosen.as_ref().map_or(list.kernels.as_slice(), std::slice::from_ref) {
        let all = options.all_kernels || chosen.is_some();
        let machines = entry.machines(arch, all);
        if machines.is_empty() {
            continue;
        }
        let kernel = match entry.fetch(repo, arch) {
            Ok(kernel) => kernel,
            Err(error) => {
                run.step(&format!("kernel {}", entry.name), || Tally::one(report(Err(error))));
                continue;
            }
        };
        for name in machines {
            let shape = list.machine(name)?;
            let step = format!("tests in a VM, {}, {name}", kernel.label);
            run.step(&step, || matrix.boot(repo, &kernel, shape, options.filter.as_deref()));
        }
    }
    if options.all_kernels && options.filter.is_none() {
        run.step("each case ran on some machine", || Tally::one(report(matrix.each_case_ran())));
    }
    matrix.record(repo)
}

/// What others wait for. It happens once.
#[derive(Default)]
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn happened(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let has_not = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.wait_while(has_not, |happened| !*happened));
    }
}

struct Run {
    started: Instant,
    tally: Mutex<Tally>,
}

impl Run {
    fn step(&self, name: &str, work: impl FnOnce() -> Tally) {
        say::progress(&format!("test: {name} …"));
        let started = Instant::now();
        let mut tally = work();
        let Tally { passed, failed, skipped, .. } = tally;
        if failed > 0 {
            tally.failures.insert(0, format!("FAILED: {name}"));
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
        say::progress(&format!(
            "test: {name}: {} ({passed} passed, {failed} failed, {skipped} skipped, {:.0} s)",
            if failed == 0 { "ok" } else { "FAILED" },
            started.elapsed().as_secs_f64()
        ));
    }

    fn end(self) -> Result<ExitCode> {
        let Tally { passed, failed, skipped, failures } =
            self.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        // It is long ago, and of a saved output often no more than the end is looked at.
        for failure in failures {
            say::progress(&failure);
        }
        let seconds = self.started.elapsed().as_secs_f64();
        say::progress(&format!("test: over, {seconds:.0} s, {skipped} skipped"));
        say::output(format!("{passed} passed, {failed} failed\n").as_bytes())?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Says what went wrong, and whether anything did not.
pub(crate) fn report(outcome: Result<()>) -> bool {
    outcome.inspect_err(|error| say::progress(&format!("error: {error:#}"))).is_ok()
}

fn format(repo: &Repo) -> Result<()> {
    run::run(repo.cargo().args(["fmt", "--all", "--check"]))?;
    run::run(repo.cargo().args(["fmt", "--check", "--manifest-path"]).arg(repo.fuzz().join("Cargo.toml")))
}

/// Compiles the tests and what they test, which clippy reads on the way. Warnings, of whomever, are an error.
fn compile_tests(repo: &Repo) -> Result<()> {
    let log = repo.log("test-build");
    run::run_logged("compiling", &log, &mut run::at_leisure(test_command(repo).arg("--no-run")))?;
    no_warnings(&log)
}

fn no_warnings(log: &Path) -> Result<()> {
    let said = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let warnings = warnings(&said);
    anyhow::ensure!(warnings.is_empty(), "clippy warns, see {}:\n{warnings}", log.display());
    Ok(())
}

/// From the first warning on, so much as is worth showing; empty where there is none.
fn warnings(said: &str) -> String {
    let lines = said.lines().skip_while(|line| !line.starts_with("warning: ")).take(40);
    lines.collect::<Vec<_>>().join("\n")
}

fn check_manifests(repo: &Repo) -> Tally {
    let mut tally = Tally::default();
    match manifests::folders(repo) {
        Ok(folders) => {
            for folder in folders {
                tally.add(Tally::one(report(manifests::check(repo, &folder))));
            }
        }
        Err(error) => tally.add(Tally::one(report(Err(error)))),
    }
    tally
}

fn ebpf_clippy(repo: &Repo) -> Result<()> {
    let log = repo.log("clippy-ebpf");
    build::lint_ebpf(repo, &log)?;
    no_warnings(&log)
}

/// The tests of the host's crates, compiled by clippy's driver, which is rustc with clippy's lints: what `cargo clippy`
/// checks is otherwise compiled a second time, with all that it depends on.
fn test_command(repo: &Repo) -> Command {
    let mut command = repo.cargo();
    command
        .arg("test")
        .args(HOST_CRATES)
        .args(["--features", "oomwatch-tests/standin,oomwatch-agent/debug-log", "--no-fail-fast"])
        .env("RUSTC_WORKSPACE_WRAPPER", needs::clippy_driver().unwrap_or_else(|| "clippy-driver".into()))
        // Warnings are looked for in what it says, as plain text.
        .env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs tests of this host. `as_it_comes`: their output, and else when they are over, so that others' is not mixed in.
fn cargo_test(repo: &Repo, command: &mut Command, filter: Option<&str>, as_it_comes: bool) -> Tally {
    command.env("OOMWATCH_BIN", repo.agent());
    if let Some(prometheus) = needs::of_prometheus(repo, "prometheus") {
        command.env("OOMWATCH_PROMETHEUS", prometheus);
    }
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
    let mut heard = Vec::new();
    let mut succeeded = report(hear(command, &mut heard, as_it_comes));
    if !as_it_comes {
        succeeded &= report(say::output(&heard));
    }
    Tally::of(&String::from_utf8_lossy(&heard), succeeded)
}

/// Counts what the tests in a VM say of themselves, and passes it on.
fn of_vm(run: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u8>) -> Tally {
    let mut heard = Vec::new();
    let outcome = run(&mut |bytes| {
        heard.extend_from_slice(bytes);
        say::output(bytes)
    });
    let succeeded = match outcome {
        Ok(status) => status == 0,
        Err(error) => report(Err(error)),
    };
    Tally::of(&String::from_utf8_lossy(&heard), succeeded)
}

/// Runs a command and keeps its stdout; where it `passes_on`, that also goes on as it comes.
fn hear(command: &mut Command, heard: &mut Vec<u8>, passes_on: bool) -> Result<()> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut stdout = child.stdout.take().context("cargo's output is not a pipe")?;
    let mut buffer = [0; 8 << 10];
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default();
        heard.extend_from_slice(piece);
        if passes_on {
            say::output(piece)?;
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    anyhow::ensure!(status.success(), "`cargo test` failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_found_wherever_it_stands() {
        let compiled =
            "   Compiling a v0.1.0\n    Finished `test` profile\n  Executable tests/warning: no.rs\n";
        assert_eq!(warnings(compiled), "");
        let warned = format!("warning: unused\n --> a.rs:1:1\n{compiled}");
        assert_eq!(warnings(&warned), warned.trim_end());
        let later = format!("{compiled}warning: `a` (lib) generated 1 warning\n{}", "more\n".repeat(100));
        assert!(warnings(&later).starts_with("warning: `a`") && warnings(&later).lines().count() == 40);
    }
}
