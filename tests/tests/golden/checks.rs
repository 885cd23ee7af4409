//! What is compared, and what must hold for every output.

use std::fs;

use jiff::tz::TimeZone;
use oomwatch_common::{
    render_bcc::bcc,
    render_page::{Style, page},
    render_table::{Table, When},
    render_text::text,
    report::Report,
    surroundings::Surroundings,
};

use super::{
    build::{Case, here},
    cases::all,
};

fn report(case: &Case) -> Report {
    Report::build(
        &case.incident,
        &case.capture,
        &case.attribution(),
        &Surroundings::default(),
        &case.context(),
    )
}

#[test]
fn every_output_of_every_case_is_as_committed() {
    let bless = std::env::var_os("OOMWATCH_BLESS").is_some();
    let mut differ = Vec::new();
    for case in all() {
        let report = report(&case);
        let json = serde_json::to_string_pretty(&report).unwrap() + "\n";
        let outputs = [
            ("txt", text(&report) + "\n"),
            ("page", page(&report, Style::Plain)),
            ("json", json),
            ("bcc", bcc(&report, &TimeZone::UTC) + "\n"),
        ];
        for (extension, output) in outputs {
            let path = here().join("golden").join(format!("{}.{extension}", case.name));
            if bless {
                fs::write(&path, &output).unwrap();
            } else if fs::read_to_string(&path).ok().as_ref() != Some(&output) {
                differ.push(format!("{}:\n{output}", path.display()));
            }
        }
    }
    assert!(differ.is_empty(), "OOMWATCH_BLESS=1 renews these:\n{}", differ.join("\n"));
}

/// All cases in one table, as wide as it needs, for narrow terminals, and with times of day.
fn tables() -> String {
    let reports: Vec<Report> = all().iter().map(report).collect();
    let age = || When::Age("2026-11-21T09:00:00Z".parse().unwrap());
    let shown =
        [(age(), None), (age(), Some(120)), (age(), Some(80)), (When::Clock(TimeZone::UTC), Some(160))];
    let mut text = String::new();
    for (when, columns) in shown {
        let table = Table::new(&reports, when, columns, Style::Plain);
        text += &table.heading();
        for report in &reports {
            text += &table.row(report);
        }
        text += "\n";
    }
    text
}

#[test]
fn the_table_of_all_cases_is_as_committed() {
    let (path, tables) = (here().join("golden/events.table"), tables());
    if std::env::var_os("OOMWATCH_BLESS").is_some() {
        fs::write(&path, &tables).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), tables, "OOMWATCH_BLESS=1 renews it");
    assert!(!tables.contains(|character: char| character.is_control() && character != '\n'));
}

#[test]
fn every_report_is_valid_by_its_schema() {
    let schema = here().join("../docs/report-schema-1.json");
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for case in all() {
        let report = serde_json::to_value(report(&case)).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&report)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", case.name);
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let schema = here().join("../docs/report-schema-1.json");
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let good = serde_json::to_value(report(&all()[0])).unwrap();
    assert!(validator.is_valid(&good));
    for (pointer, wrong) in [
        ("/schema", serde_json::json!(2)),
        ("/victims/0/rss/anon_bytes", serde_json::json!(-1)),
        ("/victims/0/cmdline", serde_json::json!("sh -c")),
        ("/cause", serde_json::json!("bad luck")),
        ("/limit_owner/usage_bytes", serde_json::Value::Null),
        ("/time", serde_json::json!("yesterday")),
        ("/victims", serde_json::json!([])),
        ("/gaps/0", serde_json::json!({"what": "x"})),
        ("/oom", serde_json::json!({"group": false, "pages": 1})),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&bad), "{pointer}");
    }
}

#[test]
fn a_report_comes_back_from_its_json_as_it_was() {
    for case in all() {
        let report = report(&case);
        let line = report.to_json().unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report, "{}", case.name);
    }
}

#[test]
fn no_output_has_a_control_character_that_a_process_chose() {
    for case in all() {
        let report = report(&case);
        let forbidden = |character: char| {
            (character.is_control() && character != '\n')
                || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        for output in [
            text(&report),
            page(&report, Style::Plain),
            report.to_json().unwrap(),
            bcc(&report, &TimeZone::UTC),
        ] {
            assert!(!output.contains(forbidden), "{}: {output}", case.name);
        }
        assert_eq!(text(&report).lines().count(), 1);
        assert_eq!(bcc(&report, &TimeZone::UTC).lines().count(), 1);
    }
}

#[test]
fn pages_fit_a_hundred_columns_and_colour_adds_nothing_but_colour() {
    for case in all() {
        let report = report(&case);
        let plain = page(&report, Style::Plain);
        for line in plain.lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", case.name);
            assert_eq!(line, line.trim_end(), "{}", case.name);
        }
        let mut coloured = page(&report, Style::Colour);
        assert!(coloured.contains("\x1b[1;31m"));
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, plain, "{}", case.name);
    }
}

#[test]
fn nothing_is_null_or_empty_text_in_any_report() {
    fn walk(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Null => found.push(path.to_owned()),
            serde_json::Value::String(text) if text.is_empty() => found.push(path.to_owned()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, path, found)),
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(name, field)| walk(field, &format!("{path}.{name}"), found));
            }
            _ => {}
        }
    }
    for case in all() {
        let mut found = Vec::new();
        walk(&serde_json::to_value(report(&case)).unwrap(), "", &mut found);
        assert!(found.is_empty(), "{}: {found:?}", case.name);
    }
}

#[test]
fn a_page_of_a_large_group_shows_twenty_and_counts_the_rest() {
    let mut case = all().remove(0);
    let last = case.incident.victims[3].clone();
    case.incident.victims.resize(25, last);
    let report = report(&case);
    let page = page(&report, Style::Plain);
    assert_eq!(page.lines().filter(|line| line.trim_end().ends_with("  java")).count(), 20, "{page}");
    assert!(page.contains("KILLED: 25 PROCESSES") && page.contains("… and 5 more"), "{page}");
    assert!(text(&report).contains("OOM kill of 25 processes: java (pid 155, uid 0) and 24 more"));
    assert_eq!(report.victims.len(), 25);
}
