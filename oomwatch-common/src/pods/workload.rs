//! What made a pod: its direct owner, and from that one's name the owner behind it.
//!
//! A pod names only who owns it directly. The name of a Deployment's ReplicaSet is `NAME-HASH` with the hash in the
//! pod's label `pod-template-hash` (k8s.io/kubernetes pkg/controller/deployment/sync.go); the name of a CronJob's Job
//! is `NAME-MINUTES`, minutes since 1970 (pkg/controller/cronjob/utils.go; seconds before Kubernetes 1.21).

use crate::report::Workload;

/// When CronJobs appeared, minutes since 1970: mid 2016. A smaller number is none, but perhaps a date: `20261121`.
const FIRST_MINUTE: u64 = 24_000_000;
/// As far as we look ahead, minutes: the year 2046.
const LAST_MINUTE: u64 = 40_000_000;

/// What a pod says of its owner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owned<'a> {
    /// The pod's name.
    pub(super) pod: &'a str,
    /// The node's name.
    pub(super) node: Option<&'a str>,
    /// Kind and name of the owner that controls it.
    pub(super) owner: Option<(&'a str, &'a str)>,
    /// It comes from a file or URL of the node.
    pub(super) is_static: bool,
    /// Label `pod-template-hash`.
    pub(super) template_hash: Option<&'a str>,
    /// Label `rollouts-pod-template-hash`: Argo's Rollouts make ReplicaSets too.
    pub(super) rollout_hash: Option<&'a str>,
}

/// The workload that people know the pod by.
pub(super) fn workload(owned: Owned<'_>) -> Workload {
    let named = |kind: &str, name: &str| Workload { kind: kind.to_owned(), name: name.to_owned() };
    match owned.owner {
        // A mirror pod is owned by its node.
        Some(("Node", _)) => static_pod(owned),
        _ if owned.is_static => static_pod(owned),
        Some(("ReplicaSet", set)) => {
            let behind = |hash: Option<&str>| {
                set.strip_suffix(hash?)?.strip_suffix('-').filter(|name| !name.is_empty())
            };
            if let Some(name) = behind(owned.rollout_hash) {
                named("Rollout", name)
            } else if let Some(name) = behind(owned.template_hash) {
                named("Deployment", name)
            } else {
                named("ReplicaSet", set)
            }
        }
        Some(("Job", job)) => cron_job(job).map_or_else(|| named("Job", job), |name| named("CronJob", name)),
        Some((kind, name)) => named(kind, name),
        None => named("Pod", owned.pod),
    }
}

/// The kubelet appends the node's name to that of the manifest (pkg/kubelet/config/common.go).
fn static_pod(owned: Owned<'_>) -> Workload {
    let bare = owned.node.and_then(|node| owned.pod.strip_suffix(node)?.strip_suffix('-'));
    let name = bare.filter(|name| !name.is_empty()).unwrap_or(owned.pod);
    Workload { kind: "StaticPod".to_owned(), name: name.to_owned() }
}

fn cron_job(job: &str) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let minutes = if digits.len() == 10 { number / 60 } else { number };
    let is_time = matches!(digits.len(), 8 | 10) && (FIRST_MINUTE..LAST_MINUTE).contains(&minutes);
    (is_time && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_is_the_owner_that_people_know() {
        let check = |owned: Owned<'_>, expected: &str| {
            let Workload { kind, name } = workload(owned);
            assert_eq!(format!("{kind}/{name}"), expected, "{owned:?}");
        };
        let hash = Some("7d4b9c6f5");
        for (owner, template_hash, expected) in [
            (Some(("ReplicaSet", "api-7d4b9c6f5")), hash, "Deployment/api"),
            (Some(("ReplicaSet", "api-7d4b9c6f5")), None, "ReplicaSet/api-7d4b9c6f5"),
            (Some(("ReplicaSet", "by-hand")), hash, "ReplicaSet/by-hand"),
            (Some(("ReplicaSet", "-7d4b9c6f5")), hash, "ReplicaSet/-7d4b9c6f5"),
            (Some(("Job", "nightly-28912345")), None, "CronJob/nightly"),
            (Some(("Job", "nightly-1602720000")), None, "CronJob/nightly"),
            (Some(("Job", "migrate-2")), None, "Job/migrate-2"),
            (Some(("Job", "backup-20261121")), None, "Job/backup-20261121"),
            (Some(("Job", "load-99999999")), None, "Job/load-99999999"),
            (Some(("Job", "load-+8912345")), None, "Job/load-+8912345"),
            (Some(("StatefulSet", "db")), None, "StatefulSet/db"),
            (Some(("DaemonSet", "agent")), None, "DaemonSet/agent"),
            (Some(("RayCluster", "train")), None, "RayCluster/train"),
            (Some(("Node", "n1")), None, "StaticPod/pod"),
            (None, hash, "Pod/pod-n1"),
        ] {
            check(
                Owned { pod: "pod-n1", node: Some("n1"), owner, template_hash, ..Owned::default() },
                expected,
            );
        }
        let file = Owned { pod: "etcd-n1", node: Some("n1"), is_static: true, ..Owned::default() };
        check(file, "StaticPod/etcd");
        check(Owned { node: None, ..file }, "StaticPod/etcd-n1");
        check(Owned { pod: "n1", ..file }, "StaticPod/n1");
        let rollout = Owned { rollout_hash: hash, template_hash: None, ..Owned::default() };
        check(Owned { owner: Some(("ReplicaSet", "web-7d4b9c6f5")), ..rollout }, "Rollout/web");
    }
}
