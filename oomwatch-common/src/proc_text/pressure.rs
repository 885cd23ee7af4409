//! `/proc/pressure/memory` and `memory.pressure` (kernel/sched/psi.c): the share of time in which tasks waited for
//! memory.

use serde::{Deserialize, Serialize};

use super::{
    Malformed,
    lines::{number, whole_lines, words},
};

/// Pressure stall information.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks that were not idle waited. Absent where the kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Stall>,
}

/// Shares of time, and the time itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10_percent: f64,
    /// Percent of the last minute.
    pub avg60_percent: f64,
    /// Percent of the last five minutes.
    pub avg300_percent: f64,
    /// Microseconds since boot, or since the cgroup was made.
    pub total_us: u64,
}

/// Reads the text.
///
/// # Errors
/// It has no whole `some` line, or a line is not as it ought to be.
pub fn pressure(text: &[u8]) -> Result<Pressure, Malformed> {
    let (mut some, mut full) = (None, None);
    for line in whole_lines(text) {
        let mut words = words(line);
        match words.next() {
            Some(b"some") => some = Some(stall(words)?),
            Some(b"full") => full = Some(stall(words)?),
            _ => {}
        }
    }
    Ok(Pressure { some: some.ok_or(Malformed)?, full })
}

fn stall<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<Stall, Malformed> {
    let mut value = |name: &[u8]| words.next().and_then(|word| word.strip_prefix(name)).ok_or(Malformed);
    Ok(Stall {
        avg10_percent: number(value(b"avg10=")?)?,
        avg60_percent: number(value(b"avg60=")?)?,
        avg300_percent: number(value(b"avg300=")?)?,
        total_us: number(value(b"total=")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Pressure, Stall, pressure};

    #[test]
    fn pressure_is_percent_and_microseconds() {
        let text = b"some avg10=42.17 avg60=11.00 avg300=2.91 total=9001234\n\
                     full avg10=40.01 avg60=9.87 avg300=2.50 total=8001234\n";
        let stall = |avg10_percent, avg60_percent, avg300_percent, total_us| Stall {
            avg10_percent,
            avg60_percent,
            avg300_percent,
            total_us,
        };
        let (some, full) = (stall(42.17, 11.0, 2.91, 9_001_234), stall(40.01, 9.87, 2.5, 8_001_234));
        assert_eq!(pressure(text), Ok(Pressure { some, full: Some(full) }));
        for end in 0..text.len() {
            match pressure(&text[..end]) {
                Ok(cut) => assert_eq!(cut, Pressure { some, full: None }, "cut at {end}"),
                Err(_) => assert!(end < 55, "cut at {end}"),
            }
        }
    }

    #[test]
    fn what_is_no_pressure_is_malformed() {
        for text in ["", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", "some avg10=0.00 total=1\n"] {
            assert!(pressure(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
