//! `oomwatch replay`
use crate::{config::ReplayOptions, refusal::Refusal};
/// Replays
pub fn replay(_options: &ReplayOptions) -> Result<(), Refusal> {
    Ok(())
}
