//! A report that was published before, diagnosed by the rules of now, perhaps with names that were not known then.

use super::{Report, gaps::is_of_names};
use crate::{
    attribution::{Attribution, Paths, PodSource},
    diagnose::{Cause, Facts, Reason, diagnose},
    escape::unescape,
    ids::CgroupPath,
    scope::{Basis, Scope, is_without_cgroup, scope_of},
};

impl Report {
    /// Diagnoses it anew. What was read stays as it is; names that are missing are taken from `pods`.
    pub fn diagnose_again(&mut self, pods: &[PodSource<'_>], why_unknown: &str) {
        let is_nameless = self.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.pod.is_none());
        if is_nameless && !pods.is_empty() {
            let path = self.victims.first().and_then(|victim| path(victim.cgroup.as_deref()?));
            let attribution = Attribution::new(&Paths::of_victim(path), pods, why_unknown);
            if let Some(victim) = attribution.victim {
                self.kubernetes = Some(victim.kubernetes);
                self.gaps.retain(|gap| !is_of_names(gap));
                self.gaps.extend(victim.gaps);
            }
        }
        self.findings = diagnose(&Facts { report: self, basis: self.basis() });
        self.cause = match self.findings.first().map(|finding| finding.cause) {
            Some(Reason::Cause(cause)) => cause,
            _ => Cause::Unknown,
        };
    }

    /// How its scope was known, as far as that shows.
    fn basis(&self) -> Basis {
        let owner = self.limit_owner.as_ref().and_then(|owner| path(&owner.cgroup));
        let is_pods = owner.as_ref().is_some_and(|owner| scope_of(owner) == Scope::Pod);
        match (&self.oom, &self.cgroup) {
            (Some(_), _) if self.scope == Scope::Unknown => Basis::Nothing,
            (Some(_), _) if self.scope == Scope::Container && is_pods => Basis::EqualLimits,
            (Some(oom), _)
                if oom.constraint.is_none() && oom.message.as_deref().is_some_and(is_without_cgroup) =>
            {
                Basis::Message
            }
            (Some(_), _) => Basis::Kernel,
            (None, Some(cgroup)) if !cgroup.levels.is_empty() => {
                let depth = path(&cgroup.cgroup).map_or(0, |path| path.components.len());
                let at = cgroup.levels.iter().position(|level| {
                    level
                        .usage_bytes
                        .zip(level.limit_bytes)
                        .is_some_and(|(usage, limit)| usage.0.saturating_add(256 << 10) >= limit.0)
                });
                at.filter(|_| self.scope != Scope::Unknown)
                    .and_then(|at| depth.checked_sub(at))
                    .map_or(Basis::NoLevelAtLimit, |depth| Basis::LevelAtLimit { depth })
            }
            (None, _) => Basis::Nothing,
        }
    }
}

fn path(escaped: &str) -> Option<CgroupPath> {
    Some(CgroupPath::parse(&unescape(escaped)?))
}

#[cfg(test)]
mod tests {
    use crate::{
        report::{Cgroup, Level, Report},
        units::Bytes,
    };

    #[test]
    fn a_usage_that_no_machine_has_is_compared_all_the_same() {
        let json = r#"{"schema":1,"id":"b-1","time":"2026-11-21T07:00:00.000000Z","boot_id":"b","node":"n",
            "probe":{"level":"tracepoint"},"source":"live","scope":"system","cause":"system_service_limit",
            "victims":[{"tgid":7,"status_from":"proc"}],"findings":[],"gaps":[],
            "latency":{"hook_to_capture_us":1,"hook_to_read_us":2,"hook_to_report_us":3}}"#;
        let mut report = Report::from_json(json).unwrap();
        let most = Some(Bytes(u64::MAX));
        let level = Level { cgroup: "/a".into(), usage_bytes: most, limit_bytes: most, unlimited: false };
        report.cgroup = Some(Cgroup { cgroup: "/a".into(), levels: vec![level], ..Cgroup::default() });
        assert_eq!(report.basis(), crate::scope::Basis::LevelAtLimit { depth: 1 });
    }
}
