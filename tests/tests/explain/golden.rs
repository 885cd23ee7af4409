//! What is said of every captured log, as committed.

use std::{env, fmt::Write as _, fs};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::shared::{explain, fixture, fixtures, here, reports, text};

/// Logs of which the whole page and the JSON are kept: one of each kind.
const WHOLE: &[&str] = &[
    "rhel8-4.18-pod.log",
    "openeuler-5.10-arm64-node.log",
    "centos7-3.10-node.log",
    "ubuntu-4.15.0-213-global.txt",
    "ubuntu-4.15.0-213-v1hier.txt",
    "5.10.0-46-cloud-amd64-cpuset.kmsg",
    "5.10.0-32-cloud-arm64-globaladj.kmsg",
    "6.1.0-56-cloud-amd64-v2tmpfs.kmsg",
    "6.12.117+deb13-cloud-amd64-globaladj.kmsg",
    "6.12.117+deb13-cloud-amd64-v2group.txt",
    "7.2.13+deb14-cloud-arm64-v2.txt",
];

fn hold(differ: &mut Vec<String>, name: &str, now: &[u8]) -> Result<()> {
    let golden = here().join("golden").join(name);
    if env::var_os("OOMWATCH_BLESS").is_some() {
        fs::write(&golden, now)?;
    } else if fs::read(&golden).ok().as_deref() != Some(now) {
        differ.push(format!("{}:\n{}", golden.display(), text(now)));
    }
    Ok(())
}

#[test]
fn captured_logs_are_explained_as_committed() -> Result<()> {
    let (mut lines, mut differ) = (String::new(), Vec::new());
    for file in fixtures()? {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let explained = explain(&["--output", "text"], &[&file])?;
        writeln!(lines, "{name}\n{}", text(&explained.stdout))?;
    }
    hold(&mut differ, "explain.txt", lines.as_bytes())?;
    for name in WHOLE {
        for (output, extension) in [("report", "page"), ("json", "json")] {
            let explained = explain(&["--output", output], &[&fixture(name)])?;
            hold(&mut differ, &format!("explain-{name}.{extension}"), &explained.stdout)?;
        }
    }
    ensure!(differ.is_empty(), "`cargo xtask bless` renews these:\n{}", differ.join("\n"));
    Ok(())
}

#[test]
fn every_report_of_a_log_is_valid_by_the_schema_and_comes_back_the_same() -> Result<()> {
    let schema: Value = serde_json::from_slice(&fs::read(here().join("../docs/report-schema-1.json"))?)?;
    let validator = jsonschema::draft202012::new(&schema)?;
    let files = fixtures()?;
    let files: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    let explained = explain(&["--output", "json"], &files)?;
    let first = reports(&explained)?;
    ensure!(first.len() > 150, "{} reports", first.len());
    for report in &first {
        let errors: Vec<_> = validator.iter_errors(report).map(|error| error.to_string()).collect();
        ensure!(errors.is_empty(), "{report}: {errors:?}");
    }
    // Diagnosed anew by the same rules it is the same; only whether whose limit it was is certain may be lost.
    let again = reports(&super::shared::piped(&["--output", "json"], &explained.stdout)?)?;
    ensure!(
        again == first,
        "{} reports, {} of them differ",
        again.len(),
        again.iter().zip(&first).filter(|(a, b)| a != b).count()
    );
    Ok(())
}
