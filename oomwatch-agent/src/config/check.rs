//! Options of `oomwatch check`.

use clap::{Args, ValueEnum};

use super::{Color, KubernetesOptions, NodeOptions};

/// Options of `oomwatch check`.
#[derive(Args, Clone, Debug)]
pub struct CheckOptions {
    /// How the list is printed
    // Not OOMWATCH_OUTPUT: in a pod that is set for `run`, whose values are others, and `kubectl exec` inherits it.
    #[arg(long, env = "OOMWATCH_CHECK_OUTPUT", value_enum, default_value_t = CheckOutput::Text)]
    pub output: CheckOutput,
    /// When `text` is coloured
    #[arg(long, env = "OOMWATCH_COLOR", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// What is looked at.
    #[command(flatten)]
    pub node: NodeOptions,
    /// How the kubelet and the API server are reached.
    #[command(flatten)]
    pub kubernetes: KubernetesOptions,
}

/// How the list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// One line a check, and one that sums up
    Text,
    /// One JSON object: docs/check.md
    Json,
}
