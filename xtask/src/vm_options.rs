//! `cargo xtask vm`: the options of a VM, as typed.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    initramfs::GuestFile,
    kernels::{self, Cgroup},
    needs::Part,
    repo::Repo,
    say,
    setup::setup,
    vm::{Accel, Machine, Root},
};

/// What `cargo xtask vm` takes.
#[derive(clap::Args)]
#[command(after_help = "\
The built agent is in the guest as /bin/oomwatch, the test program as /bin/oomwatch-guest. The command runs as root.

Examples:
  cargo xtask vm -- uname -a
  cargo xtask vm --cgroup v1 -- oomwatch-guest test
  cargo xtask vm --arch aarch64 --kernel 5.10 -- oomwatch-guest test
  cargo xtask vm --nodes 2 --swap 32 -- oomwatch-guest test numa_ swap_
  cargo xtask vm --kernel 5.10 --memory 1024 -- sh -c 'oomwatch run & sleep 1; tail /dev/zero; sleep 1'
  cargo xtask vm --root host --memory 2048 -- bpftrace -l 'kprobe:oom_kill_process'")]
pub(crate) struct VmOptions {
    /// A kernel of tests/kernels.toml; the first quick one if not given
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// The machine's architecture
    #[arg(long, value_enum, default_value_t = Arch::HOST)]
    arch: Arch,
    /// Memory, in MiB
    #[arg(long, value_name = "MiB", default_value_t = 512)]
    memory: u32,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Memory nodes (NUMA)
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: u32,
    /// A disk to swap to, /dev/nvme0n1, in MiB
    #[arg(long, value_name = "MiB", default_value_t = 0)]
    swap: u32,
    /// Bytes that this disk writes in a second, at most; 0 for as many as it can
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    disk_bps: u32,
    /// The cgroup hierarchy to mount
    #[arg(long, value_enum, default_value_t = Cgroup::V2)]
    cgroup: Cgroup,
    /// The root file system
    #[arg(long, value_enum, default_value_t = Root::Initramfs)]
    root: Root,
    /// How to execute the guest
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    accel: Accel,
    /// More kernel arguments
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Stop the VM after so many seconds
    #[arg(long, value_name = "S", default_value_t = 300)]
    timeout: u64,
    /// Bring a file along, executable (repeatable)
    #[arg(long = "file", value_name = "HOST:GUEST", value_parser = guest_file)]
    files: Vec<GuestFile>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Boots the VM; its command's exit code becomes xtask's.
pub(crate) fn run(repo: &Repo, options: &VmOptions) -> Result<ExitCode> {
    let arch = options.arch;
    ensure!(
        arch == Arch::HOST || (options.root == Root::Initramfs && options.accel == Accel::Tcg),
        "this machine's files and processor are of no use to a VM of another architecture: \
         leave out --root and --accel"
    );
    setup(repo, &Part::vm(arch))?;
    build::build_agent(repo, &BuildOptions::of(arch))?;
    build::build_guest(repo, arch)?;
    let kernel = kernels::choose(repo, options.kernel.as_deref())?.fetch(repo, arch)?;
    say::progress(&format!("vm: {}", kernel.label));
    let mut files = own_files(repo, arch);
    files.extend(options.files.iter().cloned());
    let machine = Machine {
        kernel: &kernel,
        cgroup: options.cgroup,
        root: options.root,
        accel: options.accel,
        memory_mib: options.memory,
        cpus: options.cpus,
        nodes: options.nodes,
        swap_mib: options.swap,
        disk_bps: options.disk_bps,
        append: &options.append,
        timeout: Duration::from_secs(options.timeout),
        silence: None,
        files,
    };
    machine.run(repo, &options.command, &mut say::output).map(ExitCode::from)
}

/// What every VM is given: the agent and the test program.
pub(crate) fn own_files(repo: &Repo, arch: Arch) -> Vec<GuestFile> {
    vec![
        GuestFile { host: repo.program("oomwatch", arch), guest: "/bin/oomwatch".to_owned() },
        GuestFile { host: repo.program("oomwatch-guest", arch), guest: "/bin/oomwatch-guest".to_owned() },
    ]
}

fn guest_file(text: &str) -> Result<GuestFile> {
    let (host, guest) = text.rsplit_once(':').unwrap_or((text, ""));
    ensure!(
        guest.starts_with('/') && !guest.ends_with('/'),
        "expected HOST:GUEST with an absolute path of a file in the guest"
    );
    Ok(GuestFile { host: PathBuf::from(host), guest: guest.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_an_absolute_place_in_the_guest() {
        let table = [
            ("a/b:/bin/b", Some(("a/b", "/bin/b"))),
            ("odd:name:/etc/x", Some(("odd:name", "/etc/x"))),
            ("a:b", None),
            ("a:/", None),
            ("a", None),
        ];
        for (text, expected) in table {
            let file = guest_file(text).ok().map(|file| (file.host, file.guest));
            assert_eq!(file, expected.map(|(host, guest)| (PathBuf::from(host), guest.to_owned())), "{text}");
        }
    }
}
