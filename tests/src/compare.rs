//! What the agent said, held against what the kernel said: field by field, every difference named.
//!
//! Nothing is compared loosely unless a [`Slack`] says by how much and why. A value that the agent left out differs.

mod is_logged;
mod with_log;
mod with_status;

use std::fmt::Debug;

pub use is_logged::is_logged;
pub use with_log::with_log;
pub use with_status::{Since, with_status};

/// How far two numbers may be apart, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    /// Bytes.
    pub bytes: u64,
    /// For the text of a failure.
    pub why: &'static str,
}

impl Slack {
    /// They must be equal.
    pub const NONE: Self = Self { bytes: 0, why: "none" };

    /// The wider of the two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.bytes >= other.bytes { self } else { other }
    }
}

/// The differences found.
#[derive(Debug, Default)]
pub struct Differences {
    found: Vec<String>,
    compared: usize,
}

impl Differences {
    /// `ours` must be there and be `theirs`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "most callers pass numbers, and none needs its value again"
    )]
    pub fn equal<T: PartialEq + Debug>(&mut self, what: &str, ours: Option<T>, theirs: T) {
        self.compared += 1;
        match ours {
            Some(ours) if ours == theirs => {}
            Some(ours) => self.found.push(format!("{what}: agent {ours:?}, kernel {theirs:?}")),
            None => self.found.push(format!("{what}: left out by the agent, kernel {theirs:?}")),
        }
    }

    /// Names: as [`Self::equal`], printed readably.
    pub fn same_name(&mut self, what: &str, ours: Option<&[u8]>, theirs: &[u8]) {
        let shown = |name: &[u8]| name.escape_ascii().to_string();
        self.equal(what, ours.map(shown), shown(theirs));
    }

    /// Sizes in bytes that may be `slack` apart.
    pub fn close(&mut self, what: &str, ours: Option<u64>, theirs: u64, slack: Slack) {
        self.compared += 1;
        match ours {
            Some(ours) if ours.abs_diff(theirs) <= slack.bytes => {}
            Some(ours) => self.found.push(format!(
                "{what}: agent {ours} bytes, kernel {theirs}: {} apart, allowed {} ({})",
                ours.abs_diff(theirs),
                slack.bytes,
                slack.why
            )),
            None => self.found.push(format!("{what}: left out by the agent, kernel {theirs} bytes")),
        }
    }

    /// Sizes in bytes of which ours must not be the smaller one by more than `slack`.
    pub fn no_less(&mut self, what: &str, ours: Option<u64>, theirs: u64, slack: Slack) {
        self.compared += 1;
        match ours {
            Some(ours) if ours.saturating_add(slack.bytes) >= theirs => {}
            _ => self.found.push(format!("{what}: agent {ours:?} bytes, which must not be below {theirs}")),
        }
    }

    /// A condition.
    pub fn that(&mut self, what: &str, holds: bool) {
        self.compared += 1;
        if !holds {
            self.found.push(what.to_owned());
        }
    }

    /// A difference found elsewhere.
    pub fn wrong(&mut self, what: String) {
        self.compared += 1;
        self.found.push(what);
    }

    /// Ends the comparison.
    ///
    /// # Errors
    /// There are differences, or nothing was compared at all.
    pub fn finish(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.compared > 0, "nothing was compared");
        anyhow::ensure!(self.found.is_empty(), "{}", self.found.join("\n"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Differences, Slack};

    #[test]
    fn a_difference_and_an_absence_are_both_found() {
        let slack = Slack { bytes: 10, why: "test" };
        let failing: [fn(&mut Differences, Slack); 8] = [
            |d, _| d.equal("x", Some(1), 2),
            |d, _| d.equal("x", None, 2),
            |d, _| d.same_name("x", Some(b"a"), b"b"),
            |d, slack| d.close("x", Some(1), 12, slack),
            |d, slack| d.close("x", None, 0, slack),
            |d, slack| d.no_less("x", Some(1), 12, slack),
            |d, slack| d.no_less("x", None, 0, slack),
            |d, _| d.that("x", false),
        ];
        for (index, fail) in failing.iter().enumerate() {
            let mut differences = Differences::default();
            fail(&mut differences, slack);
            assert!(differences.finish().is_err(), "{index}");
        }
        assert!(Differences::default().finish().is_err());
        let mut differences = Differences::default();
        differences.equal("x", Some(1), 1);
        differences.close("x", Some(1), 11, slack);
        differences.no_less("x", Some(100), 12, slack);
        differences.finish().unwrap();
    }
}
