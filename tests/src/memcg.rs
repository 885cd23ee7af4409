//! Memory cgroups of the tests' own, v1 and v2, gone again when dropped.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::deadline::{PATIENCE, wait_for};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Which of the kernel's two interfaces manages memory here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `/sys/fs/cgroup/memory`
    V1,
    /// `/sys/fs/cgroup`
    V2,
}

/// The hierarchy that has the memory controller.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// Its interface.
    pub version: Version,
    root: PathBuf,
}

impl Hierarchy {
    /// The one that is mounted.
    ///
    /// # Errors
    /// Neither version's memory controller is below `/sys/fs/cgroup`.
    pub fn mounted() -> Result<Self> {
        let v1 = Path::new(CGROUPS).join("memory");
        if v1.join("memory.limit_in_bytes").exists() {
            return Ok(Self { version: Version::V1, root: v1 });
        }
        let v2 = PathBuf::from(CGROUPS);
        let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
        if controllers.split_whitespace().any(|name| name == "memory") {
            return Ok(Self { version: Version::V2, root: v2 });
        }
        bail!(
            "no memory controller below {CGROUPS}: mount cgroup2 there, or cgroup v1's memory at {CGROUPS}/memory"
        );
    }

    /// Whether a cgroup has that file.
    ///
    /// # Errors
    /// No cgroup can be made to look at.
    pub fn has(&self, file: &str) -> Result<bool> {
        Ok(self.create("/oomwatch-looks")?.directory().join(file).exists())
    }

    /// Whether swap is accounted for, and limited, by cgroup: before 5.18 only with `CONFIG_MEMCG_SWAP_ENABLED` or
    /// `swapaccount=1`.
    ///
    /// # Errors
    /// See [`Self::has`].
    pub fn limits_swap(&self) -> Result<bool> {
        self.has(match self.version {
            Version::V1 => "memory.memsw.limit_in_bytes",
            Version::V2 => "memory.swap.max",
        })
    }

    /// Makes a cgroup `/a/b/c` with those of its ancestors that are missing. None may have processes.
    ///
    /// # Errors
    /// Not permitted, or a controller cannot be enabled.
    pub fn create(&self, path: &str) -> Result<Memcg> {
        let mut memcg =
            Memcg { version: self.version, root: self.root.clone(), path: path.to_owned(), made: vec![] };
        let mut directory = self.root.clone();
        for component in path.split('/').filter(|component| !component.is_empty()) {
            if self.version == Version::V2 {
                write(&directory.join("cgroup.subtree_control"), "+memory")?;
            }
            directory.push(component);
            match fs::create_dir(&directory) {
                Ok(()) => memcg.made.push(directory.clone()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", directory.display()));
                }
            }
            let hierarchical = directory.join("memory.use_hierarchy");
            if hierarchical.exists() {
                // Before 5.11 a limit held for the processes below it only where this was set.
                write(&hierarchical, "1")?;
            }
        }
        Ok(memcg)
    }
}

/// A cgroup. Dropped, it and the ancestors made for it are removed; processes in it must be dead or dying by then.
#[derive(Debug)]
pub struct Memcg {
    version: Version,
    root: PathBuf,
    /// As the kernel prints it.
    pub path: String,
    made: Vec<PathBuf>,
}

impl Memcg {
    /// Limits memory, and swap to none, for this cgroup or the ancestor with the path given.
    ///
    /// # Errors
    /// There is no such ancestor, or the kernel refuses.
    pub fn limit(&self, path: &str, bytes: u64) -> Result<()> {
        let directory = self.root.join(path.trim_start_matches('/'));
        let (both, swap) = (directory.join("memory.memsw.limit_in_bytes"), directory.join("memory.swap.max"));
        // Memory and swap together may never be limited to less than memory.
        if both.exists() {
            write(&both, "-1")?;
        }
        self.limit_memory_alone(path, bytes)?;
        write_if_there(&both, &bytes.to_string())?;
        write_if_there(&swap, "0")
    }

    /// Limits memory, and swap by no more than there is.
    ///
    /// # Errors
    /// See [`Self::limit`].
    pub fn limit_memory_alone(&self, path: &str, bytes: u64) -> Result<()> {
        let file = match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        write(&self.root.join(path.trim_start_matches('/')).join(file), &bytes.to_string())
    }

    /// Limits memory, and swap to so many bytes beside it.
    ///
    /// # Errors
    /// See [`Self::limit`]; or the kernel does not limit swap by cgroup.
    pub fn limit_with_swap(&self, path: &str, bytes: u64, swap: u64) -> Result<()> {
        self.limit_memory_alone(path, bytes)?;
        let directory = self.root.join(path.trim_start_matches('/'));
        match self.version {
            Version::V1 => write(&directory.join("memory.memsw.limit_in_bytes"), &(bytes + swap).to_string()),
            Version::V2 => write(&directory.join("memory.swap.max"), &swap.to_string()),
        }
    }

    /// Sets `memory.oom.group`.
    ///
    /// # Errors
    /// cgroup v1, or a kernel before 4.19.
    pub fn kill_as_group(&self) -> Result<()> {
        write(&self.directory().join("memory.oom.group"), "1")
    }

    /// Moves a process here.
    ///
    /// # Errors
    /// It is gone.
    pub fn add(&self, pid: u32) -> Result<()> {
        write(&self.directory().join("cgroup.procs"), &pid.to_string())
    }

    /// Processes killed in this cgroup and, on v2, below it: `oom_kill` of `memory.events`, on v1 of
    /// `memory.oom_control`. A group kill counts the chosen process twice (facts of Linux 4.19 to 7.3).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn oom_kills(&self) -> Result<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        self.counter(file, "oom_kill ")
    }

    /// How often a charge failed and the OOM killer was asked, whether or not it killed: `oom` of `memory.events`; v1
    /// has only failcnt, which counts charges that reclaim then served as well: that of memory+swap, which is charged
    /// first and has the same limit here, and that of memory where the kernel does not account for swap.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn oom_attempts(&self) -> Result<u64> {
        match self.version {
            Version::V1 if !self.directory().join("memory.memsw.failcnt").exists() => {
                self.counter("memory.failcnt", "")
            }
            Version::V1 => {
                Ok(self.counter("memory.failcnt", "")? + self.counter("memory.memsw.failcnt", "")?)
            }
            Version::V2 => self.counter("memory.events", "oom "),
        }
    }

    fn counter(&self, file: &str, prefix: &str) -> Result<u64> {
        let path = self.directory().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix(prefix)?.trim().parse().ok());
        count.with_context(|| format!("{} has no line {prefix}", path.display()))
    }

    /// Where its files are.
    pub fn directory(&self) -> PathBuf {
        self.root.join(self.path.trim_start_matches('/'))
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // A process that was killed leaves its cgroup only when it has exited; one that never does is the
            // failing test's to report, not this guard's.
            let removed = wait_for("the cgroup's processes to exit", PATIENCE, || {
                let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
                Ok(fs::remove_dir(directory).map_or_else(|error| gone(&error), |()| true).then_some(()))
            });
            if removed.is_err() {
                return;
            }
        }
    }
}

fn write_if_there(path: &Path, text: &str) -> Result<()> {
    if path.exists() { write(path, text) } else { Ok(()) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {text:?} to {}", path.display()))
}
