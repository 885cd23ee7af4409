//! Files and pipes of every kind, what cannot be read, and what is asked for beside reports.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use oomwatch_common::report::Report;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::shared::{command, explain, fixture, here, piped, reports, text};

const LOG: &str = "6.12.117+deb13-cloud-amd64-v2group.txt";

/// Reports without what depends on where in a file an incident stands.
fn bare(mut reports: Vec<Value>) -> Vec<Value> {
    for report in &mut reports {
        report["log"]["line"] = Value::Null;
    }
    reports
}

#[test]
fn a_log_says_the_same_however_it_is_packed() -> Result<()> {
    let log = fs::read(fixture(LOG))?;
    let expected = reports(&explain(&["--output", "json"], &[&fixture(LOG)])?)?;
    ensure!(expected.len() == 1, "{} reports", expected.len());
    let utf16 = |to: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let text = format!("\u{feff}{}", text(&log).replace('\n', "\r\n"));
        text.encode_utf16().flat_map(to).collect()
    };
    let mut packed = vec![
        ("plain".to_owned(), log.clone()),
        ("UTF-16, little end first".to_owned(), utf16(u16::to_le_bytes)),
        ("UTF-16, big end first".to_owned(), utf16(u16::to_be_bytes)),
        ("without its last line end".to_owned(), log.trim_ascii_end().to_vec()),
    ];
    for file in fs::read_dir(here().join("fixtures/compressed"))? {
        let file = file?.path();
        packed.push((file.display().to_string(), fs::read(file)?));
    }
    ensure!(packed.len() == 8, "{} forms", packed.len());
    let dir = tempdir()?;
    for (name, bytes) in packed {
        // The name says nothing: the first bytes do.
        let file = dir.path().join("log");
        fs::write(&file, &bytes)?;
        for output in [explain(&["--output", "json"], &[&file])?, piped(&["--output", "json"], &bytes)?] {
            ensure!(reports(&output)? == expected, "{name}: {}", text(&output.stdout));
        }
        if !name.contains("UTF-16") && !name.starts_with("without") {
            let twice = [bytes.as_slice(), bytes.as_slice()].concat();
            let both = bare(reports(&piped(&["--output", "json"], &twice)?)?);
            ensure!(both == bare([expected.clone(), expected.clone()].concat()), "{name} twice");
        }
    }
    Ok(())
}

/// As rsyslog writes what it reads from `/dev/kmsg`: a line for each record, its line ends as `#012`.
fn by_rsyslog(records: &str) -> String {
    let line = |record: &str| {
        let (head, text) = record.split_once(';')?;
        let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let text = text.replace("\\x0a", "#012");
        Some(format!("Nov 21 18:19:21 node-a kernel: [{seconds:5}.{micros:06}] {text}\n"))
    };
    records.lines().filter_map(line).collect()
}

