//! Options of `oomwatch explain`.

use std::path::PathBuf;

use clap::Args;

use super::{Color, Output};

pub(super) const EXAMPLES: &str = "\
Reads kernel logs as they are: dmesg (also -T, --time-format iso, --raw, in colour), journalctl (short and its kin, \
json, export), /var/log/messages and syslog, containers' logs, /dev/kmsg; from any machine, with other lines between, \
cut anywhere, compressed (gzip, zstd, xz, bzip2), UTF-16. Reports of oomwatch itself are diagnosed anew:\n\n  \
  dmesg | oomwatch explain                           this machine, since its boot\n  \
  journalctl -k -b -1 -o json | oomwatch explain     the boot before, with times\n  \
  oomwatch explain /var/log/messages*                rotated and compressed ones too\n  \
  kubectl get pods -A -o json > pods.json && oomwatch explain --pods pods.json node.log\n  \
  oomwatch events --output json | oomwatch explain --last 1\n  \
  oomwatch explain --cause container_limit           what that means, and what to do\n\n\
No root is needed, and no kernel with BPF: the log may be another machine's.\n\n\
Exit codes: 0 an incident was found and every file was read, 1 none was found or a file could not be read, 64 wrong \
option. How it finds what it says: docs/explain.md.";

/// Options of `oomwatch explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainOptions {
    /// Kernel logs, or reports as JSON; `-`, or none where something is piped in: stdin
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How incidents are printed
    // Not OOMWATCH_OUTPUT: in a pod that is set for `run`.
    #[arg(long, env = "OOMWATCH_EXPLAIN_OUTPUT", value_enum, default_value_t = Output::Report)]
    pub output: Output,
    /// When `text` and `report` are coloured
    #[arg(long, env = "OOMWATCH_COLOR", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Names of pods: what `kubectl get pods -A -o json` printed, or a kubelet's answer to /pods
    #[arg(long, env = "OOMWATCH_EXPLAIN_PODS", value_name = "FILE")]
    pub pods: Option<PathBuf>,
    /// Read nothing: say what a cause means, how it is recognised, what to do. `help` lists the names
    #[arg(long, env = "OOMWATCH_EXPLAIN_CAUSE", value_name = "NAME", conflicts_with = "files")]
    pub cause: Option<String>,
    /// Only the last so many
    #[arg(long, env = "OOMWATCH_EXPLAIN_LAST", value_parser = clap::value_parser!(u16).range(1..=1000),
        value_name = "NUMBER")]
    pub last: Option<u16>,
}
