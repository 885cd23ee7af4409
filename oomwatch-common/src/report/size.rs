//! A size for people. JSON has bytes.

use std::fmt::{self, Write as _};

use crate::units::Bytes;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// MiB with one decimal; GiB from 10 GiB up, whole KiB below 1 MiB.
pub fn size(bytes: Bytes) -> String {
    let mut text = String::new();
    push_size(&mut text, bytes);
    text
}

/// Adds that to a text.
pub fn push_size(text: &mut String, Bytes(bytes): Bytes) {
    // A String takes whatever it is given.
    match bytes {
        0 => {
            text.push_str("0 MiB");
            Ok(())
        }
        _ if bytes < KIB => write!(text, "{bytes} bytes"),
        _ if bytes < MIB => write!(text, "{} KiB", bytes / KIB),
        _ if bytes < 10 * GIB => push_tenths(text, bytes, MIB, " MiB"),
        _ => push_tenths(text, bytes, GIB, " GiB"),
    }
    .ok();
}

/// Cut, not rounded: a usage below its limit must not look like it.
fn push_tenths(text: &mut String, bytes: u64, unit: u64, name: &str) -> fmt::Result {
    // No unit is so large that ten times what is left of it would not fit.
    write!(text, "{}.{}{name}", bytes / unit, bytes % unit * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, size};

    #[test]
    fn sizes_have_one_unit_that_cannot_be_taken_for_another() {
        for (bytes, text) in [
            (0, "0 MiB"),
            (512, "512 bytes"),
            (4096, "4 KiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (1 << 20, "1.0 MiB"),
            (536_870_912, "512.0 MiB"),
            (536_870_911, "511.9 MiB"),
            (649_216 * 1024, "634.0 MiB"),
            (10 << 30, "10.0 GiB"),
            (24_684_096 * 1024, "23.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(size(Bytes(bytes)), text);
        }
    }
}