#[test]
fn a_log_that_rsyslog_wrote_says_the_same() -> Result<()> {
    for name in [
        "5.10.0-46-cloud-amd64-pipes.kmsg",
        "6.1.0-56-cloud-amd64-slab_node.kmsg",
        "6.1.0-56-cloud-amd64-volume.kmsg",
        "6.12.117+deb13-cloud-amd64-dirty.kmsg",
    ] {
        let expected = reports(&explain(&["--output", "json"], &[&fixture(name)])?)?;
        let log = by_rsyslog(&fs::read_to_string(fixture(name))?);
        let found = reports(&piped(&["--output", "json"], log.as_bytes())?)?;
        ensure!(found.len() == expected.len(), "{name}: {} reports", found.len());
        for (found, expected) in found.iter().zip(&expected) {
            for what in
                ["cause", "victims", "trigger", "oom", "limit_owner", "node_memory", "candidates", "findings"]
            {
                ensure!(found[what] == expected[what], "{name}, {what}: {}", found[what]);
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_cut_is_read_to_its_end_and_told() -> Result<()> {
    for file in fs::read_dir(here().join("fixtures/compressed"))? {
        let file = file?.path();
        let bytes = fs::read(&file)?;
        for length in [3, 10, bytes.len() / 2, bytes.len() - 1] {
            let output = piped(&["--output", "text"], bytes.get(..length).context("cut")?)?;
            ensure!(output.status.code() == Some(1), "{} to {length}: {}", file.display(), output.status);
            let told = text(&output.stderr);
            ensure!(told.starts_with("oomwatch: ") && told.lines().count() <= 2, "{told}");
        }
    }
    Ok(())
}

#[test]
fn a_log_cut_at_any_line_is_read() -> Result<()> {
    let dir = tempdir()?;
    let log = fs::read_to_string(fixture("5.10.0-46-cloud-amd64-v2.txt"))?;
    let lines: Vec<&str> = log.lines().collect();
    let (mut files, mut found) = (Vec::new(), 0);
    for at in 0..=lines.len() {
        for (name, part) in [("head", lines.get(..at)), ("tail", lines.get(at..))] {
            let file = dir.path().join(format!("{name}-{at}"));
            fs::write(&file, part.context("part")?.join("\n"))?;
            files.push(file);
        }
    }
    for file in &files {
        let output = explain(&["--output", "json"], &[file])?;
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{}: {}", file.display(), output.status);
        for line in text(&output.stdout).lines() {
            let report: Value = serde_json::from_str(line)?;
            ensure!(report.pointer("/victims/0/comm") == Some(&json!("hog")), "{}: {line}", file.display());
            found += 1;
        }
    }
    ensure!(found > lines.len() / 2, "{found} incidents");
    Ok(())
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_read() -> Result<()> {
    let dir = tempdir()?;
    let write = |name: &str, bytes: &[u8]| -> Result<_> {
        let file = dir.path().join(name);
        fs::write(&file, bytes)?;
        Ok(file)
    };
    let nothing = write("nothing", b"Nov 21 12:00:00 a systemd[1]: Started.\n")?;
    for (file, expected) in [
        (dir.path().join("absent"), "No such file"),
        (dir.path().to_owned(), "it is a directory"),
        (write("journal", b"LPKSHHRH\0\0\0\0")?, "journalctl --file"),
        (write("zip", b"PK\x03\x04\0\0\0\0")?, "unpack it"),
        (write("lz4", &[0x04, 0x22, 0x4d, 0x18, 0, 0])?, "lz4cat"),
    ] {
        let output = explain(&["--output", "text"], &[&file, &fixture(LOG)])?;
        let told = text(&output.stderr);
        ensure!(output.status.code() == Some(1) && told.contains(expected), "{}: {told}", file.display());
        ensure!(text(&output.stdout).lines().count() == 1, "{}", text(&output.stdout));
    }
    for (file, lines) in [(&nothing, "1 line was searched"), (&write("empty", b"")?, "0 lines were searched")]
    {
        let output = explain(&[], &[file])?;
        let told = text(&output.stderr);
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}", output.status);
        ensure!(
            told.lines().count() == 1 && told.contains(lines) && told.contains("Killed process"),
            "{told}"
        );
    }
    Ok(())
}

#[test]
fn garbage_is_no_incident() -> Result<()> {
    let mut state = 1_u32;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    })
    .take(3 << 20)
    .collect();
    let output = piped(&[], &garbage)?;
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}", text(&output.stdout));
    Ok(())
}

#[test]
fn names_come_from_what_kubectl_printed() -> Result<()> {
    let dir = tempdir()?;
    let pod = |uid: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "shop", "uid": uid},
            "spec": {"containers": [{"name": "app", "image": "web:1", "resources": {"limits": {"memory": "1000Mi"},
                "requests": {"memory": "100Mi"}}}]},
            "status": {"qosClass": "Burstable", "containerStatuses": [{"name": "app", "restartCount": 27,
                "containerID":
                    "docker://052d52a163eb1ced8ddbd9968b31cb1d1ec74a2b389e18984737c3118fdd7a5e"}]}})
    };
    let other =
        json!({"metadata": {"name": "other", "namespace": "shop", "uid": "0"}, "spec": {"containers": []}});
    let ours = pod("f05bdc36-dd14-4537-9b91-57cc07df0932");
    let list = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "items": [other.clone(), ours.clone()]});
    for pods in [list("List"), list("PodList"), ours.clone()] {
        let file = dir.path().join("pods.json");
        fs::write(&file, serde_json::to_vec_pretty(&pods)?)?;
        let named = file.to_str().context("a path is not UTF-8")?;
        let log = fixture("rhel8-4.18-pod.log");
        let found = reports(&explain(&["--output", "json", "--pods", named], &[&log])?)?;
        let kubernetes = found.first().map(|report| report["kubernetes"].clone()).context("no report")?;
        for (field, value) in [
            ("namespace", json!("shop")),
            ("pod", json!("web-0")),
            ("container", json!("app")),
            ("limits_bytes", json!(1000 << 20)),
            ("restarts", json!(27)),
        ] {
            ensure!(kubernetes[field] == value, "{field}: {kubernetes}");
        }
        // And so do names for reports that have none.
        let nameless = explain(&["--output", "json"], &[&log])?.stdout;
        let again = reports(&piped(&["--output", "json", "--pods", named], &nameless)?)?;
        ensure!(again.first().map(|report| &report["kubernetes"]) == Some(&kubernetes), "{again:?}");
    }
    for (contents, expected) in
        [("", "no PodList"), ("kind: List", "no PodList"), ("{\"kind\":\"List\"", "in its middle")]
    {
        let file = dir.path().join("wrong");
        fs::write(&file, contents)?;
        let named = file.to_str().context("a path is not UTF-8")?;
        let output = explain(&["--pods", named], &[&fixture(LOG)])?;
        let told = text(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && told.contains(expected) && told.contains("kubectl get"),
            "{told}"
        );
    }
    Ok(())
}

