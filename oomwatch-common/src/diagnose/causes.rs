//! What there is to say of each cause: the sections of docs/causes.md, which is embedded.

const CAUSES: &str = include_str!("../../../docs/causes.md");
const HEADING: &str = "\n## ";

/// The section of docs/causes.md on a cause, by its name, with its heading. `None` for what is no cause's name.
pub fn cause_text(name: &str) -> Option<&'static str> {
    let mut sections = CAUSES.match_indices(HEADING).map(|(at, _)| at + 1).peekable();
    while let Some(start) = sections.next() {
        let section = CAUSES.get(start..sections.peek().copied().unwrap_or(CAUSES.len()))?.trim_end();
        if section.strip_prefix("## ")?.lines().next() == Some(name) {
            return Some(section);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{CAUSES, HEADING, cause_text};
    use crate::diagnose::Reason;

    #[test]
    fn each_cause_has_its_section_and_each_section_its_cause() {
        for cause in Reason::all() {
            let text = cause_text(cause.name()).unwrap_or_default();
            for part in ["What it means:", "How it is recognised:", "What to do:", "Often mistaken for:"] {
                assert!(text.contains(&format!("\n**{part}** ")), "{}: {part}", cause.name());
            }
            assert!(text.starts_with(&format!("## {}\n", cause.name())) && !text.contains(HEADING), "{text}");
        }
        assert_eq!(CAUSES.matches(HEADING).count(), Reason::all().count());
        for name in ["", "Unknown", "container", "container_limit ", "#"] {
            assert_eq!(cause_text(name), None, "{name}");
        }
    }
}
