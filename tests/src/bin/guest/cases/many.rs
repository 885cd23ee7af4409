//! Kills faster than the kernel prints headers for.

use anyhow::Result;
use oomwatch_tests::{
    bench::{Bench, Observed},
    compare::Differences,
};

const KILLS: usize = 20;

pub(super) fn in_a_row(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/many", 16)?;
    bench.begin_within_rate_limit()?;
    let mut pids = Vec::new();
    for _ in 0..KILLS {
        let mut hog = bench.hog(&memcg, &["anon=256"])?;
        hog.go()?;
        hog.wait_for_kill()?;
        pids.push(hog.pid);
    }
    let Observed { reports, logged, kernel_count } = bench.observe(&pids)?;
    let mut differences = Differences::default();
    differences.equal("reports", Some(reports.len()), KILLS);
    differences.equal("oom_kill of /proc/vmstat", Some(KILLS as u64), kernel_count);
    differences.equal("oom_kill of the cgroup", Some(KILLS as u64), memcg.oom_kills()?);
    let reported: Vec<_> =
        reports.iter().flat_map(|report| &report.victims).filter_map(|victim| victim.tgid).collect();
    differences.equal("victims, in the order of their deaths", Some(reported), pids);
    for killed in logged.iter().flat_map(|incident| incident.victims()) {
        let victim =
            reports.iter().flat_map(|report| &report.victims).find(|victim| victim.tid == Some(killed.tid));
        let rss = victim.and_then(|victim| victim.rss_anon);
        differences.close("rss.anon_bytes", rss, killed.rss_anon_kib * 1024, bench.machine.unsummed());
    }
    differences.finish()
}
