//! What of an incident's surroundings is worth reading: it depends on what ran out.

use crate::{
    capture::Capture,
    domain::{Domain, Vantage},
    ids::CgroupPath,
    incident::Incident,
    report::{memory_cgroup, subject},
    scope::{Scope, scope_of},
    snapshot::Snapshot,
    units::{Bytes, PageSize},
};

/// Of `MemTotal`, percent: with more of it in slabs that cannot be reclaimed, who has them matters.
const LARGE_SLAB_PERCENT: u64 = 20;

/// What is to be read beside the incident's own processes and cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose processes could have been killed.
    pub domain: Domain,
    /// Size of the domain in pages, where the kernel said it.
    pub totalpages: Option<u64>,
    /// How paths in `/proc/PID/cgroup` are to be followed; `None` where the victim did not tell.
    pub vantage: Option<Vantage>,
    /// Who used the memory: more than one pod's limit was hit.
    pub consumers: bool,
    /// All that was charged to one of these was charged to the limit: the root where the node ran out.
    pub charged_to: CgroupPath,
    /// The zones of the node's memory.
    pub zones: bool,
    /// The kernel's own caches.
    pub slab: bool,
    /// `MemTotal`
    pub capacity: Option<Bytes>,
    /// Size of a page.
    pub page_size: PageSize,
}

impl Wanted {
    /// By the incident and what was read for it.
    pub fn new(incident: &Incident, capture: &Capture, page_size: PageSize) -> Self {
        let snapshot = Snapshot::new(capture, page_size);
        let domain = Domain::of(incident, page_size);
        let vantage = incident.victims.first().and_then(|victim| {
            let (shown, _) = snapshot.process(subject(victim)?)?.cgroup.as_ref()?;
            Vantage::new(memory_cgroup(victim, &snapshot)?, shown)
        });
        let (consumers, charged_to) = match &domain {
            Domain::Cgroup { path, .. } => {
                (matches!(scope_of(path), Scope::Qos | Scope::Kubepods), path.clone())
            }
            Domain::Node | Domain::Nodemask => (true, CgroupPath::default()),
            Domain::Unknown => (false, CgroupPath::default()),
        };
        let is_of_node = matches!(domain, Domain::Node | Domain::Nodemask);
        let meminfo = snapshot.node.meminfo.unwrap_or_default();
        let slab = meminfo.sunreclaim_bytes.zip(meminfo.mem_total_bytes).is_some_and(|(slab, total)| {
            slab.0.saturating_mul(100) > total.0.saturating_mul(LARGE_SLAB_PERCENT)
        });
        Self {
            domain,
            totalpages: incident.oom.as_ref().and_then(|oom| oom.totalpages).map(|pages| pages.0),
            vantage,
            consumers,
            charged_to,
            zones: is_of_node,
            slab: is_of_node && slab,
            capacity: meminfo.mem_total_bytes,
            page_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;
    use crate::{
        capture::{Capture, Outcome, SourceRead, Subject},
        ids::{CgroupPath, Tgid},
        incident::{Constraint, Incident, Memcg, Oom, ProbeLevel, Process},
        units::{BoottimeNs, Bytes, PageSize, Pages},
    };

    fn capture(files: &[(Subject, &'static str, &str)]) -> Capture {
        let mut capture = Capture::default();
        for &(subject, file, text) in files {
            let start = capture.bytes.len();
            capture.bytes.extend_from_slice(text.as_bytes());
            let outcome = Outcome::Read;
            capture.sources.push(SourceRead {
                subject,
                file,
                outcome,
                start,
                len: text.len(),
                truncated: false,
            });
        }
        capture
    }

    #[test]
    fn what_ran_out_tells_what_is_worth_reading() {
        let path = |text: &str| CgroupPath::parse(text.as_bytes());
        let memcg = |text: &str| Memcg { path: path(text), ..Memcg::default() };
        let victim = "/kubepods/burstable/pod1/c1";
        for (owner, sunreclaim, consumers, zones, slab) in [
            (Some("/kubepods/burstable/pod1/c1"), 90, false, false, false),
            (Some("/kubepods/burstable/pod1"), 90, false, false, false),
            (Some("/kubepods/burstable"), 90, true, false, false),
            (Some("/kubepods"), 90, true, false, false),
            (Some("/system.slice/a.service"), 90, false, false, false),
            (None, 20, true, true, false),
            (None, 21, true, true, true),
        ] {
            let oom = Oom {
                constraint: Some(if owner.is_some() { Constraint::Memcg } else { Constraint::None }),
                gfp_mask: None,
                gfp_flags: None,
                order: None,
                totalpages: Some(Pages(1000)),
                chosen_points: None,
                message: None,
                group: false,
            };
            let process = Process { tgid: Some(Tgid(7)), memcg: Some(memcg(victim)), ..Process::default() };
            let incident = Incident {
                number: 1,
                at: BoottimeNs(0),
                level: ProbeLevel::Kprobe,
                oom: Some(oom),
                trigger: None,
                victims: vec![process],
                limit_owner: owner.map(memcg),
                gaps: Vec::new(),
            };
            let meminfo = format!("MemTotal: 100 kB\nSUnreclaim: {sunreclaim} kB\n");
            let capture = capture(&[
                (Subject::Process(Tgid(7)), "cgroup", "0::/../../pod1/c1\n"),
                (Subject::Node, "meminfo", &meminfo),
            ]);
            let wanted = Wanted::new(&incident, &capture, PageSize::default());
            let what = (wanted.consumers, wanted.zones, wanted.slab);
            assert_eq!(what, (consumers, zones, slab), "{owner:?} {sunreclaim}");
            assert_eq!(wanted.charged_to, path(owner.unwrap_or("/")));
            assert_eq!((wanted.totalpages, wanted.capacity), (Some(1000), Some(Bytes(102_400))));
            let sibling = wanted.vantage.unwrap().real(&path("/../../pod2/c"));
            assert_eq!(sibling, Some(path("/kubepods/burstable/pod2/c")));
        }
    }
}
