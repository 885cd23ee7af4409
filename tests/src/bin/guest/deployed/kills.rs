//! Kills in containers that containerd runs where the kubelet would have them run.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use oomwatch_tests::{
    agent::Agent,
    deadline::PATIENCE,
    lines::{Lines, Next},
    report::{Kubernetes, Report},
};

use super::{World, agents_cgroup, capabilities, pods::NodesPod};

/// Of each hog's container, MiB.
const LIMIT: u64 = 32;
/// Pod, container, whether the driver is systemd.
const VICTIMS: [(&str, &str, bool); 4] = [
    ("n-burst", "hog", true),
    ("n-podres", "two", true),
    ("a-burst-rignode", "hog", false),
    ("b-guar-rignode", "hog", false),
];

/// The agent and its reports.
pub(super) struct Reporting {
    pub(super) agent: Agent,
    reports: Lines,
}

impl Reporting {
    pub(super) fn start(world: &World, dropped: Option<&str>) -> Result<Self> {
        let mut agent = world.start_agent(dropped)?;
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
    let mut reporting = Reporting::start(world, None)?;
    for (pod, container, systemd) in VICTIMS {
        let victim = world.pods.iter().find(|victim| victim.pod == pod && victim.container == container);
        let victim = victim.with_context(|| format!("no pod {pod} in the captured answers"))?;
        let cgroup = if systemd { victim.cgroup_of_systemd() } else { victim.cgroup_of_cgroupfs() };
        let report = reporting.kill(world, victim, &cgroup)?;
        check(&report, victim, &cgroup)
            .with_context(|| format!("{}\n{}", report.line, reporting.agent.log()))?;
    }
    let peak = peak_memory()?;
    let limit = world.container.resources.limits.memory()?;
    let log = reporting.stop()?;
    ensure!(peak < limit / 4 * 3, "the agent's cgroup needed {peak} of {limit} bytes. {log}");
    for phrase in capabilities::phrases() {
        ensure!(!log.contains(phrase), "with every capability the log says {phrase:?}: {log}");
    }
    Ok(())
}

fn check(report: &Report, victim: &NodesPod, cgroup: &str) -> Result<()> {
    ensure!(report.level.as_deref() == Some("kprobe"), "expected level kprobe");
    let NodesPod { namespace, pod, container, .. } = victim;
    let expected = Kubernetes {
        names_from: Some("logs".to_owned()),
        namespace: Some(namespace.clone()),
        pod: Some(pod.clone()),
        container: Some(container.clone()),
    };
    ensure!(report.kubernetes == expected, "expected {expected:?}");
    let owner = report.limit_owner.as_ref().context("no limit owner")?;
    ensure!(owner.cgroup.as_deref() == Some(cgroup.as_bytes()), "expected the limit of {cgroup}");
    ensure!(owner.limit == Some(LIMIT << 20), "expected a limit of {LIMIT} MiB");
    ensure!(report.scope.as_deref() == Some("container"), "expected scope container");
    ensure!(report.gaps.is_empty(), "gaps: {:?}", report.gaps);
    Ok(())
}

/// Of the agent's cgroup, bytes: its processes', and the maps of the eBPF programs.
fn peak_memory() -> Result<u64> {
    let file = format!("/sys/fs/cgroup{}/memory.peak", agents_cgroup());
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    Ok(text.trim().parse()?)
}
