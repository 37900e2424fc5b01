//! Numbers, sizes and durations.

use core::ops::RangeInclusive;

use crate::limits::CONFIG_DURATION_MAX;
use crate::time::Duration;

use crate::config::syntax::document::Value;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;

const DURATION: &str =
    r#"a duration such as "15s", "250ms", "1m" or "1h", or a whole number of milliseconds"#;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 3] = [("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)];

/// Digits and nothing else; what does not fit is the largest number, which no bound lets pass.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let step = |value: u64, byte| Some(value.saturating_mul(10).saturating_add(digit(byte)?));
    if text.is_empty() {
        None
    } else {
        text.bytes().try_fold(0, step)
    }
}

/// A number without fraction within bounds.
pub(crate) fn whole(
    place: &Located<'_>,
    range: RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> Option<u64> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let Value::Number(text) = place.node.value else {
        place.mismatch(report, &expected);
        return None;
    };
    let value = digits(text).filter(|value| range.contains(value));
    if value.is_none() {
        place.fail(report, format!("must be {expected}"));
    }
    value
}

/// A number with one of the units behind it.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(end)?;
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)?;
    Some(digits(number)?.saturating_mul(factor))
}

/// The number in a value that is a string with a unit or a plain number.
fn measured(
    place: &Located<'_>,
    units: &[(&str, u64)],
    expected: &str,
    report: &mut Report<'_>,
) -> Option<u64> {
    let value = match &place.node.value {
        Value::Number(text) => digits(text),
        Value::Text(text) => with_unit(text, units),
        _ => {
            place.mismatch(report, expected);
            return None;
        }
    };
    if value.is_none() {
        place.fail(report, format!("must be {expected}"));
    }
    value
}

/// A size in bytes within bounds.
pub(crate) fn size(
    place: &Located<'_>,
    range: RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> Option<u64> {
    let value = measured(
        place,
        &SIZES,
        r#"a size such as "16KB", "10MB" or "1GB", or a whole number of bytes"#,
        report,
    )?;
    if !range.contains(&value) {
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        place.fail(report, format!("must be from {least} to {most}"));
        return None;
    }
    Some(value)
}

/// A duration, longer than zero.
pub(crate) fn duration(place: &Located<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let value = duration_or_zero(place, report)?;
    if value == Duration::ZERO {
        place.fail(report, "must be longer than zero");
        return None;
    }
    Some(value)
}

/// A duration, perhaps zero.
pub(crate) fn duration_or_zero(place: &Located<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let millis = measured(place, &UNITS, DURATION, report)?;
    if millis > CONFIG_DURATION_MAX.as_millis() {
        place.fail(report, "must be at most 30 days (\"720h\")");
        return None;
    }
    Some(Duration::from_millis(millis))
}

/// A duration or `false`: `Some(None)` is off.
pub(crate) fn timeout(place: &Located<'_>, report: &mut Report<'_>) -> Option<Option<Duration>> {
    if place.is_false() {
        return Some(None);
    }
    match measured(place, &UNITS, &format!("{DURATION}, or false"), report)? {
        0 => {
            place.fail(report, "must be longer than zero; false turns it off");
            None
        }
        _ => duration(place, report).map(Some),
    }
}

/// A duration in the largest unit that fits it.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(duration.as_millis(), &UNITS)
}

/// A size in the largest unit that fits it.
pub(crate) fn show_size(bytes: u64) -> String {
    match bytes.is_multiple_of(1 << 10) && bytes > 0 {
        true => show(bytes, &SIZES),
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

/// A duration of at least `least`.
pub(crate) fn at_least(
    place: &Located<'_>,
    least: Duration,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let span = duration(place, report)?;
    if span < least {
        place.fail(report, format!("must be at least {}", show_duration(least)));
        return None;
    }
    Some(span)
}

/// A whole number that the range keeps small.
pub(crate) fn small(
    place: &Located<'_>,
    range: RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> Option<u32> {
    whole(place, range, report).and_then(|value| u32::try_from(value).ok())
}

/// For numbers that a bound keeps small.
pub(crate) fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
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
