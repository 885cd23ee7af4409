//! Bytes that a process chose for itself → text that is safe on a terminal, in a log and in JSON.
//!
//! comm, command lines and cgroup names may hold any bytes: terminal commands, line ends, text that runs right to
//! left. Printable UTF-8 passes as it is; everything else is spelled with a backslash, so that [`unescape`] gives the
//! bytes back. It decides nothing about what is secret.

use std::fmt::Write as _;

/// The text of all of `bytes`: `\\` for a backslash, `\xNN` for an ASCII control character or a byte that is not
/// UTF-8, `\u{N}` for any other character that is not to be printed.
pub fn escape(bytes: &[u8]) -> String {
    escape_bounded(bytes, usize::MAX)
}

/// As [`escape`], but of at most `most` bytes; what is left out is counted in a mark at the end, `\…(+12 bytes)`,
/// which no escaped text can contain.
pub fn escape_bounded(bytes: &[u8], most: usize) -> String {
    // Nearly every name and path: nothing in it is to be spelled.
    if bytes.len() <= most
        && bytes.iter().all(|byte| matches!(byte, b' '..=b'[' | b']'..=b'~'))
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    let kept = bytes.get(..most).unwrap_or(bytes);
    // A character that the cut would split is left out whole.
    let kept = match std::str::from_utf8(kept) {
        Err(error) if kept.len() < bytes.len() && error.error_len().is_none() => {
            kept.get(..error.valid_up_to()).unwrap_or(kept)
        }
        _ => kept,
    };
    let mut text = String::with_capacity(kept.len());
    for chunk in kept.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut text, character);
        }
        for byte in chunk.invalid() {
            push_byte(&mut text, *byte);
        }
    }
    if kept.len() < bytes.len() {
        spell(&mut text, format_args!("\\…(+{} bytes)", bytes.len() - kept.len()));
    }
    text
}

/// The bytes that [`escape`] was given. `None` for what it cannot have written.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(rest.get(..at)?.as_bytes());
        let spelled = rest.get(at + 1..)?;
        rest = if let Some(after) = spelled.strip_prefix('\\') {
            bytes.push(b'\\');
            after
        } else if let Some(digits) = spelled.strip_prefix('x') {
            bytes.push(u8::from_str_radix(digits.get(..2)?, 16).ok()?);
            digits.get(2..)?
        } else {
            let (digits, after) = spelled.strip_prefix("u{")?.split_once('}')?;
            let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            after
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// As Python's `bytes.decode('utf-8', 'replace')`, then only the unprintable spelled out: for the output that must
/// look like another tool's ([`crate::render_bcc`]). Not reversible.
pub fn decode_replacing(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character == '\\' { text.push(character) } else { push(&mut text, character) }
    }
    text
}

/// One line of JSON that means the same as `json`, and has nothing in it that is not to be printed.
pub fn escape_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            // Between tokens: JSON has them nowhere else.
            '\n' | '\r' | '\t' => text.push(' '),
            _ if !is_unprintable(character) => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    spell(&mut text, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

fn push(text: &mut String, character: char) {
    match character {
        '\\' => text.push_str("\\\\"),
        _ if !is_unprintable(character) => text.push(character),
        '\0'..='\x7f' => push_byte(text, u8::try_from(character).unwrap_or_default()),
        _ => spell(text, format_args!("\\u{{{:x}}}", u32::from(character))),
    }
}

fn push_byte(text: &mut String, byte: u8) {
    spell(text, format_args!("\\x{byte:02x}"));
}

fn spell(text: &mut String, spelling: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    text.write_fmt(spelling).unwrap_or_default();
}

/// Controls (C0, DEL, C1), and what changes how the text around it is shown without showing itself: line and
/// paragraph separators, zero-width and bidirectional format characters, tags, interlinear marks.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{decode_replacing, escape, escape_bounded, escape_json, unescape};

    const TABLE: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"java", "java"),
        (b"a) (b \"c,d=e", "a) (b \"c,d=e"),
        ("Bücher 日本 🦀".as_bytes(), "Bücher 日本 🦀"),
        (b"back\\slash", r"back\\slash"),
        (b"\x1b[2J\x1b]0;pwned\x07", r"\x1b[2J\x1b]0;pwned\x07"),
        (b"two\nlines\r\t\0", r"two\x0alines\x0d\x09\x00"),
        (b"del\x7f", r"del\x7f"),
        ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
        ("abc\u{202e}cba\u{2066}".as_bytes(), r"abc\u{202e}cba\u{2066}"),
        ("line\u{2028}paragraph\u{2029}".as_bytes(), r"line\u{2028}paragraph\u{2029}"),
        ("\u{feff}\u{200b}\u{e0041}".as_bytes(), r"\u{feff}\u{200b}\u{e0041}"),
        (b"\xff\xfe cut \xe2\x82", r"\xff\xfe cut \xe2\x82"),
        (b"looks like \\x41", r"looks like \\x41"),
    ];

    #[test]
    fn text_is_safe_and_turns_back_into_its_bytes() {
        for (bytes, text) in TABLE {
            assert_eq!(escape(bytes), *text);
            assert_eq!(unescape(text).as_deref(), Some(*bytes), "{text}");
        }
    }

    #[test]
    fn every_byte_and_every_pair_of_bytes_turns_back() {
        for pair in 0..=u16::MAX {
            let bytes = pair.to_be_bytes();
            let text = escape(&bytes);
            assert!(!text.chars().any(char::is_control), "{bytes:?}");
            assert_eq!(unescape(&text).as_deref(), Some(bytes.as_slice()));
        }
    }

    #[test]
    fn long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(escape_bounded(b"abcdef", 6), "abcdef");
        assert_eq!(escape_bounded(b"abcdef", 4), r"abcd\…(+2 bytes)");
        assert_eq!(escape_bounded("abü".as_bytes(), 3), r"ab\…(+2 bytes)");
        assert_eq!(unescape(&escape_bounded(b"abcdef", 4)), None);
    }

    #[test]
    fn what_escape_never_writes_is_refused() {
        for text in [r"\", r"\x4", r"\xzz", r"\u{110000}", r"\u{41", r"\n"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    #[test]
    fn bcc_shows_a_replacement_character_but_no_control() {
        assert_eq!(decode_replacing(b"a\\b\xffc\x1b"), "a\\b\u{fffd}c\\x1b");
    }

    #[test]
    fn json_means_the_same_on_one_printable_line() {
        let json = "{\n\t\"comm\": \"a\u{202e}b\u{e0041}\u{7f}\",\r\n \"ü\": \"\\u001b\"}";
        let line = escape_json(json);
        assert_eq!(line, "{  \"comm\": \"a\\u202eb\\udb40\\udc41\\u007f\",   \"ü\": \"\\u001b\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(json));
    }
}
