//! Options about the machine, which `run` and `check` share: what is looked at, and with which hooks.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::power_of_two;

/// Of the running kernel.
pub const DEFAULT_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Of the node itself.
pub const DEFAULT_KMSG: &str = "/dev/kmsg";

/// What is looked at, and with which hooks.
#[derive(Args, Clone, Debug)]
pub struct NodeOptions {
    /// Which hooks to use; `auto` takes the best that this kernel has and says which
    #[arg(long, env = "OOMWATCH_PROBE", value_enum, default_value_t = ProbeChoice::Auto)]
    pub probe: ProbeChoice,
    /// Name of this node in reports [default: the host's name]
    #[arg(long, env = "OOMWATCH_NODE_NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub node_name: Option<String>,
    /// BTF of the running kernel
    #[arg(long, env = "OOMWATCH_BTF", default_value = DEFAULT_BTF, value_name = "FILE")]
    pub btf: PathBuf,
    /// The kernel's log
    #[arg(long, env = "OOMWATCH_KMSG", default_value = DEFAULT_KMSG, value_name = "FILE")]
    pub kmsg: PathBuf,
    /// Where the host's /proc is mounted
    #[arg(long, env = "OOMWATCH_PROC", default_value = "/proc", value_name = "DIR")]
    pub proc: PathBuf,
    /// Where the host's cgroups are mounted
    #[arg(long, env = "OOMWATCH_CGROUP", default_value = "/sys/fs/cgroup", value_name = "DIR")]
    pub cgroup: PathBuf,
    /// Size of the ring buffer between kernel and agent, KiB: a power of two
    #[arg(long, env = "OOMWATCH_RING_BUFFER_KIB", default_value_t = 256, value_parser = power_of_two,
        value_name = "KIB")]
    pub ring_buffer_kib: u32,
}

/// Which hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeChoice {
    /// The best that works
    Auto,
    /// kprobes on the OOM killer: whole incidents
    Kprobe,
    /// Tracepoint oom/mark_victim: victims only
    Tracepoint,
    /// The kernel's log: what it prints of kills
    Kmsg,
}
