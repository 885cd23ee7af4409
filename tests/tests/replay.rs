//! Incidents recorded in a VM, replayed by the agent itself: records and files through the real desk, reporter and
//! renderers to stdout, without a kernel. Compared with tests/golden/replay-*; `cargo xtask bless` renews those.

#![cfg(test)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What was recorded, and how: tests/fixtures/replay/README.md.
const RECORDINGS: &[&str] = &[
    "container_limit",
    "group_kill",
    "node_wide",
    "tracepoint_v1",
    "dirty",
    "dirty_writer",
    "hugepages",
    "leftover",
    "mempolicy",
    "pipes",
    "processes",
    "slab_node",
    "tmpfs_node",
    "volume",
];
const OUTPUTS: [(&str, &str); 4] = [("text", "txt"), ("report", "page"), ("json", "json"), ("bcc", "bcc")];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn replay(arguments: &[&str], dir: &Path) -> Result<Output> {
    let binary = env::var_os("OOMWATCH_BIN").map(PathBuf::from);
    let binary = binary.context("OOMWATCH_BIN must name the built agent: run `cargo xtask test`")?;
    let mut command = Command::new(&binary);
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OOMWATCH_")) {
        command.env_remove(name);
    }
    command.env("TZ", "UTC").arg("replay").args(arguments).arg(dir);
    command.output().with_context(|| format!("cannot run {}", binary.display()))
}

#[test]
fn recorded_incidents_are_reported_as_committed() -> Result<()> {
    let bless = env::var_os("OOMWATCH_BLESS").is_some();
    let mut differ = Vec::new();
    for recording in RECORDINGS {
        for (output, extension) in OUTPUTS {
            let replayed = replay(&["--output", output], &here().join("fixtures/replay").join(recording))?;
            let log = String::from_utf8_lossy(&replayed.stderr).into_owned();
            ensure!(replayed.status.success() && log.is_empty(), "{recording}: {} {log}", replayed.status);
            let golden = here().join(format!("golden/replay-{recording}.{extension}"));
            if bless {
                fs::write(&golden, &replayed.stdout)?;
            } else if fs::read(&golden).ok().as_ref() != Some(&replayed.stdout) {
                differ.push(format!("{}:\n{}", golden.display(), String::from_utf8_lossy(&replayed.stdout)));
            }
        }
    }
    ensure!(differ.is_empty(), "`cargo xtask bless` renews these:\n{}", differ.join("\n"));
    Ok(())
}

#[test]
fn recorded_incidents_are_valid_by_the_schema() -> Result<()> {
    let schema: Value = serde_json::from_slice(&fs::read(here().join("../docs/report-schema-1.json"))?)?;
    let validator = jsonschema::draft202012::new(&schema)?;
    // The parent of all recordings gives them all, in the order of their time.
    let replayed = replay(&["--output", "json"], &here().join("fixtures/replay"))?;
    let reports: Vec<Value> =
        String::from_utf8(replayed.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(reports.len() == RECORDINGS.len(), "{} reports", reports.len());
    for report in &reports {
        let errors: Vec<_> = validator.iter_errors(report).map(|error| error.to_string()).collect();
        ensure!(errors.is_empty(), "{}: {errors:?}", report["id"]);
    }
    let victims: Vec<_> =
        reports.iter().map(|report| report["victims"].as_array().map_or(0, Vec::len)).collect();
    ensure!(victims.iter().sum::<usize>() == RECORDINGS.len() + 2, "a group of three: {victims:?}");
    Ok(())
}

#[test]
fn what_is_no_recording_is_refused_in_one_line() -> Result<()> {
    let damaged = env::temp_dir().join(format!("oomwatch-replay-{}", std::process::id()));
    fs::create_dir_all(&damaged)?;
    let good = here().join("fixtures/replay/container_limit");
    let records = fs::read(good.join("records"))?;
    fs::copy(good.join("context.json"), damaged.join("context.json"))?;
    let mut cases = vec![
        (replay(&[], Path::new("/nonexistent"))?, "/nonexistent"),
        (replay(&[], Path::new("/proc/self"))?, "no recording"),
    ];
    for (contents, what) in
        [(&records[..records.len() - 1], "cut short"), (&[4, 0, 0, 0, 1, 2, 3, 4][..], "damaged")]
    {
        fs::write(damaged.join("records"), contents)?;
        cases.push((replay(&[], &damaged)?, what));
    }
    fs::write(damaged.join("context.json"), "{}")?;
    cases.push((replay(&[], &damaged)?, "context.json"));
    fs::remove_dir_all(&damaged)?;
    for (refused, what) in cases {
        let log = String::from_utf8_lossy(&refused.stderr).into_owned();
        let said =
            log.lines().filter(|line| line.starts_with("oomwatch: ")).count() == 1 && log.contains(what);
        ensure!(refused.status.code() == Some(1) && said, "{what}: {} {log}", refused.status);
        ensure!(refused.stdout.is_empty(), "{what}");
    }
    Ok(())
}
