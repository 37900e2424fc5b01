//! Numbers with units, as strings have them.

use crate::time::Duration;

/// Words after "must be" of a duration.
pub(crate) const DURATION: &str = r#"a duration such as "15s", "250ms", "1m" or "1h", or a whole number of milliseconds from 1000"#;

/// Units of durations, in milliseconds.
pub(crate) const DURATION_UNITS: [(&str, u64); 4] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
/// Units of sizes, in bytes.
pub(crate) const SIZE_UNITS: [(&str, u64); 3] = [("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)];

/// Words after "must be" of a size.
pub(crate) const SIZE: &str =
    r#"a size such as "16KB", "10MB" or "1GB", or a whole number of bytes"#;

/// Parses digits and nothing else. A number that does not fit is the largest, which no bound
/// allows.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let step = |value: u64, byte| Some(value.saturating_mul(10).saturating_add(digit(byte)?));
    if text.is_empty() {
        None
    } else {
        text.bytes().try_fold(0, step)
    }
}

/// Parses a number with one of the units behind it.
pub(crate) fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(end)?;
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)?;
    Some(digits(number)?.saturating_mul(factor))
}

/// Returns a duration in the largest unit that fits it.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(duration.as_millis(), &DURATION_UNITS)
}

/// Returns a size in the largest unit that fits it.
pub(crate) fn show_size(bytes: u64) -> String {
    match bytes.is_multiple_of(1 << 10) && bytes > 0 {
        true => show(bytes, &SIZE_UNITS),
        false => format!("{bytes} bytes"),
    }
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fitting = units
        .iter()
        .rev()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    fitting.map_or_else(
        || value.to_string(),
        |(name, factor)| format!("{}{name}", value / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_written() {
        for (millis, text) in [
            (250, "250ms"),
            (1000, "1s"),
            (90_000, "90s"),
            (60_000, "1m"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (1000, "1000 bytes"),
            (16 << 10, "16KB"),
            (10 << 20, "10MB"),
            (1 << 50, "1048576GB"),
        ] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn digits_only() {
        assert_eq!(
            (digits("0"), digits("20"), digits("007")),
            (Some(0), Some(20), Some(7))
        );
        assert_eq!(digits("99999999999999999999999"), Some(u64::MAX));
        for bad in ["", "+5", "-5", "5.0", "1e3", " 5", "5s", "٥"] {
            assert_eq!(digits(bad), None, "{bad}");
        }
    }
}
