//! What was read of `/proc` and the cgroups, raw → typed, by whose it is; and what was not read, and why.
//!
//! It takes [`Capture`] as it is and reads nothing itself. A source that is malformed is worth no more than one that
//! is gone: none of it is used.

use crate::{
    capture::{CGROUP_V1_FILES, Capture, Outcome, SourceRead, Subject},
    escape::{escape, escape_bounded},
    ids::{CgroupId, CgroupPath, Tgid},
    memcg_text::{self, MemcgEvents, MemcgStat},
    proc_text::{
        self, Load, Malformed, Meminfo, Pressure, Status, Vmstat, single_number, single_signed, start_ticks,
    },
    units::{Bytes, Limit, PageSize},
};

/// Bytes kept of one argument of a command line, and how many arguments.
const ARGUMENT_BYTES: usize = 1024;
const ARGUMENTS: usize = 64;

/// Everything that was read for one incident, typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    processes: Vec<(Tgid, ProcessFiles)>,
    cgroups: Vec<(CgroupId, CgroupFiles)>,
    /// The node's files.
    pub node: NodeFiles,
    /// What was tried and not read, in the order of the reads.
    pub missing: Vec<Missing>,
}

/// A source that was tried and of which there is nothing, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whose file.
    pub subject: Subject,
    /// Its name, as in [`SourceRead`].
    pub file: &'static str,
    /// How it went. [`Outcome::Read`] here means that it was cut.
    pub outcome: Outcome,
}

/// `/proc/PID/…` of one process. `None`: not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFiles {
    /// `status`
    pub status: Option<Status>,
    /// Arguments, escaped. Empty for a zombie.
    pub cmdline: Option<Vec<String>>,
    /// Target of the link, escaped.
    pub exe: Option<String>,
    /// What the kernel thinks of killing it: 0 to 2000.
    pub oom_score: Option<u64>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// Memory cgroup as the agent's cgroup namespace shows it, and whether it is v2.
    pub cgroup: Option<(CgroupPath, bool)>,
    /// Start in clock ticks since boot.
    pub start_ticks: Option<u64>,
}

/// A memory cgroup's files. `None`: not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupFiles {
    /// The files are those of cgroup v1: `swap_…` below is memory+swap.
    pub v1: bool,
    /// `memory.current`
    pub usage: Option<Bytes>,
    /// `memory.max`
    pub limit: Option<Limit>,
    /// `memory.high`; not on v1.
    pub high: Option<Limit>,
    /// `memory.peak`
    pub peak: Option<Bytes>,
    /// `memory.swap.current`
    pub swap_usage: Option<Bytes>,
    /// `memory.swap.max`
    pub swap_limit: Option<Limit>,
    /// `memory.stat`
    pub stat: Option<MemcgStat>,
    /// `memory.events`; on v1 `memory.oom_control` and `memory.failcnt`.
    pub events: Option<MemcgEvents>,
    /// `memory.pressure`; not on v1.
    pub pressure: Option<Pressure>,
    /// `memory.oom.group`; not on v1.
    pub oom_group: Option<bool>,
}

/// The node's files. `None`: not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFiles {
    /// `/proc/meminfo`
    pub meminfo: Option<Meminfo>,
    /// `/proc/loadavg`
    pub load: Option<Load>,
    /// `/proc/pressure/memory`
    pub pressure: Option<Pressure>,
    /// `/proc/vmstat`
    pub vmstat: Option<Vmstat>,
}

impl Snapshot {
    /// Types all that was read.
    pub fn new(capture: &Capture, page_size: PageSize) -> Self {
        let mut snapshot = Self::default();
        for source in &capture.sources {
            let outcome = snapshot.take(source, capture, page_size);
            if outcome != Outcome::Read || source.truncated {
                snapshot.missing.push(Missing { subject: source.subject, file: source.file, outcome });
            }
        }
        snapshot
    }

    /// What was read of a process.
    pub fn process(&self, tgid: Tgid) -> Option<&ProcessFiles> {
        self.processes.iter().find(|(known, _)| *known == tgid).map(|(_, files)| files)
    }

    /// What was read of a cgroup.
    pub fn cgroup(&self, id: CgroupId) -> Option<&CgroupFiles> {
        self.cgroups.iter().find(|(known, _)| *known == id).map(|(_, files)| files)
    }

    fn take(&mut self, source: &SourceRead, capture: &Capture, page_size: PageSize) -> Outcome {
        if source.outcome != Outcome::Read {
            return source.outcome;
        }
        let end = source.start.checked_add(source.len);
        let Some(text) = end.and_then(|end| capture.bytes.get(source.start..end)) else {
            return Outcome::Malformed;
        };
        let taken = match source.subject {
            Subject::Process(tgid) => {
                update(&mut self.processes, tgid, |files| files.take(source.file, text))
            }
            Subject::Cgroup(id) => {
                update(&mut self.cgroups, id, |files| files.take(source.file, text, page_size))
            }
            Subject::Node => self.node.take(source.file, text),
        };
        if taken.is_ok() { Outcome::Read } else { Outcome::Malformed }
    }
}

