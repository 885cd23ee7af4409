//! The cgroups' own counts of kills, watched without reading them.
//!
//! The kernel counts each kill in `memory.events` of the victim's cgroup and of all above it, and tells whoever watches
//! that file that it is modified (`memcg_memory_event`, include/linux/memcontrol.h; `cgroup_file_notify`, at most
//! every 10 ms). So the files of the cgroups below the root are enough. It counts there that a limit was hit, too.
//!
//! On v1 there is no such file. Nor is the root's: of a process that is in no other cgroup nothing is told, and with
//! `memory_localevents` the files do not count what is below. Scrapes look at all of these.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::{Errno, read},
};

const FILE: &str = "memory.events";
/// Some hundred events.
const BUFFER_BYTES: usize = 4096;

/// Watched files.
#[derive(Debug)]
pub(super) struct Events {
    inotify: Arc<OwnedFd>,
    root: PathBuf,
}

impl Events {
    /// Watches the files below the root of a hierarchy, and what cgroups will be made there.
    ///
    /// # Errors
    /// There are none, they are not the node's, they do not count what is below, or the kernel watches no more for this
    /// user.
    pub(super) fn below(root: &Path, proc: &Path) -> io::Result<Self> {
        if root.join(FILE).exists() {
            // As a cgroup namespace shows it: below it are none of the node's others.
            return Err(io::Error::other(format!(
                "{} is not the root of the node's cgroups",
                root.display()
            )));
        }
        let mounts = fs::read_to_string(proc.join("mounts"))?;
        if has_local_events(&mounts) {
            return Err(io::Error::other("cgroup2 is mounted with memory_localevents"));
        }
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, root, WatchFlags::CREATE | WatchFlags::ONLYDIR)?;
        let events = Self { inotify: Arc::new(inotify), root: root.to_owned() };
        if events.watch()? == 0 {
            return Err(io::Error::other(format!("no cgroup below {} has {FILE}", root.display())));
        }
        Ok(events)
    }

    /// Watches what is there by now; gives how many.
    fn watch(&self) -> io::Result<usize> {
        let mut watched = 0;
        for entry in fs::read_dir(&self.root)? {
            let file = entry?.path().join(FILE);
            match inotify::add_watch(&self.inotify, &file, WatchFlags::MODIFY) {
                Ok(_) => watched += 1,
                // A file of the root's, or gone again.
                Err(Errno::NOTDIR | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(watched)
    }

    /// Readable when something has happened.
    pub(super) fn file(&self) -> &Arc<OwnedFd> {
        &self.inotify
    }

    /// Leaves out all that is there. What happens in a new cgroup before it is watched stays unknown until the next
    /// scrape.
    pub(super) fn skip(&self) -> io::Result<()> {
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            match read(&self.inotify, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.watch().map(|_| ())
    }
}

/// Whether `memory.events` counts a cgroup's own kills alone.
fn has_local_events(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(2);
        fields.next() == Some("cgroup2")
            && fields.next().is_some_and(|options| options.split(',').any(|it| it == "memory_localevents"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_count_only_their_own_are_told_from_others() {
        for (options, local) in
            [("rw,nosuid,memory_localevents", true), ("rw,nosuid,memory_recursiveprot", false)]
        {
            let mounts = format!(
                "tmpfs /tmp tmpfs memory_localevents 0 0\ncgroup2 /sys/fs/cgroup cgroup2 {options} 0 0\n"
            );
            assert_eq!(has_local_events(&mounts), local, "{options}");
        }
    }

    #[test]
    fn files_are_watched_also_of_cgroups_that_are_made_later() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let one = root.join("one");
        fs::create_dir(&one).unwrap();
        fs::write(root.join("cgroup.procs"), "").unwrap();
        let proc = root.join("proc");
        fs::create_dir(&proc).unwrap();
        fs::write(proc.join("mounts"), "").unwrap();
        assert!(Events::below(root, &proc).is_err(), "no cgroup has a memory controller");
        fs::write(one.join(FILE), "oom_kill 0").unwrap();
        let events = Events::below(root, &proc).unwrap();
        let has_happened = || {
            let happened = read(events.file(), &mut [0; BUFFER_BYTES]).is_ok();
            events.skip().unwrap();
            happened
        };
        assert!(!has_happened());
        fs::write(one.join(FILE), "oom_kill 1").unwrap();
        assert!(has_happened() && !has_happened());
        let two = root.join("two");
        fs::create_dir(&two).unwrap();
        fs::write(two.join(FILE), "oom_kill 0").unwrap();
        assert!(has_happened() && !has_happened());
        fs::write(two.join(FILE), "oom_kill 1").unwrap();
        assert!(has_happened());
        assert!(Events::below(&one, &proc).is_err(), "a cgroup's own files are not all of the node's");
    }
}
