//! `healthCheck`: requests of the gateway's own that find out which targets are up.

use core::ops::RangeInclusive;

use crate::limits as bound;
use crate::proxy::settings::{HealthCheck, Hysteresis};

use crate::config::schema::units::digits;
use crate::config::syntax::document::Value;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::path as paths;
use crate::config::values::{scalars, target_url};

/// Reads `healthCheck`. Without it, and with `false` or `null`, no target is checked.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<HealthCheck> {
    let place = place.filter(|place| !place.is_false() && !place.is_null())?;
    let object = place.object(report)?;
    let path = match object.get("path") {
        None => {
            place.fail(
                report,
                r#""path" is missing; add what the targets are asked for, such as "/health""#,
            );
            None
        }
        Some(place) => check_path(place, report),
    };
    let host = match object.get("host") {
        None => Some(None),
        Some(place) => check_host(place, report).map(Some),
    };
    let interval = scalars::duration_of(&object, "interval", report);
    let timeout = scalars::duration_of(&object, "timeout", report);
    let rule = Hysteresis {
        rise: scalars::small_of(&object, "rise", report),
        fall: scalars::small_of(&object, "fall", report),
    };
    let status = match object.get("status") {
        None => Some(200..=399),
        Some(place) => statuses(place, report),
    };
    Some(HealthCheck {
        path: path?,
        host: host?,
        interval,
        timeout,
        rule,
        status: status?,
    })
}

/// Reads a path, perhaps with a query.
fn check_path(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if !path.starts_with('/') {
        place.fail(
            report,
            r#"must start with "/", as in "/health"; the host is "host", or that of the target"#,
        );
        return None;
    }
    if text.len() > bound::CONFIG_PATH_BYTES_MAX {
        place.fail(
            report,
            format!("is longer than {} bytes", bound::CONFIG_PATH_BYTES_MAX),
        );
        return None;
    }
    // RFC 3986 3.4: a query may have "/" and "?", too.
    let checked = paths::check(path).and_then(|()| {
        match query.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            Some(wrong) => {
                let fault =
                    format!("has a character that no query may have ({wrong:?}); remove it");
                Err(fault.into())
            }
            None => Ok(()),
        }
    });
    checked
        .map_err(|message| place.fail(report, message))
        .ok()?;
    Some(text.to_owned())
}

/// Reads a host, perhaps with a port.
fn check_host(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    target_url::check_host(text)
        .map_err(|message| place.fail(report, message))
        .ok()?;
    Some(text.to_owned())
}

/// Reads a range of statuses: `"200-399"`, `"204"` or `204`.
fn statuses(place: &Located<'_>, report: &mut Report<'_>) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| {
        digits(text)
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| (200..=599).contains(n))
    };
    let range = match &place.node.value {
        Value::Number(text) => status(text).map(|one| one..=one),
        Value::Text(text) => match text.split_once('-') {
            Some((first, last)) => status(first.trim())
                .zip(status(last.trim()))
                .map(|(first, last)| first..=last),
            None => status(text).map(|one| one..=one),
        },
        _ => {
            place.mismatch(report);
            return None;
        }
    };
    match range {
        None => place.fail(
            report,
            format!(
                "must be {}; statuses are from 200 to 599",
                place.kind.expected()
            ),
        ),
        Some(range) if range.is_empty() => place.fail(
            report,
            "ends before it begins; write the smaller status first",
        ),
        Some(range) => return Some(range),
    }
    None
}
