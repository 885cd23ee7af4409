//! `cargo xtask demo`: from a bare machine to the reports of real OOM kills, in one command. The kills themselves are
//! the guest program's business.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    kernels::{self, Cgroup},
    needs::Part,
    repo::Repo,
    say,
    setup::setup,
    vm::{Accel, Machine, Root},
    vm_options,
};

/// Shows what oomwatch does.
pub(crate) fn demo(repo: &Repo) -> Result<ExitCode> {
    let started = Instant::now();
    let elapsed = || format!("{:>4.0} s", started.elapsed().as_secs_f64());
    say::progress("demo 1/4: what it takes (the first time: minutes; later: nothing)");
    setup(repo, &Part::vm(Arch::HOST))?;
    say::progress(&format!("demo 2/4: build the agent, with its eBPF program inside ({})", elapsed()));
    build::build_agent(repo, &BuildOptions::default())?;
    build::build_guest(repo, Arch::HOST)?;
    say::progress(&format!("demo 3/4: fetch a Debian kernel that has kprobes ({})", elapsed()));
    let kernel = kernels::choose(repo, None)?.fetch(repo, Arch::HOST)?;
    say::progress(&format!(
        "demo 4/4: boot {} in a VM, run the agent there, run out of memory ({})",
        kernel.label,
        elapsed()
    ));
    let machine = Machine {
        kernel: &kernel,
        cgroup: Cgroup::V2,
        root: Root::Initramfs,
        accel: Accel::Tcg,
        memory_mib: 512,
        cpus: 2,
        nodes: 1,
        swap_mib: 0,
        disk_bps: 0,
        append: "",
        timeout: Duration::from_mins(3),
        silence: None,
        files: vm_options::own_files(repo, Arch::HOST),
    };
    let status = machine.run(repo, &["oomwatch-guest".into(), "demo".into()], &mut say::output)?;
    say::progress(&format!("demo: over, exit status {status} ({})", elapsed()));
    Ok(ExitCode::from(status))
}
