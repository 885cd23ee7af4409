//! The journal's format: bytes of a segment ↔ incidents.
//!
//! ```text
//! oomwatch-journal 1
//! 8d1f0c2b {"counts":…,"report":…}
//! ```
//!
//! The number before an incident is the CRC-32 (that of zip and PNG) of the JSON behind it, without the line end. JSON
//! has no raw line end, so after damage the next line end is the beginning of something whole: what is lost are the
//! lines that were hit. A later version will not write lines of this shape: whatever the first line has become, a line
//! whose number is right is an incident. Files are the caller's.

use serde::Deserialize;
use serde_json::value::RawValue;

/// How a segment begins, with its line end.
pub const FIRST_LINE: &str = "oomwatch-journal 1\n";
/// Without the version.
const NAME: &str = "oomwatch-journal ";

/// One incident, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// JSON of what the incident adds to the counts.
    pub counts: &'a str,
    /// JSON of the report.
    pub report: &'a str,
}

/// A line of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it begins.
    pub start: usize,
    /// Where the next one begins.
    pub end: usize,
    /// Without its line end.
    pub bytes: &'a [u8],
    /// It has a line end. One that has none may still be being written.
    pub finished: bool,
}

/// What stands where a segment's first line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// [`FIRST_LINE`].
    Ours,
    /// Less of it: the write was cut short, and nothing was written since.
    Begun,
    /// That of another version.
    OfVersion(u32),
    /// Something else.
    Damaged,
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Its first line.
    pub first: First,
    /// Whole incidents.
    pub entries: u64,
    /// The line of the last whole incident: from where to where.
    pub last: Option<(usize, usize)>,
    /// What is neither first line nor whole incident: from where to where, in order, neighbours joined.
    pub damaged: Vec<(usize, usize)>,
    /// How many lines that is.
    pub damaged_lines: u64,
}

impl Survey {
    /// All damage is at the end: cutting it off leaves what is whole.
    pub fn only_the_tail_is_damaged(&self, length: usize) -> bool {
        self.first == First::Ours && matches!(self.damaged.as_slice(), [(_, end)] if *end == length)
    }

    /// Of another version, and without one incident of ours: not ours to touch.
    pub fn is_foreign(&self) -> Option<u32> {
        match self.first {
            First::OfVersion(version) if self.entries == 0 => Some(version),
            _ => None,
        }
    }
}

/// The line of one incident, with its line end. Line ends between JSON's tokens become spaces.
pub fn line(counts: &str, report: &str) -> String {
    let json = format!("{{\"counts\":{counts},\"report\":{report}}}").replace(['\n', '\r'], " ");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// What [`line()`] was given. `None` for what is damaged.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        counts: &'a RawValue,
        #[serde(borrow)]
        report: &'a RawValue,
    }
    let (number, json) = (line.get(..8)?, line.get(9..)?);
    // from_str_radix would take a sign as well.
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if line.get(8) != Some(&b' ') || !json.starts_with(b"{") || !number.iter().all(is_hex) {
        return None;
    }
    let number = u32::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
    if crc32fast::hash(json) != number {
        return None;
    }
    let raw: Raw = serde_json::from_slice(json).ok()?;
    Some(Entry { counts: raw.counts.get(), report: raw.report.get() })
}

/// The lines of a segment from an offset on, which must be where a line begins.
pub fn lines(segment: &[u8], from: usize) -> impl Iterator<Item = Line<'_>> {
    let mut start = from;
    std::iter::from_fn(move || {
        let rest = segment.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|byte| *byte == b'\n');
        let bytes = rest.get(..length.unwrap_or(rest.len()))?;
        let end = start + bytes.len() + usize::from(length.is_some());
        let line = Line { start, end, bytes, finished: length.is_some() };
        start = end;
        Some(line)
    })
}

/// The whole incidents of a segment from an offset on, each with its line.
pub fn entries(segment: &[u8], from: usize) -> impl Iterator<Item = (Line<'_>, Entry<'_>)> {
    lines(segment, from).filter(|line| line.finished).filter_map(|line| Some((line, parse(line.bytes)?)))
}

/// Looks at every line.
pub fn survey(segment: &[u8]) -> Survey {
    let first = first(segment);
    let mut survey = Survey { first, entries: 0, last: None, damaged: Vec::new(), damaged_lines: 0 };
    if first == First::Begun {
        return survey;
    }
    let from = if first == First::Ours { FIRST_LINE.len() } else { 0 };
    for line in lines(segment, from) {
        if line.finished && parse(line.bytes).is_some() {
            survey.entries += 1;
            survey.last = Some((line.start, line.end));
            continue;
        }
        survey.damaged_lines += 1;
        match survey.damaged.last_mut() {
            Some((_, end)) if *end == line.start => *end = line.end,
            _ => survey.damaged.push((line.start, line.end)),
        }
    }
    survey
}

