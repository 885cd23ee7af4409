//! `oom-kill:constraint=…`, the line that sums an invocation up (`dump_oom_summary`, mm/oom_kill.c, since 5.0).
//!
//! Its names are of others' choosing and are not escaped. But what they may hold is bounded: no component of a
//! cgroup's path has a `/`, the cpuset's name is one component, a victim's cgroup is below the one at its limit, and a
//! task's name is of 15 bytes at most. Whatever a name contains, these leave one reading.

use super::text::{LONGEST_COMM, rsplit, split, splits};
use crate::{
    ids::{CgroupPath, Comm, Tid},
    incident::Constraint,
};

/// The line, as far as it was printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) constraint: Option<Constraint>,
    /// The cgroup at its limit, and the victim's. `None`: node-wide, or not printed.
    pub(super) oom_memcg: Option<CgroupPath>,
    pub(super) task_memcg: Option<CgroupPath>,
    /// The chosen process. `None`: the line's end is missing.
    pub(super) task: Option<SummaryTask>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SummaryTask {
    pub(super) tid: Tid,
    pub(super) uid: u32,
    pub(super) comm: Comm,
}

pub(super) const SUMMARY: &[u8] = b"oom-kill:constraint=";

/// Whether such a line has come to its end.
pub(super) fn is_whole(text: &[u8]) -> bool {
    task(text).is_some()
}

/// `…,pid=97,uid=0`, and what stands before.
fn task(text: &[u8]) -> Option<(&[u8], Tid, u32)> {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
    let (rest, uid) = rsplit(text, ",uid=")?;
    let (rest, tid) = rsplit(rest, ",pid=")?;
    Some((rest, Tid(number(tid)?), number(uid)?))
}

impl Summary {
    /// `names` are those that the same number has on other lines: of several readings the one that agrees is right.
    pub(super) fn parse(text: &[u8], names: impl Fn(Tid) -> Vec<Comm>) -> Option<Self> {
        let rest = text.strip_prefix(SUMMARY)?;
        let (constraint, rest) = split(rest, ",").unwrap_or((rest, &[]));
        let constraint = match constraint {
            b"CONSTRAINT_NONE" => Some(Constraint::None),
            b"CONSTRAINT_CPUSET" => Some(Constraint::Cpuset),
            b"CONSTRAINT_MEMORY_POLICY" => Some(Constraint::MemoryPolicy),
            b"CONSTRAINT_MEMCG" => Some(Constraint::Memcg),
            _ => None,
        };
        let (paths, task) = match task(rest) {
            Some((rest, tid, uid)) => {
                let (paths, comm) = split_comm(rest, &names(tid))?;
                (paths, Some(SummaryTask { tid, uid, comm }))
            }
            None => (rest, None),
        };
        // The cpuset's name has no `/`, so that what it holds is never taken for a path.
        let (oom_memcg, task_memcg) = match split(paths, ",oom_memcg=/") {
            Some((_, paths)) if constraint == Some(Constraint::Memcg) => owner_and_victim(paths),
            _ => (None, split(paths, ",global_oom,task_memcg=/").map(|(_, path)| CgroupPath::parse(path))),
        };
        Some(Self { constraint, oom_memcg, task_memcg, task })
    }
}

/// The victim's cgroup is the one at its limit, or below it.
fn owner_and_victim(paths: &[u8]) -> (Option<CgroupPath>, Option<CgroupPath>) {
    let both = splits(paths, ",task_memcg=/")
        .map(|(owner, victim)| (CgroupPath::parse(owner), CgroupPath::parse(victim)))
        .find(|(owner, victim)| victim.components.starts_with(&owner.components));
    if let Some((owner, victim)) = both {
        return (Some(owner), Some(victim));
    }
    // The line's end is missing, and with it the victim's path.
    let owner = split(paths, ",task_memcg=").map_or(paths, |(owner, _)| owner);
    (Some(CgroupPath::parse(owner)), None)
}

