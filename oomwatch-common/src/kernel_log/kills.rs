//! The lines that say who is killed, in every form from Linux 2.6.18 to 7.3 (`__oom_kill_process` and
//! `oom_kill_process`, mm/oom_kill.c).

use super::text::{LONGEST_COMM, after_key, leading, rsplit, split};
use crate::{
    ids::{Comm, Tid},
    units::{Bytes, Kib},
};

/// `Out of memory: Kill process 150 (hog) score 983 or sacrifice child`: until 5.2 the process that was chosen. It, or
/// a child of it, is killed next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) message: String,
    pub(super) tid: Tid,
    pub(super) comm: Comm,
}

/// `Killed process 97 (hog) total-vm:33844kB, …`: it has been sent SIGKILL. Never left out for its rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Killed {
    /// What stands before it since 5.3.
    pub(super) message: Option<String>,
    pub(super) tid: Tid,
    pub(super) comm: Comm,
    pub(super) uid: Option<u32>,
    pub(super) oom_score_adj: Option<i16>,
    pub(super) total_vm: Option<Bytes>,
    pub(super) rss_anon: Option<Bytes>,
    pub(super) rss_file: Option<Bytes>,
    pub(super) rss_shmem: Option<Bytes>,
    pub(super) pgtables: Option<Bytes>,
}

/// What the kernel's own part of the line begins with, behind the name. A name may hold the same; the kernel's is the
/// last.
const BEHIND_NAME: &[&str] = &[") total-vm:", "), UID ", ") vsz:"];

/// What a broken line may go on with.
const FIGURES: &[&str] =
    &["total-vm:", "anon-rss:", "file-rss:", "shmem-rss:", "UID:", "pgtables:", "oom_score_adj:"];

impl Killed {
    /// Of whom nothing else is known.
    pub(super) fn of(tid: Tid, comm: Comm) -> Self {
        Self {
            message: None,
            tid,
            comm,
            uid: None,
            oom_score_adj: None,
            total_vm: None,
            rss_anon: None,
            rss_file: None,
            rss_shmem: None,
            pgtables: None,
        }
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (message, rest) = if let Some(rest) = text.strip_prefix(b"Killed process ") {
            (None, rest)
        } else {
            begins_with_message(text)?;
            let (message, rest) = split(text, ": Killed process ")?;
            (Some(oom_message(message)?), rest)
        };
        let (tid, rest) = leading(rest)?;
        // RHEL 6: `Killed process 11726, UID 498, (mysqld) total-vm:…`
        let (early_uid, rest) = match rest.strip_prefix(b", UID ").and_then(leading::<u32>) {
            Some((uid, rest)) => (Some(uid), rest.strip_prefix(b",")?),
            None => (None, rest),
        };
        let named = rest.strip_prefix(b" (")?;
        let last =
            BEHIND_NAME.iter().filter_map(|anchor| rsplit(named, anchor)).max_by_key(|(name, _)| name.len());
        let (name, _) = last.or_else(|| Some((named.strip_suffix(b")")?, &[][..])))?;
        let figures = named.get(name.len()..)?;
        let mut killed = Self { message, uid: early_uid, ..Self::of(Tid(tid), comm(name)?) };
        killed.read(figures);
        Some(killed)
    }

    /// Takes figures that stand on a line of their own, as where somebody broke the line. `false`: it has none, or all
    /// are known.
    pub(super) fn read_on(&mut self, text: &[u8]) -> bool {
        let is_one = FIGURES.iter().any(|figure| text.starts_with(figure.as_bytes()));
        let before = self.clone();
        if is_one {
            self.read(&[b", ", text].concat());
        }
        *self != before
    }

    /// Reads what is not known yet.
    fn read(&mut self, figures: &[u8]) {
        let kib = |key: &str| after_key(figures, key).map(|kib| Bytes::from(Kib(kib)));
        let uid = || after_key(figures, " UID:").or_else(|| after_key(figures, "), UID "));
        let total_vm = || kib(") total-vm:").or_else(|| kib(", total-vm:")).or_else(|| kib(") vsz:"));
        self.uid = self.uid.or_else(uid);
        self.oom_score_adj = self.oom_score_adj.or_else(|| after_key(figures, " oom_score_adj:"));
        self.total_vm = self.total_vm.or_else(total_vm);
        self.rss_anon = self.rss_anon.or_else(|| kib(", anon-rss:"));
        self.rss_file = self.rss_file.or_else(|| kib(", file-rss:"));
        self.rss_shmem = self.rss_shmem.or_else(|| kib(", shmem-rss:"));
        self.pgtables = self.pgtables.or_else(|| kib(" pgtables:"));
    }
}

impl Chosen {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        begins_with_message(text)?;
        // Before 2.6.36: `kill process … or a child`.
        let (message, rest) = split(text, ": Kill process ").or_else(|| split(text, ": kill process "))?;
        let (tid, rest) = leading(rest)?;
        let (name, _) = rsplit(rest.strip_prefix(b" (")?, ") score ")?;
        Some(Self { message: oom_message(message)?, tid: Tid(tid), comm: comm(name)? })
    }
}

/// `Kill process 12 (hog) sharing same memory`: until 4.7 also those were named that die with a victim.
pub(super) fn sharer(text: &[u8]) -> Option<(Tid, Comm)> {
    let (tid, rest) = leading(text.strip_prefix(b"Kill process ")?)?;
    let name = rest.strip_prefix(b" (")?.strip_suffix(b") sharing same memory")?;
    Some((Tid(tid), comm(name)?))
}

/// `…: OOM victim 12 (hog) is already exiting. Skip killing the task`: nothing is killed.
pub(super) fn is_already_exiting(text: &[u8]) -> bool {
    text.ends_with(b" is already exiting. Skip killing the task")
        && split(text, ": OOM victim ").is_some_and(|(message, _)| oom_message(message).is_some())
}

