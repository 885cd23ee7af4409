//! The machine that a storm is made on.

use std::fs;

use anyhow::{Context as _, Result};

use crate::machine::Machine;

/// Processor and memory, as the kernel names them.
pub(super) fn describe(machine: &Machine) -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    Ok(format!("{model}, {} MiB", machine.ram >> 20))
}

/// Keeps the kernel from printing its reports of kills to the console, until dropped. They are in its log all the same.
/// A serial console takes 10 ms for one, and it is printed while the kernel lets nobody else kill.
#[derive(Debug)]
pub struct QuietConsole(String);

const PRINTK: &str = "/proc/sys/kernel/printk";

impl QuietConsole {
    /// From now on.
    ///
    /// # Errors
    /// Not permitted.
    pub fn begin() -> Result<Self> {
        let before = fs::read_to_string(PRINTK).with_context(|| format!("cannot read {PRINTK}"))?;
        fs::write(PRINTK, "1").with_context(|| format!("cannot write {PRINTK} (root is needed)"))?;
        Ok(Self(before))
    }
}

impl Drop for QuietConsole {
    fn drop(&mut self) {
        fs::write(PRINTK, &self.0).ok();
    }
}
