//! Trace context (W3C Trace Context 1): the fields `traceparent` and `tracestate`.
//!
//! The gateway begins no span, so that it passes both on as they came. Fields that a recipient must
//! not use are dropped together: `tracestate` belongs to the `traceparent` beside it, and of two
//! `traceparent` lines nobody knows which one counts.

use super::field::{Name, NameSet};
use super::fields::Fields;

/// The fields of a trace context.
const FIELDS: NameSet = NameSet::of(&[Name::Traceparent, Name::Tracestate]);

/// Hex digits of a trace id.
const ID: usize = 32;

/// Returns the fields to drop: none, or both.
#[inline]
pub fn dropped(fields: &Fields<'_>) -> NameSet {
    if fields.present().intersects(FIELDS) && id(fields).is_none() {
        FIELDS
    } else {
        NameSet::EMPTY
    }
}

/// Returns the trace id of a valid trace context.
#[cold]
pub fn id<'a>(fields: &Fields<'a>) -> Option<&'a [u8]> {
    let mut lines = fields.get_all(Name::Traceparent);
    let id = id_of(lines.next()?)?;
    lines.next().is_none().then_some(id)
}

/// Reads `version "-" trace-id "-" parent-id "-" trace-flags` (3.2.2). A later version may have more
/// behind a further hyphen (4.3); version ff is none.
fn id_of(value: &[u8]) -> Option<&[u8]> {
    let (version, rest) = part(value, 2)?;
    let (id, rest) = part(rest.strip_prefix(b"-")?, ID)?;
    let (parent, rest) = part(rest.strip_prefix(b"-")?, 16)?;
    let (_, rest) = part(rest.strip_prefix(b"-")?, 2)?;
    let is_nothing = |digits: &[u8]| digits.iter().all(|&digit| digit == b'0');
    let is_whole = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
    let is_good = version != b"ff" && is_whole && !is_nothing(id) && !is_nothing(parent);
    is_good.then_some(id)
}

/// Splits so many lower-case hex digits off.
fn part(bytes: &[u8], digits: usize) -> Option<(&[u8], &[u8])> {
    let (part, rest) = bytes.split_at_checked(digits)?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    part.iter().all(is_digit).then_some((part, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_valid_or_not() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (value, is_valid) in [
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
                true,
            ),
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                true,
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
                false,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
                false,
            ),
            (
                "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            ("", false),
        ] {
            let found = id_of(value.as_bytes());
            assert_eq!(found, is_valid.then_some(ID.as_bytes()), "{value}");
        }
    }
}
