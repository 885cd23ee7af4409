//! How large the agent is, as it is shipped.

use std::fs;

use anyhow::{Context, Result, ensure};
use oomwatch_tests::here::binary;

/// docs/benchmarks.md says what it is made of.
const BELOW: u64 = 6 << 20;

#[test]
fn the_agent_is_below_6_mib() -> Result<()> {
    let agent = binary()?;
    let size = fs::metadata(&agent).context("cannot look at the agent")?.len();
    ensure!(size < BELOW, "{} has {size} bytes, and should have less than {BELOW}", agent.display());
    Ok(())
}
