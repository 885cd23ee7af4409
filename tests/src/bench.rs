//! A machine with the agent running on it, where kills are made and everything said about them is collected.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    agent::Agent,
    deadline::{PATIENCE, wait_for},
    hog::Hog,
    kernel_log::{LoggedIncident, incidents},
    kmsg::{Kmsg, Record},
    lines::{Lines, Next},
    machine::{Machine, oom_kills},
    memcg::{Hierarchy, Memcg},
    rate_limit,
    report::Report,
};

/// The agent, the kernel's log and the cgroups.
#[derive(Debug)]
pub struct Bench {
    /// The agent, which reports in JSON.
    pub agent: Agent,
    reports: Lines,
    kmsg: Kmsg,
    records: Vec<Record>,
    /// This machine.
    pub machine: Machine,
    /// Its memory cgroups.
    pub hierarchy: Hierarchy,
    program: PathBuf,
    alone: bool,
    kills_before: u64,
}

/// All that was said about the kills since [`Bench::begin`].
#[derive(Debug)]
pub struct Observed {
    /// By the agent, in its order.
    pub reports: Vec<Report>,
    /// By the kernel.
    pub logged: Vec<LoggedIncident>,
    /// By how much `oom_kill` of `/proc/vmstat` rose.
    pub kernel_count: u64,
}

impl Bench {
    /// Starts the agent. `program` is `oomwatch-guest`; `alone` says that nobody else on this machine is OOM-killed,
    /// so that what is reported beyond the expected is an error.
    ///
    /// # Errors
    /// The agent does not get ready, or the machine lacks something.
    pub fn start(binary: &Path, program: PathBuf, args: &[&str], alone: bool) -> Result<Self> {
        Self::beside(Agent::start(binary, args)?, program, alone)
    }

    /// The same, with an agent that runs already.
    ///
    /// # Errors
    /// The machine lacks something.
    pub fn beside(mut agent: Agent, program: PathBuf, alone: bool) -> Result<Self> {
        let reports = Lines::of(agent.take_stdout()?);
        Ok(Self {
            agent,
            reports,
            kmsg: Kmsg::open()?,
            records: Vec::new(),
            machine: Machine::this()?,
            hierarchy: Hierarchy::mounted()?,
            program,
            alone,
            kills_before: oom_kills()?,
        })
    }

    /// A cgroup with a limit of its own.
    ///
    /// # Errors
    /// See [`Hierarchy::create`].
    pub fn memcg(&self, path: &str, limit_mib: u64) -> Result<Memcg> {
        let memcg = self.hierarchy.create(path)?;
        memcg.limit(path, limit_mib << 20)?;
        Ok(memcg)
    }

    /// A hog in that cgroup, which waits before its first step.
    ///
    /// # Errors
    /// See [`Hog::start`].
    pub fn hog(&self, memcg: &Memcg, steps: &[&str]) -> Result<Hog> {
        self.hog_of(0, memcg, steps)
    }

    /// The same, as another user.
    ///
    /// # Errors
    /// See [`Hog::start`].
    pub fn hog_of(&self, uid: u32, memcg: &Memcg, steps: &[&str]) -> Result<Hog> {
        let hog = Hog::start(&self.program, uid, steps)?;
        memcg.add(hog.pid)?;
        Ok(hog)
    }

    /// A hog in the test's own cgroup, which has no limit.
    ///
    /// # Errors
    /// See [`Hog::start`].
    pub fn unlimited_hog(&self, steps: &[&str]) -> Result<Hog> {
        Hog::start(&self.program, 0, steps)
    }

    /// Marks the place from which on [`Self::observe`] collects, and waits until the kernel will print another header.
    ///
    /// # Errors
    /// The log cannot be read; or, `alone`, the agent reported something that nobody waited for.
    pub fn begin(&mut self) -> Result<()> {
        rate_limit::wait()?;
        self.begin_here()
    }

    /// As [`Self::begin`], where the headers do not matter.
    ///
    /// # Errors
    /// See there.
    pub fn begin_within_rate_limit(&mut self) -> Result<()> {
        rate_limit::count(1);
        self.begin_here()
    }

    fn begin_here(&mut self) -> Result<()> {
        let unexpected = self.reports.ready();
        ensure!(!self.alone || unexpected.is_empty(), "reported, though nothing was killed: {unexpected:?}");
        self.kmsg.skip()?;
        self.records.clear();
        self.kills_before = oom_kills()?;
        Ok(())
    }

