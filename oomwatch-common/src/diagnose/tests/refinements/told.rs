//! What else is told of it.

use super::*;

/// Which, of what report, with what change; how sure, and what its text or advice must hold.
pub(super) const CASES: &[Case] = &[
    (R::GroupKill, container, |_| {}, None),
    (
        R::GroupKill,
        container,
        |r| {
            r.oom.as_mut().unwrap().group = true;
            let other = r.victims[0].clone();
            r.victims.push(other);
        },
        Some((CERTAIN, &["2 processes of the container died at once"])),
    ),
    (R::ChildKilled, container, |_| {}, None),
    (
        R::ChildKilled,
        container,
        child,
        Some((LIKELY, &["pid 12 in its container", "Kubernetes will not show OOMKilled"])),
    ),
    // Its pid says nothing in the node's own pid namespace: there it is the parent that tells.
    (
        R::ChildKilled,
        container,
        |r| {
            child(r);
            r.victims[0].pid_in_namespace = r.victims[0].tgid;
        },
        Some((LIKELY, &["not the container's main process"])),
    ),
    (R::ChildKilled, container, |r| r.victims[0].pid_in_namespace = r.victims[0].tgid, None),
    (
        R::KubernetesStatus,
        container,
        |r| r.victims[0].pid_in_namespace = r.victims[0].tgid,
        Some((POSSIBLE, &["if the victim was the container's main process"])),
    ),
    (
        R::ChildKilled,
        container,
        |r| {
            child(r);
            r.oom.as_mut().unwrap().group = true;
        },
        None,
    ),
    // A pid namespace that the pod's containers share: PID 1 is the pause container's.
    (
        R::ChildKilled,
        container,
        |r| {
            child(r);
            r.victims[0].parent = Some(Parent { tgid: 3, comm: Some("containerd-shim".into()) });
        },
        None,
    ),
    (R::RepeatedKills, container, |r| r.repeats = Some(repeats(1)), None),
    (
        R::RepeatedKills,
        container,
        |r| r.repeats = Some(repeats(4)),
        Some((CERTAIN, &["kill 4 of this container within 2 h", "one each 5 min"])),
    ),
    (R::RequestBelowUse, container, |_| {}, None),
    (
        R::RequestBelowUse,
        container,
        |r| r.kubernetes.as_mut().unwrap().requests_bytes = mib(50),
        Some((CERTAIN, &["used 100.0 MiB and requested 50.0 MiB. That did not cause this kill"])),
    ),
    (
        R::RequestBelowUse,
        node,
        |r| r.kubernetes.as_mut().unwrap().requests_bytes = None,
        Some((CERTAIN, &["requested no memory. The scheduler"])),
    ),
    // The names of log files say nothing of requests.
    (
        R::RequestBelowUse,
        container,
        |r| {
            let kubernetes = r.kubernetes.as_mut().unwrap();
            (kubernetes.names_from, kubernetes.requests_bytes) = (Some(NamesFrom::Logs), None);
        },
        None,
    ),
    (
        R::LimitChanged,
        container,
        |r| r.kubernetes.as_mut().unwrap().limits_bytes = Some(Bytes(100 * MIB + 4095)),
        None,
    ),
    (
        R::LimitChanged,
        container,
        |r| {
            let kubernetes = r.kubernetes.as_mut().unwrap();
            (kubernetes.limits_bytes, kubernetes.resize) = (mib(200), Some("InProgress".into()));
        },
        Some((
            CERTAIN,
            &[
                "100.0 MiB, is lower than the one that is specified, 200.0 MiB",
                "InProgress",
                "would have lived",
            ],
        )),
    ),
    (
        R::KubernetesStatus,
        container,
        |r| r.kubernetes.as_mut().unwrap().container_kind = Some(ContainerKind::Init),
        Some((
            LIKELY,
            &[
                "reason OOMKilled, exit code 137",
                "init container",
                "not shown as Evicted",
                "kubectl -n shop describe pod web-1",
            ],
        )),
    ),
    (
        R::KubernetesStatus,
        container,
        |r| r.victims[0].pid_in_namespace = None,
        Some((POSSIBLE, &["if the victim was the container's main"])),
    ),
    (
        R::KubernetesStatus,
        container,
        |r| {
            r.victims[0].pid_in_namespace = None;
            candidates(r, &[(7, 60, 900), (6, 2, 900)]);
        },
        Some((
            POSSIBLE,
            &["will probably show nothing", "(pid 6) has a lower pid", "OOMKilled, exit code 137"],
        )),
    ),
    (
        R::KubernetesStatus,
        container,
        |r| {
            r.victims[0].pid_in_namespace = None;
            candidates(r, &[(7, 60, 900), (8, 2, 900)]);
        },
        Some((POSSIBLE, &["if the victim was the container's main"])),
    ),
    (R::KubernetesStatus, container, child, None),
    (R::KubernetesStatus, container, |r| r.kubernetes = None, None),
    (
        R::SuggestedLimit,
        container,
        |_| {},
        Some((
            POSSIBLE,
            &[
                "128.0 MiB is a limit to try: the limit now and a quarter more",
                "60.0 MiB could not have been reclaimed",
                "kubectl -n shop set resources deployment/web -c app --limits=memory=128Mi",
            ],
        )),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| r.victims[0].started_at = Some("2026-11-21T07:09:30.000000Z".into()),
        Some((POSSIBLE, &["208.0 MiB is a limit to try: twice the limit"])),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| {
            stat(r, &[("anon", 60), ("file", 40), ("shmem", 40)]);
            r.kubernetes.as_mut().unwrap().memory_volumes =
                vec![MemoryVolume { name: "v".into(), size_limit_bytes: mib(100) }];
        },
        Some((POSSIBLE, &["160.0 MiB is a limit to try: the limit now, and what its volumes"])),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| stat(r, &[("anon", 10), ("file", 90), ("file_dirty", 80)]),
        Some((POSSIBLE, &["No limit can be told: 80.0 MiB", "The rest of it was 10.0 MiB"])),
    ),
    // What nothing is known to bound fills a higher limit too.
    (
        R::SuggestedLimit,
        container,
        |r| stat(r, &[("anon", 40), ("file", 50), ("shmem", 50)]),
        Some((POSSIBLE, &["No limit can be told: 50.0 MiB of what could not be dropped is files on tmpfs"])),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| {
            stat(r, &[("anon", 40), ("file", 50), ("shmem", 50)]);
            r.victims[0].rss.as_mut().unwrap().shmem_bytes = mib(2);
        },
        Some((POSSIBLE, &["128.0 MiB is a limit to try"])),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| stat(r, &[("anon", 50), ("kernel", 47), ("sock", 3)]),
        Some((
            POSSIBLE,
            &["No limit can be told: 50.0 MiB of what could not be dropped is the kernel's own"],
        )),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| {
            r.limit_owner.as_mut().unwrap().stat = None;
            r.victims[0].rss.as_mut().unwrap().anon_bytes = mib(49);
        },
        Some((POSSIBLE, &["cannot be told"])),
    ),
    (
        R::SuggestedLimit,
        container,
        |r| r.node_shares = Some(NodeShares { allocatable_bytes: mib(120), ..NodeShares::default() }),
        Some((POSSIBLE, &["no limit can be told that fits"])),
    ),
    // A pod's limit is the sum of its containers'.
    (
        R::SuggestedLimit,
        container,
        |r| {
            r.scope = Scope::Pod;
            r.kubernetes.as_mut().unwrap().limits_bytes = mib(50);
        },
        Some((POSSIBLE, &["128.0 MiB is a limit to try", "-c app --limits=memory=78Mi"])),
    ),
    // What a container makes below its own cgroup is not the container's limit.
    (
        R::SuggestedLimit,
        container,
        inner,
        Some((
            POSSIBLE,
            &["Look at who in the container made /kubepods/burstable/pod1/id-of-app/jobs and set its limit"],
        )),
    ),
    (R::LimitChanged, container, inner, None),
    (R::SuggestedLimit, node, |_| {}, None),
];
