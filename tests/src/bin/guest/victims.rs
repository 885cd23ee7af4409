//! `oomwatch-guest victims`: makes one process after another that takes memory until it is killed, as fast as it can.
//!
//! A victim is a fork that touches pages, without exec and without a cgroup to be moved to: it is born where this
//! process is, which itself is never chosen.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use oomwatch_tests::{
    machine::Machine,
    storm::{GO, KILLED, READY},
};

use crate::sys::{self, Ended};

/// What a victim touches at the most: more than it may.
const BYTES: usize = 64 << 20;
/// What a victim may take, its page tables included, so that it is born before it is killed.
const ROOM: u64 = 512 << 10;

/// Moves into the cgroup, makes so many kills, and says how many processes were really killed.
pub(crate) fn run() -> Result<()> {
    let work = || {
        let done = make();
        if let Err(error) = &done {
            writeln!(io::stderr(), "{error:#}").ok();
        }
        done.is_ok()
    };
    ensure!(sys::unkillably(work)?, "not all kills were made");
    Ok(())
}

fn make() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(2).collect();
    let [cgroup, kills] = arguments.as_slice() else { bail!("victims CGROUP KILLS") };
    let kills: u64 = kills.parse().context("how many kills?")?;
    // Whoever starts this may be protected from the OOM killer, and victims would inherit that.
    fs::write("/proc/self/oom_score_adj", "0").context("cannot set oom_score_adj")?;
    let memory = sys::Memory::map(BYTES)?;
    let mut limit = Limit::open(Path::new(cgroup))?;
    fs::write(Path::new(cgroup).join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("cannot move into {cgroup} (root is needed)"))?;
    say(READY)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    ensure!(line.trim() == GO, "{GO} was expected, not {line:?}");
    let mut killed = 0;
    while killed < kills {
        limit.follow()?;
        match sys::fork_victim(&memory) {
            Ok(Ended::Killed) => killed += 1,
            Ok(Ended::Otherwise(status)) => bail!("a victim was not killed, but ended with {status:#x}"),
            // The room was too small for what the kernel needs for one more process; the limit follows.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {}
            Err(error) => return Err(error).context("cannot fork"),
        }
    }
    say(&format!("{KILLED}{killed}"))
}

/// The cgroup's limit, which stays a little above its usage: the kernel gives back some of a dead process's memory only
/// seconds later, and it adds up.
struct Limit {
    usage: File,
    file: File,
    room: u64,
    set: u64,
}

impl Limit {
    fn open(cgroup: &Path) -> Result<Self> {
        let [usage, limit] = if cgroup.join("memory.max").exists() {
            ["memory.current", "memory.max"]
        } else {
            ["memory.usage_in_bytes", "memory.limit_in_bytes"]
        };
        let open = |file: &str, options: &OpenOptions| {
            let path = cgroup.join(file);
            options.open(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(Self {
            usage: open(usage, OpenOptions::new().read(true))?,
            file: open(limit, OpenOptions::new().write(true))?,
            room: ROOM + Machine::this()?.stocked().bytes,
            set: 0,
        })
    }

    fn follow(&mut self) -> Result<()> {
        let mut text = [0; 32];
        let length = self.usage.read_at(&mut text, 0).context("cannot read the cgroup's usage")?;
        let text = std::str::from_utf8(text.get(..length).unwrap_or_default())?;
        let usage: u64 = text.trim().parse().context("the cgroup's usage is no number")?;
        if !(self.room..=2 * self.room).contains(&self.set.saturating_sub(usage)) {
            self.set = usage + self.room;
            self.file.write_at(self.set.to_string().as_bytes(), 0).context("cannot set the limit")?;
        }
        Ok(())
    }
}

fn say(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
