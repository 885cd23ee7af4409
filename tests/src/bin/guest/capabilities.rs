//! `oomwatch-guest without …`: becomes another program, with less than root has.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// What is not in the bounding set, root does not get with the next program. `capabilities` are names with commas
/// between.
pub(crate) fn run_without(capabilities: &str, program: &str, arguments: &[&str]) -> Result<()> {
    for name in capabilities.split(',') {
        let capability = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        let capability = capability.with_context(|| format!("no such capability: {name}"))?;
        remove_capability_from_bounding_set(capability)
            .with_context(|| format!("cannot give up {name} (root is needed)"))?;
    }
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot run {program}"))
}
