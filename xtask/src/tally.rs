//! Counts what tests say of themselves: the closing line of Rust's test harness, which the guest program prints too.

/// Of what a harness says of its failures, no more is said again.
const LINES_OF_FAILURES: usize = 60;

/// How many tests ended how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
    /// What harnesses said of those that failed.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// A single check that is no test harness.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: u32::from(passed), failed: u32::from(!passed), ..Self::default() }
    }

    /// Adds up every closing line of `output`. A run that did not succeed counts as a failure even if no line admits
    /// one, and so does one that succeeded without saying a word of its tests.
    pub(crate) fn of(output: &str, succeeded: bool) -> Self {
        let lines: Vec<Self> = output.lines().filter_map(closing_line).collect();
        let said_nothing = lines.is_empty();
        let mut sum = Self { failures: failures(output), ..Self::default() };
        for line in lines {
            sum.add(line);
        }
        if said_nothing || (!succeeded && sum.failed == 0) {
            sum.failed += 1;
        }
        sum
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// What stands between a failure's line, or the heading of all, and what follows it.
fn failures(output: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        let is_heading = line == "failures:";
        let is_failure = line.starts_with("test ") && line.ends_with(" ... FAILED");
        if !is_heading && !is_failure {
            continue;
        }
        let mut said = vec![line];
        // The section of all has empty lines of its own.
        while let Some(next) =
            lines.next_if(|next| !next.starts_with("test ") && (is_heading || !next.is_empty()))
        {
            if said.len() < LINES_OF_FAILURES {
                said.push(next);
            }
        }
        found.push(said.join("\n").trim_end().to_owned());
    }
    found
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`
fn closing_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |words: &[&str]| {
        counts.split(';').find_map(|part| {
            let (number, word) = part.trim().split_once(' ')?;
            if words.contains(&word) { number.parse().ok() } else { None }
        })
    };
    Some(Tally {
        passed: count(&["passed"])?,
        failed: count(&["failed"])?,
        skipped: count(&["ignored", "skipped"]).unwrap_or_default(),
        failures: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_that_the_harness_prints() {
        let ok =
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s";
        let failed =
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let guest = "test result: ok. 7 passed; 0 failed; 2 skipped";
        let table = [
            (ok.to_owned(), true, (5, 0, 1)),
            (format!("running 3 tests\n{failed}\n\nmore\n{ok}\n"), false, (6, 2, 1)),
            (guest.to_owned(), true, (7, 0, 2)),
            // Killed after a harness had ended well.
            (ok.to_owned(), false, (5, 1, 1)),
            // Did not compile.
            (String::new(), false, (0, 1, 0)),
            ("nothing to say".to_owned(), true, (0, 1, 0)),
        ];
        for (output, succeeded, (passed, failed, skipped)) in table {
            let expected = Tally { passed, failed, skipped, failures: Vec::new() };
            assert_eq!(Tally::of(&output, succeeded), expected, "{output}");
        }
    }

    #[test]
    fn what_failed_is_kept_with_its_reason() {
        let output = "test one ... ok\ntest two ... FAILED\nthe reason\ntest three ... FAILED\n\nfailures:\n\n\
                      ---- three ----\nanother\n\nfailures:\n    three\n\ntest result: FAILED. 1 passed; 2 failed\n";
        assert_eq!(
            failures(output),
            [
                "test two ... FAILED\nthe reason",
                "test three ... FAILED",
                "failures:\n\n---- three ----\nanother\n\nfailures:\n    three"
            ]
        );
        let long = format!("failures:\n{}test result: FAILED", "a line\n".repeat(1000));
        assert_eq!(failures(&long).concat().lines().count(), LINES_OF_FAILURES);
    }
}
