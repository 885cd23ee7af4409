//! The agent's own survival: it works while memory is exhausted, and must not be what the kernel kills.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
};

use oomwatch_common::{
    memcg_text::{limit_v1, limit_v2},
    proc_text::{memory_cgroup, single_signed},
    report::size,
    units::Bytes,
};
use rustix::mm::munlockall;

use super::{Line, Look, proc::processes};
use crate::{
    protect::{CURE, PROTECTED, lower_oom_score_adj},
    sys,
};

/// The start reads the kernel's BTF, about 5 MB, into about 20 MiB at its peak.
const ROOM: Bytes = Bytes(32 << 20);

/// How likely the kernel is to kill the agent: that which runs, else one that runs as this check does, which tries what
/// that one does at its start.
pub(super) fn oom_score_adj(look: &Look<'_>) -> Vec<Line> {
    let read = |dir: &Path| single_signed(&fs::read(dir.join("oom_score_adj")).ok()?).ok();
    let agents = processes(look.proc()).filter(|process| process.comm == "oomwatch" && runs(&process.dir));
    let agents = agents.filter_map(|agent| Some((agent.pid, read(&agent.dir)?)));
    let own = lower_oom_score_adj().map_or_else(|(adj, _)| adj, Some);
    vec![judge_adj(agents.max_by_key(|&(_, adj)| adj), own)]
}

/// Whether its command is `run`, as this one's is `check`.
fn runs(process: &Path) -> bool {
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    arguments.split(|&byte| byte == 0).nth(1) == Some(b"run")
}

fn judge_adj(agent: Option<(u32, i64)>, own: Option<i64>) -> Line {
    let cure = CURE;
    let (whose, adj) = match (agent, own) {
        (Some((pid, adj)), _) => (format!("of the agent, pid {pid}"), adj),
        (None, Some(adj)) if adj <= PROTECTED => ("of this check".to_owned(), adj),
        (None, Some(adj)) => {
            let text = format!("no agent is seen to run; one that runs as this check does would have {adj}");
            return Line { cure: Some(cure.to_owned()), ..Line::not_applicable("oom_score_adj", text) };
        }
        (None, None) => return Line::degraded("oom_score_adj", "not readable", "is --proc right?"),
    };
    if adj <= PROTECTED {
        Line::ok("oom_score_adj", format!("{adj}, {whose}: the kernel kills others first"))
    } else {
        Line::degraded("oom_score_adj", format!("{adj}, {whose}: the kernel may kill it"), cure)
    }
}

/// The limit of this process's own cgroup.
pub(super) fn limit(look: &Look<'_>) -> Vec<Line> {
    let cgroup = fs::read(look.proc().join("self/cgroup")).unwrap_or_default();
    let limits =
        limit_dirs(&cgroup, &look.options.node.cgroup).into_iter().filter_map(|dir| read_limit(&dir));
    vec![judge_limit(limits.min())]
}