/// Paths, and the name behind the right `,task=`.
fn split_comm<'a>(text: &'a [u8], names: &[Comm]) -> Option<(&'a [u8], Comm)> {
    let fits =
        |(paths, name): (&'a [u8], &'a [u8])| (name.len() <= LONGEST_COMM).then(|| (paths, Comm::new(name)));
    let mut readings: Vec<_> = splits(text, ",task=").rev().map_while(fits).collect();
    let agrees = readings.iter().position(|(_, comm)| names.contains(comm));
    let at = agrees.or_else(|| (!readings.is_empty()).then_some(0))?;
    Some(readings.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use crate::{
        ids::{Comm, Tid},
        incident::Constraint,
    };

    const NONE: &str = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=";
    const MEMCG: &str = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=";

    fn parse(line: &str, name: Option<&str>) -> Summary {
        let names = |tid| {
            if tid == Tid(5) { name.iter().map(|name| Comm::new(name.as_bytes())).collect() } else { vec![] }
        };
        Summary::parse(line.as_bytes(), names).expect(line)
    }

    fn path(path: Option<&crate::ids::CgroupPath>) -> Option<String> {
        path.map(|path| String::from_utf8(path.to_bytes()).unwrap())
    }

    /// Line behind the cpuset's `=`, a name known of pid 5, then: limit owner, victim's cgroup, name.
    type Line<'a> = (&'a str, Option<&'a str>, [Option<&'a str>; 3]);

    const MEMCG_LINES: &[Line<'_>] = &[
        (
            "/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=hog,pid=5,uid=0",
            None,
            [Some("/a"), Some("/a/b"), Some("hog")],
        ),
        (
            "/,mems_allowed=0-1,3,oom_memcg=/,task_memcg=/b,task=hog,pid=5,uid=0",
            None,
            [Some("/"), Some("/b"), Some("hog")],
        ),
        // The cpuset's name holds what looks like the line's end.
        (
            "x,mems_allowed=0,oom_memcg=,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task=hog,pid=5,uid=0",
            None,
            [Some("/a"), Some("/a"), Some("hog")],
        ),
        // A cgroup that is named like a field.
        (
            "/,mems_allowed=0,oom_memcg=/a,task_memcg=/b,task_memcg=/a,task_memcg=/b/c,task=hog,pid=5,uid=0",
            None,
            [Some("/a,task_memcg=/b"), Some("/a,task_memcg=/b/c"), Some("hog")],
        ),
        (
            "/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/x,task=init,pid=1,uid=0,task=hog,pid=5,uid=0",
            None,
            [Some("/a"), Some("/a/x,task=init,pid=1,uid=0"), Some("hog")],
        ),
        // The task is named like a field: what else is known of its name decides.
        (
            "/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task=x,task=y,pid=5,uid=0",
            Some("x,task=y"),
            [Some("/a"), Some("/a"), Some("x,task=y")],
        ),
        (
            "/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task=x,task=y,pid=5,uid=0",
            Some("y"),
            [Some("/a"), None, Some("y")],
        ),
        // Cut before its end.
        ("/,mems_allowed=0,oom_memcg=/a,task_memcg=", None, [Some("/a"), None, None]),
        ("/,mems_allowed=0,oom_memcg=/a,task_m", None, [Some("/a,task_m"), None, None]),
    ];

    #[test]
    fn no_name_can_make_up_another_reading() {
        for (line, name, [owner, victim, comm]) in MEMCG_LINES {
            let summary = parse(&format!("{MEMCG}{line}"), *name);
            assert_eq!(summary.constraint, Some(Constraint::Memcg));
            assert_eq!(path(summary.oom_memcg.as_ref()).as_deref(), *owner, "{line}");
            assert_eq!(path(summary.task_memcg.as_ref()).as_deref(), *victim, "{line}");
            let named = summary.task.map(|task| task.comm);
            assert_eq!(named.as_ref().map(Comm::as_bytes), comm.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn a_node_wide_kill_has_no_limit_owner_whatever_names_say() {
        for line in [
            "/,mems_allowed=0,global_oom,task_memcg=/k/c,task=hog,pid=5,uid=7",
            "x,mems_allowed=0,global_oom,task_memcg=,mems_allowed=0,global_oom,task_memcg=/k/c,task=hog,pid=5,uid=7",
        ] {
            let summary = parse(&format!("{NONE}{line}"), None);
            assert_eq!(
                (summary.constraint, summary.oom_memcg.clone()),
                (Some(Constraint::None), None),
                "{line}"
            );
            assert_eq!(path(summary.task_memcg.as_ref()).as_deref(), Some("/k/c"), "{line}");
            assert_eq!(summary.task.map(|task| (task.tid, task.uid)), Some((Tid(5), 7)));
        }
        let below = "/,mems_allowed=0,global_oom,task_memcg=/k,oom_memcg=/x,task=hog,pid=5,uid=7";
        let summary = parse(&format!("{NONE}{below}"), None);
        assert_eq!(path(summary.task_memcg.as_ref()).as_deref(), Some("/k,oom_memcg=/x"));
        assert_eq!(summary.oom_memcg, None);
    }
}
