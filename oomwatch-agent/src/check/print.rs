//! The list as text for people, and as JSON for machines.

use oomwatch_common::{escape::decode_replacing, incident::ProbeLevel};
use serde::Serialize;

use super::{Line, State};
use crate::refusal::Refusal;

/// Raised when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// `oomwatch check --output json`: docs/check.md.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    version: &'static str,
    node: &'a str,
    catches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    exit_code: u8,
    checks: &'a [Line],
}

/// One object and a newline.
///
/// # Errors
/// None that is known: all keys are text.
pub(super) fn json(
    lines: &[Line],
    verdict: Result<ProbeLevel, &Refusal>,
    node: &str,
) -> Result<String, Refusal> {
    let document = Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        node,
        catches: verdict.is_ok(),
        level: verdict.ok().map(ProbeLevel::name),
        exit_code: verdict.err().map_or(0, |refusal| refusal.kind.code()),
        checks: lines,
    };
    let mut text = serde_json::to_string_pretty(&document)
        .map_err(|error| Refusal::failed(format!("making JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

/// A line each, then an empty one, then what it comes to.
pub(super) fn text(lines: &[Line], verdict: Result<ProbeLevel, &Refusal>, coloured: bool) -> String {
    let width = lines.iter().map(|line| line.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        // What stands in it may come from a server or a file: it must not command the terminal.
        let mut found = one_line(&line.text);
        if let Some(cure) = &line.cure {
            found.push_str(" → ");
            found.push_str(&one_line(cure));
        }
        let (word, ink) = word(line.state);
        text.push_str(&paint(&format!("{word:<8}"), ink, coloured));
        let name = format!("  {:<width$}  ", line.check);
        text.push_str(&name);
        text.push_str(&found);
        text.push('\n');
    }
    let (sentence, ink) = sentence(verdict);
    text.push('\n');
    text.push_str(&paint(&sentence, ink, coloured));
    text.push('\n');
    text
}

/// The state's word and its colour, as an SGR code.
fn word(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ok => ("ok", "32"),
        State::Degraded => ("degraded", "33"),
        State::Failed => ("failed", "1;31"),
        State::NotApplicable => ("n/a", "2"),
    }
}

fn paint(text: &str, ink: &str, coloured: bool) -> String {
    if coloured { format!("\x1b[{ink}m{text}\x1b[0m") } else { text.to_owned() }
}

fn sentence(verdict: Result<ProbeLevel, &Refusal>) -> (String, &'static str) {
    match verdict {
        Ok(ProbeLevel::Kprobe) => {
            ("OOM kills will be caught, at level kprobe: whole incidents, before SIGKILL.".to_owned(), "1;32")
        }
        Ok(ProbeLevel::Tracepoint) => (
            "OOM kills will be caught, at level tracepoint: victims only, after SIGKILL; not whose limit it was."
                .to_owned(),
            "1;33",
        ),
        Ok(ProbeLevel::Kmsg) => (
            "OOM kills will be caught, at level kmsg: what the kernel logs, after SIGKILL; most details only for 10 \
             kills in 5 s."
                .to_owned(),
            "1;33",
        ),
        Err(refusal) => {
            // The verifier's log, if there is one, stands in the line of its check.
            let why = refusal.text.lines().next().unwrap_or_default();
            (format!("No OOM kill will be caught: {}", one_line(why)), "1;31")
        }
    }
}

fn one_line(text: &str) -> String {
    decode_replacing(text.replace('\n', "; ").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> [Line; 2] {
        [Line::ok("kernel", "Linux 6.1"), Line::degraded("kubelet", "says \x1b[2J\nso", "change it")]
    }

    #[test]
    fn a_check_is_one_line_and_commands_no_terminal() {
        let expected = "ok        kernel   Linux 6.1\n\
                        degraded  kubelet  says \\x1b[2J; so → change it\n\n\
                        OOM kills will be caught, at level kprobe: whole incidents, before SIGKILL.\n";
        assert_eq!(text(&lines(), Ok(ProbeLevel::Kprobe), false), expected);
        let coloured = text(&lines(), Ok(ProbeLevel::Kprobe), true);
        assert!(coloured.starts_with("\x1b[32mok      \x1b[0m  kernel   Linux 6.1\n"), "{coloured}");
        assert!(!coloured.contains("\x1b[2J"));
    }

    #[test]
    fn a_refusal_is_the_verdict_and_the_exit_code() {
        let refusal = Refusal::not_permitted("CAP_BPF missing:\nrun as root");
        let shown = text(&lines(), Err(&refusal), false);
        assert!(shown.ends_with("\nNo OOM kill will be caught: CAP_BPF missing:\n"), "{shown}");
        let document: serde_json::Value =
            serde_json::from_str(&json(&lines(), Err(&refusal), "n").unwrap()).unwrap();
        assert_eq!((&document["catches"], &document["exit_code"]), (&false.into(), &77.into()));
        assert!(document.get("level").is_none());
        assert_eq!(document["checks"][1]["state"], "degraded");
        assert_eq!(document["checks"][0].get("cure"), None);
    }
}