/// The files of `key`, begun where there are none yet.
fn update<K: PartialEq, V: Default>(
    entries: &mut Vec<(K, V)>,
    key: K,
    take: impl FnOnce(&mut V) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if let Some((_, files)) = entries.iter_mut().find(|(known, _)| *known == key) {
        return take(files);
    }
    let mut files = V::default();
    let taken = take(&mut files);
    entries.push((key, files));
    taken
}

impl ProcessFiles {
    fn take(&mut self, file: &str, text: &[u8]) -> Result<(), Malformed> {
        match file {
            "status" => self.status = Some(proc_text::status(text)?),
            "stat" => self.start_ticks = Some(start_ticks(text)?),
            "cmdline" => self.cmdline = Some(arguments(text)),
            "exe" if text.is_empty() => return Err(Malformed),
            "exe" => self.exe = Some(escape(text)),
            "oom_score" => self.oom_score = Some(single_number(text)?),
            "oom_score_adj" => self.oom_score_adj = Some(single_signed(text)?),
            "cgroup" => self.cgroup = proc_text::memory_cgroup(text)?,
            _ => {}
        }
        Ok(())
    }
}

fn arguments(text: &[u8]) -> Vec<String> {
    let arguments = proc_text::cmdline(text);
    let mut escaped: Vec<_> =
        arguments.iter().take(ARGUMENTS).map(|argument| escape_bounded(argument, ARGUMENT_BYTES)).collect();
    if arguments.len() > ARGUMENTS {
        escaped.push(format!("\\…(+{} arguments)", arguments.len() - ARGUMENTS));
    }
    escaped
}

impl CgroupFiles {
    fn take(&mut self, file: &str, text: &[u8], page_size: PageSize) -> Result<(), Malformed> {
        self.v1 |= CGROUP_V1_FILES.contains(&file) && file != "memory.stat";
        let size = || single_number(text).map(Bytes);
        match file {
            "memory.current" | "memory.usage_in_bytes" => self.usage = Some(size()?),
            "memory.max" => self.limit = Some(memcg_text::limit_v2(text)?),
            "memory.limit_in_bytes" => self.limit = Some(memcg_text::limit_v1(text, page_size)?),
            "memory.high" => self.high = Some(memcg_text::limit_v2(text)?),
            "memory.peak" | "memory.max_usage_in_bytes" => self.peak = Some(size()?),
            "memory.swap.current" | "memory.memsw.usage_in_bytes" => self.swap_usage = Some(size()?),
            "memory.swap.max" => self.swap_limit = Some(memcg_text::limit_v2(text)?),
            "memory.memsw.limit_in_bytes" => self.swap_limit = Some(memcg_text::limit_v1(text, page_size)?),
            "memory.stat" => {
                // Only v2's begins with `anon`; v1's has a `total_rss`.
                self.stat = Some(memcg_text::stat_v2(text).or_else(|_| memcg_text::stat_v1(text))?);
            }
            "memory.events" | "memory.oom_control" => self.add_events(memcg_text::events(text)?),
            "memory.failcnt" => {
                self.add_events(MemcgEvents([("failcnt".to_owned(), single_number(text)?)].into()));
            }
            "memory.pressure" => self.pressure = Some(proc_text::pressure(text)?),
            "memory.oom.group" => self.oom_group = Some(single_number(text)? == 1),
            _ => {}
        }
        Ok(())
    }

    fn add_events(&mut self, events: MemcgEvents) {
        self.events.get_or_insert_default().0.extend(events.0);
    }
}

