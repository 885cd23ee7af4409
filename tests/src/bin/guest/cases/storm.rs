//! Kills as fast as they can be made, in several cgroups at once, on all CPUs.

use std::time::Duration;

use anyhow::{Result, ensure};
use oomwatch_tests::{bench::Bench, storm::Storm};

use crate::suite::agent_binary;

const KILLS: u64 = 200;
const HANGS: Duration = Duration::from_mins(3);

/// By an agent of its own; the other one, which runs beside it, must miss none either.
pub(super) fn of_many(bench: &mut Bench) -> Result<()> {
    bench.begin_within_rate_limit()?;
    let storm = Storm {
        binary: &agent_binary(),
        program: &std::env::current_exe()?,
        level: &bench.agent.level.clone(),
        kills: KILLS,
        within: HANGS,
    };
    let outcome = storm.run()?;
    ensure!(outcome.kills >= KILLS && outcome.is_complete(), "{outcome}");
    // One CPU comes to whoever reads before it comes back to the victim.
    ensure!(outcome.cpus > 1 || outcome.status.alive == outcome.kills, "{outcome}");
    bench.pass_over(outcome.kills)
}