#[test]
fn a_live_report_is_diagnosed_as_it_was() -> Result<()> {
    for case in ["node-wide", "pod-group-kill", "system-service", "kubepods", "sysrq", "tracepoint-v1"] {
        let before: Value = serde_json::from_slice(&fs::read(here().join(format!("golden/{case}.json")))?)?;
        // Reports begin with their schema, which a map of names in their order does not.
        let report = Report::from_json(&before.to_string())?;
        let now = reports(&piped(&["--output", "json"], report.to_json()?.as_bytes())?)?;
        ensure!(now == [before], "{case}: {now:?}");
    }
    Ok(())
}

#[test]
fn the_last_are_shown_and_all_are_counted() -> Result<()> {
    let rate = fixture("6.12.117+deb13-cloud-amd64-v2rate.kmsg");
    let all = explain(&["--output", "text"], &[&rate])?;
    let last = explain(&["--output", "text", "--last", "2"], &[&rate])?;
    let (all, told) = (text(&all.stdout), text(&all.stderr));
    let lines: Vec<_> = all.lines().collect();
    ensure!(lines.len() == 31 && told == "oomwatch: 31 incidents, 31 processes killed\n", "{told}");
    ensure!(
        text(&last.stdout).lines().collect::<Vec<_>>() == lines.get(29..).context("29")?,
        "{}",
        text(&last.stdout)
    );
    ensure!(text(&last.stderr).contains("the last 2 are shown"), "{}", text(&last.stderr));
    Ok(())
}

#[test]
fn a_pipe_that_pauses_tells_what_it_has() -> Result<()> {
    let mut child =
        command()?.args(["--output", "text"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(&fs::read(fixture(LOG))?)?;
    // The log goes on; the incident is told all the same.
    let mut told = vec![0; 64];
    child.stdout.take().context("no stdout")?.read_exact(&mut told)?;
    ensure!(text(&told).contains("OOM kill of 3 processes"), "{}", text(&told));
    drop(stdin);
    child.wait()?;
    Ok(())
}

#[test]
fn nobody_need_read_to_the_end() -> Result<()> {
    let mut child = command()?
        .args([fixture("6.12.117+deb13-cloud-amd64-v2rate.kmsg"), fixture(LOG)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{} {}",
        output.status,
        text(&output.stderr)
    );
    Ok(())
}

#[test]
fn colour_is_for_terminals_and_those_who_ask() -> Result<()> {
    for (arguments, is_coloured) in
        [(&[][..], false), (&["--color", "always"], true), (&["--color", "never"], false)]
    {
        let output = explain(arguments, &[&fixture(LOG)])?;
        ensure!(output.stdout.contains(&0x1b) == is_coloured, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_cause_is_explained_by_its_name() -> Result<()> {
    let none: &[&Path] = &[];
    let help = text(&explain(&["--cause", "help"], none)?.stdout);
    ensure!(help.lines().any(|name| name == "container_limit"), "{help}");
    for name in help.lines() {
        let output = explain(&["--cause", name], none)?;
        ensure!(text(&output.stdout).starts_with(&format!("## {name}\n")), "{name}");
    }
    let output = explain(&["--cause", "bad luck"], none)?;
    let told = text(&output.stderr);
    ensure!(
        output.status.code() == Some(64) && told.contains("node_exhausted") && told.lines().count() == 1,
        "{told}"
    );
    Ok(())
}
