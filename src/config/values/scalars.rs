//! Numbers, sizes and durations. Their bounds and defaults are those of the table of keys.

use core::ops::RangeInclusive;

use crate::limits::{CONFIG_BARE_DURATION_MIN, CONFIG_DURATION_MAX};
use crate::time::Duration;

use crate::config::schema::{Fallback, Kind};
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;

use crate::config::schema::units::{
    DURATION, DURATION_UNITS, SIZE, SIZE_UNITS, digits, show_duration, show_size, with_unit,
};

/// Returns a number without fraction, or a size in bytes, within the bounds of its key.
pub(crate) fn number(place: &Located<'_>, report: &mut Report<'_>) -> Option<u64> {
    let bounds = place.kind.find(&|kind| match kind {
        Kind::Whole(least, most) => Some((false, *least..=*most)),
        Kind::Size(least, most) => Some((true, *least..=*most)),
        _ => None,
    });
    debug_assert!(bounds.is_some(), "{} is no number", place.path);
    match bounds? {
        (false, range) => whole(place, range, report),
        (true, range) => size(place, range, report),
    }
}

/// Returns the number or the size of a key; without it, or when it is wrong, the default.
pub(crate) fn number_of(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> u64 {
    let given = object.get(name).and_then(|place| number(place, report));
    given.unwrap_or(match object.default(name) {
        Fallback::Number(number) => *number,
        _ => 0,
    })
}

/// Returns what [`number_of`] does, for numbers that their bound keeps small.
pub(crate) fn small_of(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> u32 {
    u32::try_from(number_of(object, name, report)).unwrap_or(u32::MAX)
}

/// Returns what [`number_of`] does, for lengths and counts.
pub(crate) fn count_of(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> usize {
    as_usize(number_of(object, name, report))
}

fn whole(place: &Located<'_>, range: RangeInclusive<u64>, report: &mut Report<'_>) -> Option<u64> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let Some(text) = place.digits() else {
        place.mismatch_with(report, &expected);
        return None;
    };
    let value = digits(text).filter(|value| range.contains(value));
    if value.is_none() {
        place.fail(report, Fault::uncured(format!("must be {expected}")));
    }
    value
}

fn size(place: &Located<'_>, range: RangeInclusive<u64>, report: &mut Report<'_>) -> Option<u64> {
    let value = measured(place, &SIZE_UNITS, SIZE, report)?;
    if !range.contains(&value) {
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        place.fail(
            report,
            Fault::uncured(format!("must be from {least} to {most}")),
        );
        return None;
    }
    Some(value)
}

/// Returns the number in a value that is a string with a unit or a plain number.
fn measured(
    place: &Located<'_>,
    units: &[(&str, u64)],
    expected: &str,
    report: &mut Report<'_>,
) -> Option<u64> {
    let value = match (place.digits(), &place.node.value) {
        (Some(text), _) => digits(text),
        (None, Value::Number(_)) => None,
        (None, Value::Text(text)) => with_unit(text, units),
        (None, _) => {
            place.mismatch_with(report, expected);
            return None;
        }
    };
    if value.is_none() {
        place.fail(report, Fault::uncured(format!("must be {expected}")));
    }
    value
}

/// Returns the milliseconds of a duration. A small number without a unit is most likely meant in
/// seconds.
fn millis(place: &Located<'_>, expected: &str, report: &mut Report<'_>) -> Option<u64> {
    if let (None, Value::Text(text)) = (place.digits(), &place.node.value)
        && digits(text).is_some_and(|number| number > 0)
    {
        let message = format!("{text:?} has no unit; write \"{text}s\" or \"{text}ms\"");
        place.fail_bare(report, message);
        return None;
    }
    let millis = measured(place, &DURATION_UNITS, expected, report)?;
    if place.digits().is_some() && (1..CONFIG_BARE_DURATION_MIN).contains(&millis) {
        let message = format!("{millis} has no unit; write \"{millis}s\" or \"{millis}ms\"");
        place.fail_bare(report, message);
        return None;
    }
    Some(millis)
}

/// Returns a duration within the bounds of its key.
pub(crate) fn duration(place: &Located<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let least = place.kind.find(&|kind| match kind {
        Kind::Duration(least) => Some(*least),
        _ => None,
    });
    debug_assert!(least.is_some(), "{} is no duration", place.path);
    let least = least?;
    let millis = millis(place, DURATION, report)?;
    if millis > CONFIG_DURATION_MAX.as_millis() {
        place.fail(report, Fault::uncured("must be at most 30 days (\"720h\")"));
        return None;
    }
    if millis < least.as_millis() {
        let message = match millis {
            0 => "must be longer than zero".to_owned(),
            _ => format!("must be at least {}", show_duration(least)),
        };
        place.fail(report, message);
        return None;
    }
    Some(Duration::from_millis(millis))
}

/// Returns the duration of a key; without it, or when it is wrong, the default.
pub(crate) fn duration_of(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> Duration {
    let given = object.get(name).and_then(|place| duration(place, report));
    given.unwrap_or(match object.default(name) {
        Fallback::Duration(duration) => *duration,
        _ => Duration::ZERO,
    })
}

/// Returns a duration or, for `false`, `Some(None)`.
pub(crate) fn timeout(place: &Located<'_>, report: &mut Report<'_>) -> Option<Option<Duration>> {
    if place.is_false() {
        return Some(None);
    }
    match millis(place, &format!("{DURATION}, or false"), report)? {
        0 => {
            place.fail(report, "must be longer than zero; false turns it off");
            None
        }
        _ => duration(place, report).map(Some),
    }
}

/// Returns the default of a key for [`timeout`].
pub(crate) fn default_timeout(object: &Object<'_>, name: &str) -> Option<Duration> {
    match object.default(name) {
        Fallback::Duration(duration) => Some(*duration),
        _ => None,
    }
}

/// Returns a number that a bound keeps small.
pub(crate) fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
