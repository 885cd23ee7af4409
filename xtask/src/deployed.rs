//! The image and the DaemonSet as a node runs them: under containerd and runc, in a VM that has this machine's files.
//! The kills and the checks are the guest program's business.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result};

use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    image,
    kernels::{self, Cgroup},
    manifests,
    needs::Part,
    repo::Repo,
    say,
    setup::setup,
    vm::{Accel, Machine, Root},
    vm_options,
};

/// Since 6.2 RSS is kept per CPU, so that what CAP_SYSLOG is for shows; and it has memory.peak.
const KERNEL: &str = "6.12";

/// Builds all that it takes, and runs the tests.
pub(crate) fn run(repo: &Repo) -> Result<ExitCode> {
    setup(repo, Part::ALL)?;
    build::build_agent(repo, &BuildOptions::default())?;
    build::build_guest(repo, Arch::HOST)?;
    test(repo, &mut say::output).map(ExitCode::from)
}

/// Builds the image of the agent that is built, and the stand-in, boots the VM and passes its output on. Gives the exit
/// status of the tests.
pub(crate) fn test(repo: &Repo, output: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u8> {
    build::build_standin(repo)?;
    let archive = image::build_image(repo, Arch::HOST)?;
    let daemon_set = repo.target().join("deploy/daemonset.json");
    fs::create_dir_all(repo.target().join("deploy")).context("cannot make a folder for the manifest")?;
    fs::write(&daemon_set, manifests::daemon_set(repo)?.to_string()).context("cannot write the DaemonSet")?;
    let kernel = kernels::choose(repo, Some(KERNEL))?.fetch(repo, Arch::HOST)?;
    let machine = Machine {
        kernel: &kernel,
        cgroup: Cgroup::V2,
        root: Root::Host,
        accel: Accel::Tcg,
        memory_mib: 1024,
        cpus: 2,
        nodes: 1,
        swap_mib: 0,
        disk_bps: 0,
        append: "",
        timeout: Duration::from_mins(10),
        silence: None,
        files: vm_options::own_files(repo, Arch::HOST),
    };
    let pods = repo.root().join("tests/fixtures/kubelet");
    let command = [
        "oomwatch-guest".to_owned(),
        "deployed".to_owned(),
        daemon_set.display().to_string(),
        archive.display().to_string(),
        image::reference(),
        pods.display().to_string(),
        repo.standin().display().to_string(),
    ];
    machine.run(repo, &command, output)
}
