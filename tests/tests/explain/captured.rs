//! Kills of a known kind that were made and captured on purpose (tests/fixtures/capture.sh): what somebody who knows
//! what was done would say of each. The kernel's log alone is to tell it, and the agent that ran beside as well.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::shared::{agent, explain, fixture, here, reports};

struct Row<'a> {
    log: &'a str,
    /// Which of its incidents.
    number: usize,
    /// The same, as the agent recorded it.
    recording: Option<&'a str>,
    cause: &'a str,
    /// What refines it, of what the usage was and why it did not fit: all of it, from either source.
    refinements: &'a [&'a str],
    /// What else the log tells, which has the zones as they were at that moment.
    logged: &'a [&'a str],
    /// What else the agent finds, which knows more of the victim.
    live: &'a [&'a str],
    /// Evidence that decides, in KiB, or a count: refinement or cause, name, value.
    numbers: &'a [(&'a str, &'a str, u64)],
    /// What is said, of whichever finding.
    words: &'a [&'a str],
}

/// Findings about who was killed and what will be shown: not about where the memory went.
const OTHERS: &[&str] = &["kubernetes_status", "suggested_limit", "trigger_elsewhere"];

const ROWS: &[Row<'_>] = &[
    // 40 MiB were written to a tmpfs of a container of 64 MiB, then its own memory grew.
    Row {
        log: "6.1.0-56-cloud-amd64-volume.kmsg",
        number: 0,
        recording: Some("volume"),
        cause: "container_limit",
        refinements: &["shared_memory"],
        logged: &[],
        live: &[],
        numbers: &[("shared_memory", "shmem", 40960), ("container_limit", "anon", 24228)],
        words: &["files on tmpfs, which stay", "emptyDir, medium: Memory", "No limit can be told: 38.5 MiB"],
    },
    // A tmpfs filled the pod's 64 MiB; what was then to start the next container had no memory left.
    Row {
        log: "6.1.0-56-cloud-amd64-leftover.kmsg",
        number: 1,
        recording: Some("leftover"),
        cause: "pod_limit",
        refinements: &["shared_memory", "leftover_memory_volume"],
        logged: &[],
        live: &["repeated_kills"],
        numbers: &[("leftover_memory_volume", "shmem", 64004), ("pod_limit", "limit", 65536)],
        words: &["StartError, exit code 128", "outlived the container that filled it"],
    },
    // dd wrote to a disk of 128 KiB a second; of what it had written 13 MiB were on their way when another's heap grew.
    Row {
        log: "6.1.0-56-cloud-amd64-dirty.kmsg",
        number: 0,
        recording: Some("dirty"),
        cause: "container_limit",
        refinements: &["dirty_page_cache"],
        logged: &[],
        live: &["young_process", "child_killed"],
        numbers: &[("dirty_page_cache", "file_writeback", 13492), ("dirty_page_cache", "anon", 51476)],
        words: &["20 % of the limit", "written faster than the disk takes it"],
    },
    // On 6.12 the same had the writer itself killed, which used next to nothing: all that it wrote was on its way.
    Row {
        log: "6.12.117+deb13-cloud-amd64-dirty.kmsg",
        number: 0,
        recording: Some("dirty_writer"),
        cause: "container_limit",
        refinements: &["dirty_page_cache"],
        logged: &[],
        live: &["child_killed"],
        numbers: &[("dirty_page_cache", "file_writeback", 63584), ("dirty_page_cache", "anon", 64)],
        words: &["97 % of the limit", "No limit can be told: 62.0 MiB"],
    },
    // Empty files on a tmpfs: 46 MiB of inodes and names.
    Row {
        log: "6.1.0-56-cloud-amd64-slab.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["kernel_memory"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "slab", 46783)],
        words: &[
            "45.6 MiB of it slab",
            "very many files",
            "is the kernel's own memory, which a higher limit",
        ],
    },
    // Full pipes: the kernel counts their pages as its own, under no other name.
    Row {
        log: "6.1.0-56-cloud-amd64-pipes.kmsg",
        number: 0,
        recording: Some("pipes"),
        cause: "container_limit",
        refinements: &["kernel_memory"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "other_kernel", 44930)],
        words: &["pages that it counts under no other name", "pipes that nobody reads"],
    },
    // Messages of 12 KiB in sockets that nobody reads: four pages at a time, of slab.
    Row {
        log: "6.1.0-56-cloud-amd64-datagrams.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["kernel_memory"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "slab", 46756)],
        words: &["messages in sockets that nobody reads"],
    },
    // mlockall, and then more than 48 MiB.
    Row {
        log: "6.1.0-56-cloud-amd64-locked.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["anonymous_memory", "locked_memory"],
        logged: &[],
        live: &[],
        numbers: &[("locked_memory", "locked", 48740)],
        words: &["is locked or pinned"],
    },
    // Empty files on a tmpfs of no cgroup's, and a process of 48 MiB, which is the largest there is.
    Row {
        log: "6.1.0-56-cloud-amd64-slab_node.kmsg",
        number: 0,
        recording: Some("slab_node"),
        cause: "node_exhausted",
        refinements: &["kernel_memory"],
        logged: &["below_watermarks"],
        live: &[],
        numbers: &[("kernel_memory", "sunreclaim", 313_132), ("node_exhausted", "victim_rss_anon", 48996)],
        words: &["65 % of the node's memory", "slab 383.0 MiB"],
    },
    // A tmpfs as large as the node, and a process of 48 MiB.
    Row {
        log: "6.1.0-56-cloud-amd64-tmpfs_node.kmsg",
        number: 0,
        recording: Some("tmpfs_node"),
        cause: "node_exhausted",
        refinements: &["shared_memory"],
        logged: &["below_watermarks"],
        live: &[],
        numbers: &[("shared_memory", "shmem", 388_888)],
        words: &["81 % of the node's memory", "df -h -t tmpfs"],
    },
    // 150 huge pages were set aside, and a process took the rest.
    Row {
        log: "6.1.0-56-cloud-amd64-hugepages.kmsg",
        number: 0,
        recording: Some("hugepages"),
        cause: "node_exhausted",
        refinements: &["huge_pages"],
        logged: &["below_watermarks"],
        live: &[],
        numbers: &[("huge_pages", "hugetlb", 300 << 10)],
        words: &["64 % of the node's memory, is set aside", "vm.nr_hugepages"],
    },
    // Two memory nodes; the process may use the second alone.
    Row {
        log: "6.1.0-56-cloud-amd64-cpuset.kmsg",
        number: 0,
        recording: None,
        cause: "cpuset",
        refinements: &[],
        logged: &[],
        live: &[],
        numbers: &[("cpuset", "node1_free", 1808)],
        words: &["Of them memory node 1 had 1.7 MiB free."],
    },
    Row {
        log: "6.1.0-56-cloud-amd64-mempolicy.kmsg",
        number: 0,
        recording: Some("mempolicy"),
        cause: "mempolicy",
        refinements: &[],
        logged: &[],
        live: &[],
        numbers: &[("mempolicy", "node1_free", 1792)],
        words: &["memory node", "node 1 had 1.7 MiB", "numactl --preferred"],
    },
    // 64 MiB of swap: full on the node; and a cgroup that may use 12 MiB of it.
    Row {
        log: "6.1.0-56-cloud-amd64-swap.kmsg",
        number: 0,
        recording: None,
        cause: "node_exhausted",
        refinements: &["swap_exhausted"],
        logged: &["below_watermarks"],
        live: &[],
        numbers: &[("swap_exhausted", "swap_total", 65532), ("swap_exhausted", "swap_free", 0)],
        words: &["The node's swap, 63.9 MiB, was full too"],
    },
    Row {
        log: "6.1.0-56-cloud-amd64-swap_limit.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["anonymous_memory", "swap_exhausted"],
        logged: &[],
        live: &[],
        numbers: &[("swap_exhausted", "swap_limit", 12288)],
        words: &["45.0 MiB (11.8 MiB of it swapped out)"],
    },
    Row {
        log: "6.1.0-56-cloud-amd64-v1pipes.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["kernel_memory"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "other_kernel", 44876)],
        words: &["pipes that nobody reads"],
    },
    // Linux 5.10 lists no more of the kernel's memory than slab, stacks and per-CPU memory.
    Row {
        log: "5.10.0-46-cloud-amd64-pipes.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["kernel_memory"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "not_in_memory_stat", 45293)],
        words: &["It is no slab.", "full pipes that nobody reads", "No limit can be told"],
    },
    // As many sleepers as 12 MiB hold: memory of their own, page tables and stacks for each.
    Row {
        log: "5.10.0-46-cloud-amd64-processes.kmsg",
        number: 0,
        recording: Some("processes"),
        cause: "container_limit",
        refinements: &["kernel_memory", "many_processes"],
        logged: &[],
        live: &["child_killed"],
        numbers: &[("kernel_memory", "not_in_memory_stat", 5063)],
        words: &["processes: for each the kernel has 37 KiB", "together (most of them sleep)"],
    },
    // Since 6.2 the pages of the program that they all map are counted for each: more than the limit, together.
    Row {
        log: "6.12.117+deb13-cloud-amd64-processes.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["kernel_memory", "many_processes"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "page_tables", 4388), ("many_processes", "processes", 115)],
        words: &["for each the kernel has 55 KiB", "together (most of them sleep) filled 11.8 MiB"],
    },
    Row {
        log: "6.12.117+deb13-cloud-amd64-pipes.kmsg",
        number: 0,
        recording: None,
        cause: "container_limit",
        refinements: &["kernel_memory"],
        logged: &[],
        live: &[],
        numbers: &[("kernel_memory", "other_kernel", 44945)],
        words: &["pipes that nobody reads"],
    },
    Row {
        log: "5.10.0-46-cloud-amd64-leftover.kmsg",
        number: 1,
        recording: None,
        cause: "pod_limit",
        refinements: &["shared_memory", "leftover_memory_volume"],
        logged: &[],
        live: &[],
        numbers: &[("leftover_memory_volume", "shmem", 63888)],
        words: &["outlived the container that filled it"],
    },
    Row {
        log: "5.10.0-46-cloud-amd64-slab_node.kmsg",
        number: 0,
        recording: None,
        cause: "node_exhausted",
        refinements: &["kernel_memory"],
        logged: &["below_watermarks"],
        live: &[],
        numbers: &[("kernel_memory", "sunreclaim", 312_296)],
        words: &["64 % of the node's memory"],
    },
];

