//! Lines of at most [`WIDTH`] columns: wrapped text, bars, and colour where it is wanted.

/// Columns of a page.
pub(super) const WIDTH: usize = 100;
/// Columns of a bar.
const BAR: usize = 30;

/// How a page looks. Whether the output is a terminal is the caller's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No terminal commands.
    Plain,
    /// ANSI colours.
    Colour,
}

/// A page as it grows.
pub(super) struct Paper {
    text: String,
    style: Style,
}

/// What a piece of text is.
#[derive(Clone, Copy)]
pub(super) enum Ink {
    /// Ordinary.
    Plain,
    /// A heading.
    Heading,
    /// What happened.
    Alarm,
    /// Of lesser weight.
    Faint,
}

impl Paper {
    pub(super) fn new(style: Style) -> Self {
        Self { text: String::new(), style }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn inked(&self, ink: Ink, text: &str) -> String {
        let code = match (self.style, ink) {
            (Style::Plain, _) | (_, Ink::Plain) => return text.to_owned(),
            (_, Ink::Heading) => "1",
            (_, Ink::Alarm) => "1;31",
            (_, Ink::Faint) => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A line that is known to fit.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// An empty line and a heading.
    pub(super) fn heading(&mut self, heading: &str) {
        self.text.push('\n');
        let heading = self.inked(Ink::Heading, heading);
        self.line(&heading);
    }

    /// Text after `first`, wrapped; further lines begin below the text.
    pub(super) fn paragraph(&mut self, first: &str, text: &str, ink: Ink) {
        let indent = first.chars().count();
        for (index, line) in wrap(text, WIDTH.saturating_sub(indent)).iter().enumerate() {
            let inked = self.inked(ink, line);
            let start = if index == 0 { first.to_owned() } else { " ".repeat(indent) };
            self.line(&format!("{start}{inked}"));
        }
    }

    /// `  name        text`, wrapped.
    pub(super) fn entry(&mut self, name: &str, text: &str) {
        self.paragraph(&format!("  {name:<11} "), text, Ink::Plain);
    }

    /// `  name        ████▌·······  12.3 MiB   41 %`
    pub(super) fn bar(&mut self, name: &str, part: u64, whole: u64, size: &str) {
        let percent = percent(part, whole);
        self.line(&format!("  {name:<20} {} {size:>11}  {percent:>4}", bar(part, whole)));
    }
}

/// Whole percents, but never 0 for something nor 100 for less than all.
fn percent(part: u64, whole: u64) -> String {
    let percent = (u128::from(part) * 100).checked_div(u128::from(whole)).unwrap_or(0);
    if part > 0 && percent == 0 { "<1 %".to_owned() } else { format!("{percent} %") }
}

/// Eighths of a column.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let columns = u128::try_from(BAR).unwrap_or_default();
    let eighths = (u128::from(part.min(whole)) * columns * 8).checked_div(u128::from(whole)).unwrap_or(0);
    let full = usize::try_from(eighths / 8).unwrap_or(BAR);
    let last = match eighths % 8 {
        0 => "",
        1 => "▏",
        2 => "▎",
        3 => "▍",
        4 => "▌",
        5 => "▋",
        6 => "▊",
        _ => "▉",
    };
    let filled = full + last.chars().count();
    format!("{}{last}{}", "█".repeat(full), "·".repeat(BAR.saturating_sub(filled)))
}

/// Breaks at spaces; a word that is too long before a `/`, else wherever the line ends.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut space = usize::from(used > 0);
        let mut word = word.to_owned();
        while !word.is_empty() {
            let length = word.chars().count();
            let room = width.saturating_sub(used + space);
            let taken = if length <= room {
                length
            } else if length <= width {
                0
            } else {
                break_at(&word, room, used == 0)
            };
            if taken > 0 {
                let rest = word.split_off(word.char_indices().nth(taken).map_or(word.len(), |(at, _)| at));
                if let Some(line) = lines.last_mut() {
                    line.push_str(&" ".repeat(space));
                    line.push_str(&word);
                }
                used += space + taken;
                word = rest;
            }
            if !word.is_empty() {
                lines.push(String::new());
                (used, space) = (0, 0);
            }
        }
    }
    lines
}

/// Before the last `/` of the first `room` characters. With none: nowhere, or at their end where that is a whole line.
fn break_at(word: &str, room: usize, whole_line: bool) -> usize {
    let slash = word.chars().take(room).collect::<Vec<_>>().iter().rposition(|&character| character == '/');
    match slash {
        Some(slash) if slash > 0 => slash,
        _ if whole_line => room,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{bar, percent, wrap};

    #[test]
    fn text_wraps_within_its_width_and_loses_nothing() {
        for (text, width, lines) in [
            ("one two three", 7, vec!["one two", "three"]),
            ("one", 3, vec!["one"]),
            ("", 5, vec![""]),
            ("a /kubepods.slice/x/y", 10, vec!["a", "/kubepods.", "slice/x/y"]),
            ("to /ab/cdefghijk", 8, vec!["to /ab", "/cdefghi", "jk"]),
            ("/aaaa/bbbb/cccc", 11, vec!["/aaaa/bbbb", "/cccc"]),
            ("abcdefgh", 3, vec!["abc", "def", "gh"]),
        ] {
            assert_eq!(wrap(text, width), lines, "{text}");
        }
        let text = format!("in {} of /{}", "x".repeat(300), "ab/".repeat(100));
        let lines = wrap(&text, 40);
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
    }

    #[test]
    fn bars_have_one_length_and_tell_a_little_from_nothing() {
        for (part, whole) in
            [(0, 100), (1, 100), (33, 100), (99, 100), (100, 100), (200, 100), (1, 0), (0, 0)]
        {
            assert_eq!(bar(part, whole).chars().count(), 30, "{part}/{whole}");
        }
        assert!(bar(1, 100).starts_with('▎') && bar(0, 100).starts_with('·') && bar(99, 100).ends_with('▋'));
        assert_eq!(
            (percent(1, 1000), percent(999, 1000), percent(0, 9)),
            ("<1 %".into(), "99 %".into(), "0 %".into())
        );
    }
}