impl NodeFiles {
    fn take(&mut self, file: &str, text: &[u8]) -> Result<(), Malformed> {
        match file {
            "meminfo" => self.meminfo = Some(proc_text::meminfo(text)?),
            "loadavg" => self.load = Some(proc_text::loadavg(text)?),
            "pressure/memory" => self.pressure = Some(proc_text::pressure(text)?),
            "vmstat" => self.vmstat = Some(proc_text::vmstat(text)?),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Missing, Snapshot};
    use crate::{
        capture::{Capture, Outcome, SourceRead, Subject},
        ids::{CgroupId, CgroupPath, Tgid},
        units::{Bytes, Limit, PageSize},
    };

    const PROCESS: Subject = Subject::Process(Tgid(7));
    const CGROUP: Subject = Subject::Cgroup(CgroupId(9));

    type File<'a> = (Subject, &'static str, Result<&'a [u8], Outcome>);

    fn captured(files: &[File<'_>]) -> Capture {
        let mut capture = Capture::default();
        for &(subject, file, contents) in files {
            let (bytes, outcome) =
                contents.map_or_else(|outcome| (&[][..], outcome), |bytes| (bytes, Outcome::Read));
            let (start, len) = (capture.bytes.len(), bytes.len());
            capture.bytes.extend_from_slice(bytes);
            capture.sources.push(SourceRead { subject, file, outcome, start, len, truncated: false });
        }
        capture
    }

    #[test]
    fn each_file_lands_with_its_owner() {
        let snapshot = Snapshot::new(
            &captured(&[
                (PROCESS, "status", Ok(b"Name:\thog\nTgid:\t7\n")),
                (PROCESS, "cmdline", Ok(b"/hog\0\x1b[2J\0")),
                (PROCESS, "exe", Ok(b"/bin/hog")),
                (PROCESS, "oom_score_adj", Ok(b"-998\n")),
                (PROCESS, "cgroup", Ok(b"0::/a\n")),
                (CGROUP, "memory.max", Ok(b"max\n")),
                (CGROUP, "memory.current", Ok(b"4096\n")),
                (CGROUP, "memory.stat", Ok(b"anon 1\nfile 2\n")),
                (CGROUP, "memory.oom.group", Ok(b"1\n")),
                (Subject::Node, "meminfo", Ok(b"MemTotal: 4 kB\n")),
            ]),
            PageSize::default(),
        );
        let process = snapshot.process(Tgid(7)).unwrap();
        assert_eq!(process.cmdline.as_deref().unwrap(), ["/hog", r"\x1b[2J"]);
        assert_eq!((process.exe.as_deref(), process.oom_score_adj), (Some("/bin/hog"), Some(-998)));
        assert_eq!(process.cgroup, Some((CgroupPath::parse(b"/a"), true)));
        let cgroup = snapshot.cgroup(CgroupId(9)).unwrap();
        assert_eq!(
            (cgroup.limit, cgroup.usage, cgroup.v1),
            (Some(Limit::Unlimited), Some(Bytes(4096)), false)
        );
        assert_eq!(cgroup.oom_group, Some(true));
        assert_eq!(snapshot.node.meminfo.unwrap().mem_total_bytes, Some(Bytes(4096)));
        assert_eq!((snapshot.missing.as_slice(), snapshot.process(Tgid(8))), ([].as_slice(), None));
    }

    #[test]
    fn files_of_v1_are_told_by_their_names() {
        let snapshot = Snapshot::new(
            &captured(&[
                (CGROUP, "memory.limit_in_bytes", Ok(b"9223372036854771712\n")),
                (CGROUP, "memory.stat", Ok(b"rss 1\ntotal_rss 2\n")),
                (CGROUP, "memory.oom_control", Ok(b"under_oom 1\n")),
                (CGROUP, "memory.failcnt", Ok(b"23\n")),
            ]),
            PageSize::default(),
        );
        let cgroup = snapshot.cgroup(CgroupId(9)).unwrap();
        assert_eq!((cgroup.limit, cgroup.v1), (Some(Limit::Unlimited), true));
        assert_eq!(cgroup.stat.as_ref().unwrap().size("anon"), Some(Bytes(2)));
        assert_eq!(cgroup.events.as_ref().unwrap().0.get("failcnt"), Some(&23));
        assert_eq!(cgroup.events.as_ref().unwrap().0.get("under_oom"), Some(&1));
    }

    #[test]
    fn every_source_that_is_not_there_is_named_with_its_outcome() {
        let tried = captured(&[
            (PROCESS, "status", Err(Outcome::Gone)),
            (PROCESS, "exe", Err(Outcome::Denied)),
            (CGROUP, "memory.peak", Err(Outcome::Unsupported)),
            (CGROUP, "memory.stat", Ok(b"\xff\xff\n")),
            (Subject::Node, "vmstat", Err(Outcome::TimedOut)),
        ]);
        let missing = |subject, file, outcome| Missing { subject, file, outcome };
        assert_eq!(
            Snapshot::new(&tried, PageSize::default()).missing,
            [
                missing(PROCESS, "status", Outcome::Gone),
                missing(PROCESS, "exe", Outcome::Denied),
                missing(CGROUP, "memory.peak", Outcome::Unsupported),
                missing(CGROUP, "memory.stat", Outcome::Malformed),
                missing(Subject::Node, "vmstat", Outcome::TimedOut),
            ]
        );
    }

    #[test]
    fn a_source_that_was_cut_is_named_though_the_rest_is_used() {
        let mut cut = captured(&[(PROCESS, "cmdline", Ok(b"a\0b"))]);
        cut.sources[0].truncated = true;
        let snapshot = Snapshot::new(&cut, PageSize::default());
        assert_eq!(snapshot.missing, [Missing { subject: PROCESS, file: "cmdline", outcome: Outcome::Read }]);
        assert_eq!(snapshot.process(Tgid(7)).unwrap().cmdline.as_deref().unwrap(), ["a", "b"]);
        cut.sources[0].start = usize::MAX;
        assert_eq!(Snapshot::new(&cut, PageSize::default()).missing[0].outcome, Outcome::Malformed);
    }

    #[test]
    fn a_very_long_command_line_is_bounded() {
        let long = [b"x".repeat(5000), b"\0".to_vec(), b"y\0".repeat(100)].concat();
        let snapshot = Snapshot::new(&captured(&[(PROCESS, "cmdline", Ok(&long))]), PageSize::default());
        let arguments = snapshot.process(Tgid(7)).unwrap().cmdline.clone().unwrap();
        assert_eq!((arguments.len(), arguments[64].as_str()), (65, r"\…(+37 arguments)"));
        assert!(arguments[0].ends_with(r"\…(+3976 bytes)"), "{}", arguments[0]);
    }
}
