//! The lines of the header (`dump_header`, mm/oom_kill.c) but for its tables: who asked, whose limit, how full.

use super::text::{LONGEST_COMM, after_key, leading, rsplit, split, splits};
use crate::{
    ids::{CgroupPath, Comm, Tid},
    proc_text::words,
    units::{Bytes, Kib, Limit},
};

const INVOKED: &str = " invoked oom-killer: gfp_mask=0x";

/// All names together are shorter.
const LONGEST_FLAGS: usize = 512;

/// `hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invoked {
    pub(super) comm: Comm,
    pub(super) gfp_mask: Option<u32>,
    /// `GFP_KERNEL|__GFP_ZERO` (since 4.6)
    pub(super) gfp_flags: Option<String>,
    pub(super) order: Option<i32>,
    pub(super) oom_score_adj: Option<i16>,
    /// The memory nodes of a policy (4.7 to 4.18; later in the summary).
    pub(super) has_nodemask: bool,
}

impl Invoked {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        // Every line is looked at: only where it can stand.
        let head = text.get(..LONGEST_COMM + INVOKED.len()).unwrap_or(text);
        let (name, _) = rsplit(head, INVOKED)?;
        let rest = text.get(name.len() + INVOKED.len()..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let gfp_mask = u32::from_str_radix(std::str::from_utf8(rest.get(..digits)?).ok()?, 16).ok();
        let nodemask = split(rest, "nodemask=").map(|(_, mask)| mask);
        Some(Self {
            comm: Comm::new(name),
            gfp_mask,
            gfp_flags: gfp_flags(rest.get(digits..)?),
            order: after_key(rest, "order="),
            oom_score_adj: after_key(rest, "oom_score_adj="),
            has_nodemask: nodemask.is_some_and(|mask| mask.first().is_some_and(u8::is_ascii_digit)),
        })
    }
}

/// `(GFP_KERNEL|__GFP_ZERO), …`. A bit without a name is a number.
fn gfp_flags(text: &[u8]) -> Option<String> {
    let (flags, _) = split(text.strip_prefix(b"(")?, ")")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'|');
    let flags = std::str::from_utf8(flags).ok().filter(|flags| flags.bytes().all(|byte| is_plain(&byte)))?;
    (!flags.is_empty() && flags.len() <= LONGEST_FLAGS).then(|| flags.to_owned())
}

/// `CPU: 0 UID: 0 PID: 97 Comm: hog Not tainted 6.12.1 #1 …`: the trigger's thread, and the kernel's release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StackHead {
    pub(super) tid: Tid,
    pub(super) release: Option<String>,
}

impl StackHead {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (number, rest) = if text.starts_with(b"CPU: ") {
            let (_, rest) = split(text, " PID: ")?;
            let (tid, rest) = leading(rest)?;
            (tid, rest.strip_prefix(b" Comm: ")?)
        } else {
            // Until 3.9.
            let (tid, rest) = leading(text.strip_prefix(b"Pid: ")?)?;
            (tid, rest.strip_prefix(b", comm: ")?)
        };
        // `… RELEASE #1 VERSION`: behind the name, which may hold anything.
        let release = rsplit(rest, " #").and_then(|(before, _)| words(before).last());
        let release = release.and_then(|word| std::str::from_utf8(word).ok()).map(str::to_owned);
        Some(Self { tid: Tid(number), release })
    }

    /// Whether this kernel prints exact sums (`get_mm_counter_sum` in mm/oom_kill.c, since 7.0), and not what the
    /// counters hold without the part that each CPU keeps for itself. A log has nothing else to tell it by.
    pub(super) fn prints_exact_rss(&self) -> bool {
        self.release.as_deref().is_some_and(prints_exact_rss)
    }
}

/// Whether a kernel of this release, as `uname -r` has it, prints exact sums of resident memory.
pub fn prints_exact_rss(release: &str) -> bool {
    release.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 7)
}

