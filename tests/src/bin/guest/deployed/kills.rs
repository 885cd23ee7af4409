//! Kills in containers that containerd runs where the kubelet would have them run.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use oomwatch_tests::{
    agent::Agent,
    deadline::PATIENCE,
    lines::{Lines, Next},
    report::{Around, Kubernetes, Report},
};

use super::{Granted, World, agents_cgroup, capabilities, pods::NodesPod};
use crate::suite::say;

/// Of each hog's container, MiB.
const LIMIT: u64 = 32;
/// What only CAP_SYS_PTRACE permits to read.
pub(super) const EXE: &str = "victims[0]/exe";
/// Where the manifest has the agent keep incidents.
const JOURNAL: &str = "/var/lib/oomwatch";
/// Pod, container, whether the kubelet knows it, whether the driver is systemd.
const VICTIMS: [(&str, &str, bool, bool); 3] = [
    ("n-burst", "hog", true, true),
    ("n-podres", "two", true, true),
    ("b-guar-rignode", "hog", false, false),
];

/// The agent and its reports.
pub(super) struct Reporting {
    pub(super) agent: Agent,
    reports: Lines,
}

impl Reporting {
    pub(super) fn start(world: &World, granted: Granted<'_>) -> Result<Self> {
        let mut agent = world.start_agent(granted)?;
        let reports = Lines::of(agent.take_stdout()?);
        Ok(Self { agent, reports })
    }

    /// Makes one kill and waits for its report.
    pub(super) fn kill(&mut self, world: &World, victim: &NodesPod, cgroup: &str) -> Result<Report> {
        world.hog(&victim.id, cgroup, LIMIT)?;
        match self.reports.next(PATIENCE) {
            Next::Line(line) => Report::parse(&line),
            _ => bail!("no report of the kill in {cgroup}. {}", self.agent.log()),
        }
    }

    /// Ends it as Kubernetes does; its log.
    pub(super) fn stop(mut self) -> Result<String> {
        self.agent.terminate()?;
        let (status, _) = self.agent.wait()?;
        ensure!(status.success(), "the agent ended with {status}. {}", self.agent.log());
        Ok(self.agent.log())
    }
}

/// With all that the DaemonSet grants nothing is missing.
pub(super) fn are_named(world: &World) -> Result<()> {
    let mut reporting = Reporting::start(world, Granted::All)?;
    let mut whole = 0;
    for (pod, container, known, systemd) in VICTIMS {
        let victim = world.pods.iter().find(|victim| victim.pod == pod && victim.container == container);
        let victim = victim.with_context(|| format!("no pod {pod} in the captured answers"))?;
        let cgroup = if systemd { victim.cgroup_of_systemd() } else { victim.cgroup_of_cgroupfs() };
        let report = reporting.kill(world, victim, &cgroup)?;
        check(&report, victim, known, &cgroup)
            .with_context(|| format!("{}\n{}", report.line, reporting.agent.log()))?;
        whole += u32::from(report.gaps.is_empty());
    }
    // What stands in README, typed in the agent's own pod: it finds the journal by the pod's environment.
    let events = world.exec(&["/oomwatch", "events", "--output", "json"])?;
    let pods: Result<Vec<_>> = events.lines().map(|line| Ok(Report::parse(line)?.kubernetes.pod)).collect();
    // Other cases may have made kills before.
    let expected = VICTIMS.map(|(pod, ..)| Some(pod.to_owned()));
    ensure!(pods?.ends_with(&expected), "`oomwatch events` shows {events}");
    ensure!(Path::new(JOURNAL).join("lock").exists(), "there is no journal in the node's {JOURNAL}");
    let peak = peak_memory()?;
    let limit = world.container.resources.limits.memory()?;
    let log = reporting.stop()?;
    // The emitter has until the agent's end.
    for (pod, ..) in VICTIMS {
        ensure!(world.cluster.has_event_on(pod)?, "there is no Event on {pod}. {log}");
    }
    say(&format!("(the agent's cgroup took {} of {} KiB) ", peak >> 10, limit >> 10))?;
    ensure!(whole > 0, "no report was whole. {log}");
    ensure!(peak < limit / 4 * 3, "the agent's cgroup needed {peak} of {limit} bytes. {log}");
    for phrase in capabilities::phrases() {
        ensure!(!log.contains(phrase), "with every capability the log says {phrase:?}: {log}");
    }
    Ok(())
}

fn check(report: &Report, victim: &NodesPod, known: bool, cgroup: &str) -> Result<()> {
    ensure!(report.level.as_deref() == Some("kprobe"), "expected level kprobe");
    let NodesPod { namespace, pod, container, .. } = victim;
    let expected = Kubernetes {
        names_from: Some(if known { "kubelet" } else { "logs" }.to_owned()),
        namespace: Some(namespace.clone()),
        pod: Some(pod.clone()),
        container: Some(container.clone()),
    };
    ensure!(report.kubernetes == expected, "expected {expected:?}");
    let owner = report.limit_owner.as_ref().context("no limit owner")?;
    ensure!(owner.cgroup.as_deref() == Some(cgroup.as_bytes()), "expected the limit of {cgroup}");
    ensure!(owner.limit == Some(LIMIT << 20), "expected a limit of {LIMIT} MiB");
    ensure!(report.scope.as_deref() == Some("container"), "expected scope container");
    // From a pid namespace of its own the agent sees who is in a container by the host's /proc alone.
    let around = Around::of(&report.line)?.candidates;
    let is_alone = around.count == Some(1) && around.processes.iter().all(|process| process.is_victim);
    ensure!(is_alone, "the victim was alone in its container: {around:?}");
    // On a slow machine the victim may be gone before it is read, or the time over before all others are looked at, and
    // the report then says so.
    let is_of_process = |gap: &str| gap.starts_with("victims[0]/") || gap.starts_with("trigger/");
    let mut gaps = report.gaps.iter().zip(&report.reasons);
    let are_slow = gaps.all(|(gap, why)| match gap.as_str() {
        "candidates" => why.starts_with("cut: "),
        gap => is_of_process(gap) && why == "gone",
    });
    ensure!(are_slow, "gaps: {:?} {:?}", report.gaps, report.reasons);
    Ok(())
}

/// Of the agent's cgroup, bytes: its processes', and the maps of the eBPF programs.
fn peak_memory() -> Result<u64> {
    let file = format!("/sys/fs/cgroup{}/memory.peak", agents_cgroup());
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    Ok(text.trim().parse()?)
}
