//! One record of `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg).

use memchr::memchr;

/// What a reader of `/dev/kmsg` gets by one `read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsgRecord {
    /// Counted by the kernel since it started, without a gap.
    pub sequence: u64,
    /// The printk clock in microseconds: it begins at boot, and may be seconds off the other clocks.
    pub micros: u64,
    /// The kernel itself printed it. Who may write to `/dev/kmsg` can write anything there, but under a facility of
    /// 1 or more only.
    pub is_from_kernel: bool,
    /// A part of a line: on Linux before 4.10 its beginning (`c`) or its going on (`+`), later always the latter.
    pub is_part: bool,
    /// The text, its `\xNN` spellings undone.
    pub text: Vec<u8>,
}

/// Priorities below this are of facility 0, the kernel's.
const FACILITIES: u32 = 8;

impl KmsgRecord {
    /// Reads `priority,sequence,microseconds,flags[,…];text`. What follows on further lines is the record's dictionary,
    /// which is of no use here. `None` for what is no record.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let line = raw.split(|&byte| byte == b'\n').next()?;
        let semicolon = line.iter().position(|&byte| byte == b';')?;
        let (head, text) = (line.get(..semicolon)?, line.get(semicolon + 1..)?);
        let mut fields = std::str::from_utf8(head).ok()?.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        let (sequence, micros) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let is_part = matches!(fields.next()?, "c" | "+");
        Some(Self { sequence, micros, is_from_kernel: priority < FACILITIES, is_part, text: unescape(text) })
    }
}

/// The kernel spells bytes that are not printable ASCII, and the backslash, as `\xNN` (`append_char`,
/// kernel/printk/printk.c).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        let plain = memchr(b'\\', rest).unwrap_or(rest.len());
        bytes.extend_from_slice(rest.get(..plain).unwrap_or_default());
        let Some((&byte, after)) = rest.get(plain..).and_then(<[u8]>::split_first) else { return bytes };
        let digits = after.strip_prefix(b"x").and_then(|after| after.get(..2));
        let spelled = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(spelled.unwrap_or(byte));
        rest = if spelled.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
}

#[cfg(test)]
mod tests {
    use super::KmsgRecord;

    #[test]
    fn a_record_is_read_and_what_is_none_is_not() {
        let record = KmsgRecord::parse(b"6,339,5140900,c,caller=T1;a\\x0ab\\x5cx41\n SUBSYSTEM=x\n").unwrap();
        assert_eq!((record.sequence, record.micros, record.is_part), (339, 5_140_900, true));
        assert!(record.is_from_kernel);
        assert_eq!(record.text, b"a\nb\\x41");
        assert!(KmsgRecord::parse(b"6,1,2,+;x").unwrap().is_part);
        assert!(!KmsgRecord::parse(b"6,1,2,-;x").unwrap().is_part);
        for raw in ["", ";", "6;x", "6,1;x", "6,1,2;x", "a,1,2,-;x", "6,1,2,-", "[ 1.2] x; y"] {
            assert_eq!(KmsgRecord::parse(raw.as_bytes()), None, "{raw}");
        }
    }

    #[test]
    fn whoever_may_write_to_the_log_is_not_the_kernel() {
        for (prefix, kernel) in [(0, true), (7, true), (8, false), (14, false), (191, false)] {
            let raw = format!("{prefix},1,2,-;Out of memory: Killed process 1 (init)");
            assert_eq!(KmsgRecord::parse(raw.as_bytes()).unwrap().is_from_kernel, kernel, "{prefix}");
        }
    }

    #[test]
    fn a_spelling_that_is_none_stands_for_itself() {
        let record = KmsgRecord::parse(br"6,1,2,-;\ \x \x4 \xzz \x+1 \x41\").unwrap();
        assert_eq!(record.text, br"\ \x \x4 \xzz \x+1 A\");
    }
}
