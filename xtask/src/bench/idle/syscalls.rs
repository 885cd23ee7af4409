//! System calls of a process, counted by the kernel's trace: who is traced does not notice.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{repo::Repo, run};

const INSTANCE: &str = "instances/oomwatch-idle";
/// For each CPU; a call takes some 60 bytes.
const BUFFER_KIB: &str = "4096";

/// A trace of system calls; switched off when dropped.
pub(super) struct Syscalls {
    instance: PathBuf,
    _tracefs: Mounted,
}

impl Syscalls {
    /// From now on, of the process that is in this directory of `/proc`.
    pub(super) fn of(repo: &Repo, process: &Path) -> Result<Self> {
        let tracefs = Mounted::at(&repo.target().join("bench/tracefs"))?;
        let instance = tracefs.0.join(INSTANCE);
        if !instance.exists() {
            fs::create_dir(&instance).context("cannot make an instance of the kernel's trace")?;
        }
        let trace = Self { instance, _tracefs: tracefs };
        let threads = fs::read_dir(process.join("task")).context("the process is gone")?;
        let threads = threads.map(|thread| Ok(thread?.file_name().to_string_lossy().into_owned()));
        let threads = threads.collect::<Result<Vec<_>>>()?.join(" ");
        for (file, text) in [
            ("buffer_size_kb", BUFFER_KIB),
            ("options/event-fork", "1"),
            ("set_event_pid", &threads),
            ("events/raw_syscalls/sys_enter/enable", "1"),
            // What was there before.
            ("trace", ""),
        ] {
            fs::write(trace.instance.join(file), text)
                .with_context(|| format!("cannot write the trace's {file} (root is needed)"))?;
        }
        Ok(trace)
    }

    /// How many until now, by thread: its name and number.
    pub(super) fn count(&self) -> Result<BTreeMap<String, u64>> {
        let trace = fs::read(self.instance.join("trace")).context("cannot read the kernel's trace")?;
        Ok(by_thread(&String::from_utf8_lossy(&trace)))
    }
}

impl Drop for Syscalls {
    fn drop(&mut self) {
        fs::remove_dir(&self.instance).ok();
    }
}

/// tracefs, which not every machine has mounted.
struct Mounted(PathBuf);

impl Mounted {
    fn at(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        run::run(Command::new("mount").args(["-t", "tracefs", "nodev"]).arg(folder))?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run::run(Command::new("umount").arg(&self.0)).ok();
    }
}

/// Of lines as `name-TID  [000] ....  12.345: sys_enter: NR 232 (…)`.
fn by_thread(trace: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in trace.lines().filter(|line| line.contains(": sys_enter: ")) {
        let thread = line.split(" [").next().and_then(|thread| thread.trim().rsplit_once('-'));
        if let Some((name, tid)) = thread {
            *counts.entry(format!("{name} {tid}")).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::by_thread;

    #[test]
    fn calls_are_counted_by_thread_whatever_it_is_called() {
        let trace = "\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
        oomwatch-16      [001] .....  1221.100001: sys_enter: NR 232 (4, 7f, 400, ffffffff, 0, 0)
   tokio-worker-17      [000] .....  1221.100002: sys_enter: NR 0 (4, 7f, 8, 0, 0, 0)
        oomwatch-16      [001] .....  1221.100003: sys_enter: NR 257 (ffffff9c, 7f, 80000, 0, 0, 0)
";
        let counts = by_thread(trace);
        assert_eq!(counts.get("oomwatch 16"), Some(&2));
        assert_eq!(counts.get("tokio-worker 17"), Some(&1));
        assert_eq!(counts.len(), 2);
    }
}
