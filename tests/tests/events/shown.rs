//! What is there is shown, and what is asked for wrongly is refused.

use anyhow::{Result, ensure};
use serde_json::json;

use super::shared::{command, golden, ids, keep, named, open, open_of, path, run, text};

const USAGE: i32 = 64;

#[test]
fn a_journal_is_shown_in_every_output_the_newest_last() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let history = open(dir.path())?;
    keep(&history, golden()?)?;
    let journal = ["--journal", path(dir.path())?];
    let shown = |more: &[&str]| {
        let output = run(&[&journal[..], more].concat())?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{more:?}: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    };
    let table = shown(&[])?;
    let lines: Vec<&str> = table.lines().collect();
    ensure!(lines.len() == 5 && lines[0].starts_with("AGE    POD"), "{table}");
    ensure!(lines[1].starts_with("1h30m  default/n-burst  hog        java (155), +3"), "{table}");
    ensure!(lines[4].starts_with("1h27m"), "{table}");

    ensure!(ids(&shown(&["--output", "json"])?)? == named(0..4));
    ensure!(shown(&["--output", "text"])?.lines().count() == 4);
    ensure!(shown(&["--output", "bcc"])?.lines().count() == 4);
    ensure!(shown(&["--output", "report"])?.matches("WHY\n").count() == 4);

    for (arguments, expected) in [
        (&["--limit", "2"][..], named([2, 3])),
        (&["--cause", "node_exhausted"], named([1])),
        (&["--pod", "default/n-burst"], named([0])),
        (&["--pod", "n-burst"], named([0])),
        (&["-n", "default", "--container", "hog"], named([0])),
        (&["--since", "89m"], named([2, 3])),
        (&["--until", "89m", "--limit", "1"], named([1])),
    ] {
        let shown = shown(&[&["--output", "json"], arguments].concat())?;
        ensure!(ids(&shown)? == expected, "{arguments:?}: {shown}");
    }
    Ok(())
}

#[test]
fn many_incidents_are_shown_in_the_same_order_as_few() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let history = open_of(dir.path(), 64)?;
    let report = golden()?.remove(0);
    // 16 MB, of which the command keeps 4.
    let reports = (0..400).map(|number| {
        let mut report = report.clone();
        report["id"] = json!(format!("b-{number}"));
        report["padding"] = json!("x".repeat(40_000));
        report
    });
    keep(&history, reports)?;
    for (limit, expected) in [("1000", 0..400), ("399", 1..400), ("300", 100..400), ("10", 390..400)] {
        let shown = run(&["--journal", path(dir.path())?, "--output", "json", "--limit", limit])?;
        ensure!(ids(&text(&shown.stdout))? == named(expected), "--limit {limit}: {}", text(&shown.stderr));
    }
    let table = run(&["--journal", path(dir.path())?, "--limit", "400"])?;
    ensure!(text(&table.stdout).matches("AGE").count() == 1 && text(&table.stdout).lines().count() == 401);
    Ok(())
}

#[test]
fn what_a_pod_sets_for_run_does_not_change_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    keep(&open(dir.path())?, golden()?)?;
    let output = command(&[])?
        .envs([("OOMWATCH_OUTPUT", "json"), ("OOMWATCH_EVENTS", "off"), ("OOMWATCH_PROBE", "kprobe")])
        .env("OOMWATCH_JOURNAL", dir.path())
        .env("OOMWATCH_LISTEN", "0.0.0.0:1")
        .output()?;
    ensure!(output.status.success() && output.stdout.starts_with(b"AGE"), "{}", text(&output.stderr));
    Ok(())
}

#[test]
fn where_there_is_nothing_it_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let empty = run(&["--journal", path(dir.path())?])?;
    ensure!(empty.status.success() && empty.stdout.is_empty(), "{}", text(&empty.stdout));
    ensure!(text(&empty.stderr).starts_with("oomwatch: no OOM kills in /"), "{}", text(&empty.stderr));

    keep(&open(dir.path())?, golden()?)?;
    let none = run(&["--journal", path(dir.path())?, "--pod", "nobody"])?;
    ensure!(none.status.success() && text(&none.stderr).contains("no OOM kills that fit in"));

    let missing = dir.path().join("missing");
    for (arguments, code, says) in [
        (&["--journal", path(&missing)?][..], 1, "run --journal"),
        (&["--url", "https://127.0.0.1:1"], USAGE, "http://HOST:PORT"),
        (&["--url", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1: connecting"),
        (&["--pod", "a/b", "--namespace", "c"], USAGE, "--namespace"),
        (&["--since", "yesterday"], USAGE, "2h"),
        (&["--cause", "bad luck"], USAGE, "container_limit"),
    ] {
        let refused = run(arguments)?;
        let why = text(&refused.stderr);
        ensure!(refused.status.code() == Some(code) && why.contains(says), "{arguments:?}: {why}");
        ensure!(refused.stdout.is_empty() && why.lines().count() == 1, "{arguments:?}: {why}");
    }
    Ok(())
}

#[test]
fn a_report_that_somebody_else_wrote_commands_no_terminal() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut report = golden()?.remove(0);
    report["victims"][0]["comm"] = json!("a\u{1b}[2J\n\u{202e}");
    report["kubernetes"]["pod"] = json!("\u{1b}]0;pwned\u{7}");
    report["victims"][0]["cmdline"] = json!(["\u{9b}31m"]);
    report["findings"][0]["text"] = json!("\u{1b}[2J");
    let mut of_the_future = golden()?.remove(1);
    of_the_future["cause"] = json!("\u{1b}[2Jbad luck");
    keep(&open(dir.path())?, [report, of_the_future])?;
    for output in ["table", "text", "report", "bcc", "json"] {
        let shown = run(&["--journal", path(dir.path())?, "--output", output])?;
        let all = text(&shown.stdout) + &text(&shown.stderr);
        let hostile = |character: char| {
            character.is_control() && character != '\n' || matches!(character, '\u{202a}'..='\u{202e}')
        };
        ensure!(shown.status.success() && !shown.stdout.is_empty(), "{output}: {all}");
        ensure!(!all.contains(hostile), "{output}: {all:?}");
        ensure!(output == "json" || all.contains("another version"), "{output}: {all}");
    }
    Ok(())
}
