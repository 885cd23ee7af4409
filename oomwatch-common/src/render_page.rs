//! The whole story of an incident on one page, for a person: what, why, who, where the memory went, what is missing.
//!
//! Plain text of at most 100 columns; colour only where it is asked for. It computes nothing that the report does not
//! have.

mod domain;
mod memory;
mod paper;
mod processes;

use paper::{Ink, Paper};

pub use paper::Style;

use crate::{
    diagnose::{Confidence, Finding},
    render_text::{headline, milliseconds, verdict},
    report::{Report, Source, size},
    units::Bytes,
};

/// Gaps that are shown one by one; further ones are counted.
const GAPS: usize = 12;

/// The page, each line ended.
pub fn page(report: &Report, style: Style) -> String {
    let mut paper = Paper::new(style);
    paper.line(&"━".repeat(paper::WIDTH));
    paper.paragraph("", &headline(report), Ink::Alarm);
    let verdict = verdict(report);
    let mut characters = verdict.chars();
    let verdict: String =
        characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect();
    paper.paragraph("", &verdict, Ink::Heading);
    paper.line("");
    when_and_where(&mut paper, report);
    processes::place(&mut paper, report);
    paper.heading("WHY");
    for (index, finding) in report.findings.iter().enumerate() {
        if index > 0 {
            paper.line("");
        }
        write_finding(&mut paper, finding);
    }
    processes::victims(&mut paper, report);
    processes::trigger(&mut paper, report);
    domain::candidates(&mut paper, report);
    domain::consumers(&mut paper, report);
    memory::memory(&mut paper, report);
    memory::node(&mut paper, report);
    gaps(&mut paper, report);
    footer(&mut paper, report);
    paper.into_text()
}

fn when_and_where(paper: &mut Paper, report: &Report) {
    let log = report.log.clone().unwrap_or_default();
    if !report.time.is_empty() {
        paper.entry("when", &report.time.replace('T', " ").replace('Z', " UTC"));
    } else if log.time.is_some() {
        paper.entry("when", &format!("{} (zone or year not known)", log.when()));
    }
    if let Some(clock) = log.clock_us {
        let clock = format!("{}.{:06} s of the kernel's clock", clock / 1_000_000, clock % 1_000_000);
        paper.entry(if report.time.is_empty() && log.time.is_none() { "when" } else { "clock" }, &clock);
    }
    if !report.node.is_empty() {
        paper.entry("node", &report.node);
    }
    let line = log.line.map(|line| format!("from line {line}"));
    let kernel = log.kernel.map(|kernel| format!("kernel {kernel}"));
    let parts: Vec<String> = line.into_iter().chain(kernel).collect();
    if !parts.is_empty() {
        paper.entry("log", &parts.join(", "));
    }
}

fn write_finding(paper: &mut Paper, finding: &Finding) {
    let confidence = match finding.confidence {
        Confidence::Certain => "certain",
        Confidence::Likely => "likely",
        Confidence::Possible => "possible",
    };
    paper.paragraph("  ", &format!("{} ({}, {confidence})", finding.text, finding.cause.name()), Ink::Plain);
    for evidence in &finding.evidence {
        let value = match evidence.unit.as_str() {
            "bytes" => size(Bytes(evidence.value)),
            unit => format!("{} {unit}", evidence.value),
        };
        let from = paper.inked(Ink::Faint, &evidence.from);
        paper.line(&format!("    {:<20} {value:>11}  {from}", evidence.name.replace('_', " ")));
    }
    for advice in &finding.advice {
        paper.paragraph("  → ", advice, Ink::Plain);
    }
}

/// Gaps of one reason stand together.
fn gaps(paper: &mut Paper, report: &Report) {
    if report.gaps.is_empty() {
        return;
    }
    paper.heading("NOT KNOWN");
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for gap in &report.gaps {
        match reasons.iter_mut().find(|(why, _)| *why == gap.why) {
            Some((_, what)) => what.push(&gap.what),
            None => reasons.push((&gap.why, vec![&gap.what])),
        }
    }
    for (why, what) in reasons {
        let shown = what.iter().take(GAPS).copied().collect::<Vec<_>>().join(", ");
        let more = what.len().saturating_sub(GAPS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        paper.paragraph("  ", &format!("{why}: {shown}{more}"), Ink::Faint);
    }
}

fn footer(paper: &mut Paper, report: &Report) {
    let latency = report.latency;
    paper.line("");
    if report.source == Source::Log && report.log.is_some() {
        return paper.paragraph("", &format!("id {}; from a kernel log", report.id), Ink::Faint);
    }
    paper.paragraph(
        "",
        &format!(
            "id {}; probe level {}; files read {} to {} after the hook, reported {} after it",
            report.id,
            report.probe.level,
            milliseconds(latency.hook_to_capture_us),
            milliseconds(latency.hook_to_read_us),
            milliseconds(latency.hook_to_report_us),
        ),
        Ink::Faint,
    );
}
