//! `memory.oom.group`: one incident, many victims.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    bench::{Bench, Observed},
    compare::{Differences, Since, with_log, with_status},
    hog::Hog,
    memcg::Memcg,
    report::Process,
};

use super::{Standing, processes::PROTECTED, stand};

const POD: &str = "/kubepods.slice/kubepods-pod7d1f0b7e_21c5_4b39_93b4_5c1be2a90d11.slice";

/// Three processes of a cgroup stand: two that wait, and a third that will grow.
struct Group {
    members: Vec<(Hog, Standing)>,
}

impl Group {
    fn stand(bench: &Bench, memcg: &Memcg) -> Result<Self> {
        let steps: [&[&str]; 3] = [
            &["comm=first", "anon=4", "stop"],
            &["comm=second", "anon=6", "stop"],
            &["anon=12", "stop", "anon=256"],
        ];
        let mut members = Vec::new();
        for steps in steps {
            let mut hog = bench.hog(memcg, steps)?;
            let standing = stand(&mut hog)?;
            members.push((hog, standing));
        }
        Ok(Self { members })
    }

    fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|(hog, _)| hog.pid).collect()
    }

    /// Lets the third go on, until all three are dead.
    fn die(&mut self) -> Result<()> {
        let (grower, _) = self.members.last_mut().context("no grower")?;
        grower.go()?;
        self.members.iter_mut().try_for_each(|(hog, _)| hog.wait_for_kill())
    }
}

pub(super) fn whole(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg(&format!("{POD}/cri-containerd-group.scope"), 48)?;
    memcg.kill_as_group()?;
    one_incident(bench, &memcg)
}

/// The flag of an ancestor below the limit's owner holds for all below it.
pub(super) fn on_parent(bench: &mut Bench) -> Result<()> {
    let pod = bench.memcg(POD, 48)?;
    pod.kill_as_group()?;
    let memcg = bench.hierarchy.create(&format!("{POD}/cri-containerd-group.scope"))?;
    one_incident(bench, &memcg)
}

fn one_incident(bench: &mut Bench, memcg: &Memcg) -> Result<()> {
    let mut group = Group::stand(bench, memcg)?;
    incident_of(bench, memcg, &mut group)
}

fn incident_of(bench: &mut Bench, memcg: &Memcg, group: &mut Group) -> Result<()> {
    bench.begin()?;
    group.die()?;
    let count = group.members.len();
    let (report, logged, kernel_count) = bench.observe_one(&group.pids())?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    each_once(&mut differences, report.victims.iter().map(|victim| victim.tgid), group);
    // The chosen process is killed first, and then once more as one of the group.
    let counted = count as u64 + 1;
    differences.equal("oom_kill of /proc/vmstat", Some(counted), kernel_count);
    differences.equal("oom_kill of the cgroup", Some(counted), memcg.oom_kills()?);
    for (index, (hog, standing)) in group.members.iter().enumerate() {
        let since = if index + 1 == count { Since::Grew } else { Since::Waited };
        let victim = report
            .victims
            .iter()
            .find(|victim| victim.tgid == Some(hog.pid))
            .context("a victim is missing")?;
        with_status(&mut differences, victim, &standing.status, since, &bench.machine);
    }
    differences.finish().with_context(|| report.line)
}

/// A process that may not be killed outlives its group; the others are counted as ever.
pub(super) fn with_protected(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg(&format!("{POD}/cri-containerd-group.scope"), 48)?;
    memcg.kill_as_group()?;
    let mut protected = bench.hog(&memcg, &[PROTECTED, "comm=protected", "anon=2", "stop"])?;
    protected.go_to_stop()?;
    one_incident(bench, &memcg)?;
    ensure!(protected.alive()?, "the protected process died with its group");
    Ok(())
}

/// No limit was reached, but the chosen process is in a group: it dies whole (`mem_cgroup_get_oom_group`,
/// `mm/memcontrol.c`).
pub(super) fn node_wide(bench: &mut Bench) -> Result<()> {
    let memcg = bench.hierarchy.create("/node-wide-group")?;
    memcg.kill_as_group()?;
    let mut group = Group { members: Vec::new() };
    for steps in [["comm=first", "anon=4", "stop", ""], ["comm=second", "anon=12", "stop", "anon=8192"]] {
        let steps: Vec<&str> = steps.into_iter().filter(|step| !step.is_empty()).collect();
        let mut hog = bench.hog(&memcg, &steps)?;
        let standing = stand(&mut hog)?;
        group.members.push((hog, standing));
    }
    incident_of(bench, &memcg, &mut group)
}

/// At this level each process is marked by itself; whether they are reported together is left to the agent.
pub(super) fn by_tracepoint(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/group", 48)?;
    memcg.kill_as_group()?;
    let mut group = Group::stand(bench, &memcg)?;
    bench.begin()?;
    group.die()?;
    let Observed { reports, logged, kernel_count } = bench.observe(&group.pids())?;
    let mut differences = Differences::default();
    let victims = || reports.iter().flat_map(|report| &report.victims);
    each_once(&mut differences, victims().map(Process::number), &group);
    differences.equal("oom_kill of /proc/vmstat", Some(4), kernel_count);
    for killed in logged.iter().flat_map(|incident| incident.victims()) {
        let victim = victims().find(|victim| victim.tid == Some(killed.tid));
        if !bench.machine.mark_victim_passes_task && victim.is_some_and(|victim| victim.total_vm.is_none()) {
            // A bare pid: the kernel gave no more, and /proc had nothing left. It must at least be said.
            let named =
                reports.iter().any(|report| report.gaps.iter().any(|gap| gap.starts_with("victims[")));
            differences.that("what a bare pid leaves out must be among the gaps", named);
            continue;
        }
        let comm = victim.and_then(|victim| victim.comm.as_deref());
        differences.same_name("victim comm", comm, &killed.comm);
        let total_vm = victim.and_then(|victim| victim.total_vm);
        differences.equal("victim total_vm_bytes", total_vm, killed.total_vm_kib * 1024);
    }
    for report in &reports {
        differences.equal("probe.level", report.level.as_deref(), "tracepoint");
        differences
            .that("the domain must be among the gaps", report.gaps.iter().any(|gap| gap.starts_with("oom")));
    }
    differences.finish()
}

fn each_once(differences: &mut Differences, reported: impl Iterator<Item = Option<u32>>, group: &Group) {
    let reported: Vec<u32> = reported.flatten().collect();
    differences.equal("number of victims", Some(reported.len()), group.members.len());
    let reported: BTreeSet<u32> = reported.into_iter().collect();
    differences.equal("victims", Some(reported), group.pids().into_iter().collect());
}