fn names(report: &Value) -> Result<Vec<&str>> {
    let findings = report["findings"].as_array().context("no findings")?;
    findings.iter().map(|finding| finding["cause"].as_str().context("a finding without a cause")).collect()
}

/// Evidence in KiB, or a count as it is.
fn number(report: &Value, cause: &str, name: &str) -> Option<u64> {
    let findings = report["findings"].as_array()?;
    let finding = findings.iter().find(|finding| finding["cause"] == *cause)?;
    let evidence = finding["evidence"].as_array()?.iter().find(|evidence| evidence["name"] == *name)?;
    let value = evidence["value"].as_u64()?;
    Some(if evidence["unit"] == "bytes" { value / 1024 } else { value })
}

fn check(row: &Row<'_>, report: &Value, more: &[&str]) -> Result<()> {
    ensure!(report["cause"] == row.cause, "{}", report["cause"]);
    let found = names(report)?;
    let about: BTreeSet<&str> =
        found.into_iter().filter(|name| *name != row.cause && !OTHERS.contains(name)).collect();
    ensure!(about == row.refinements.iter().chain(more).copied().collect(), "{about:?}");
    for (cause, name, expected) in row.numbers {
        let number = number(report, cause, name);
        ensure!(number == Some(*expected), "{cause} {name}: {number:?}");
    }
    let said = report["findings"].to_string();
    for words in row.words {
        ensure!(said.contains(words), "{words:?} is not in {said}");
    }
    Ok(())
}

#[test]
fn a_kill_made_on_purpose_is_told_for_what_it_was() -> Result<()> {
    for row in ROWS {
        let logged = reports(&explain(&["--output", "json"], &[&fixture(row.log)])?)?;
        let report =
            logged.get(row.number).with_context(|| format!("{}: {} reports", row.log, logged.len()))?;
        check(row, report, row.logged).with_context(|| row.log.to_owned())?;
        if let Some(recording) = row.recording {
            let dir = here().join("fixtures/replay").join(recording);
            let replayed = agent()?.args(["replay", "--output", "json"]).arg(dir).output()?;
            let replayed = reports(&replayed)?;
            let [report] = replayed.as_slice() else { anyhow::bail!("{recording}: {}", replayed.len()) };
            check(row, report, row.live).with_context(|| recording.to_owned())?;
        }
    }
    Ok(())
}
