//! Who had the memory, and why this victim.

use super::*;

/// Which, of what report, with what change; how sure, and what its text or advice must hold.
pub(super) const CASES: &[Case] = &[
    (R::SharedMemory, node, |r| r.node_memory.as_mut().unwrap().shmem_bytes = mib(199), None),
    (
        R::SharedMemory,
        node,
        |r| r.node_memory.as_mut().unwrap().shmem_bytes = mib(200),
        Some((CERTAIN, &["200.0 MiB, 20 % of the node's memory", "df -h -t tmpfs"])),
    ),
    (R::Throttled, container, |_| {}, None),
    (
        R::PageFault,
        node,
        |r| {
            let oom = r.oom.as_mut().unwrap();
            (oom.gfp_mask, oom.order) = (Some("0x0".to_owned()), Some(0));
        },
        Some((LIKELY, &["no allocation of the node's own", "memory.kmem.limit_in_bytes"])),
    ),
    (R::PageFault, node, |_| {}, None),
    (R::PageFault, container, |r| r.oom.as_mut().unwrap().gfp_mask = Some("0x0".to_owned()), None),
    (
        R::BelowWatermarks,
        node,
        |r| r.zones = vec![zone(1, &[1])],
        Some((CERTAIN, &["zone Normal of memory node 0 had 1.0 MiB free, of a reserve of 4.0 MiB"])),
    ),
    (R::BelowWatermarks, node, |r| r.zones = vec![zone(5, &[1])], None),
    (
        R::Fragmentation,
        node,
        |r| {
            r.oom.as_mut().unwrap().order = Some(2);
            r.zones = vec![zone(5, &[900, 40, 0, 0])];
        },
        Some((CERTAIN, &["2^2 contiguous pages", "in no piece of that size"])),
    ),
    (
        R::Fragmentation,
        node,
        |r| {
            r.oom.as_mut().unwrap().order = Some(2);
            r.zones = vec![zone(5, &[900, 40, 1, 0])];
        },
        None,
    ),
    (
        R::Fragmentation,
        node,
        |r| r.oom.as_mut().unwrap().order = Some(3),
        Some((POSSIBLE, &["was not read"])),
    ),
    (R::Fragmentation, node, |_| {}, None),
    (
        R::HugePages,
        node,
        |r| r.node_memory.as_mut().unwrap().hugetlb_bytes = mib(200),
        Some((CERTAIN, &["200.0 MiB, 20 %"])),
    ),
    (R::HugePages, node, |r| r.node_memory.as_mut().unwrap().hugetlb_bytes = mib(199), None),
    (
        R::ConsumerOverRequest,
        node,
        |r| {
            r.consumers = vec![
                consumer("big", 400, Some(390)),
                consumer("greedy", 300, Some(100)),
                consumer("app", 60, None),
            ];
        },
        Some((
            LIKELY,
            &["shop/web-2/greedy used most beyond its request: it used 300.0 MiB, and requested 100.0 MiB. \
                 It is not the victim's"],
        )),
    ),
    (
        R::ConsumerOverRequest,
        node,
        |r| r.consumers = vec![consumer("app", 300, None)],
        Some((LIKELY, &["requested nothing. It is the victim's container"])),
    ),
    (R::ConsumerOverRequest, node, |r| r.consumers = vec![consumer("big", 400, Some(400))], None),
    (R::ConsumerOverRequest, container, |r| r.consumers = vec![consumer("big", 400, None)], None),
    (
        R::HostOverReserve,
        node,
        |r| {
            r.node_shares = Some(shares(201));
            let host = Host {
                kind: HostKind::Service,
                name: Some("containerd.service".into()),
                uid: None,
                runtime: None,
                node_critical: true,
            };
            r.consumers = vec![Consumer { host: Some(host), usage_bytes: mib(150), ..Consumer::default() }];
        },
        Some((LIKELY, &["used 201.0 MiB, and 200.0 MiB is held back", "containerd.service 150.0 MiB"])),
    ),
    (R::HostOverReserve, node, |r| r.node_shares = Some(shares(200)), None),
    (R::OomScoreAdj, node, |r| candidates(r, &[(7, 60, 900), (8, 500, 900)]), None),
    (R::OomScoreAdj, node, |r| candidates(r, &[(7, 60, 900), (8, 65, -997)]), None),
    (
        R::OomScoreAdj,
        node,
        |r| candidates(r, &[(7, 60, 900), (8, 500, -997)]),
        Some((
            CERTAIN,
            &[
                "app (pid 7) was killed though db (pid 8) used more: 500.0 MiB against 60.0 MiB",
                "is 900, the other's -997",
                "Burstable",
                "Look at db (pid 8) first",
            ],
        )),
    ),
    (R::OomScoreAdj, node, |_| {}, Some((POSSIBLE, &["60.0 MiB of the 1000.0 MiB that ran out"]))),
    (R::OomScoreAdj, node, |r| r.victims[0].oom_score_adj = Some(0), None),
    // A log of nothing but the summary and the kill.
    (
        R::OomScoreAdj,
        node,
        |r| r.oom.as_mut().unwrap().totalpages_bytes = None,
        Some((POSSIBLE, &["had 60.0 MiB, and an oom_score_adj of 900"])),
    ),
    (
        R::OomScoreAdj,
        node,
        |r| {
            r.oom.as_mut().unwrap().totalpages_bytes = None;
            r.victims[0].rss.as_mut().unwrap().anon_bytes = mib(128);
        },
        None,
    ),
    (R::AllocatingTask, node, |_| {}, None),
    (
        R::AllocatingTask,
        node,
        |r| r.oom.as_mut().unwrap().message = Some("Out of memory (oom_kill_allocating_task)".into()),
        Some((CERTAIN, &["did not look for anything larger"])),
    ),
    (R::TriggerElsewhere, container, |r| r.trigger = Some(trigger(7)), None),
    (
        R::TriggerElsewhere,
        container,
        |r| r.trigger = Some(trigger(9)),
        Some((CERTAIN, &["nginx (pid 9), of /a, asked for the page", "does not make it the cause"])),
    ),
];
