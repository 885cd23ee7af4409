//! The kernel matrix: the guest's tests on every kernel and machine of `tests/kernels.toml`, what ran where, and
//! whether each case ran at all.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    kernels::{Kernel, Shape},
    repo::Repo,
    say,
    tally::Tally,
    vm::{Accel, Machine, Root},
    vm_options,
};

const TIME_LIMIT: Duration = Duration::from_mins(7);
const MEMORY_MIB: u32 = 512;

/// What has run so far.
#[derive(Default)]
pub(crate) struct Matrix {
    /// Whether a case ran on any machine, by its name.
    cases: BTreeMap<String, bool>,
    /// A line for each machine.
    lines: String,
}

impl Matrix {
    /// Boots the machine and runs the cases whose names contain `filter`, or those that the machine is for.
    pub(crate) fn boot(
        &mut self,
        repo: &Repo,
        kernel: &Kernel,
        shape: &Shape,
        filter: Option<&str>,
    ) -> Tally {
        let started = Instant::now();
        let machine = Machine {
            kernel,
            cgroup: shape.cgroup,
            root: Root::Initramfs,
            accel: Accel::Tcg,
            memory_mib: MEMORY_MIB,
            cpus: shape.cpus,
            nodes: shape.nodes,
            swap_mib: shape.swap,
            disk_bps: 0,
            append: "",
            timeout: TIME_LIMIT,
            silence: None,
            files: vm_options::own_files(repo, kernel.arch),
        };
        let words = ["oomwatch-guest", "test"].map(str::to_owned).into_iter();
        let command: Vec<String> = match filter {
            Some(filter) => words.chain([filter.to_owned()]).collect(),
            None => words.chain(shape.cases.iter().cloned()).collect(),
        };
        let mut heard = Vec::new();
        let outcome = machine.run(repo, &command, &mut |bytes| {
            heard.extend_from_slice(bytes);
            say::output(bytes)
        });
        let heard = String::from_utf8_lossy(&heard);
        let succeeded = outcome
            .inspect_err(|error| say::progress(&format!("error: {error:#}")))
            .is_ok_and(|status| status == 0);
        let mut tally = Tally::of(&heard, succeeded);
        if filter.is_none() && tally.passed == 0 && tally.failed == 0 {
            say::progress(&format!("error: machine {} has nothing of what its cases need", shape.name));
            tally.failed = 1;
        }
        for (name, ran) in cases(&heard) {
            *self.cases.entry(name.to_owned()).or_default() |= ran;
        }
        let Tally { passed, failed, skipped, .. } = tally;
        writeln!(
            self.lines,
            "{:<60} {:<8} {passed:>3} passed {failed:>3} failed {skipped:>3} skipped {:>4.0} s",
            kernel.label,
            shape.name,
            started.elapsed().as_secs_f64()
        )
        .ok();
        tally
    }

    /// Says what ran, and leaves it in `target/`.
    pub(crate) fn record(&self, repo: &Repo) -> Result<()> {
        let file = repo.log("matrix");
        say::progress(&format!("test: what ran (also in {}):\n{}", file.display(), self.lines.trim_end()));
        fs::write(&file, &self.lines).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Fails where a case was skipped on every machine: whatever the reasons, it proves nothing.
    pub(crate) fn each_case_ran(&self) -> Result<()> {
        let never: Vec<&str> =
            self.cases.iter().filter(|(_, ran)| !**ran).map(|(name, _)| name.as_str()).collect();
        ensure!(!self.cases.is_empty(), "no machine named a case");
        ensure!(never.is_empty(), "skipped on every machine of tests/kernels.toml: {}", never.join(", "));
        Ok(())
    }
}

/// `test NAME ... skipped (why)`: each case and whether it ran.
fn cases(output: &str) -> impl Iterator<Item = (&str, bool)> {
    output.lines().filter_map(|line| {
        let (name, how) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
        Some((name, !how.starts_with("skipped")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "\nrunning 3 tests\ntest a ... ok\r\ntest b ... skipped (one CPU)\ntest c ... skipped (v1)\n";

    #[test]
    fn a_case_that_was_skipped_everywhere_fails_the_matrix() {
        let mut matrix = Matrix::default();
        matrix.each_case_ran().unwrap_err();
        for output in [ONE, "test b ... FAILED\ntest result: FAILED. 0 passed; 1 failed"] {
            for (name, ran) in cases(output) {
                *matrix.cases.entry(name.to_owned()).or_default() |= ran;
            }
        }
        let error = matrix.each_case_ran().unwrap_err().to_string();
        assert_eq!(error, "skipped on every machine of tests/kernels.toml: c");
        matrix.cases.insert("c".to_owned(), true);
        matrix.each_case_ran().unwrap();
    }
}