    /// Waits until each of the processes is named as a victim by the agent, and as many by the kernel.
    ///
    /// # Errors
    /// One is not, in time.
    pub fn observe(&mut self, victims: &[u32]) -> Result<Observed> {
        let mut reports: Vec<Report> = Vec::new();
        let begun = Instant::now();
        while let Some(missing) = victims.iter().find(|&&pid| !names(&reports, pid)) {
            match self.reports.next(PATIENCE.saturating_sub(begun.elapsed())) {
                Next::Line(line) => {
                    let report = Report::parse(&line)?;
                    let ours = report
                        .victims
                        .iter()
                        .any(|victim| victim.number().is_some_and(|pid| victims.contains(&pid)));
                    if ours || self.alone {
                        reports.push(report);
                    }
                }
                Next::End => bail!("the agent closed its stdout. {}", self.agent.log()),
                Next::Nothing => bail!(
                    "pid {missing} was not reported within {:.0} s, but these were: {:?}. {}",
                    PATIENCE.as_secs_f64(),
                    reports.iter().map(|report| &report.line).collect::<Vec<_>>(),
                    self.agent.log()
                ),
            }
        }
        let logged = self.logged(victims)?;
        // One was counted before the kill. Headers that were held back count as well: the kernel's window is full.
        rate_limit::count(logged.len().saturating_sub(1));
        let kernel_count = oom_kills()?.saturating_sub(self.kills_before);
        Ok(Observed { reports, logged, kernel_count })
    }

    /// What the kernel printed about these processes, or on a machine of our own about any.
    fn logged(&mut self, victims: &[u32]) -> Result<Vec<LoggedIncident>> {
        wait_for("the kernel's log of the kill", PATIENCE, || {
            self.records.extend(self.kmsg.read()?);
            let mut logged = incidents(&self.records);
            // A header without a victim: the OOM killer was called, and found nobody to kill.
            logged.retain(|incident| {
                !incident.killed.is_empty() && (self.alone || concerns(incident, victims))
            });
            let killed: usize = logged.iter().map(|incident| incident.victims().len()).sum();
            Ok((killed >= victims.len()).then_some(logged))
        })
    }

    /// Waits until the agent has reported so many kills that somebody else looks at.
    ///
    /// # Errors
    /// It does not, or more.
    pub fn pass_over(&mut self, kills: u64) -> Result<()> {
        rate_limit::count(usize::try_from(kills)?);
        for number in 0..kills {
            match self.reports.next(PATIENCE) {
                Next::Line(_) => {}
                other => {
                    bail!("{number} of {kills} kills were reported, then {other:?}. {}", self.agent.log())
                }
            }
        }
        self.begin_within_rate_limit()
    }

    /// The one incident expected: one report, one invocation in the log, printed whole.
    ///
    /// # Errors
    /// There are more, or the log lacks the header.
    pub fn observe_one(&mut self, victims: &[u32]) -> Result<(Report, LoggedIncident, u64)> {
        let observed = self.observe(victims)?;
        Self::only(observed)
    }

    /// The same where the kernel may go on to kill `next` before the memory of the first is back. Whether it did: then
    /// that is told as well, as an incident of its own, which is left out here.
    ///
    /// # Errors
    /// As [`Self::observe_one`]; and the second was not reported.
    pub fn observe_first(&mut self, victim: u32, next: u32) -> Result<(Report, LoggedIncident, u64, bool)> {
        let mut observed = self.observe(&[victim])?;
        let is_followed = observed.logged.get(1).is_some_and(|second| concerns(second, &[next]));
        if is_followed {
            let after = self.observe(&[next])?;
            ensure!(after.reports.len() == 1, "the second kill is told {} times", after.reports.len());
            observed.logged.truncate(1);
            observed.kernel_count = after.kernel_count.saturating_sub(1);
        }
        let (report, logged, kernel_count) = Self::only(observed)?;
        Ok((report, logged, kernel_count, is_followed))
    }

    fn only(mut observed: Observed) -> Result<(Report, LoggedIncident, u64)> {
        let count = (observed.reports.len(), observed.logged.len());
        let lines: Vec<_> = observed.reports.iter().map(|report| &report.line).collect();
        ensure!(
            count == (1, 1),
            "one incident, but {} reports and {} in the log: {:?}, {lines:?}",
            count.0,
            count.1,
            observed.logged
        );
        let report = observed.reports.pop().context("no report")?;
        let logged = observed.logged.pop().context("nothing logged")?;
        ensure!(
            logged.header.is_some() && logged.summary.is_some(),
            "the kernel printed no header: {logged:?}"
        );
        Ok((report, logged, observed.kernel_count))
    }

    /// Ends the agent as its users do, and checks that it is well-behaved to the last.
    ///
    /// # Errors
    /// It exits with another code than 0, or reports something first.
    pub fn stop(mut self) -> Result<()> {
        self.agent.terminate()?;
        let (status, _) = self.agent.wait()?;
        ensure!(status.success(), "the agent ended with {status}. {}", self.agent.log());
        let rest = self.reports.ready();
        ensure!(!self.alone || rest.is_empty(), "reported, though nothing was killed: {rest:?}");
        Ok(())
    }
}

fn names(reports: &[Report], pid: u32) -> bool {
    reports.iter().flat_map(|report| &report.victims).any(|victim| victim.number() == Some(pid))
}

fn concerns(incident: &LoggedIncident, victims: &[u32]) -> bool {
    let chosen = incident.summary.as_ref().is_some_and(|summary| victims.contains(&summary.pid));
    chosen || incident.killed.iter().any(|killed| victims.contains(&killed.tid))
}
