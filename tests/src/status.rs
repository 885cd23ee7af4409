//! `/proc/PID/status` as the tests read it themselves while the victim lived.
//!
//! A parser of its own, on purpose: were it the agent's, an error in it would agree with itself.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// The lines of one status file, by name.
#[derive(Clone, Debug, Default)]
pub struct Status(BTreeMap<String, String>);

impl Status {
    /// Of a process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()).join("status"))
    }

    /// Of one thread: a leader that is a zombie has no memory lines of its own.
    ///
    /// # Errors
    /// There is no such thread.
    pub fn of_thread(pid: u32, tid: u32) -> Result<Self> {
        Self::read(
            &Path::new("/proc").join(pid.to_string()).join("task").join(tid.to_string()).join("status"),
        )
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Of text in the form of `/proc/PID/status` or `/proc/meminfo`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// A line in kB, such as `VmRSS`, as bytes.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        self.number(name)?.checked_mul(1024)
    }

    /// The first number of a line: the pid of `PPid`, the real uid of `Uid`, the pid in the outer namespace of `NSpid`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.split_whitespace().next()?.parse().ok()
    }

    /// The last number of a line: of `NSpid`, the pid as the process itself sees it.
    pub fn last_number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.split_whitespace().last()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn sizes_are_kib_and_the_last_pid_is_the_innermost() {
        let status =
            Status::parse("Name:\thog\nPPid:\t7\nUid:\t1000\t0\t0\t0\nNSpid:\t162\t1\nVmRSS:\t    1234 kB\n");
        assert_eq!(status.bytes("VmRSS"), Some(1234 * 1024));
        assert_eq!(status.number("Uid"), Some(1000));
        assert_eq!(status.number("NSpid"), Some(162));
        assert_eq!(status.last_number("NSpid"), Some(1));
        assert_eq!(status.bytes("VmSwap"), None);
        assert!(Status::of_process(std::process::id()).unwrap().bytes("VmRSS").is_some());
    }
}
