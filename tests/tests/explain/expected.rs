//! What captured logs hold, read by hand: who was killed, why, at which limit, with how much memory.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::shared::{explain, fixture, reports};

/// A log; of its incidents' first: cause, limit and first victim's anonymous memory in KiB; the victims of all.
type Row<'a> = (&'a str, &'a str, Option<u64>, Option<u64>, &'a [&'a [(u64, &'a str)]]);

const LOGS: &[Row<'_>] = &[
    // The memory used was anon 1,017,592 and file 17,492, not total-vm's 1,704,328.
    ("rhel8-4.18-pod.log", "pod_limit", Some(1_024_000), Some(1_017_592), &[&[(1_735_923, "systembusin")]]),
    ("openeuler-5.10-arm64-node.log", "node_exhausted", None, Some(1_896_300), &[&[(39693, "stress-ng")]]),
    ("centos7-3.10-node.log", "node_exhausted", None, None, &[&[(25143, "bigmem")]]),
    ("ubuntu-4.15.0-213-global.txt", "node_exhausted", None, Some(682_112), &[&[(135, "hog")]]),
    ("ubuntu-4.15.0-213-v1hier.txt", "system_service_limit", Some(32768), Some(32408), &[&[(150, "hog")]]),
    ("5.10.0-46-cloud-amd64-cpuset.kmsg", "cpuset", None, Some(207_704), &[&[(100, "hog")]]),
    ("5.10.0-46-cloud-amd64-v2shm.kmsg", "system_service_limit", Some(32768), Some(52), &[&[(99, "hog")]]),
    ("5.10.0-32-cloud-arm64-globaladj.kmsg", "node_exhausted", None, Some(191_320), &[&[(99, "hog")]]),
    ("5.10.0-32-cloud-arm64-v2.kmsg", "system_service_limit", Some(32768), Some(32656), &[&[(98, "hog")]]),
    ("6.1.0-56-cloud-amd64-sysrq.kmsg", "sysrq", None, Some(102_368), &[&[(97, "hog")]]),
    // The victim is dd; what fills the limit is on a tmpfs.
    ("6.1.0-56-cloud-amd64-v2tmpfs.kmsg", "system_service_limit", Some(32768), Some(940), &[&[(109, "dd")]]),
    ("6.12.117+deb13-cloud-amd64-globaladj.kmsg", "node_exhausted", None, Some(587_904), &[&[(156, "hog")]]),
    (
        "6.12.117+deb13-cloud-amd64-v2group.txt",
        "system_service_limit",
        Some(48 * 1024),
        Some(38528),
        &[&[(164, "hog"), (155, "hog"), (154, "hog")]],
    ),
    (
        "7.2.13+deb14-cloud-amd64-v2nest.kmsg",
        "node_allocatable",
        Some(40960),
        Some(40800),
        &[&[(133, "hog")]],
    ),
    (
        "7.2.13+deb14-cloud-arm64-v2.txt",
        "system_service_limit",
        Some(32768),
        Some(32648),
        &[&[(122, "tail")]],
    ),
];

#[test]
fn what_was_read_by_hand_is_what_is_explained() -> Result<()> {
    for (name, cause, limit, anon, victims) in LOGS {
        let reports = reports(&explain(&["--output", "json"], &[&fixture(name)])?)?;
        let killed: Vec<Vec<(u64, String)>> = reports.iter().map(killed).collect::<Result<_>>()?;
        let expected: Vec<Vec<(u64, String)>> = victims
            .iter()
            .map(|all| all.iter().map(|(pid, comm)| (*pid, (*comm).to_owned())).collect())
            .collect();
        ensure!(killed == expected, "{name}: {killed:?}");
        let report = reports.first().context("no report")?;
        ensure!(report["cause"] == *cause, "{name}: {}", report["cause"]);
        let kib = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).map(|bytes| bytes / 1024);
        ensure!(kib("/limit_owner/limit_bytes") == *limit, "{name}: {:?}", kib("/limit_owner/limit_bytes"));
        let used = kib("/victims/0/rss/anon_bytes");
        ensure!(anon.is_none() || used == *anon, "{name}: {used:?}");
    }
    Ok(())
}

fn killed(report: &Value) -> Result<Vec<(u64, String)>> {
    let victims = report["victims"].as_array().context("no victims")?;
    let who = |victim: &Value| {
        Ok((
            victim["tgid"].as_u64().context("no tgid")?,
            victim["comm"].as_str().context("no comm")?.to_owned(),
        ))
    };
    victims.iter().map(who).collect()
}
