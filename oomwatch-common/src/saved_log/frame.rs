//! What stands around the kernel's text in a form of log that is not known by name, learned from a line that leaves no
//! doubt where the text begins: `node-a kern.warn kernel: hog invoked oom-killer: …`.
//!
//! A head is remembered by its shape, not its bytes: times and levels change from line to line, blanks and punctuation
//! stay.

use memchr::memmem;

/// A head and a tail, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Frame {
    head: Vec<Part>,
    tail: Vec<u8>,
}

/// Part of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Letters and digits, any number of them.
    Word,
    /// Blanks, any number of them.
    Blank,
    /// Itself.
    Mark(u8),
}

const INVOKED: &[u8] = b" invoked oom-killer: gfp_mask=0x";
/// What begins a line, so that whatever stands before is not the kernel's.
const BEGINNINGS: [&[u8]; 4] = [
    b"oom-kill:constraint=",
    b"Memory cgroup out of memory: Kill",
    b"Out of memory: Kill",
    b"Killed process ",
];
/// The last number of the header's first line.
const LAST_KEYS: [&[u8]; 2] = [b"oom_score_adj=", b"order="];
/// A head is no longer.
const LONGEST: usize = 160;
/// A tail is no longer: closing quotes, marks of a table.
const LONGEST_TAIL: usize = 16;

impl Frame {
    /// The text without its tail.
    pub(super) fn without_tail<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.strip_suffix(&*self.tail).unwrap_or(text)
    }

    /// The text without its head, where it has one of the shape that was learned. `is_dated`: see
    /// [`Self::learn_head`].
    pub(super) fn inside<'a>(&self, text: &'a [u8], is_dated: bool) -> Option<&'a [u8]> {
        if self.head.is_empty() {
            return None;
        }
        let mut rest = text;
        for part in &self.head {
            let (length, last) = length(rest)?;
            if last != *part {
                return None;
            }
            rest = rest.get(length..)?;
        }
        let head = text.get(..text.len() - rest.len())?;
        (!is_dated || is_kernels(head)).then_some(rest)
    }

    /// Nothing stands before the text any more.
    pub(super) fn forget_head(&mut self) {
        self.head.clear();
    }

    /// Learns from the first line of a header what stands behind the text. `false`: it is no such line.
    pub(super) fn learn_tail(&mut self, text: &[u8]) -> bool {
        let Some(at) = memmem::find(text, INVOKED) else { return false };
        let rest = text.get(at..).unwrap_or_default();
        let Some(behind) = LAST_KEYS.iter().find_map(|key| rest.get(memmem::rfind(rest, key)? + key.len()..))
        else {
            return false;
        };
        let digits = behind.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        let tail = behind.get(digits..).unwrap_or_default();
        // What goes on as the kernel's line does is of the line.
        let is_tail = tail.len() <= LONGEST_TAIL && !tail.starts_with(b",");
        self.tail = if is_tail { tail.to_vec() } else { Vec::new() };
        true
    }

    /// Learns from a line in which the kernel's text cannot but begin at one place what stands before. `false`: it is
    /// no such line. `is_dated`: behind a time, as in a syslog file, there is a tag, and the kernel's is its name.
    pub(super) fn learn_head(&mut self, text: &[u8], is_dated: bool) -> bool {
        let Some(at) = beginning(text) else { return false };
        let Some(mut rest) = text.get(..at).filter(|head| head.len() <= LONGEST) else { return false };
        if is_dated && !is_kernels(rest) {
            return false;
        }
        let mut head = Vec::new();
        while let Some((length, part)) = length(rest) {
            head.push(part);
            rest = rest.get(length..).unwrap_or_default();
        }
        // Behind a letter the text is part of another one.
        if matches!(head.last(), None | Some(Part::Word)) {
            return false;
        }
        self.head = head;
        true
    }
}

/// Whether a head has the kernel's name, or that of its facility.
fn is_kernels(head: &[u8]) -> bool {
    memmem::find(head, b"kern").is_some()
}

