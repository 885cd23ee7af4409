//! Lines, words and numbers of the kernel's text files.

use crate::units::Bytes;

/// The text is not what its file ought to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The lines that end in a line end. One that does not was cut.
pub(crate) fn whole_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.iter().rposition(|&byte| byte == b'\n').and_then(|end| text.get(..end));
    whole.into_iter().flat_map(|whole| whole.split(|&byte| byte == b'\n'))
}

/// The words between spaces and tabs.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A decimal number and nothing else.
pub(crate) fn number<T: std::str::FromStr>(word: &[u8]) -> Result<T, Malformed> {
    if !word.first().is_some_and(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    std::str::from_utf8(word).map_err(|_| Malformed)?.parse().map_err(|_| Malformed)
}

/// As [`number`], with an optional minus.
pub(crate) fn signed<T: std::str::FromStr>(word: &[u8]) -> Result<T, Malformed> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    std::str::from_utf8(word).map_err(|_| Malformed)?.parse().map_err(|_| Malformed)
}

/// `  1234 kB`, which is kibibytes.
pub(crate) fn kib(value: &[u8]) -> Result<Bytes, Malformed> {
    let mut words = words(value);
    match (words.next(), words.next(), words.next()) {
        (Some(amount), Some(b"kB"), None) => Ok(crate::units::Kib(number(amount)?).into()),
        _ => Err(Malformed),
    }
}

/// A structure of values that may each be absent, its fields named as in the report, and which of the kernel's names
/// each has.
macro_rules! known_values {
    (
        $(#[$doc:meta])*
        pub struct $name:ident of $value:ty { $($(#[$field_doc:meta])* $field:ident = $key:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $(
                #[doc = concat!("The kernel's `", $key, "`.")]
                $(#[$field_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$value>,
            )*
        }

        impl $name {
            /// Where the value that the kernel calls `key` goes.
            pub(crate) fn slot(&mut self, key: &[u8]) -> Option<&mut Option<$value>> {
                $(if key == $key.as_bytes() { return Some(&mut self.$field); })*
                None
            }
        }
    };
}
pub(crate) use known_values;
