//! `/proc/PID/stat`: only its field 22, when the process started; with the pid that is its identity.

use super::{
    Malformed,
    lines::{number, words},
};

/// Clock ticks (`USER_HZ`, 100 a second) from boot to the start of the process.
///
/// # Errors
/// The text is cut before the end of field 22, or it is no number.
pub fn start_ticks(text: &[u8]) -> Result<u64, Malformed> {
    // Field 2, the name, stands in parentheses and may itself hold any of them; no later field does.
    let name_end = text.iter().rposition(|&byte| byte == b')').ok_or(Malformed)?;
    let mut fields = words(text.get(name_end + 1..).ok_or(Malformed)?);
    let start = fields.nth(19).ok_or(Malformed)?;
    // A next field is the proof that this one is whole.
    fields.next().ok_or(Malformed)?;
    number(start)
}

#[cfg(test)]
mod tests {
    use super::start_ticks;

    const TEXT: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/stat");

    #[test]
    fn the_start_is_found_behind_any_name() {
        let text = std::str::from_utf8(TEXT).unwrap();
        for name in ["(ingest-worker)", "(a) (b)", "(S 1 2 3)", "(()", "())", "(\n)"] {
            assert_eq!(start_ticks(text.replace("(ingest-worker)", name).as_bytes()), Ok(464_047), "{name}");
        }
    }

    #[test]
    fn cut_anywhere_it_is_the_start_or_nothing() {
        let mut found = 0;
        for end in 0..TEXT.len() {
            if let Ok(ticks) = start_ticks(&TEXT[..end]) {
                assert_eq!(ticks, 464_047, "cut at {end}");
                found += 1;
            }
        }
        assert!(found > 100, "{found}");
    }
}
