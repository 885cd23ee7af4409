//! Figures of several turns, and how they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// As `oomwatch-guest peers` prints them (`tests/src/peers/bench.rs`).
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Compared {
    pub(super) kernel: String,
    pub(super) cpus: u64,
    pub(super) rounds: u32,
    pub(super) kills: u64,
    pub(super) singles: u64,
    pub(super) turns: BTreeMap<String, Vec<Turn>>,
}

/// One turn of one program.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Turn {
    pub(super) start_us: u64,
    pub(super) peak_bytes: u64,
    pub(super) first_line_us: u64,
    pub(super) single: Phase,
    pub(super) storm: Phase,
}

/// One kind of kills in a turn.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Phase {
    pub(super) kills: u64,
    pub(super) named: u64,
    pub(super) line_p50_us: u64,
    pub(super) line_p99_us: u64,
    pub(super) bpf_ns: u64,
    pub(super) kill_ns: u64,
}

/// Of one figure over all turns.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Spread {
    pub(super) fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or(0);
        Self { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

/// One as a multiple of the other, in thousandths, turn by turn.
pub(super) fn ratios(own: &[Turn], other: &[Turn], figure: fn(&Turn) -> u64) -> Spread {
    let pairs = own.iter().map(figure).zip(other.iter().map(figure));
    Spread::of(pairs.map(|(own, other)| thousandths_of(own, other)))
}

/// In thousandths; 0 where there is nothing to compare with.
pub(super) fn thousandths_of(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000).checked_div(whole).unwrap_or(0)
}

/// To the hundredth, and below a tenth to the thousandth.
pub(super) fn thousandths(ratio: u64) -> String {
    if ratio < 100 { format!("0.{ratio:03}") } else { format!("{}.{:02}", ratio / 1000, ratio % 1000 / 10) }
}

pub(super) fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}

pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_to_what_they_are_good_for() {
        assert_eq!([thousandths(37), thousandths(370), thousandths(12_345)], ["0.037", "0.37", "12.34"]);
        assert_eq!((thousandths_of(1, 8), thousandths_of(1, 0)), (125, 0));
        assert_eq!((milliseconds(1234), mebibytes(0x5_8000)), ("1.234 ms".into(), "0.3 MiB".into()));
        let Spread { median, min, max } = Spread::of([3, 1, 2]);
        assert_eq!((median, min, max), (2, 1, 3));
    }
}
