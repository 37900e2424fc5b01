//! `match` of a service: conditions on headers, cookies and query parameters.

use crate::config::syntax::located::{Entry, Located};
use crate::config::syntax::report::Report;
use crate::config::values::header_name::is_token;
use crate::limits::{MATCH_CONDITIONS_MAX, MATCH_NAME_BYTES_MAX, MATCH_VALUE_BYTES_MAX};
use crate::proxy::settings::{Condition, Part};

/// Keys of `match`, and the part of a request that each is about.
const PARTS: [(&str, Part); 3] = [
    ("headers", Part::Header),
    ("cookies", Part::Cookie),
    ("query", Part::Query),
];

/// Reads `match` into sorted conditions: their order means nothing. `None`: there is an error.
pub(super) fn compile(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> Option<Vec<Condition>> {
    let Some(place) = place.filter(|place| !place.is_null()) else {
        return Some(Vec::new());
    };
    let object = place.object(report)?;
    let mut conditions: Vec<Condition> = Vec::new();
    let (mut count, mut is_good) = (0_usize, true);
    for (key, part) in PARTS {
        let Some(values) = object.get(key).filter(|place| !place.is_null()) else {
            continue;
        };
        for entry in values.entries(report)? {
            count = count.saturating_add(1);
            match condition(part, &entry, &conditions, report) {
                Some(condition) => conditions.push(condition),
                None => is_good = false,
            }
        }
    }
    let fault = match count {
        0 => {
            r#"has no condition; name a header, cookie or parameter, or remove "match""#.to_owned()
        }
        more if more > MATCH_CONDITIONS_MAX => {
            format!("has more than {MATCH_CONDITIONS_MAX} conditions; remove some")
        }
        _ => {
            crate::sort::sort(&mut conditions);
            return is_good.then_some(conditions);
        }
    };
    place.fail(report, fault);
    None
}

fn condition(
    part: Part,
    entry: &Entry<'_>,
    known: &[Condition],
    report: &mut Report<'_>,
) -> Option<Condition> {
    let name = match part {
        Part::Header => entry.name.to_ascii_lowercase(),
        Part::Cookie | Part::Query => entry.name.to_owned(),
    };
    let mut same = known.iter().filter(|known| known.part == part);
    let fault = match same.any(|known| known.name == name) {
        true => Some("given twice, in another case; keep one of them"),
        false => name_fault(part, &name),
    };
    if let Some(fault) = fault {
        report.add(entry.name_at, &entry.place.path, fault);
        return None;
    }
    let value = entry.place.text(report)?;
    match value_fault(part, value) {
        Some(fault) => {
            entry.place.fail(report, fault);
            None
        }
        None => Some(Condition {
            part,
            name,
            value: value.to_owned(),
        }),
    }
}

/// Returns why no request has this name, or why another key is about it.
fn name_fault(part: Part, name: &str) -> Option<&'static str> {
    match (part, name) {
        (_, "") => Some("is no name; write one such as \"X-Beta\""),
        _ if name.len() > MATCH_NAME_BYTES_MAX => Some("is longer than 128 bytes; shorten it"),
        (Part::Header, "host") => {
            Some("is the host of the request; name it in \"hosts\" of the service")
        }
        (Part::Header, "cookie") => {
            Some("has all cookies in one value; name one in \"cookies\" of \"match\"")
        }
        (Part::Header, _) if !is_token(name) => {
            Some("is no header name; letters, digits and \"-\" are allowed")
        }
        (Part::Cookie, _) if !is_token(name) => {
            Some("is no cookie name; letters, digits, \"-\" and \"_\" are allowed")
        }
        _ => None,
    }
}

/// Returns why no request has this value.
fn value_fault(part: Part, value: &str) -> Option<&'static str> {
    let is_shown = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    match part {
        _ if value.len() > MATCH_VALUE_BYTES_MAX => Some("is longer than 256 bytes; shorten it"),
        Part::Query => None,
        _ if !value.bytes().all(is_shown) => {
            Some("has a byte that is not printable ASCII; write it as clients send it")
        }
        _ if value.trim_ascii() != value => {
            Some("has spaces around it, which are not part of a value; remove them")
        }
        Part::Cookie if value.contains([';', ',']) => {
            Some("has a \";\" or \",\", which divides cookies; remove it")
        }
        Part::Header | Part::Cookie => None,
    }
}
