//! /proc: whether it is one, whose processes it shows, and whether it hides any.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Line, Look, privileges::CAP_SYS_PTRACE};
use crate::preflight::{effective_capabilities, has};

/// What was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// `self` is there.
    is_proc: bool,
    /// The kernel's first thread, `kthreadd`, is process 2: of the host's pid namespace alone.
    has_kernel_threads: bool,
    hidepid: HidePid,
}

/// The mount option `hidepid` (fs/proc/root.c; as words since 5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HidePid {
    Off,
    /// Others' files cannot be read, or others cannot be seen, without `CAP_SYS_PTRACE` or the mount's group.
    On,
    /// The mount was not found.
    Unknown,
}

/// Where victims are read.
pub(super) fn proc(look: &Look<'_>) -> Vec<Line> {
    let dir = look.proc();
    let mounts = fs::read_to_string(dir.join("self/mountinfo")).unwrap_or_default();
    let seen = Facts {
        is_proc: dir.join("self/status").exists(),
        has_kernel_threads: fs::read_to_string(dir.join("2/comm"))
            .is_ok_and(|comm| comm.trim() == "kthreadd"),
        hidepid: hidepid(&mounts, &dir.display().to_string()),
    };
    let may_trace =
        effective_capabilities(&look.status).is_some_and(|effective| has(effective, CAP_SYS_PTRACE));
    vec![judge(seen, may_trace, &dir.display().to_string())]
}

/// A process that is seen: its number, its directory, its name.
pub(super) struct Seen {
    /// Its number.
    pub(super) pid: u32,
    /// Its directory in `/proc`.
    pub(super) dir: PathBuf,
    /// Its name, as the kernel cuts it, to 15 bytes.
    pub(super) comm: String,
}

/// The processes that are seen.
pub(super) fn processes(proc: &Path) -> impl Iterator<Item = Seen> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some(Seen { pid, dir: entry.path(), comm: comm.trim_end().to_owned() })
    })
}

/// The option of the mount at `dir`: the last one of that place hides those below it.
fn hidepid(mountinfo: &str, dir: &str) -> HidePid {
    let mount =
        mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(dir) && line.contains(" - proc "));
    let Some(mount) = mount else { return HidePid::Unknown };
    let option = mount.rsplit(' ').next().unwrap_or_default();
    let value = option.split(',').find_map(|option| option.strip_prefix("hidepid="));
    match value {
        None | Some("0" | "off") => HidePid::Off,
        Some(_) => HidePid::On,
    }
}

fn judge(seen: Facts, may_trace: bool, dir: &str) -> Line {
    if !seen.is_proc {
        return Line::failed("proc", format!("{dir} is no /proc"), "name the host's by --proc");
    }
    match (seen.hidepid, seen.has_kernel_threads) {
        (HidePid::On, _) if !may_trace => Line::degraded(
            "proc",
            format!("{dir} hides processes of others (hidepid): victims' files cannot be read"),
            "mount it without hidepid, or give CAP_SYS_PTRACE",
        ),
        (_, true) => Line::ok("proc", format!("{dir} shows the host's processes")),
        (_, false) => Line::degraded(
            "proc",
            format!("{dir} is that of a pid namespace: it does not have the host's processes"),
            "hostPID: true, or mount the host's /proc (hostPath) and name it by --proc",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    const MOUNTS: &str = "\
22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
23 28 0:22 / /proc rw,relatime shared:12 - proc proc rw,gid=4,hidepid=invisible
24 28 0:23 / /host/proc rw,relatime - proc proc rw
25 28 0:24 / /old rw - proc proc rw,hidepid=2
26 28 0:24 / /zero rw - proc proc rw,hidepid=0
";

    #[test]
    fn hidepid_is_that_of_the_mount_which_is_asked_for() {
        for (dir, expected) in [
            ("/proc", HidePid::On),
            ("/host/proc", HidePid::Off),
            ("/old", HidePid::On),
            ("/zero", HidePid::Off),
            ("/sys", HidePid::Unknown),
            ("/nowhere", HidePid::Unknown),
        ] {
            assert_eq!(hidepid(MOUNTS, dir), expected, "{dir}");
        }
    }

    #[test]
    fn a_proc_that_hides_victims_is_said_to() {
        let host = Facts { is_proc: true, has_kernel_threads: true, hidepid: HidePid::Off };
        let hidden = Facts { hidepid: HidePid::On, ..host };
        for (seen, may_trace, state, word) in [
            (host, false, State::Ok, "host's"),
            (Facts { hidepid: HidePid::Unknown, ..host }, false, State::Ok, "host's"),
            (hidden, true, State::Ok, "host's"),
            (hidden, false, State::Degraded, "hidepid"),
            (Facts { has_kernel_threads: false, ..hidden }, false, State::Degraded, "hidepid"),
            (Facts { has_kernel_threads: false, ..host }, true, State::Degraded, "pid namespace"),
            (Facts { is_proc: false, ..host }, true, State::Failed, "no /proc"),
        ] {
            let line = judge(seen, may_trace, "/proc");
            assert_eq!(line.state, state, "{seen:?}");
            assert!(line.text.contains(word), "{}", line.text);
        }
    }
}