/// Where the kernel's text begins.
fn beginning(text: &[u8]) -> Option<usize> {
    let Some(at) = memmem::find(text, INVOKED) else {
        return BEGINNINGS.iter().find_map(|beginning| memmem::find(text, beginning));
    };
    // A name stands before, which may hold blanks, but hardly any behind a mark.
    let before = text.get(..at)?;
    let is_mark = |byte: u8| byte.is_ascii_punctuation() || byte == b'\t';
    let behind_mark =
        before.windows(2).rposition(|two| matches!(two, [mark, b' ' | b'\t'] if is_mark(*mark)));
    let start = behind_mark
        .map(|at| at + 2)
        .or_else(|| Some(before.iter().rposition(u8::is_ascii_whitespace)? + 1))?;
    let blanks = before.get(start..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    Some(start + blanks)
}

/// The first part, and its length.
fn length(text: &[u8]) -> Option<(usize, Part)> {
    let of = |is_one: fn(&u8) -> bool| text.iter().take_while(|byte| is_one(byte)).count();
    let first = *text.first()?;
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || *byte == b'_';
    Some(match first {
        b' ' | b'\t' => (of(|byte| matches!(byte, b' ' | b'\t')), Part::Blank),
        first if is_letter(&first) => (of(is_letter), Part::Word),
        mark => (1, Part::Mark(mark)),
    })
}

#[cfg(test)]
mod tests {
    use super::Frame;

    const LINE: &str =
        "Web Content invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-998";

    #[test]
    fn a_head_is_known_again_by_its_shape() {
        for (first, second) in [
            (
                "10.0.0.1: kern: warning: [2026-11-21T12:00:00.123456789Z]: ",
                "10.0.0.1: kern:    info: [2026-11-21T12:00:01.1Z]: ",
            ),
            ("node-a kern.warn kernel: ", "node-a kern.err kernel: "),
            ("     0     0 W kernel  : ", "  0 17 E kernel  : "),
            (" [0:   kswapd0:   80] ", " [1: hog: 97] "),
            ("kernel.log: [1739943664.123, {\"message\"=>\"", "kernel.log: [1739943665.9, {\"message\"=>\""),
        ] {
            let mut frame = Frame::default();
            if first.ends_with('"') {
                assert!(
                    frame.learn_head(format!("{first}oom-kill:constraint=CONSTRAINT_NONE").as_bytes(), false),
                    "{first}"
                );
            } else {
                assert!(frame.learn_head(format!("{first}{LINE}").as_bytes(), false), "{first}");
            }
            for (head, text) in [(first, LINE), (second, "memory: usage 1kB"), (second, "[   97] 0 97 1 x")] {
                let line = format!("{head}{text}");
                assert_eq!(frame.inside(line.as_bytes(), false), Some(text.as_bytes()), "{head}");
            }
            assert_eq!(frame.inside(b"memory: usage 1kB, limit 1kB", false), None);
        }
    }

    #[test]
    fn a_tail_is_known_by_its_bytes() {
        for tail in ["", "\"", "` |", "<br>", "\"}]"] {
            let mut frame = Frame::default();
            frame.learn_tail(format!("{LINE}{tail}").as_bytes());
            assert_eq!(frame.without_tail(format!("anon 4096{tail}").as_bytes()), b"anon 4096", "{tail}");
        }
        let mut frame = Frame::default();
        frame.learn_tail(format!("{LINE}, and a great many other things").as_bytes());
        assert_eq!(frame.without_tail(b"anon 4096"), b"anon 4096");
    }

    #[test]
    fn a_line_that_may_begin_anywhere_teaches_nothing() {
        for line in ["", "hog", "xOut of memory: Killed process 1 (x)", "Out of memory: Killed process 1 (x)"]
        {
            assert!(!Frame::default().learn_head(line.as_bytes(), false), "{line}");
        }
        assert_eq!(Frame::default().inside(b"a: b", false), None);
    }
}
