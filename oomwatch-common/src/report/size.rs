//! A size for people. JSON has bytes.

use crate::units::Bytes;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// MiB with one decimal; GiB from 10 GiB up, whole KiB below 1 MiB.
pub fn size(Bytes(bytes): Bytes) -> String {
    match bytes {
        0 => "0 MiB".to_owned(),
        _ if bytes < KIB => format!("{bytes} bytes"),
        _ if bytes < MIB => format!("{} KiB", bytes / KIB),
        _ if bytes < 10 * GIB => format!("{} MiB", tenths(bytes, MIB)),
        _ => format!("{} GiB", tenths(bytes, GIB)),
    }
}

/// Cut, not rounded: a usage below its limit must not look like it.
fn tenths(bytes: u64, unit: u64) -> String {
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
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