/// The directories of the cgroup and all above it. In a cgroup namespace the path is of no use: there the container's
/// own mount is its own cgroup.
fn limit_dirs(cgroup: &[u8], root: &Path) -> Vec<PathBuf> {
    let Ok(Some((path, v2))) = memory_cgroup(cgroup) else { return Vec::new() };
    let root = if v2 { root.to_owned() } else { root.join("memory") };
    let hidden = path.components.first().is_none_or(|first| first == b"..");
    if hidden {
        return vec![PathBuf::from(if v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" })];
    }
    let mut dirs = vec![root];
    for component in &path.components {
        let above = dirs.last().cloned().unwrap_or_default();
        dirs.push(above.join(OsStr::from_bytes(component)));
    }
    dirs
}

fn read_limit(dir: &Path) -> Option<Bytes> {
    let limit = match fs::read(dir.join("memory.max")) {
        Ok(text) => limit_v2(&text).ok()?,
        Err(_) => limit_v1(&fs::read(dir.join("memory.limit_in_bytes")).ok()?, sys::page_size()).ok()?,
    };
    limit.bytes()
}

fn judge_limit(limit: Option<Bytes>) -> Line {
    match limit {
        None => Line::ok("own_limit", "no memory limit is seen above this process"),
        Some(limit) if limit < ROOM => Line::degraded(
            "own_limit",
            format!("{}: the start needs about 20 MiB for a moment, this check as much again", size(limit)),
            format!("a limit of at least {}", size(ROOM)),
        ),
        Some(limit) => Line::ok("own_limit", size(limit)),
    }
}

/// Whether memory can be locked: tried, and undone.
pub(super) fn memory_lock(_: &Look<'_>) -> Vec<Line> {
    let locked = sys::lock_memory();
    if locked.is_ok()
        && let Err(error) = munlockall()
    {
        tracing::debug!(%error, "memory stays locked to the end of this check");
    }
    vec![judge_lock(locked)]
}

fn judge_lock(locked: io::Result<()>) -> Line {
    match locked {
        Ok(()) => Line::ok("memory_lock", "memory can be locked: reads go on where there is none to be had"),
        Err(error) => Line::degraded(
            "memory_lock",
            format!("{error}: reports may be late where memory is exhausted"),
            "give CAP_IPC_LOCK",
        ),
    }
}

/// Whether a thread can be given real-time priority: tried on one that then ends.
pub(super) fn priority(_: &Look<'_>) -> Vec<Line> {
    let tried = thread::Builder::new()
        .spawn(|| sys::make_realtime(sys::Priority::Capture))
        .map(thread::JoinHandle::join);
    let given = match tried {
        Ok(Ok(given)) => given,
        Ok(Err(_)) => Err(io::Error::other("the thread ended early")),
        Err(error) => Err(error),
    };
    vec![judge_priority(given)]
}

fn judge_priority(given: io::Result<()>) -> Line {
    match given {
        Ok(()) => Line::ok("priority", "real-time: victims are read before they are gone"),
        Err(error) => Line::degraded(
            "priority",
            format!("{error}: no real-time priority, so a victim may be gone before its files are read"),
            "give CAP_SYS_NICE; on cgroup v1 also real-time runtime (cpu.rt_runtime_us)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn protection_is_what_the_kubelet_gives_the_critical_and_the_guaranteed() {
        for (agent, own, state) in [
            (Some(-997), None, State::Ok),
            (Some(-997), Some(0), State::Ok),
            (Some(0), Some(-997), State::Degraded),
            (Some(-500), None, State::Degraded),
            (None, Some(-999), State::Ok),
            (None, Some(0), State::NotApplicable),
            (None, None, State::Degraded),
        ] {
            assert_eq!(judge_adj(agent.map(|adj| (7, adj)), own).state, state, "{agent:?} {own:?}");
        }
    }

    #[test]
    fn an_agent_is_known_by_its_command() {
        let dir = tempfile::tempdir().unwrap();
        for (arguments, expected) in [
            (&b"/oomwatch\0run\0--output=json\0"[..], true),
            (b"/oomwatch\0check\0", false),
            (b"/oomwatch\0replay\0run\0", false),
            (b"", false),
        ] {
            fs::write(dir.path().join("cmdline"), arguments).unwrap();
            assert_eq!(runs(dir.path()), expected);
        }
    }

    #[test]
    fn the_smallest_limit_from_the_root_down_counts() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/memory.max"), "16777216\n").unwrap();
        fs::write(at("a/b/memory.max"), "max\n").unwrap();
        let dirs = limit_dirs(b"0::/a/b\n", root.path());
        assert_eq!(dirs, [root.path().to_owned(), at("a"), at("a/b")]);
        let limit = dirs.iter().filter_map(|dir| read_limit(dir)).min();
        assert_eq!(limit, Some(Bytes(16 << 20)));
        assert_eq!(judge_limit(limit).state, State::Degraded);
        assert_eq!(limit_dirs(b"4:memory:/a\n", root.path()), [at("memory"), at("memory/a")]);
        for namespace in [&b"0::/\n"[..], b"0::/../other\n"] {
            assert_eq!(limit_dirs(namespace, root.path()), [PathBuf::from("/sys/fs/cgroup")]);
        }
        assert_eq!(judge_limit(None).state, State::Ok);
        assert_eq!(judge_limit(Some(ROOM)).state, State::Ok);
    }

    #[test]
    fn what_cannot_be_had_is_degraded_never_failed() {
        let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!((judge_lock(Ok(())).state, judge_lock(refused()).state), (State::Ok, State::Degraded));
        assert_eq!(judge_priority(Ok(())).state, State::Ok);
        assert_eq!(judge_priority(refused()).state, State::Degraded);
    }
}
