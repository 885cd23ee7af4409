//! Bytes spelled as text: `\xNN`, `\u{NNNN}`, `\\`, `\n` and the like, back to the bytes.
//!
//! The kernel's log, the agent's reports and the hog's arguments all carry names that a process chose for itself; in
//! each of them a backslash begins such a spelling. There is no way back to text here: the tests compare bytes.

/// The bytes that `text` spells. What is no known spelling stands for itself.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if let (b'\\', Some((spelled, tail))) = (first, spelling(after)) {
            bytes.extend_from_slice(&spelled);
            rest = tail;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

/// What follows a backslash: the bytes meant, and the text behind them.
fn spelling(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&kind, after) = text.split_first()?;
    let plain = |byte: u8| Some((vec![byte], after));
    match kind {
        b'\\' | b'"' | b'\'' => plain(kind),
        b'n' => plain(b'\n'),
        b't' => plain(b'\t'),
        b'r' => plain(b'\r'),
        b'0' => plain(0),
        b'x' => {
            let (digits, tail) = after.split_at_checked(2)?;
            Some((vec![u8::try_from(hexadecimal(digits)?).ok()?], tail))
        }
        b'u' => {
            let after = after.strip_prefix(b"{")?;
            let end = after.iter().position(|&byte| byte == b'}')?;
            let (digits, tail) = after.split_at_checked(end)?;
            let character = char::from_u32(hexadecimal(digits)?)?;
            Some((character.to_string().into_bytes(), tail.strip_prefix(b"}")?))
        }
        _ => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn every_spelling_becomes_the_bytes_that_it_means() {
        let table: &[(&str, &[u8])] = &[
            ("hog", b"hog"),
            (r"a\x0ab", b"a\nb"),
            (r"\x5cx41", br"\x41"),
            (r"a\\n", br"a\n"),
            (r#"a) (b "c,d=e"#, br#"a) (b "c,d=e"#),
            (r"\x1b[31m\n\t\r", b"\x1b[31m\n\t\r"),
            (r"\u{1b}\u{202e}", b"\x1b\xe2\x80\xae"),
            (r"\xzz \x4", br"\xzz \x4"),
            (r"end\", br"end\"),
            (r"\u{}\u{41", br"\u{}\u{41"),
        ];
        for (text, bytes) in table {
            assert_eq!(unescape(text.as_bytes()), *bytes, "{text}");
        }
    }
}
