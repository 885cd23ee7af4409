//! The OOM killer is called and kills nobody: the chosen process is on its way out already (`task_will_free_mem`,
//! `mm/oom_kill.c`). The kernel then logs and counts nothing, and the agent must not report a kill.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::Differences,
    deadline::{PATIENCE, wait_for},
};
use rustix::mount::{MountFlags, mount};

use super::{limits::Mounted, processes::PROTECTED, stand};

/// A process frozen by the freezer of cgroup v1 keeps its memory even when SIGKILL is pending; that of v2 lets it die.
struct Frozen {
    directory: String,
    _mounted: Option<Mounted>,
}

impl Frozen {
    const MOUNTED: &'static str = "/sys/fs/cgroup/freezer";
    const OURS: &'static str = "/tmp/oomwatch-freezer";

    fn process(pid: u32) -> Result<Self> {
        let (root, mounted) = if Path::new(Self::MOUNTED).join("cgroup.procs").exists() {
            (Self::MOUNTED, None)
        } else {
            fs::create_dir_all(Self::OURS)?;
            mount("cgroup", Self::OURS, "cgroup", MountFlags::empty(), Some(c"freezer"))
                .context("cannot mount the freezer of cgroup v1")?;
            (Self::OURS, Some(Mounted(Self::OURS)))
        };
        let directory = format!("{root}/oomwatch-frozen");
        fs::create_dir_all(&directory)?;
        let frozen = Self { directory, _mounted: mounted };
        fs::write(format!("{}/cgroup.procs", frozen.directory), pid.to_string())?;
        frozen.set("FROZEN")?;
        // The state is FREEZING until the process has come to rest; killed before that, it would just exit.
        wait_for("the process to freeze", PATIENCE, || Ok((frozen.state()? == "FROZEN").then_some(())))?;
        Ok(frozen)
    }

    fn state(&self) -> Result<String> {
        Ok(fs::read_to_string(format!("{}/freezer.state", self.directory))?.trim().to_owned())
    }

    fn set(&self, state: &str) -> Result<()> {
        fs::write(format!("{}/freezer.state", self.directory), state)
            .with_context(|| format!("cannot set {state}"))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The kernel thaws the process when it marks it; if it did not, it must still be able to die.
        self.set("THAWED").ok();
        fs::remove_dir(&self.directory).ok();
    }
}

pub(super) fn already_exiting(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/exiting", 48)?;
    let mut dying = bench.hog(&memcg, &["comm=dying", "anon=30", "stop"])?;
    stand(&mut dying)?;
    let mut trigger = bench.hog(
        &memcg,
        &[PROTECTED, "comm=trigger", "anon=1", "stop", "anon=28", "stop", "adj=0", "anon=256"],
    )?;
    trigger.go_to_stop()?;
    bench.begin()?;
    let before = (memcg.oom_kills()?, memcg.oom_attempts()?);
    let frozen = Frozen::process(dying.pid)?;
    dying.kill()?;
    trigger.go_to_stop()?;
    let mut differences = Differences::default();
    differences.equal("oom_kill of the cgroup", Some(before.0), memcg.oom_kills()?);
    differences.that("the OOM killer was not even called", memcg.oom_attempts()? > before.1);
    drop(frozen);
    dying.wait_for_kill()?;
    // A kill that is one: were the other reported, it would have come first.
    trigger.go()?;
    trigger.wait_for_kill()?;
    let (report, _, kernel_count) = bench.observe_one(&[trigger.pid])?;
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.equal("victims", Some(report.victims.len()), 1);
    differences.finish().with_context(|| report.line)
}

/// Every process of the cgroup is protected: the kernel asks again and again, and whoever allocates waits for as long
/// as the limit stands.
pub(super) fn nothing_killable(bench: &mut Bench) -> Result<()> {
    const ATTEMPTS: u64 = 5;
    let memcg = bench.memcg("/unkillable", 24)?;
    let mut hog =
        bench.hog(&memcg, &[PROTECTED, "anon=8", "stop", "anon=32", "stop", "adj=0", "anon=256"])?;
    hog.go_to_stop()?;
    bench.begin()?;
    let before = memcg.oom_attempts()?;
    hog.go()?;
    wait_for("the OOM killer to be asked in vain", PATIENCE, || {
        Ok((memcg.oom_attempts()? > before + ATTEMPTS).then_some(()))
    })?;
    memcg.limit("/unkillable", 64 << 20)?;
    hog.wait_for_stop()?;
    // Fails if anything was reported, and waits until the kernel prints headers again.
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, _, kernel_count) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.equal("oom_kill of the cgroup", Some(1), memcg.oom_kills()?);
    differences.equal("victims", Some(report.victims.len()), 1);
    differences.finish().with_context(|| report.line)
}
