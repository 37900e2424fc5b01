//! `securityHeaders`: changes to the headers that helmet sends.

use crate::policy::of_service::OfService;
use crate::policy::security::SecurityHeaders;

use crate::config::syntax::located::{Entry, Located};
use crate::config::syntax::report::Report;
use crate::config::syntax::suggestions;
use crate::config::values::header_name::{is_reserved, is_token};

/// Reads `securityHeaders`; `None`: off.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> Option<SecurityHeaders> {
    let headers = SecurityHeaders::helmet_defaults();
    let Some(place) = place else {
        return Some(headers);
    };
    match place.flag_value() {
        Some(false) => return None,
        Some(true) => return Some(headers),
        None => {}
    }
    Some(merged(place, headers, report))
}

/// Reads the `securityHeaders` of a service: changes to those of the top level, `top`. Where these
/// are off, an object has all headers that are sent, and `true` stands for the defaults.
pub(crate) fn service(
    place: Option<&Located<'_>>,
    top: Option<&SecurityHeaders>,
    report: &mut Report<'_>,
) -> OfService<SecurityHeaders> {
    let Some(place) = place else {
        return OfService::Inherited;
    };
    match (place.flag_value(), top) {
        (Some(false), _) => OfService::Off,
        (Some(true), Some(_)) => OfService::Inherited,
        (Some(true), None) => OfService::own(Some(SecurityHeaders::helmet_defaults())),
        (None, top) => {
            let none = SecurityHeaders { fields: Vec::new() };
            let headers = merged(place, top.cloned().unwrap_or(none), report);
            OfService::own(Some(headers))
        }
    }
}

/// Returns the headers with the changes that an object says.
fn merged(
    place: &Located<'_>,
    mut headers: SecurityHeaders,
    report: &mut Report<'_>,
) -> SecurityHeaders {
    let entries = place.entries(report);
    let mut seen: Vec<&str> = Vec::new();
    for entry in entries.unwrap_or_default() {
        if seen
            .iter()
            .any(|name| name.eq_ignore_ascii_case(entry.name))
        {
            report.add(
                entry.name_at,
                &entry.place.path,
                "given twice, in another case; keep one of them",
            );
            continue;
        }
        seen.push(entry.name);
        if let Some(value) = change(&entry, &headers, report) {
            headers.with_change(entry.name, value);
        }
    }
    headers
}

/// Options of helmet that are not the name of a header in another spelling.
const OPTIONS: [(&str, &str); 5] = [
    ("hsts", "Strict-Transport-Security"),
    ("frameguard", "X-Frame-Options"),
    ("noSniff", "X-Content-Type-Options"),
    ("ieNoOpen", "X-Download-Options"),
    ("xssFilter", "X-XSS-Protection"),
];

/// Returns the header that an option of helmet stands for, such as `contentSecurityPolicy`.
fn of_helmet(option: &str) -> Option<String> {
    let same = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(option);
    if let Some((_, header)) = OPTIONS.iter().find(same) {
        return Some((*header).to_owned());
    }
    let spelled = |header: &String| {
        let plain = header.replace('-', "");
        let is = |name: &str| name.eq_ignore_ascii_case(option);
        plain != *header && (is(&plain) || plain.strip_prefix('X').is_some_and(is))
    };
    let fields = SecurityHeaders::helmet_defaults().fields.into_iter();
    fields.map(|(header, _)| header).find(spelled)
}

/// Returns the new value of one header; `Some(None)`: the header is not sent.
fn change<'a>(
    entry: &Entry<'a>,
    headers: &SecurityHeaders,
    report: &mut Report<'_>,
) -> Option<Option<&'a str>> {
    if !is_token(entry.name) {
        report.add(
            entry.name_at,
            &entry.place.path,
            "is no header name; letters, digits and \"-\" are allowed",
        );
        return None;
    }
    if let Some(header) = of_helmet(entry.name) {
        let message = format!("is an option of helmet; write the name of the header: {header:?}");
        report.add(entry.name_at, &entry.place.path, message);
        return None;
    }
    let lower = entry.name.to_ascii_lowercase();
    if is_reserved(&lower) || lower.starts_with("access-control-") {
        let message = match lower.starts_with("access-control-") {
            true => "is part of CORS; set it in \"cors\"",
            false => "is written by the gateway itself; remove it here",
        };
        report.add(entry.name_at, &entry.place.path, message);
        return None;
    }
    let known = headers.has(entry.name);
    if entry.place.is_null() {
        // A header that the top level leaves out may be left out once more.
        let defaults = SecurityHeaders::helmet_defaults();
        if !known && !defaults.has(entry.name) {
            let all = headers.fields.iter().chain(&defaults.fields);
            let names = all.map(|(name, _)| name.as_str()).collect::<Vec<_>>();
            let hint = suggestions::nearest(entry.name, &names)
                .map(|name| format!(", did you mean {name:?}?"));
            let hint = hint.unwrap_or("; remove it".to_owned());
            report.add(
                entry.name_at,
                &entry.place.path,
                format!("is not sent by default{hint}"),
            );
            return None;
        }
        return Some(None);
    }
    let text = entry.place.text(report)?;
    value_fault(text).map_or(Some(Some(text)), |message| {
        entry.place.fail(report, message);
        None
    })
}

/// Returns the fault of a header's value (RFC 9110 5.5). Visible ASCII, spaces and tabs are
/// allowed.
pub(super) fn value_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty; write null to leave the header out");
    }
    if text.contains(['\r', '\n']) {
        return Some("has a line break, which would start another header; write it in one line");
    }
    if !text.chars().all(|c| matches!(c, '\t' | ' '..='~')) {
        return Some("has a character that no header value may have; use printable ASCII");
    }
    let padded = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    padded.then_some("has a space at its start or end; remove it")
}
