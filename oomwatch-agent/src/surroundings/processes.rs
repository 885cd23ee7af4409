//! Who could have been killed: the processes of the OOM domain, as `/proc` shows them some milliseconds after the kill.
//!
//! `status` takes hold of an address space only for as long as it is written to memory that is there already
//! (`proc_pid_status`, fs/proc/array.c): it never keeps a dying process's memory while it waits for a page.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use oomwatch_common::{
    domain::{Domain, Vantage},
    escape::escape,
    ids::CgroupPath,
    proc_text::{memory_cgroup, single_signed, status},
    report::{CandidatesFrom, Gap, badness},
    surroundings::{Task, Tasks},
    wanted::Wanted,
};

use super::{
    Until,
    files::{Dir, SMALL, read},
};
use crate::sources::Roots;

/// Processes that are read.
pub(super) const MOST: usize = 2048;
/// Cgroups whose processes are listed.
const MOST_CGROUPS: usize = 1024;
/// Bytes of a list of processes: some 30,000 of them.
const LIST_BYTES: u64 = 256 * 1024;

/// Reads them, the worst by the kernel's measure first. Nothing where nobody lists the domain; why, is in `gaps`.
pub(super) fn read_tasks(roots: &Roots, wanted: &Wanted, until: Until, gaps: &mut Vec<Gap>) -> Option<Tasks> {
    let mut gap = |why: String| gaps.push(Gap { what: super::CANDIDATES.to_owned(), why });
    let mut scan = Scan { proc: &roots.proc, until, rows: Vec::new(), unread: 0, undecided: 0 };
    let found = match &wanted.domain {
        Domain::Nodemask => Err("nobody lists whose processes may use these memory nodes".to_owned()),
        Domain::Unknown => Err("it is not known whose limit was hit".to_owned()),
        Domain::Node => {
            scan.all(wanted.vantage.as_ref(), None).map_err(|error| format!("listing processes: {error}"))
        }
        Domain::Cgroup { path, v2 } => scan.below(roots, path, *v2, wanted.vantage.as_ref()),
    };
    if let Err(why) = found {
        gap(why);
        return None;
    }
    if scan.unread + scan.undecided > 0 {
        let of_whom = if scan.undecided > 0 { "the node's processes" } else { "the processes" };
        let unread = scan.unread + scan.undecided;
        gap(format!("cut: {unread} of {of_whom} were not read, for want of time or room"));
    }
    let mut rows = scan.rows;
    rows.sort_by_key(|row| {
        let by_size = row.rss.unwrap_or_default().0.saturating_add(row.swap.unwrap_or_default().0);
        std::cmp::Reverse((badness(row, wanted.totalpages, wanted.page_size), by_size))
    });
    let count = u64::try_from(rows.len()).unwrap_or(u64::MAX).saturating_add(scan.unread);
    // There may be none left but those that the report knows of: the victims.
    Some(Tasks { from: CandidatesFrom::Proc, count, undecided: scan.undecided, rows })
}

struct Scan<'a> {
    proc: &'a Path,
    until: Until,
    rows: Vec<Task>,
    /// Processes of the domain that there was no time or no room for,
    unread: u64,
    /// and those of the node of which it is therefore not known whether they are of the domain, or have memory at all.
    undecided: u64,
}

