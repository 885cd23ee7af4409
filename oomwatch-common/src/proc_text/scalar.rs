//! Files that hold one number: `oom_score`, `oom_score_adj`, most of a cgroup's.

use super::{
    Malformed,
    lines::{number, signed, whole_lines},
};

/// One whole line of one number.
///
/// # Errors
/// It is anything else.
pub fn single_number(text: &[u8]) -> Result<u64, Malformed> {
    number(whole_lines(text).next().ok_or(Malformed)?)
}

/// As [`single_number`], with an optional minus.
///
/// # Errors
/// It is anything else.
pub fn single_signed(text: &[u8]) -> Result<i64, Malformed> {
    signed(whole_lines(text).next().ok_or(Malformed)?)
}

#[cfg(test)]
mod tests {
    use super::{single_number, single_signed};

    #[test]
    fn only_a_whole_line_of_one_number_is_a_number() {
        assert_eq!((single_number(b"667\n"), single_signed(b"-998\n")), (Ok(667), Ok(-998)));
        for text in ["", "\n", "667", "6 7\n", "+6\n", "-6\n", "99999999999999999999\n", "max\n"] {
            assert!(single_number(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["", "-\n", "--1\n", "-1", "1.5\n"] {
            assert!(single_signed(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
