//! `record`: the flight recorder.

use core::ops::RangeInclusive;

use crate::limits::CONFIG_PATH_BYTES_MAX;
use crate::observe::access::Outcome;
use crate::proxy::settings::RecordRule;

use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::syntax::suggestions::nearest;
use crate::config::values::scalars;

/// Reads `record`; `None`: off.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<RecordRule> {
    let place = place.filter(|place| !place.is_false())?;
    let object = place.object(report)?;
    let mut rule = RecordRule {
        statuses: Vec::new(),
        outcomes: Vec::new(),
        bytes: scalars::count_of(&object, "bytes", report),
        keep: scalars::count_of(&object, "keep", report),
        dir: directory(&object, place, report),
    };
    match object.get("on") {
        None => rule.statuses.push(500..=599),
        Some(place) => {
            let items = place.list(report).unwrap_or_default();
            if matches!(&place.node.value, Value::List(items) if items.is_empty()) {
                place.fail(
                    report,
                    "must name an end or a status, such as [\"5xx\"]; \"record\": false is off",
                );
            }
            for item in &items {
                if let Some(word) = item.text(report) {
                    add(word, item, &mut rule, report);
                }
            }
        }
    }
    Some(rule)
}

fn directory(object: &Object<'_>, place: &Located<'_>, report: &mut Report<'_>) -> String {
    let Some(dir) = object.get("dir") else {
        place.fail(
            report,
            "\"dir\" is missing; add the directory of the files, such as \"dir\": \"/var/lib/tollgate/records\"",
        );
        return String::new();
    };
    let path = dir.text(report).unwrap_or("/");
    if !path.starts_with('/') {
        dir.fail(
            report,
            Fault::uncured("must be an absolute path, such as \"/var/lib/tollgate/records\""),
        );
    } else if path.len() > CONFIG_PATH_BYTES_MAX {
        dir.fail(report, "is longer than 2048 bytes; use a shorter path");
    }
    path.to_owned()
}

/// Adds a word of `on`: a word of `end`, a status, or a class of statuses.
fn add(word: &str, place: &Located<'_>, rule: &mut RecordRule, report: &mut Report<'_>) {
    let mut outcomes = Outcome::ALL.iter();
    if let Some(outcome) = outcomes.find(|outcome| outcome.as_str() == word)
        && *outcome != Outcome::Ok
    {
        rule.outcomes.push(*outcome);
    } else if let Some(range) = statuses(word) {
        rule.statuses.push(range);
    } else {
        let words = Outcome::ALL.iter().map(|outcome| outcome.as_str());
        let hint = match nearest(word, &words.collect::<Vec<_>>()) {
            Some(near) => format!(", did you mean {near:?}?"),
            None => "; write a class such as \"5xx\", a status such as \"502\", or a word of \"end\" in the access log such as \"upstream_malformed\"".to_owned(),
        };
        place.fail(report, format!("is no end of a request{hint}"));
    }
}

/// Returns the statuses of `4xx`, `5xx` or a single status.
fn statuses(word: &str) -> Option<RangeInclusive<u16>> {
    match word {
        "4xx" => Some(400..=499),
        "5xx" => Some(500..=599),
        _ => {
            let digits = word.bytes().map(|byte| char::from(byte).to_digit(10));
            let digits = digits.collect::<Option<Vec<_>>>()?;
            let [hundreds @ 4..=5, tens, ones] = digits.as_slice() else {
                return None;
            };
            let status = hundreds
                .saturating_mul(100)
                .saturating_add(tens.saturating_mul(10))
                .saturating_add(*ones) as u16;
            Some(status..=status)
        }
    }
}