/// `Task in /a/b killed as a result of limit of /a`: until 4.18, the victim's cgroup and the one at its limit.
pub(super) fn task_in(text: &[u8]) -> Option<(CgroupPath, CgroupPath)> {
    let rest = text.strip_prefix(b"Task in /")?;
    let read = |(victim, owner)| (CgroupPath::parse(victim), CgroupPath::parse(owner));
    let mut readings = splits(rest, TASK_IN_MIDDLE).map(read);
    readings.find(|(victim, owner)| victim.components.starts_with(&owner.components))
}

pub(super) const TASK_IN_MIDDLE: &str = " killed as a result of limit of /";

/// `Tasks in /a are going to be killed due to memory.oom.group set`
pub(super) fn is_group(text: &[u8]) -> bool {
    text.starts_with(b"Tasks in /") && text.ends_with(b" are going to be killed due to memory.oom.group set")
}

/// `Memory cgroup out of memory` that ends in no kill, and the same of the node.
pub(super) fn kills_nothing(text: &[u8]) -> bool {
    text.starts_with(b"Out of memory and no killable processes")
        || text.starts_with(b"Memory cgroup out of memory and no killable processes")
        || text.starts_with(b"OOM request ignored")
}

/// What a line of a cgroup's counters counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Memory,
    /// v2.
    Swap,
    /// v1; until 5.2 printed for v2 too, where it is 0.
    MemoryAndSwap,
    Kernel,
}

/// `memory: usage 32768kB, limit 32768kB, failcnt 21`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) usage: Bytes,
    pub(super) limit: Limit,
    pub(super) failcnt: Option<u64>,
}

/// At and above this many KiB a limit is none. `PAGE_COUNTER_MAX` is `LONG_MAX` rounded down to a page, of 64 KiB at
/// most; before 3.19 it was `LLONG_MAX`.
const UNLIMITED: u64 = ((i64::MAX.unsigned_abs()) >> 10) - 64;

