//! `cargo xtask tidy`: rules of this repository that neither compiler nor clippy checks.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{repo::Repo, run, say};

const LONGEST_FILE: usize = 400;
const LONGEST_LINE: usize = 120;
/// The only files with unsafe code: the kernel side's reads, what it shares with the agent, and two wrappers of system
/// calls that no safe crate has.
const MAY_BE_UNSAFE: [&str; 6] = [
    "oomwatch-ebpf/src/kernel.rs",
    "oomwatch-ebpf/src/scratch.rs",
    "oomwatch-ebpf/src/steps.rs",
    "oomwatch-agent/src/probe/wakes.rs",
    "oomwatch-agent/src/sys.rs",
    "tests/src/bin/guest/sys.rs",
];
const UNSAFE_CODE: [&str; 5] = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
/// Notes and aids of somebody's work in progress. In halves, so that this file passes its own check.
const LEFT_OVER: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("HA", "CK:"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
];

/// Checks every Rust file that git knows or would know.
pub(crate) fn tidy(repo: &Repo) -> Result<()> {
    let list = run::read(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
            .current_dir(repo.root()),
    )?;
    let mut complaints = 0;
    for path in list.lines() {
        let file = repo.root().join(path);
        if !file.exists() {
            continue; // Removed, and git has not been told yet.
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
        for complaint in check(path, &text) {
            say::progress(&format!("{path}:{complaint}"));
            complaints += 1;
        }
    }
    if complaints > 0 {
        bail!("{complaints} complaints of tidy, above");
    }
    Ok(())
}

/// What is wrong with one file, each as `LINE: what`.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let length = text.lines().count();
    if length > LONGEST_FILE {
        complaints.push(format!("{length}: the file is longer than {LONGEST_FILE} lines; split it by ideas"));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        complaints.push("1: begin with `//!`: what this file is, and what it does not do".to_owned());
    }
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        let quoted = code.contains('"');
        if !quoted && !MAY_BE_UNSAFE.contains(&path) && UNSAFE_CODE.iter().any(|form| code.contains(form)) {
            complaints.push(format!("{number}: unsafe code belongs in {}", MAY_BE_UNSAFE.join(", ")));
        }
        if let Some(word) = LEFT_OVER.iter().find(|word| line.contains(**word)) {
            complaints.push(format!("{number}: {word} is not committed; do it, or open an issue"));
        }
        if line.chars().count() > LONGEST_LINE {
            complaints.push(format!("{number}: the line is longer than {LONGEST_LINE} columns"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let left_over = format!("//! A.\n// {} later\n", LEFT_OVER[0]);
        let long = format!("//! A.\n{}", "\n".repeat(LONGEST_FILE));
        let wide = format!("//! A.\n// {}\n", "ä".repeat(LONGEST_LINE - 2));
        let table: [(&str, &str, &[&str]); 8] = [
            ("a.rs", "//! A.\nfn main() {}\n", &[]),
            ("a.rs", "fn main() {}\n", &["1"]),
            ("a.rs", "//! A.\nfn f() { unsafe { g() } }\n", &["2"]),
            ("oomwatch-ebpf/src/kernel.rs", "//! A.\nunsafe fn f() {}\n", &[]),
            ("a.rs", "//! A.\n// No unsafe { is needed here.\n", &[]),
            ("a.rs", &left_over, &["2"]),
            ("a.rs", &long, &["401"]),
            ("a.rs", &wide, &["2"]),
        ];
        for (path, text, lines) in table {
            let complaints = check(path, text);
            let found: Vec<&str> =
                complaints.iter().filter_map(|complaint| complaint.split(':').next()).collect();
            assert_eq!(found, lines, "{text}");
        }
    }
}
