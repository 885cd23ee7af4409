//! The OOM domain: among whose processes the kernel chose.

use crate::{
    ids::CgroupPath,
    incident::{Constraint, Incident},
    scope::{Basis, scope},
    units::PageSize,
};

/// Among whose processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// All of the node's.
    Node,
    /// Those of a cgroup, and of all that lie below it.
    Cgroup {
        /// From the root of the memory hierarchy.
        path: CgroupPath,
        /// `Some(true)` on cgroup v2, `Some(false)` on v1.
        v2: Option<bool>,
    },
    /// Those that may use the memory nodes of a cpuset or of a memory policy: nobody lists them.
    Nodemask,
    /// The kernel did not say, and no limit tells.
    Unknown,
}

impl Domain {
    /// As the kernel said; at level tracepoint, which does not, by the level of the victim's path that was at its
    /// limit.
    pub fn of(incident: &Incident, page_size: PageSize) -> Self {
        let constraint = incident.oom.as_ref().and_then(|oom| oom.constraint);
        match constraint {
            Some(Constraint::None) => return Self::Node,
            Some(Constraint::Cpuset | Constraint::MemoryPolicy) => return Self::Nodemask,
            Some(Constraint::Memcg | Constraint::Unknown(_)) | None => {}
        }
        if let Some(owner) = incident.limit_owner.as_ref().filter(|owner| !owner.path.truncated) {
            return Self::Cgroup { path: owner.path.clone(), v2: owner.v2 };
        }
        let victim = incident.victims.first().and_then(|victim| victim.memcg.as_ref());
        match (victim, scope(incident, None, page_size).basis) {
            (Some(victim), Basis::LevelAtLimit { depth }) if !victim.path.truncated => {
                let components = victim.path.components.iter().take(depth).cloned().collect();
                Self::Cgroup { path: CgroupPath { components, truncated: false }, v2: victim.v2 }
            }
            _ => Self::Unknown,
        }
    }
}

/// From where the agent sees the cgroups in `/proc/PID/cgroup`: paths there begin at the root of the reader's cgroup
/// namespace, and lead out of it by `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vantage {
    /// The real path of what lies so many steps up from that root.
    base: CgroupPath,
    ups: usize,
}

impl Vantage {
    /// By a cgroup whose real path is known, and how it is shown. `None` where the two do not fit.
    pub fn new(real: &CgroupPath, shown: &CgroupPath) -> Option<Self> {
        let (ups, below) = ups(shown);
        let base = real.components.strip_suffix(below).filter(|_| !real.truncated)?;
        Some(Self { base: CgroupPath { components: base.to_vec(), truncated: false }, ups })
    }

    /// The real path of what is shown as `shown`. `None`: it lies where nothing is known of the way down from the base.
    pub fn real(&self, shown: &CgroupPath) -> Option<CgroupPath> {
        let (ups, below) = ups(shown);
        let kept = self.base.components.len().checked_sub(ups.checked_sub(self.ups)?)?;
        let mut components: Vec<_> = self.base.components.iter().take(kept).cloned().collect();
        components.extend_from_slice(below);
        Some(CgroupPath { components, truncated: false })
    }

    /// Whether what is shown as `shown` is the cgroup `owner`, by its real path, or lies below it.
    pub fn is_within(&self, shown: &CgroupPath, owner: &CgroupPath) -> bool {
        let real = self.real(shown);
        // What cannot be followed lies below the base in any case.
        real.as_ref().unwrap_or(&self.base).components.starts_with(&owner.components)
    }
}

