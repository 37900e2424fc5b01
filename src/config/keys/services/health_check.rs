//! `healthCheck`: requests of the gateway's own that find out which targets are up.

use core::ops::RangeInclusive;

use crate::limits as bound;
use crate::proxy::settings::{HealthCheck, Hysteresis};

use crate::config::syntax::document::Value;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::path as paths;
use crate::config::values::scalars::{self, at_least, small};

const CHECK_KEYS: [&str; 6] = ["path", "interval", "timeout", "rise", "fall", "status"];

/// `healthCheck`; without it, or with `false` or `null`, nobody is checked.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<HealthCheck> {
    let place = place.filter(|place| !place.is_false() && !place.is_null())?;
    let object = place.object(report, "an object or false", &CHECK_KEYS)?;
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
    let mut span = |key, default| match object.get(key) {
        None => default,
        Some(place) => at_least(place, bound::CHECK_INTERVAL_MIN, report).unwrap_or(default),
    };
    let interval = span("interval", bound::CHECK_INTERVAL_DEFAULT);
    let timeout = span("timeout", bound::CHECK_TIMEOUT_DEFAULT);
    let mut run = |key, default| {
        let most = u64::from(bound::CHECK_RUN_MAX);
        object
            .get(key)
            .and_then(|place| small(place, 1..=most, report))
            .unwrap_or(default)
    };
    let rule = Hysteresis {
        rise: run("rise", bound::CHECK_RISE_DEFAULT),
        fall: run("fall", bound::CHECK_FALL_DEFAULT),
    };
    let status = match object.get("status") {
        None => Some(200..=399),
        Some(place) => statuses(place, report),
    };
    Some(HealthCheck {
        path: path?,
        interval,
        timeout,
        rule,
        status: status?,
    })
}

/// A path as it is asked for, perhaps with a query.
fn check_path(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report, r#"a path such as "/health""#)?;
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if !path.starts_with('/') {
        place.fail(
            report,
            r#"must start with "/", as in "/health"; the host is the target's"#,
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
            Some(wrong) => Err(format!(
                "has a character that no query may have ({wrong:?}); remove it"
            )),
            None => Ok(()),
        }
    });
    checked
        .map_err(|message| place.fail(report, message))
        .ok()?;
    Some(text.to_owned())
}

/// `"200-399"`, `"204"` or `204`.
fn statuses(place: &Located<'_>, report: &mut Report<'_>) -> Option<RangeInclusive<u16>> {
    const EXPECTED: &str = r#"a range of statuses such as "200-399", or one such as "204""#;
    let status = |text: &str| {
        scalars::digits(text)
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
            place.mismatch(report, EXPECTED);
            return None;
        }
    };
    match range {
        None => place.fail(
            report,
            format!("must be {EXPECTED}; statuses are from 200 to 599"),
        ),
        Some(range) if range.is_empty() => place.fail(
            report,
            "ends before it begins; write the smaller status first",
        ),
        Some(range) => return Some(range),
    }
    None
}
