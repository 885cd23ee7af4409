//! Incidents and captures from the figures of a kernel's log and the files beside it.

use std::{fs, path::PathBuf};

use oomwatch_common::{
    attribution::{Attribution, Paths, PodSource},
    capture::{
        CGROUP_V1_FILES, CGROUP_V2_FILES, Capture, NODE_FILES, Outcome, PROCESS_FILES, SourceRead, Subject,
    },
    ids::{CgroupId, CgroupPath, Comm, Tgid, Tid},
    incident::{Constraint, Incident, Memcg, MemcgLevel, Oom, ProbeLevel, Process, ProcessMemory},
    pods::{ListReader, PodIndex},
    report::{Context, NamesFrom, Source},
    units::{BoottimeNs, Bytes, Kib, Limit, PageSize, Pages},
};

/// The tests' own directory.
pub(super) fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One golden case.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) incident: Incident,
    pub(super) capture: Capture,
}

impl Case {
    /// Whose the processes are: all cases are on the node whose kubelet's answer was recorded.
    pub(super) fn attribution(&self) -> Attribution {
        let answer = fs::read(here().join("fixtures/kubelet/api-multi-t2.json")).unwrap();
        let mut reader = ListReader::default();
        reader.push(&answer).unwrap();
        let index = PodIndex::default().updated(reader.finish().unwrap().pods, BoottimeNs(0));
        let sources = [PodSource { from: NamesFrom::Kubelet, index: &index }];
        let paths = Paths::new(&self.incident, &self.capture, PageSize::default());
        Attribution::new(&paths, &sources, "not in the kubelet's list")
    }

    /// What the report is built with: everything but the incident is the same for all.
    pub(super) fn context(&self) -> Context {
        Context {
            node: "worker-3".into(),
            boot_id: "5f0c3b9e-8f0a-4a5e-9a53-0d3f1c1e7b42".into(),
            page_size: PageSize::default(),
            realtime_at_boot: "2026-11-21T02:03:00Z".parse().unwrap(),
            source: Source::Live,
            built_at: BoottimeNs(self.capture.done_at.0 + 410_000),
        }
    }
}

/// Nanoseconds since boot of a kernel log's `[    5.719954]`.
pub(super) fn at(seconds: f64) -> BoottimeNs {
    BoottimeNs(u64::try_from(std::time::Duration::from_secs_f64(seconds).as_micros()).unwrap() * 1000)
}

/// `total-vm`, `anon-rss`, `file-rss`, `shmem-rss`, `pgtables` of "Killed process", all kB.
pub(super) fn memory(total_vm: u64, anon: u64, file: u64, shmem: u64, pgtables: u64) -> ProcessMemory {
    let bytes = |kib| Some(Bytes::from(Kib(kib)));
    ProcessMemory {
        total_vm: bytes(total_vm),
        rss_anon: bytes(anon),
        rss_file: bytes(file),
        rss_shmem: bytes(shmem),
        swap: bytes(0),
        pgtables: bytes(pgtables),
        hiwater_rss: bytes(0),
        exact: false,
    }
}

/// A process of uid 0 that is its own first thread.
pub(super) fn process(tgid: u32, comm: &str, memory: ProcessMemory, memcg: &Memcg) -> Process {
    Process {
        tgid: Some(Tgid(tgid)),
        tid: Some(Tid(tgid)),
        comm: Some(Comm::new(comm.as_bytes())),
        leader_comm: Some(Comm::new(comm.as_bytes())),
        uid: Some(0),
        oom_score_adj: Some(0),
        pid_in_namespace: Some(tgid),
        parent_tgid: Some(Tgid(1)),
        parent_comm: Some(Comm::new(b"init")),
        started: Some(BoottimeNs(3_240_000_000)),
        memory: Some(memory),
        memcg: Some(memcg.clone()),
        shares_memory_with: None,
        kthread: false,
    }
}

/// A v2 cgroup; usage and limit in kB.
pub(super) fn memcg(path: &str, id: u64, usage_kib: u64, limit_kib: Option<u64>) -> Memcg {
    Memcg {
        path: CgroupPath::parse(path.as_bytes()),
        v2: Some(true),
        id: Some(CgroupId(id)),
        usage: Some(Bytes::from(Kib(usage_kib))),
        limit: Some(limit(limit_kib)),
        peak: Some(Bytes::from(Kib(limit_kib.unwrap_or(usage_kib)))),
        swap_usage: Some(Bytes(0)),
        swap_limit: Some(Limit::Bytes(Bytes(0))),
        oom_group: false,
        levels: Vec::new(),
        stat: None,
        failcnt: None,
    }
}