impl Scan<'_> {
    fn is_over(&self) -> bool {
        self.rows.len() >= MOST || self.until.is_over()
    }

    /// All processes that have memory; of a cgroup only where it is given.
    fn all(&mut self, vantage: Option<&Vantage>, owner: Option<&CgroupPath>) -> io::Result<()> {
        for entry in fs::read_dir(self.proc)?.flatten() {
            let Some(tgid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if self.is_over() {
                self.undecided += 1;
                continue;
            }
            let Ok(dir) = Dir::open(&entry.path()) else { continue };
            let cgroup = || Some(memory_cgroup(&dir.read("cgroup", SMALL)?).ok()??.0);
            let is_within =
                |shown: &CgroupPath, owner| vantage.is_some_and(|vantage| vantage.is_within(shown, owner));
            // Which file is read first, and passes over most of them by itself: that of the kernel's own threads, of
            // which a node may have more than processes, says that they have no memory.
            let found = match owner {
                None => task(&dir, tgid).map(|row| (row, cgroup())),
                Some(owner) => cgroup()
                    .filter(|shown| is_within(shown, owner))
                    .and_then(|shown| Some((task(&dir, tgid)?, Some(shown)))),
            };
            let Some((row, shown)) = found else { continue };
            let real = shown.map(|shown| vantage.and_then(|vantage| vantage.real(&shown)).unwrap_or(shown));
            self.rows.push(in_cgroup(row, real.as_ref()));
        }
        Ok(())
    }

    /// Those of a cgroup and of all that lie below it.
    fn below(
        &mut self,
        roots: &Roots,
        owner: &CgroupPath,
        v2: Option<bool>,
        vantage: Option<&Vantage>,
    ) -> Result<(), String> {
        let unknown = || "the cgroup at its limit cannot be found".to_owned();
        if !shows_own_pids(self.proc) {
            // A list of processes in a cgroup has their numbers in the reader's pid namespace, and leaves out whoever
            // is not in it (`cgroup_procs_show`, kernel/cgroup/cgroup.c).
            let hidden = || "whose cgroup is whose cannot be told from this cgroup namespace".to_owned();
            let vantage = vantage.ok_or_else(hidden)?;
            return self
                .all(Some(vantage), Some(owner))
                .map_err(|error| format!("listing processes: {error}"));
        }
        let (dir, _) = roots.cgroup_dir(owner, v2).ok_or_else(unknown)?;
        let mut open: Vec<(PathBuf, CgroupPath)> = vec![(dir, owner.clone())];
        let mut listed = 0;
        while let Some((dir, path)) = open.pop() {
            listed += 1;
            let text = read(&dir.join("cgroup.procs"), LIST_BYTES);
            if text.is_none() && listed == 1 {
                return Err("gone: the cgroup at its limit".to_owned());
            }
            for line in text.unwrap_or_default().split(|&byte| byte == b'\n') {
                let tgid = str::from_utf8(line).ok().and_then(|line| line.parse::<u32>().ok());
                let Some(tgid) = tgid.filter(|tgid| *tgid > 0) else { continue };
                if self.is_over() {
                    self.unread += 1;
                    continue;
                }
                let Ok(held) = Dir::open(&self.proc.join(tgid.to_string())) else { continue };
                self.rows.extend(task(&held, tgid).map(|row| in_cgroup(row, Some(&path))));
            }
            if listed < MOST_CGROUPS {
                open.extend(super::cgroups::children(&dir, &path));
            }
        }
        Ok(())
    }
}

/// Whether `proc` is that of the agent's own pid namespace. One without a `self` is a test's.
fn shows_own_pids(proc: &Path) -> bool {
    let own = fs::read_link(proc.join("self"));
    own.is_ok_and(|own| own.to_str().and_then(|own| own.parse().ok()) == Some(process::id()))
        || !proc.join("self").is_symlink()
}

/// `None` for what cannot be killed, or has nothing to give: PID 1, kernel threads, zombies, whoever is gone.
fn task(dir: &Dir, tgid: u32) -> Option<Task> {
    if tgid == 1 {
        return None;
    }
    let status = status(&dir.read("status", SMALL)?).ok()?;
    let rss = status.vm_rss_bytes?;
    let adjustment = dir.read("oom_score_adj", SMALL).and_then(|text| single_signed(&text).ok());
    Some(Task {
        tgid: Some(tgid),
        tid: None,
        comm: status.name,
        uid: status.uid.map(|ids| ids.real),
        rss: Some(rss),
        swap: status.vm_swap_bytes,
        pgtables: status.vm_pte_bytes,
        total_vm: status.vm_size_bytes,
        oom_score_adj: adjustment.and_then(|adjustment| adjustment.try_into().ok()),
        cgroup: None,
        kubernetes: None,
    })
}

fn in_cgroup(task: Task, cgroup: Option<&CgroupPath>) -> Task {
    Task { cgroup: cgroup.map(|cgroup| escape(&cgroup.to_bytes())), ..task }
}