/// Whether [`oom_message`] may stand here; every line is asked.
fn begins_with_message(text: &[u8]) -> Option<()> {
    (text.starts_with(b"Out of memory") || text.starts_with(b"Memory cgroup out of memory")).then_some(())
}

/// A message that `oom_kill_process` is called with; a name cannot stand here.
fn oom_message(text: &[u8]) -> Option<String> {
    let is_one = matches!(text, b"Out of memory" | b"Memory cgroup out of memory")
        || (text.starts_with(b"Out of memory (") && text.ends_with(b")") && text.len() <= 64);
    is_one.then(|| String::from_utf8(text.to_vec()).ok()).flatten()
}

fn comm(name: &[u8]) -> Option<Comm> {
    (name.len() <= LONGEST_COMM).then(|| Comm::new(name))
}

#[cfg(test)]
mod tests {
    use super::{Chosen, Killed, is_already_exiting, sharer};
    use crate::{ids::Tid, units::Bytes};

    /// Line, pid, name, uid, sizes in KiB (total_vm, anon, file, shmem, page tables), `oom_score_adj`.
    type Row<'a> = (&'a str, u32, &'a str, Option<u32>, [Option<u64>; 5], Option<i16>);

    const KILLED: &[Row<'_>] = &[
        (
            "Memory cgroup out of memory: Killed process 97 (hog) total-vm:33844kB, anon-rss:32412kB, file-rss:4kB, \
             shmem-rss:700kB, UID:1000 pgtables:100kB oom_score_adj:-998",
            97,
            "hog",
            Some(1000),
            [Some(33844), Some(32412), Some(4), Some(700), Some(100)],
            Some(-998),
        ),
        (
            "Out of memory (oom_kill_allocating_task): Killed process 5 (a b) total-vm:1kB, anon-rss:2kB, \
             file-rss:3kB, \
             shmem-rss:4kB",
            5,
            "a b",
            None,
            [Some(1), Some(2), Some(3), Some(4), None],
            None,
        ),
        (
            "Killed process 150 (hog) total-vm:33840kB, anon-rss:32408kB, file-rss:4kB, shmem-rss:700kB",
            150,
            "hog",
            None,
            [Some(33840), Some(32408), Some(4), Some(700), None],
            None,
        ),
        (
            "Killed process 3161 (mysqld), UID 27, total-vm:493444kB, anon-rss:1kB, file-rss:2kB, shmem-rss:0kB",
            3161,
            "mysqld",
            Some(27),
            [Some(493_444), Some(1), Some(2), Some(0), None],
            None,
        ),
        (
            "Killed process 11726, UID 498, (mysqld) total-vm:5kB, anon-rss:6kB, file-rss:7kB",
            11726,
            "mysqld",
            Some(498),
            [Some(5), Some(6), Some(7), None, None],
            None,
        ),
        (
            "Killed process 9 (x) vsz:5kB, anon-rss:6kB, file-rss:7kB",
            9,
            "x",
            None,
            [Some(5), Some(6), Some(7), None, None],
            None,
        ),
        ("Killed process 9 (x)", 9, "x", None, [None; 5], None),
        (
            "Out of memory: Killed process 9 () total-vm:9kB,) total-vm:5kB, anon-rss:6kB, \
             file-rss:7kB, shmem-rss:8kB, \
             UID:1 pgtables:2kB oom_score_adj:0",
            9,
            ") total-vm:9kB,",
            Some(1),
            [Some(5), Some(6), Some(7), Some(8), Some(2)],
            Some(0),
        ),
    ];

    #[test]
    fn every_form_of_a_kill_is_read() {
        for (line, tid, comm, uid, sizes, adj) in KILLED {
            let killed = Killed::parse(line.as_bytes()).expect(line);
            assert_eq!((killed.tid, killed.comm.as_bytes()), (Tid(*tid), comm.as_bytes()), "{line}");
            assert_eq!((killed.uid, killed.oom_score_adj), (*uid, *adj), "{line}");
            let read = [killed.total_vm, killed.rss_anon, killed.rss_file, killed.rss_shmem, killed.pgtables];
            assert_eq!(read, sizes.map(|size| size.map(|size| Bytes(size * 1024))), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_kill_is_none() {
        for line in [
            "",
            "Killed process ",
            "Killed process x (y) total-vm:1kB",
            "Killed process 1 (a name of more than fifteen) total-vm:1kB",
            "oom: Killed process 1 (y) total-vm:1kB",
            "systemd: Out of memory: Killed process 1 (y) total-vm:1kB",
            "x invoked: Killed process 1 (y)",
            "Killed process 99999999999 (y) total-vm:1kB",
        ] {
            assert_eq!(Killed::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_process_chosen_is_told_from_those_killed() {
        for line in [
            "Out of memory: Kill process 12 (hog) score 883 or sacrifice child",
            "Memory cgroup out of memory: Kill process 12 (a) score 9) score 1013 or sacrifice child",
            "Out of memory: kill process 12 (hog) score 883 or a child",
        ] {
            assert_eq!(Chosen::parse(line.as_bytes()).unwrap().tid, Tid(12), "{line}");
            assert_eq!(Killed::parse(line.as_bytes()), None);
        }
        assert_eq!(sharer(b"Kill process 13 (hog) sharing same memory").unwrap().0, Tid(13));
        assert!(sharer(b"Out of memory: Kill process 13 (hog) score 1 or sacrifice child").is_none());
        assert!(is_already_exiting(
            b"Out of memory: OOM victim 5 (x) is already exiting. Skip killing the task"
        ));
        assert!(!is_already_exiting(b"Out of memory: Killed process 5 (x)"));
    }
}
