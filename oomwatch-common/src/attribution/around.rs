//! Names for what was around an incident: the candidates and the consumers.

use super::{PodSource, pod_of};
use crate::{
    escape::unescape,
    ids::CgroupPath,
    report::{Kubernetes, NamesFrom},
    surroundings::Surroundings,
    units::Bytes,
};

/// Candidates that get names, the first: more than a report shows.
const NAMED: usize = 64;

/// Gives names to whatever is a pod's, as far as `sources` know it, and adds up what all pods requested.
pub fn name(surroundings: &mut Surroundings, sources: &[PodSource<'_>]) {
    for task in surroundings.tasks.iter_mut().flat_map(|tasks| tasks.rows.iter_mut().take(NAMED)) {
        let owner = task.cgroup.as_deref().and_then(|cgroup| owner(cgroup, sources));
        task.kubernetes = owner.map(|owner| Kubernetes {
            qos: None,
            workload: None,
            requests_bytes: None,
            limits_bytes: None,
            pod_limits_bytes: None,
            ..owner
        });
    }
    for consumer in &mut surroundings.consumers {
        consumer.kubernetes = owner(&consumer.cgroup, sources);
    }
    let requests = sources.iter().find(|source| source.from == NamesFrom::Kubelet).and_then(|source| {
        let there = source.index.present().filter(|pod| !pod.is_over).map(|pod| pod.requested().0);
        there.reduce(u64::saturating_add)
    });
    if let Some(shares) = &mut surroundings.node_shares {
        shares.pods_requests_bytes = requests.map(Bytes);
    }
}

/// What of it tells who it is and what it was granted. A uid and an id are for what has no name.
fn owner(cgroup: &str, sources: &[PodSource<'_>]) -> Option<Kubernetes> {
    let known = pod_of(&CgroupPath::parse(&unescape(cgroup)?), sources)?;
    let (has_pod, has_container) = (known.pod.is_some(), known.container.is_some());
    Some(Kubernetes {
        namespace: known.namespace,
        pod: known.pod,
        pod_uid: known.pod_uid.filter(|_| !has_pod),
        container: known.container,
        container_id: known.container_id.filter(|_| !has_container),
        qos: known.qos,
        workload: known.workload,
        requests_bytes: known.requests_bytes,
        limits_bytes: known.limits_bytes,
        pod_limits_bytes: known.pod_limits_bytes,
        ..Kubernetes::default()
    })
}