fn first(segment: &[u8]) -> First {
    if segment.starts_with(FIRST_LINE.as_bytes()) {
        return First::Ours;
    }
    if FIRST_LINE.as_bytes().starts_with(segment) {
        return First::Begun;
    }
    let line = lines(segment, 0).next().filter(|line| line.finished);
    let text = line.and_then(|line| std::str::from_utf8(line.bytes).ok());
    let version = text.and_then(|text| text.strip_prefix(NAME)).and_then(|version| version.parse().ok());
    version.map_or(First::Damaged, First::OfVersion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Vec<u8> {
        let mut text = FIRST_LINE.to_owned();
        for number in 0..4 {
            text += &line(
                &format!("{{\"n\":{number}}}"),
                &format!("{{\"id\":\"b-{number}\",\"comm\":\"ü\\n\"}}"),
            );
        }
        text.into_bytes()
    }

    fn whole(segment: &[u8]) -> Vec<String> {
        entries(segment, 0).map(|(_, entry)| entry.counts.to_owned()).collect()
    }

    #[test]
    fn an_incident_comes_back_as_it_was() {
        let text = line(r#"{"a":1.50}"#, r#"{"id":"b-1",  "x":"\u001b"}"#);
        assert_eq!(
            text,
            "eeffcfa3 {\"counts\":{\"a\":1.50},\"report\":{\"id\":\"b-1\",  \"x\":\"\\u001b\"}}\n"
        );
        let entry = parse(text.trim_end().as_bytes()).unwrap();
        assert_eq!((entry.counts, entry.report), (r#"{"a":1.50}"#, r#"{"id":"b-1",  "x":"\u001b"}"#));
    }

    #[test]
    fn json_over_several_lines_becomes_one_line() {
        let text = line("{\n  \"a\": 1\r\n}", "[]");
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(parse(text.trim_end().as_bytes()).unwrap().counts, "{   \"a\": 1  }");
    }

    #[test]
    fn what_is_no_entry_is_none() {
        let right = |json: &str| format!("{:08x} {json}", crc32fast::hash(json.as_bytes()));
        for text in [
            "",
            "0",
            "00000000",
            "00000000 ",
            "+0000000 {}",
            &right("{}"),
            &right("[1,2]"),
            &right("{\"counts\":1}"),
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let upper = line("1", "2").to_uppercase();
        assert_eq!(parse(upper.trim_end().as_bytes()), None);
    }

    #[test]
    fn a_segment_cut_at_any_byte_has_all_that_was_whole() {
        let segment = segment();
        let ends: Vec<usize> = entries(&segment, 0).map(|(line, _)| line.end).collect();
        assert_eq!(ends.len(), 4);
        for cut in 0..=segment.len() {
            let kept = &segment[..cut];
            let survey = survey(kept);
            let expected = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(whole(kept).len(), expected, "cut at {cut}");
            assert_eq!(survey.entries, expected as u64, "cut at {cut}");
            let clean = cut == FIRST_LINE.len() || ends.contains(&cut);
            assert_eq!(survey.damaged.is_empty(), clean || cut < FIRST_LINE.len(), "cut at {cut}");
            assert!(survey.damaged.is_empty() || survey.only_the_tail_is_damaged(cut), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_the_line_that_it_hits() {
        let segment = segment();
        let all = whole(&segment);
        let lines: Vec<Line> = lines(&segment, 0).collect();
        for (at, bit) in (0..segment.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut damaged = segment.clone();
            damaged[at] ^= 1 << bit;
            let hit = lines.iter().position(|line| at < line.end).unwrap();
            // A line end that is none any more joins two lines; the first line is none of the incidents.
            let lost = [hit.checked_sub(1), (at + 1 == lines[hit].end).then_some(hit)];
            let expected: Vec<_> =
                (0..4).filter(|n| !lost.contains(&Some(*n))).map(|n| all[n].clone()).collect();
            assert_eq!(whole(&damaged), expected, "bit {bit} of byte {at}");
            let survey = survey(&damaged);
            assert_eq!(survey.entries, expected.len() as u64, "bit {bit} of byte {at}");
            assert!(!survey.damaged.is_empty() && survey.is_foreign().is_none(), "bit {bit} of byte {at}");
        }
    }

    #[test]
    fn another_version_is_not_damage() {
        assert_eq!(survey(b"oomwatch-journal 2\nx y z\n").is_foreign(), Some(2));
        assert_eq!(survey(b"oomwatch-journal two\nx\n").is_foreign(), None);
        assert_eq!(survey(b"oomwatch-journal 2").is_foreign(), None);
        assert_eq!(survey(b"").first, First::Begun);
    }

    #[test]
    fn garbage_is_one_stretch_of_damage() {
        let survey = survey(b"\x00\xff\n\n\nabc");
        assert_eq!(
            (survey.first, survey.damaged.as_slice(), survey.damaged_lines),
            (First::Damaged, &[(0, 8)][..], 4)
        );
    }
}
