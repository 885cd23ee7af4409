//! `oomwatch check`: what works on this node and what does not, one line each, with what to change.
//!
//! Whether incidents will be caught is not judged here but tried, by the very code that `run` starts with. Each check
//! reads, then hands what it read to a function that judges it and does nothing else: those are tested by tables.

mod cgroups;
mod events;
mod kernel;
mod kubernetes;
mod memory;
mod own;
mod print;
mod privileges;
mod probe;
mod proc;
mod settings;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use oomwatch_common::{incident::ProbeLevel, kernel_layout::Resolved, kernel_log::prints_exact_rss};
use serde::Serialize;
use tokio::runtime::{self, Runtime};

use crate::{
    attach::{self, Ahead, Watch},
    config::{CheckOptions, CheckOutput},
    kmsg::Kmsg,
    kubernetes::{events::Api, kubelet::Kubelet},
    preflight,
    probe::resolve,
    refusal::Refusal,
    sys,
};

/// A check: looks at one thing and says a line of it, or a few.
type Check = fn(&Look<'_>) -> Vec<Line>;

/// Every check, in the order of the list.
const CHECKS: &[Check] = &[
    kernel::kernel,
    kernel::lockdown,
    privileges::capabilities,
    probe::btf,
    probe::probe,
    probe::rss,
    cgroups::cgroups,
    proc::proc,
    memory::pressure,
    memory::swap,
    memory::slabs,
    settings::settings,
    settings::other_killers,
    own::oom_score_adj,
    own::limit,
    own::memory_lock,
    own::priority,
    settings::kernel_log,
    kubernetes::node_name,
    kubernetes::kubelet,
    kubernetes::log_files,
    events::events,
];

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Ok,
    /// Works, with less.
    Degraded,
    /// Does not work.
    Failed,
    /// There is no such thing here, or it could not be seen.
    NotApplicable,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    /// What was looked at: a short name that stays the same.
    check: &'static str,
    /// How it is.
    state: State,
    /// What was found, and what it costs.
    text: String,
    /// What to change, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Line {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Ok, text: text.into(), cure: None }
    }

    fn not_applicable(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::NotApplicable, text: text.into(), cure: None }
    }

    fn degraded(check: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, state: State::Degraded, text: text.into(), cure: Some(cure.into()) }
    }

    fn failed(check: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, state: State::Failed, text: text.into(), cure: Some(cure.into()) }
    }

    /// A refusal says itself what to change.
    fn refused(check: &'static str, refusal: &Refusal) -> Self {
        Self { check, state: State::Failed, text: refusal.text.clone(), cure: None }
    }
}

/// What the trial of the probe came to.
struct Attached {
    level: ProbeLevel,
    why_not_higher: Option<String>,
    rss_inexact: Option<&'static str>,
}

/// What the checks look at.
struct Look<'a> {
    options: &'a CheckOptions,
    /// `/proc/self/status`; empty where it could not be read.
    status: String,
    resolved: Result<Resolved, Refusal>,
    attached: Result<Attached, Refusal>,
    /// The node's name in reports.
    node: String,
    /// The kubelet that `run` would ask.
    kubelet: Result<Option<Kubelet>, Refusal>,
    /// The API server that `run` would tell.
    api: Result<Option<Api>, Refusal>,
    /// What turns while a server is asked.
    runtime: Runtime,
}

/// What each question to a server may take: somebody waits for the list.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

impl<'a> Look<'a> {
    /// Tries the probe, on the process's first thread, which its proof needs. It is detached again at once.
    fn new(options: &'a CheckOptions) -> Result<Self, Refusal> {
        let machine = &options.node;
        let log = Kmsg::open(&machine.kmsg);
        let attached = attach::watch(machine, sys::page_size(), log, Ahead::begin(), |_| ());
        let attached = attached.map(|watch| match watch {
            Watch::Probe(probe, _) => Attached {
                level: probe.level,
                why_not_higher: probe.why_not_higher,
                rss_inexact: probe.rss_inexact,
            },
            Watch::Log(_, why_not_higher) => {
                let is_exact = prints_exact_rss(&sys::kernel_release());
                let rss_inexact = (!is_exact).then_some("the log has them so");
                Attached { level: ProbeLevel::Kmsg, why_not_higher, rss_inexact }
            }
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Refusal::failed(format!("starting the async runtime: {error}")))?;
        let node = machine.node_name.clone().unwrap_or_else(sys::host_name);
        let entered = runtime.enter();
        let kubelet = Kubelet::new(&options.kubernetes, &node);
        drop(entered);
        let api = events::way(&runtime, &options.kubernetes);
        Ok(Self {
            options,
            status: fs::read_to_string(machine.proc.join("self/status")).unwrap_or_default(),
            resolved: resolve(&machine.btf),
            attached,
            node,
            kubelet,
            api,
            runtime,
        })
    }

    /// At which level incidents will be caught, or why `run` would not start: what it looks at first comes first.
    fn verdict(&self) -> Result<ProbeLevel, &Refusal> {
        self.kubelet.as_ref()?;
        self.api.as_ref()?;
        self.attached.as_ref().map(|attached| attached.level)
    }

    fn proc(&self) -> &Path {
        &self.options.node.proc
    }

    /// A line of `/proc/self/status`.
    fn status(&self, name: &str) -> Option<&str> {
        preflight::status_field(&self.status, name)
    }
}

/// Looks at everything, prints it, and ends with 0 where incidents will be caught, else with what `run` would end with.
///
/// # Errors
/// stdout cannot be written.
pub fn check(options: &CheckOptions) -> Result<ExitCode, Refusal> {
    let look = Look::new(options)?;
    let lines: Vec<Line> = CHECKS.iter().flat_map(|check| check(&look)).collect();
    let verdict = look.verdict();
    let text = match options.output {
        CheckOutput::Text => print::text(&lines, verdict, options.color.wanted(&io::stdout())),
        CheckOutput::Json => print::json(&lines, verdict, &look.node)?,
    };
    let code = verdict.err().map_or(ExitCode::SUCCESS, Refusal::exit_code);
    // A question that was given up on may still wait for an answer.
    look.runtime.shutdown_background();
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Refusal::failed(format!("writing to stdout: {error}")))
        }
        _ => Ok(code),
    }
}