fn limit(kib: Option<u64>) -> Limit {
    kib.map_or(Limit::Unlimited, |kib| Limit::Bytes(Kib(kib).into()))
}

/// Levels, leaf first: usage and limit in bytes.
pub(super) fn levels(levels: &[(u64, Option<u64>)]) -> Vec<MemcgLevel> {
    let level = |&(usage, limit): &(u64, Option<u64>)| MemcgLevel {
        usage: Some(Bytes(usage)),
        limit: Some(limit.map_or(Limit::Unlimited, |limit| Limit::Bytes(Bytes(limit)))),
    };
    levels.iter().map(level).collect()
}

/// The domain: a cgroup's limit, or the node.
pub(super) fn oom(constraint: Constraint, gfp_mask: u32, totalpages: u64, points: i64) -> Oom {
    let is_memcg = constraint == Constraint::Memcg;
    Oom {
        constraint: Some(constraint),
        gfp_mask: Some(gfp_mask),
        gfp_flags: None,
        order: Some(0),
        totalpages: Some(Pages(totalpages)),
        chosen_points: Some(points),
        message: Some(if is_memcg { "Memory cgroup out of memory" } else { "Out of memory" }.into()),
        group: false,
    }
}

/// An incident at level kprobe whose victims triggered it.
pub(super) fn incident(at: BoottimeNs, oom: Oom, victims: Vec<Process>, owner: Option<Memcg>) -> Incident {
    Incident {
        number: 1,
        at,
        level: ProbeLevel::Kprobe,
        oom: Some(oom),
        trigger: victims.first().cloned(),
        victims,
        limit_owner: owner,
        gaps: Vec::new(),
    }
}

/// What is read for an incident, as the capture thread does it.
pub(super) struct Reader {
    capture: Capture,
}

impl Reader {
    pub(super) fn new(incident: &Incident) -> Self {
        let taken_at = BoottimeNs(incident.at.0 + 48_000);
        let done_at = BoottimeNs(incident.at.0 + 1_930_000);
        Self { capture: Capture { taken_at, done_at, ..Capture::default() } }
    }

    /// Adds one source.
    pub(super) fn source(
        mut self,
        subject: Subject,
        file: &'static str,
        contents: Result<&[u8], Outcome>,
    ) -> Self {
        let (bytes, outcome) =
            contents.map_or_else(|outcome| (&[][..], outcome), |bytes| (bytes, Outcome::Read));
        let (start, len) = (self.capture.bytes.len(), bytes.len());
        self.capture.bytes.extend_from_slice(bytes);
        self.capture.sources.push(SourceRead { subject, file, outcome, start, len, truncated: false });
        self
    }

    fn files(mut self, subject: Subject, files: &[&'static str], dir: &str) -> Self {
        for &file in files {
            let path = here().join("fixtures").join(dir).join(file.replace('/', "."));
            let contents = fs::read(path).map_err(|_| Outcome::Unsupported);
            self = self.source(subject, file, contents.as_deref().map_err(|outcome| *outcome));
        }
        self
    }

    /// A process's files from fixtures/proc/`dir`.
    pub(super) fn process(self, tgid: u32, dir: &str) -> Self {
        self.files(Subject::Process(Tgid(tgid)), PROCESS_FILES, &format!("proc/{dir}"))
    }

    /// A process that was gone.
    pub(super) fn gone(mut self, tgid: u32) -> Self {
        for &file in PROCESS_FILES {
            self = self.source(Subject::Process(Tgid(tgid)), file, Err(Outcome::Gone));
        }
        self
    }

    /// A v2 cgroup's files from fixtures/cgroup/`dir`.
    pub(super) fn cgroup_v2(self, id: u64, dir: &str) -> Self {
        self.files(Subject::Cgroup(CgroupId(id)), CGROUP_V2_FILES, &format!("cgroup/{dir}"))
    }

    /// A v1 cgroup's.
    pub(super) fn cgroup_v1(self, id: u64, dir: &str) -> Self {
        self.files(Subject::Cgroup(CgroupId(id)), CGROUP_V1_FILES, &format!("cgroup/{dir}"))
    }

    /// The node's files from fixtures/proc/`dir`.
    pub(super) fn node(self, dir: &str) -> Self {
        self.files(Subject::Node, NODE_FILES, &format!("proc/{dir}"))
    }

    pub(super) fn done(self) -> Capture {
        self.capture
    }
}
