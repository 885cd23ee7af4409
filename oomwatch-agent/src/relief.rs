//! After a node has run out of memory: waits until there is some again, because who asks for a page before that has
//! another process killed.
//!
//! A victim's memory may not be back when the kernel looks for the next one to kill: `exit_mmap` (mm/mmap.c, "mm: drop
//! oom code from exit_mmap") sets `MMF_OOM_SKIP` after `unmap_vmas`, and `tlb_finish_mmu` frees what that gathered only
//! then. Seen on 6.1: the reporter's own write to its pipe killed a third process. Kernels before that change reap the
//! victim first, and then set it.

use std::{fs, path::Path, time::Duration};

use oomwatch_common::{
    incident::Incident,
    proc_text::zoneinfo,
    units::{BoottimeNs, Bytes, PageSize},
};
use rustix::system::sysinfo;
use tokio::time::sleep;

use crate::sys;

/// A report is not held back for longer, counted from the hook. The victim may be stuck, or the next be at it already.
const AT_MOST: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Knows how much is enough; by default nothing, and then it always is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relief {
    enough: Bytes,
}

impl Relief {
    /// For this node: twice what its zones want to have free, as that is never free in one place. Below its high
    /// watermark a zone is not used by the attempt that `__alloc_pages_may_oom` (mm/page_alloc.c) makes before a kill.
    pub fn of_node(proc: &Path, page_size: PageSize) -> Self {
        let zones = fs::read(proc.join("zoneinfo")).ok().and_then(|text| zoneinfo(&text, page_size).ok());
        let highs = zones.iter().flatten().filter_map(|zone| zone.high_bytes);
        Self { enough: Bytes(highs.fold(0, |sum: u64, high| sum.saturating_add(high.0)).saturating_mul(2)) }
    }

    /// For which there never is.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self { enough: Bytes(u64::MAX) }
    }

    /// Whether there is enough, now.
    pub fn is_there(self) -> bool {
        free() >= self.enough
    }

    /// Whether this incident says that there is none. A cgroup's limit says nothing about the node, and a node whose
    /// memory is full of page cache has little free at all times. Level tracepoint does not tell the one from the
    /// other: there it is asked whether there is enough.
    pub fn concerns(self, incident: &Incident) -> bool {
        incident.limit_owner.is_none() && (incident.oom.is_some() || !self.is_there())
    }

    /// Waits, asking for no memory, if this incident concerns the node.
    pub async fn wait(self, incident: &Incident) {
        if !self.concerns(incident) {
            return;
        }
        while !self.is_there() && since(incident.at) < AT_MOST {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Neither a file nor a buffer is needed for this.
fn free() -> Bytes {
    let info = sysinfo();
    Bytes(info.freeram.saturating_mul(info.mem_unit.into()))
}

fn since(hook: BoottimeNs) -> Duration {
    Duration::from_nanos(sys::boottime().0.saturating_sub(hook.0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use oomwatch_common::incident::{Memcg, ProbeLevel};

    fn incident(at: BoottimeNs, limit_owner: Option<Memcg>) -> Incident {
        let level = ProbeLevel::Kprobe;
        Incident {
            number: 1,
            at,
            level,
            oom: None,
            trigger: None,
            victims: vec![],
            limit_owner,
            gaps: vec![],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_fresh_incident_of_a_node_without_memory_waits() {
        let never = Relief::never();
        let old = BoottimeNs(sys::boottime().0 - 1_000_000_000);
        let of_a_cgroup = incident(sys::boottime(), Some(Memcg::default()));
        for (relief, incident) in [
            (&never, incident(old, None)),
            (&never, of_a_cgroup),
            (&Relief::default(), incident(sys::boottime(), None)),
        ] {
            let began = tokio::time::Instant::now();
            relief.wait(&incident).await;
            assert_eq!(began.elapsed(), Duration::ZERO, "{incident:?}");
        }
        let began = Instant::now();
        never.wait(&incident(sys::boottime(), None)).await;
        assert!(began.elapsed() >= AT_MOST);
    }

    #[test]
    fn this_machine_says_how_much_is_enough() {
        let page_size = sys::page_size();
        assert!(Relief::of_node(Path::new("/proc"), page_size).enough > Bytes(0));
        assert_eq!(Relief::of_node(Path::new("/nonexistent"), page_size).enough, Bytes(0));
        assert!(free() > Bytes(0));
    }
}
