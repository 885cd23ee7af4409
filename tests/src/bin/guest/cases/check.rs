//! `oomwatch check` beside the agent that runs.

use std::{env, os::unix::process::CommandExt};

use anyhow::{Result, ensure};
use oomwatch_tests::{
    agent::command,
    bench::Bench,
    check::{Checked, each_capability},
};

use crate::suite::agent_binary;

/// `nobody`.
const NOBODY: u32 = 65_534;

/// As root it takes the level that the agent took.
pub(super) fn level(bench: &mut Bench) -> Result<()> {
    let checked = Checked::run(&agent_binary(), &[])?;
    checked.expect_code(0)?;
    let level = bench.agent.level.as_str();
    ensure!(checked.document.get("level") == Some(&level.into()), "not {level}: {}", checked.text);
    checked.expect("probe", if level == "kprobe" { "ok" } else { "degraded" })?;
    let adj = checked.line("oom_score_adj")?.to_string();
    ensure!(adj.contains("of the agent, pid "), "the agent that runs is not looked at: {adj}");
    for name in ["kernel", "btf", "capabilities", "cgroups", "proc", "rss", "priority", "memory_lock"] {
        checked.expect(name, "ok")?;
    }
    Ok(())
}

/// With less than root has it says what that costs.
pub(super) fn privileges(_: &mut Bench) -> Result<()> {
    each_capability(&env::current_exe()?, &agent_binary())?;
    let mut nobody = command(&agent_binary());
    let checked = Checked::of(nobody.args(["check", "--output", "json"]).uid(NOBODY).gid(NOBODY))?;
    checked.expect_code(77)?;
    checked.expect("probe", "failed")?;
    checked.expect("kernel", "ok")
}
