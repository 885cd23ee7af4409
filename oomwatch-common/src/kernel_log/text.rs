//! Searching in bytes: the log's lines hold names of any bytes.

use std::borrow::Cow;

use memchr::memmem;

/// What stands before and after the first `separator`.
pub(super) fn split<'a>(text: &'a [u8], separator: &str) -> Option<(&'a [u8], &'a [u8])> {
    divide(text, memmem::find(text, separator.as_bytes())?, separator)
}

/// What stands before and after the last `separator`.
pub(super) fn rsplit<'a>(text: &'a [u8], separator: &str) -> Option<(&'a [u8], &'a [u8])> {
    divide(text, memmem::rfind(text, separator.as_bytes())?, separator)
}

/// Every way to split `text` at `separator`, from the left; so many at most that no line can make this slow.
pub(super) fn splits<'a>(
    text: &'a [u8],
    separator: &'a str,
) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
    let found: Vec<_> = memmem::find_iter(text, separator.as_bytes()).take(MOST_SPLITS).collect();
    found.into_iter().filter_map(move |at| divide(text, at, separator))
}

const MOST_SPLITS: usize = 64;

fn divide<'a>(text: &'a [u8], at: usize, separator: &str) -> Option<(&'a [u8], &'a [u8])> {
    Some((text.get(..at)?, text.get(at.checked_add(separator.len())?..)?))
}

/// The decimal number that `text` begins with, and what follows it.
pub(super) fn leading<T: std::str::FromStr>(text: &[u8]) -> Option<(T, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, after))
}

/// The number right behind the first `key`, perhaps negative.
pub(super) fn after_key<T: std::str::FromStr>(text: &[u8], key: &str) -> Option<T> {
    let (_, value) = split(text, key)?;
    let sign = usize::from(value.first() == Some(&b'-'));
    let digits = value.get(sign..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(value.get(..sign + digits)?).ok()?.parse().ok()
}

/// A record of several lines as it was: rsyslog writes a line end as `#012` (`$EscapeControlCharactersOnReceive`).
pub(super) fn with_line_ends(text: &[u8]) -> Cow<'_, [u8]> {
    let mut rest = text;
    let mut whole = Vec::new();
    while let Some((line, after)) = split(rest, "#012") {
        whole.extend_from_slice(line);
        whole.push(b'\n');
        rest = after;
    }
    if whole.is_empty() {
        return Cow::Borrowed(text);
    }
    whole.extend_from_slice(rest);
    Cow::Owned(whole)
}

/// A task's name is of 15 bytes at most (`TASK_COMM_LEN`), a kernel worker's of more only in `/proc`.
pub(super) const LONGEST_COMM: usize = 15;
