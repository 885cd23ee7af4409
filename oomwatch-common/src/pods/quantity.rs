//! Kubernetes' quantities of memory: `64Mi`, `1G`, `0.5Gi`, `1e9`, `128974848000m`.

use crate::units::Bytes;

/// A quantity in bytes, rounded up as Kubernetes does. `None` for what is no quantity, or is negative; saturates.
/// Grammar: k8s.io/apimachinery/pkg/api/resource/quantity.go.
pub fn quantity(text: &str) -> Option<Bytes> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits_end)?;
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // More digits behind the point than these change no byte count that a machine can have.
    let fraction = fraction.get(..fraction.len().min(12)).unwrap_or(fraction);
    let (multiply, divide) = scale(suffix)?;
    let mut value: u128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.saturating_mul(10).saturating_add(u128::from(digit - b'0'));
        if value > u128::from(u64::MAX) * 1_000_000_000_000 {
            return Some(Bytes(u64::MAX));
        }
    }
    let divide = divide.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let bytes = value.saturating_mul(multiply).div_ceil(divide);
    Some(Bytes(u64::try_from(bytes).unwrap_or(u64::MAX)))
}

/// What a suffix multiplies by, and what it divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let binary = |power: u32| Some((1 << (10 * power), 1));
    let decimal = |power: u32| Some((10_u128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let power: i32 = exponent.parse().ok()?;
            let ten = 10_u128.checked_pow(power.unsigned_abs().min(24))?;
            Some(if power < 0 { (1, ten) } else { (ten, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quantity;
    use crate::units::Bytes;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("64Mi", 64 << 20),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("128974848000m", 128_974_848),
            ("1.5Gi", 3 << 29),
            ("0.5Ki", 512),
            (".5Ki", 512),
            ("5.Ki", 5120),
            ("1500m", 2),
            ("1E", 1_000_000_000_000_000_000),
            ("1E3", 1000),
            ("1e-3", 1),
            ("12Ei", 12 << 60),
            ("+1Ki", 1024),
            ("16Ei", u64::MAX),
            ("99999999999999999999999999999999999999999999999999", u64::MAX),
        ] {
            assert_eq!(quantity(text), Some(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "-1", "Mi", "1 Mi", "1MB", "1mi", "one", "1.2.3", ".", "1e", "1ee3", "\u{661}"] {
            assert_eq!(quantity(wrong), None, "{wrong}");
        }
    }
}
