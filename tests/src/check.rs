//! `oomwatch check` from outside: what it prints, and how it ends.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    agent::{Ended, command, run_to_end},
    machine::Machine,
};

/// How a missing capability shows.
pub struct Loss {
    /// What is taken away.
    pub without: &'static str,
    /// What the check ends with.
    pub code: i32,
    /// Checks that then are not `ok`, each with its state.
    pub shows: &'static [(&'static str, &'static str)],
}

/// Each capability that oomwatch uses. `CAP_SYS_ADMIN` stands for the first two, and goes with them.
pub const LOSSES: &[Loss] = &[
    Loss {
        without: "CAP_BPF,CAP_SYS_ADMIN",
        code: 77,
        shows: &[("CAP_BPF", "failed"), ("probe", "failed"), ("rss", "not_applicable")],
    },
    Loss {
        without: "CAP_PERFMON,CAP_SYS_ADMIN",
        code: 77,
        shows: &[("CAP_PERFMON", "failed"), ("probe", "failed"), ("rss", "not_applicable")],
    },
    Loss { without: "CAP_SYSLOG", code: 0, shows: &[("CAP_SYSLOG", "degraded")] },
    Loss {
        without: "CAP_SYS_NICE",
        code: 0,
        shows: &[("CAP_SYS_NICE", "degraded"), ("priority", "degraded")],
    },
    // Only where the limit of locked memory cannot be raised either is nothing locked.
    Loss {
        without: "CAP_IPC_LOCK,CAP_SYS_RESOURCE",
        code: 0,
        shows: &[("CAP_IPC_LOCK", "degraded"), ("memory_lock", "degraded")],
    },
    Loss { without: "CAP_SYS_PTRACE", code: 0, shows: &[("CAP_SYS_PTRACE", "degraded")] },
];

/// What `oomwatch check --output json` said.
#[derive(Debug)]
pub struct Checked {
    /// The exit code.
    pub code: Option<i32>,
    /// The object.
    pub document: Value,
    /// How long it took.
    pub took: Duration,
    /// All that was printed, for the text of an error.
    pub text: String,
}

impl Checked {
    /// Runs it, with these arguments besides.
    ///
    /// # Errors
    /// It does not end, or prints anything but one object.
    pub fn run(binary: &Path, arguments: &[&str]) -> Result<Self> {
        Self::of(command(binary).args(["check", "--output", "json"]).args(arguments))
    }

    /// Runs it by `program`, which is `oomwatch-guest`, without some capabilities.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn without(program: &Path, capabilities: &str, binary: &Path) -> Result<Self> {
        let mut command = command(program);
        command.args(["without", capabilities]).arg(binary).args(["check", "--output", "json"]);
        Self::of(&mut command)
    }

    /// Runs the command, which ends in `check --output json`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn of(command: &mut Command) -> Result<Self> {
        let Ended { status, stdout, log, took } = run_to_end(command)?;
        let text = format!("ended with {status}: {stdout}\n{log}");
        let document = serde_json::from_str(&stdout).with_context(|| text.clone())?;
        Ok(Self { code: status.code(), document, took, text })
    }

    /// A check by its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn line(&self, name: &str) -> Result<&Value> {
        let checks = self.document.get("checks").and_then(Value::as_array);
        let line =
            checks.and_then(|checks| checks.iter().find(|line| line.get("check") == Some(&name.into())));
        line.with_context(|| format!("no check {name}: {}", self.text))
    }

    /// Whether a check has this state.
    ///
    /// # Errors
    /// It has another.
    pub fn expect(&self, name: &str, state: &str) -> Result<()> {
        ensure!(self.line(name)?.get("state") == Some(&state.into()), "{name} is not {state}: {}", self.text);
        Ok(())
    }

    /// Whether it ended with this code, and says that of itself.
    ///
    /// # Errors
    /// It ended otherwise.
    pub fn expect_code(&self, code: i32) -> Result<()> {
        let said = self.document.get("exit_code");
        ensure!(self.code == Some(code) && said == Some(&code.into()), "not {code}: {}", self.text);
        let catches = self.document.get("catches");
        ensure!(catches == Some(&(code == 0).into()), "catches is {catches:?}: {}", self.text);
        Ok(())
    }
}

/// Every capability that oomwatch uses is taken away in turn: what the check says of it.
///
/// # Errors
/// It says something else.
pub fn each_capability(program: &Path, binary: &Path) -> Result<()> {
    // Until then BPF's maps counted as locked memory, whose limit only CAP_SYS_RESOURCE raises.
    let maps_are_locked = Machine::this()?.version < (5, 11);
    for loss in LOSSES {
        let checked = Checked::without(program, loss.without, binary)?;
        let needs_limit = maps_are_locked && loss.without.contains("CAP_SYS_RESOURCE");
        let code = if needs_limit { 77 } else { loss.code };
        checked.expect_code(code).with_context(|| loss.without)?;
        if needs_limit {
            checked.expect("CAP_SYS_RESOURCE", "failed")?;
        }
        for (name, state) in loss.shows {
            checked.expect(name, state).with_context(|| loss.without)?;
        }
    }
    Ok(())
}