impl Counter {
    pub(super) fn parse(text: &[u8]) -> Option<(Counted, Self)> {
        if ![&b"memory"[..], b"swap: ", b"kmem: "].iter().any(|name| text.starts_with(name)) {
            return None;
        }
        let (name, rest) = split(text, ": usage ")?;
        let counted = match name {
            b"memory" => Counted::Memory,
            b"swap" => Counted::Swap,
            b"memory+swap" => Counted::MemoryAndSwap,
            b"kmem" => Counted::Kernel,
            _ => return None,
        };
        let (usage, rest) = leading(rest)?;
        let (limit, rest) = leading(rest.strip_prefix(b"kB, limit ")?)?;
        let limit = if limit >= UNLIMITED { Limit::Unlimited } else { Limit::Bytes(Kib(limit).into()) };
        Some((counted, Self { usage: Kib(usage).into(), limit, failcnt: after_key(rest, "failcnt ") }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Counter, Invoked, StackHead, task_in};
    use crate::{
        ids::Tid,
        units::{Bytes, Limit},
    };

    /// Line, name, flags, order, `oom_score_adj`, a mask of nodes.
    type Row<'a> = (&'a str, &'a str, u32, i32, Option<i16>, bool);

    const LINES: &[Row<'_>] = &[
        (
            "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-998",
            "hog",
            0xcc0,
            0,
            Some(-998),
            false,
        ),
        (
            "kworker/0:1 invoked oom-killer: gfp_mask=0x14000c0(GFP_KERNEL), nodemask=(null), order=-1, \
             oom_score_adj=0",
            "kworker/0:1",
            0x0140_00c0,
            -1,
            Some(0),
            false,
        ),
        (
            "a invoked oom-killer: gfp_mask=0xd0(GFP_KERNEL), nodemask=0-1,3,  order=2, oom_score_adj=5",
            "a",
            0xd0,
            2,
            Some(5),
            true,
        ),
        (
            "mysqld invoked oom-killer: gfp_mask=0x201da, order=0, oom_adj=0, oom_score_adj=0",
            "mysqld",
            0x0002_01da,
            0,
            Some(0),
            false,
        ),
        (
            "x invoked oom- invoked oom-killer: gfp_mask=0x201d2, order=0, oomkilladj=0",
            "x invoked oom-",
            0x0002_01d2,
            0,
            None,
            false,
        ),
    ];

    #[test]
    fn flags_have_names_where_the_kernel_prints_them() {
        for (flags, expected) in [
            ("0xcc0(GFP_KERNEL), order=0", Some("GFP_KERNEL")),
            (
                "0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), order=0",
                Some("GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"),
            ),
            ("0x8000cc0(GFP_KERNEL|0x8000000), order=0", Some("GFP_KERNEL|0x8000000")),
            ("0x201da, order=0", None),
            ("0x0(), order=0", None),
            ("0x1(a b), order=0", None),
        ] {
            let line = format!("a invoked oom-killer: gfp_mask={flags}");
            assert_eq!(Invoked::parse(line.as_bytes()).unwrap().gfp_flags.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn every_form_of_the_first_line_is_read() {
        for (line, comm, gfp, order, adj, nodemask) in LINES {
            let invoked = Invoked::parse(line.as_bytes()).expect(line);
            assert_eq!(invoked.comm.as_bytes(), comm.as_bytes());
            assert_eq!((invoked.gfp_mask, invoked.order), (Some(*gfp), Some(*order)), "{line}");
            assert_eq!((invoked.oom_score_adj, invoked.has_nodemask), (*adj, *nodemask), "{line}");
        }
        assert_eq!(Invoked::parse(b"a name longer than 15 invoked oom-killer: gfp_mask=0x0, order=0"), None);
    }

    #[test]
    fn the_stack_dump_names_thread_and_release() {
        for (line, tid, release, exact) in [
            (
                "CPU: 0 PID: 97 Comm: hog Not tainted 5.10.0-46-cloud-amd64 #1 Debian 5.10",
                97,
                "5.10.0-46-cloud-amd64",
                false,
            ),
            (
                "CPU: 1 UID: 0 PID: 115 Comm: hog Not tainted 7.2.13+deb14 #1 PREEMPT(lazy)",
                115,
                "7.2.13+deb14",
                true,
            ),
            (
                "CPU: 3 PID: 9 Comm: x 8.0 #1 Tainted: G  W  6.8.0-31-generic #31-Ubuntu",
                9,
                "6.8.0-31-generic",
                false,
            ),
            (
                "Pid: 1721, comm: mysqld Not tainted 2.6.32-754.el6.x86_64 #1",
                1721,
                "2.6.32-754.el6.x86_64",
                false,
            ),
        ] {
            let head = StackHead::parse(line.as_bytes()).expect(line);
            assert_eq!((head.tid, head.release.as_deref()), (Tid(tid), Some(release)));
            assert_eq!(head.prints_exact_rss(), exact, "{line}");
        }
    }

    #[test]
    fn a_limit_that_is_none_is_no_number() {
        for (kib, limit) in [
            (9_007_199_254_740_988_u64, Limit::Unlimited),
            (9_007_199_254_740_991, Limit::Unlimited),
            (9_007_199_254_740_928, Limit::Unlimited),
            (32768, Limit::Bytes(Bytes(32768 * 1024))),
        ] {
            let line = format!("memory+swap: usage 5kB, limit {kib}kB, failcnt 7");
            let (counted, counter) = Counter::parse(line.as_bytes()).unwrap();
            assert_eq!((counted, counter.usage, counter.limit), (Counted::MemoryAndSwap, Bytes(5120), limit));
            assert_eq!(counter.failcnt, Some(7));
        }
        assert_eq!(Counter::parse(b"other: usage 5kB, limit 5kB, failcnt 7"), None);
    }

    #[test]
    fn a_cgroup_named_like_the_old_line_does_not_move_the_limit() {
        let read = |line: &str| {
            let (victim, owner) = task_in(line.as_bytes()).expect(line);
            [victim, owner].map(|path| String::from_utf8(path.to_bytes()).unwrap())
        };
        assert_eq!(read("Task in /a/b killed as a result of limit of /a"), ["/a/b", "/a"]);
        assert_eq!(read("Task in / killed as a result of limit of /"), ["/", "/"]);
        let hostile = "Task in /a killed as a result of limit of /b killed as a result of limit of \
                       /a killed as a result of limit of /b";
        assert_eq!(
            read(hostile),
            ["/a killed as a result of limit of /b", "/a killed as a result of limit of /b"]
        );
    }
}
