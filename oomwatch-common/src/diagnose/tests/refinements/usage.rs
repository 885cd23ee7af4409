//! What filled the limit, and how.

use super::*;

/// Which, of what report, with what change; how sure, and what its text or advice must hold.
pub(super) const CASES: &[Case] = &[
    (R::AnonymousMemory, container, |_| {}, None),
    (
        R::AnonymousMemory,
        container,
        |r| stat(r, &[("anon", 80), ("file", 20), ("file_dirty", 5), ("inactive_file", 12)]),
        Some((
            CERTAIN,
            &[
                "80 %",
                "could have been dropped was 15.0 MiB",
                "kubectl top shows the working set, which was 88.0 MiB",
            ],
        )),
    ),
    (R::AnonymousMemory, container, |r| stat(r, &[("anon", 79), ("file", 21)]), None),
    (
        R::AnonymousMemory,
        container,
        |r| {
            stat(r, &[("anon", 99)]);
            r.victims[0].comm = Some("java".into());
        },
        Some((CERTAIN, &["-XX:MaxRAMPercentage=75", "kubectl -n shop top pod web-1 --containers"])),
    ),
    // A log that lacks the lines of the cgroups below.
    (
        R::AnonymousMemory,
        container,
        |r| {
            stat(r, &[("anon", 0), ("file", 0)]);
            r.victims[0].rss.as_mut().unwrap().anon_bytes = mib(99);
        },
        Some((LIKELY, &["99 % of the usage is memory of the victim alone"])),
    ),
    (R::DirtyPageCache, container, |r| stat(r, &[("anon", 60), ("file", 40), ("file_dirty", 9)]), None),
    (
        R::DirtyPageCache,
        container,
        |r| stat(r, &[("anon", 60), ("file", 40), ("file_dirty", 7), ("file_writeback", 3)]),
        Some((LIKELY, &["10.0 MiB of page cache had not reached the disk, 10 % of the limit"])),
    ),
    (
        R::DirtyPageCache,
        container,
        |r| stat(r, &[("anon", 10), ("file", 90)]),
        Some((POSSIBLE, &["90.0 MiB of the usage is page cache, which the kernel drops when it can"])),
    ),
    // tmpfs is counted as file, and is no page cache.
    (R::DirtyPageCache, container, |r| stat(r, &[("anon", 10), ("file", 90), ("shmem", 90)]), None),
    (R::SharedMemory, container, |r| stat(r, &[("anon", 60), ("file", 40), ("shmem", 19)]), None),
    (
        R::SharedMemory,
        container,
        |r| {
            stat(r, &[("anon", 60), ("file", 40), ("shmem", 20)]);
            r.kubernetes.as_mut().unwrap().names_from = None;
        },
        Some((CERTAIN, &["emptyDir, medium: Memory"])),
    ),
    (
        R::SharedMemory,
        container,
        |r| {
            stat(r, &[("anon", 60), ("file", 40), ("shmem", 20)]);
            r.victims[0].rss.as_mut().unwrap().shmem_bytes = mib(1);
            let volumes = vec![
                MemoryVolume { name: "cache".into(), size_limit_bytes: mib(64) },
                MemoryVolume { name: "scratch".into(), size_limit_bytes: None },
            ];
            r.kubernetes.as_mut().unwrap().memory_volumes = volumes;
        },
        Some((
            CERTAIN,
            &[
                "20.0 MiB, 20 %",
                "cache (sizeLimit 64Mi) and scratch (no sizeLimit)",
                "stay when it is killed",
                "Give volume scratch a sizeLimit",
            ],
        )),
    ),
    (R::LeftoverMemoryVolume, container, |r| stat(r, &[("anon", 1), ("file", 99), ("shmem", 99)]), None),
    (
        R::LeftoverMemoryVolume,
        container,
        |r| {
            r.victims[0].comm = Some("runc:[2:INIT]".into());
            stat(r, &[("anon", 1), ("file", 60), ("shmem", 60)]);
        },
        Some((LIKELY, &["StartError", "outlived the container", "kubectl -n shop delete pod web-1"])),
    ),
    (
        R::LeftoverMemoryVolume,
        container,
        |r| r.victims[0].comm = Some("runc:[2:INIT]".into()),
        Some((POSSIBLE, &["too small to start anything"])),
    ),
    (R::KernelMemory, container, |r| stat(r, &[("anon", 81), ("kernel", 19)]), None),
    (
        R::KernelMemory,
        container,
        |r| stat(r, &[("anon", 60), ("kernel", 30), ("slab", 24), ("pagetables", 2), ("sock", 6)]),
        Some((CERTAIN, &["36.0 MiB, 36 %", "24.0 MiB of it slab", "inotify"])),
    ),
    (
        R::KernelMemory,
        container,
        |r| stat(r, &[("anon", 50), ("kernel", 50), ("slab", 6)]),
        Some((CERTAIN, &["44.0 MiB of it pages that it counts under no other name", "full pipes"])),
    ),
    // What any process costs is told by their number, and what some cost more is not.
    (
        R::KernelMemory,
        container,
        |r| {
            stat(r, &[("anon", 70), ("kernel", 30), ("pagetables", 16)]);
            candidates(r, &[(1, 1, 0); 120]);
        },
        Some((
            CERTAIN,
            &["There are 120 processes: for each the kernel has 256 KiB.", "Have fewer processes"],
        )),
    ),
    (
        R::KernelMemory,
        container,
        |r| {
            stat(r, &[("anon", 70), ("kernel", 30), ("pagetables", 16)]);
            candidates(r, &[(1, 1, 0); 100]);
        },
        Some((CERTAIN, &["16.0 MiB of it page tables", "map the same large memory"])),
    ),
    // cgroup v1 does not list it.
    (
        R::KernelMemory,
        container,
        |r| stat(r, &[("anon", 60), ("file", 15)]),
        Some((
            LIKELY,
            &["25.0 MiB, 25 % of the usage, is neither memory of processes nor page cache", "kmem.slabinfo"],
        )),
    ),
    // Nor does v2 before 5.18 list all.
    (
        R::KernelMemory,
        container,
        |r| stat(r, &[("anon", 70), ("slab", 5)]),
        Some((LIKELY, &["25.0 MiB, 25 %", "It is no slab.", "nor page tables"])),
    ),
    (
        R::KernelMemory,
        container,
        |r| {
            stat(r, &[("anon", 70), ("slab", 5)]);
            candidates(r, &[(1, 1, 0); 100]);
        },
        Some((
            LIKELY,
            &["There are 100 processes: for each the kernel has 256 KiB.", "Have fewer processes"],
        )),
    ),
    // Read when the victim's memory had been freed.
    (R::KernelMemory, container, |r| stat(r, &[("anon", 59), ("file", 15)]), None),
    (
        R::KernelMemory,
        node,
        |r| {
            r.node_memory.as_mut().unwrap().sunreclaim_bytes = mib(200);
            r.slab = vec![SlabCache { name: "dentry".into(), size_bytes: Bytes(150 * MIB), objects: None }];
        },
        Some((CERTAIN, &["200.0 MiB of slab", "dentry 150.0 MiB"])),
    ),
    (R::KernelMemory, node, |r| r.node_memory.as_mut().unwrap().sunreclaim_bytes = mib(199), None),
    (
        R::LockedMemory,
        container,
        |r| stat(r, &[("anon", 80), ("unevictable", 20)]),
        Some((CERTAIN, &["20.0 MiB"])),
    ),
    // tmpfs that may not be swapped is counted as unevictable too.
    (
        R::LockedMemory,
        container,
        |r| stat(r, &[("anon", 50), ("file", 50), ("shmem", 50), ("unevictable", 60)]),
        None,
    ),
    (
        R::ManyProcesses,
        container,
        |r| {
            candidates(
                r,
                &[
                    (7, 10, 0),
                    (8, 10, 0),
                    (9, 10, 0),
                    (10, 10, 0),
                    (11, 9, 0),
                    (12, 9, 0),
                    (13, 9, 0),
                    (14, 9, 0),
                    (15, 9, 0),
                    (16, 9, 0),
                ],
            );
        },
        Some((CERTAIN, &["10 together (most of them db) had 94.0 MiB, the largest of them 10.0 MiB"])),
    ),
    (
        R::ManyProcesses,
        container,
        |r| candidates(r, &[(7, 10, 0), (8, 10, 0), (9, 10, 0), (10, 10, 0), (11, 10, 0)]),
        None,
    ),
    (
        R::ManyProcesses,
        container,
        |r| candidates(r, &[(7, 11, 0); 10]),
        Some((CERTAIN, &["filled 100.0 MiB, the largest of them 11.0 MiB with what it shares with others"])),
    ),
    (R::YoungProcess, container, |_| {}, None),
    (
        R::YoungProcess,
        container,
        |r| r.victims[0].started_at = Some("2026-11-21T07:09:01.000000Z".into()),
        Some((LIKELY, &["It had lived for 59 s, and held 60.0 MiB"])),
    ),
    (
        R::YoungProcess,
        container,
        |r| {
            r.victims[0].started_at = Some("2026-11-21T07:09:59.000000Z".into());
            r.victims[0].rss.as_mut().unwrap().anon_bytes = mib(49);
        },
        None,
    ),
    (
        R::SwapExhausted,
        container,
        |r| {
            let owner = r.limit_owner.as_mut().unwrap();
            (owner.swap_usage_bytes, owner.swap_limit_bytes) = (mib(95), mib(100));
        },
        Some((CERTAIN, &["100.0 MiB"])),
    ),
    (
        R::SwapExhausted,
        container,
        |r| r.limit_owner.as_mut().unwrap().swap_limit_bytes = Some(Bytes(0)),
        None,
    ),
    (
        R::SwapExhausted,
        container,
        |r| {
            let owner = r.limit_owner.as_mut().unwrap();
            (owner.memsw_usage_bytes, owner.memsw_limit_bytes) = (mib(199), mib(200));
        },
        Some((CERTAIN, &["memory and swap together, 200.0 MiB"])),
    ),
    // v1 without swap: both limits are one.
    (
        R::SwapExhausted,
        container,
        |r| {
            let owner = r.limit_owner.as_mut().unwrap();
            (owner.memsw_usage_bytes, owner.memsw_limit_bytes) = (mib(100), mib(100));
        },
        None,
    ),
    (
        R::SwapExhausted,
        node,
        |r| {
            let memory = r.node_memory.as_mut().unwrap();
            (memory.swap_total_bytes, memory.swap_free_bytes) = (mib(100), mib(4));
        },
        Some((CERTAIN, &["The node's swap"])),
    ),
    (R::SwapExhausted, node, |r| r.node_memory.as_mut().unwrap().swap_free_bytes = Some(Bytes(0)), None),
    (
        R::Throttled,
        container,
        |r| {
            let owner = r.limit_owner.as_mut().unwrap();
            owner.high_bytes = mib(90);
            owner.events = Some(MemcgEvents([("high".to_owned(), 17)].into()));
        },
        Some((CERTAIN, &["memory.high, 90.0 MiB"])),
    ),
];