/// How many `..` a path begins with, and what follows.
fn ups(path: &CgroupPath) -> (usize, &[Vec<u8>]) {
    let ups = path.components.iter().take_while(|component| *component == b"..").count();
    (ups, path.components.get(ups..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Domain, Vantage};
    use crate::{
        ids::CgroupPath,
        incident::{Constraint, Incident, Memcg, MemcgLevel, Oom, ProbeLevel, Process},
        units::{BoottimeNs, Bytes, Limit, PageSize},
    };

    fn path(text: &str) -> CgroupPath {
        CgroupPath::parse(text.as_bytes())
    }

    fn incident(constraint: Option<Constraint>, owner: Option<&str>, usages: &[u64]) -> Incident {
        let level = |usage: &u64| MemcgLevel {
            usage: Some(Bytes(usage << 20)),
            limit: Some(Limit::Bytes(Bytes(64 << 20))),
        };
        let memcg = Memcg {
            path: path("/a/b/c"),
            v2: Some(true),
            levels: usages.iter().map(level).collect(),
            ..Memcg::default()
        };
        let oom = Oom {
            constraint,
            gfp_mask: None,
            gfp_flags: None,
            order: None,
            totalpages: None,
            chosen_points: None,
            message: None,
            group: false,
        };
        Incident {
            number: 1,
            at: BoottimeNs(0),
            level: ProbeLevel::Kprobe,
            oom: constraint.map(|_| oom),
            trigger: None,
            victims: vec![Process { memcg: Some(memcg), ..Process::default() }],
            limit_owner: owner.map(|owner| Memcg { path: path(owner), ..Memcg::default() }),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn the_kernels_word_comes_before_the_levels() {
        let cgroup = |at: &str, v2| Domain::Cgroup { path: path(at), v2 };
        for (constraint, owner, usages, expected) in [
            (Some(Constraint::None), None, &[64][..], Domain::Node),
            (Some(Constraint::Cpuset), None, &[64], Domain::Nodemask),
            (Some(Constraint::MemoryPolicy), None, &[64], Domain::Nodemask),
            (Some(Constraint::Memcg), Some("/a"), &[64], cgroup("/a", None)),
            (Some(Constraint::Memcg), None, &[1, 64, 64], cgroup("/a/b", Some(true))),
            (None, None, &[64, 1, 1], cgroup("/a/b/c", Some(true))),
            (None, None, &[1, 1, 1], Domain::Unknown),
            (None, None, &[], Domain::Unknown),
        ] {
            let incident = incident(constraint, owner, usages);
            assert_eq!(Domain::of(&incident, PageSize::default()), expected, "{constraint:?} {usages:?}");
        }
    }

    #[test]
    fn paths_of_a_cgroup_namespace_are_followed_to_the_real_ones() {
        for (real, shown, asked, expected) in [
            // The host's own namespace.
            ("/kubepods/pod1/c1", "/kubepods/pod1/c1", "/system.slice/a", Some("/system.slice/a")),
            // The agent is /kubepods/pod9/agent.
            ("/kubepods/pod1/c1", "/../../pod1/c1", "/../../pod2/c2", Some("/kubepods/pod2/c2")),
            ("/kubepods/pod1/c1", "/../../pod1/c1", "/../../../init.scope", Some("/init.scope")),
            ("/kubepods/pod1/c1", "/../../pod1/c1", "/../../../..", None),
            // A sibling in the agent's own pod, of which the victim's path does not tell the name.
            ("/kubepods/pod1/c1", "/../../pod1/c1", "/../other", None),
            ("/kubepods/pod9/c1", "/../c1", "/../c2", Some("/kubepods/pod9/c2")),
        ] {
            let vantage = Vantage::new(&path(real), &path(shown)).unwrap();
            assert_eq!(vantage.real(&path(asked)), expected.map(path), "{real} {shown} {asked}");
        }
        assert_eq!(Vantage::new(&path("/a/b"), &path("/../c")), None);
        assert_eq!(Vantage::default().real(&path("/a")), Some(path("/a")));
    }

    #[test]
    fn whoever_is_below_a_limit_is_told_from_whoever_is_not() {
        let vantage = Vantage::new(&path("/kubepods/pod1/c1"), &path("/../../pod1/c1")).unwrap();
        for (shown, owner, expected) in [
            ("/../../pod1/c1", "/kubepods/pod1", true),
            ("/../../pod1/c1/below", "/kubepods/pod1", true),
            ("/../../pod11/c1", "/kubepods/pod1", false),
            ("/", "/kubepods", true),
            ("/", "/kubepods/pod1", false),
            ("/../../../system.slice/a", "/kubepods", false),
            ("/../../../system.slice/a", "/", true),
        ] {
            assert_eq!(vantage.is_within(&path(shown), &path(owner)), expected, "{shown} {owner}");
        }
    }
}
