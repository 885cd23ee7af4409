//! `cargo xtask fuzz`: what comes from outside, by coverage. Each target of `tests/fuzz` begins with the fixtures, and
//! what it found useful stays below `target/fuzz` for the next time.
//!
//! The flags are those that `cargo fuzz` gives a nightly compiler, without a sanitizer: the code under test is safe
//! Rust, where a panic is the worst that can happen. So any compiler does.

use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    repo::{Repo, forget_outer_cargo},
    run, say,
    tally::Tally,
    test::report,
};

const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Long enough for a whole BTF excerpt, a kernel log, or a kubelet's answer.
const LONGEST_INPUT: u32 = 128 * 1024;
/// Beyond this one input takes too long, or too much, whatever it is.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 1024;

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub(crate) struct FuzzOptions {
    /// For how long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    seconds: u32,
    /// The targets to run; all of tests/fuzz/fuzz_targets without any
    targets: Vec<String>,
}

/// The part of `tests/fuzz/Cargo.toml` that is read here.
#[derive(Deserialize)]
struct Manifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    /// Target → folders below `tests/`.
    corpus: BTreeMap<String, Vec<PathBuf>>,
}

/// Runs what was asked for; an error names every target that found something.
pub(crate) fn fuzz(repo: &Repo, options: &FuzzOptions) -> Result<()> {
    let known = targets(repo)?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        bail!("no target {unknown}: tests/fuzz has {}", names.join(", "));
    }
    let mut failed = Vec::new();
    build(repo)?;
    for (target, corpus) in known {
        let wanted = options.targets.is_empty() || options.targets.contains(&target);
        if wanted && !report(run_one(repo, &target, &corpus, options.seconds)) {
            failed.push(target);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("inputs were found that break {}", failed.join(", ")) }
}

/// Every target for a short while.
pub(crate) fn briefly(repo: &Repo) -> Tally {
    const SECONDS: u32 = 5;
    let mut tally = Tally::default();
    match build(repo).and_then(|()| targets(repo)) {
        Ok(targets) => {
            for (target, corpus) in targets {
                tally.add(Tally::one(report(run_one(repo, &target, &corpus, SECONDS))));
            }
        }
        Err(error) => tally.add(Tally::one(report(Err(error)))),
    }
    tally
}

fn targets(repo: &Repo) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let file = repo.fuzz().join("Cargo.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("cannot make sense of {}", file.display()))?;
    Ok(manifest.package.metadata.corpus)
}

fn build(repo: &Repo) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        // The target is named so that the flags are not those of build scripts too.
        .args(["build", "--release", "--target", &format!("{}-unknown-linux-gnu", env::consts::ARCH)])
        .current_dir(repo.fuzz())
        .env("CARGO_TARGET_DIR", repo.fuzz_target())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    forget_outer_cargo(&mut cargo);
    run::run_logged("building the fuzz targets", &repo.log("fuzz-build"), &mut run::at_leisure(&cargo))
}

fn run_one(repo: &Repo, target: &str, corpus: &[PathBuf], seconds: u32) -> Result<()> {
    let own = repo.fuzz_target().join("corpus").join(target);
    fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
    let found = repo.fuzz_target().join(format!("{target}-"));
    let program =
        repo.fuzz_target().join(format!("{}-unknown-linux-gnu/release/{target}", env::consts::ARCH));
    let seeds: Vec<PathBuf> = corpus.iter().map(|folder| repo.root().join("tests").join(folder)).collect();
    if let Some(missing) = seeds.iter().find(|folder| !folder.is_dir()) {
        bail!("the corpus of {target} is to be in {}, and is not", missing.display());
    }
    let log = repo.log(&format!("fuzz-{target}"));
    let mut command = Command::new(program);
    command
        .arg(own)
        .args(seeds)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={LONGEST_INPUT}"))
        .arg(format!("-artifact_prefix={}", found.display()));
    run::run_logged(&format!("fuzzing {target}, {seconds} s"), &log, &mut run::at_leisure(&command))?;
    let said = run::last_lines(&log, usize::MAX);
    // `#146540	DONE   cov: 4197 ft: 12745 …`: without it nothing was tried.
    let done =
        said.lines().find(|line| line.contains("\tDONE ")).context("the target ended without a word")?;
    say::progress(&format!("    {}", done.trim_start_matches('#').replace("\tDONE  ", " inputs,")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_corpus_and_every_corpus_a_target() {
        let repo = Repo::find().unwrap();
        let mut files: Vec<String> = fs::read_dir(repo.fuzz().join("fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let targets: Vec<String> = targets(&repo).unwrap().into_keys().collect();
        assert_eq!(targets, files);
    }
}
