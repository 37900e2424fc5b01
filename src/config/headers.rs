//! Header names and values, and `securityHeaders`.

use crate::policy::security::SecurityHeaders;

use super::document::Value;
use super::raw::{Entry, Place, Report};
use super::suggest;

/// Headers that the gateway writes from what it knows; two of them would break the message (RFC 9112 6.3).
const OWN: [&str; 20] = [
    "connection",
    "allow",
    "content-encoding",
    "content-range",
    "content-type",
    "retry-after",
    "x-powered-by",
    "content-length",
    "date",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
];

/// Whether the gateway writes a header of this lower-case name itself.
pub(super) fn is_own(lower: &str) -> bool {
    OWN.contains(&lower) || lower.starts_with("x-forwarded-") || lower == "x-client-subject"
}

/// Whether a header of this lower-case name says nothing to an upstream, or something wrong, when it is set from what a provider
/// says of a user: fields of responses, of their content, of one connection, and those that say where a request comes from.
pub(super) fn is_no_request_field(lower: &str) -> bool {
    const NAMES: [&str; 30] = [
        "accept-ranges",
        "age",
        "alt-svc",
        "authentication-info",
        "cache-status",
        "clear-site-data",
        "digest",
        "etag",
        "expect",
        "expires",
        "forwarded",
        "http2-settings",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "proxy",
        "proxy-authentication-info",
        "range",
        "repr-digest",
        "server",
        "server-timing",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "www-authenticate",
    ];
    const STARTS: [&str; 4] = ["content-", "access-control-", "sec-", "cross-origin-"];
    let is_listed = NAMES.contains(&lower) || STARTS.iter().any(|start| lower.starts_with(start));
    is_listed && !is_own(lower)
}

/// A token (RFC 9110 5.6.2): names of headers, methods.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(crate::http::field::is_tchar)
}

/// `securityHeaders`; `None`: off.
pub(super) fn security_headers(
    place: &Place<'_>,
    report: &mut Report<'_>,
) -> Option<SecurityHeaders> {
    let mut headers = SecurityHeaders::helmet_defaults();
    match place.node.value {
        Value::Flag(false) => return None,
        Value::Flag(true) => return Some(headers),
        _ => {}
    }
    let entries = place.entries(
        report,
        r#"true, false or an object such as { "X-Frame-Options": "DENY" }"#,
    );
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
    Some(headers)
}

/// The new value of one header; `Some(None)`: not sent.
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
    let lower = entry.name.to_ascii_lowercase();
    if OWN.contains(&lower.as_str()) || lower.starts_with("access-control-") {
        let message = match lower.starts_with("access-control-") {
            true => "is part of CORS; set it in \"cors\"",
            false => "is written by the gateway itself; remove it here",
        };
        report.add(entry.name_at, &entry.place.path, message);
        return None;
    }
    let known = headers
        .fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(entry.name));
    if entry.place.is_null() {
        if !known {
            let names = headers
                .fields
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>();
            let hint = suggest::nearest(entry.name, &names)
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
    let text = entry
        .place
        .text(report, "a string, or null to leave the header out")?;
    value_fault(text).map_or(Some(Some(text)), |message| {
        entry.place.fail(report, message);
        None
    })
}

/// What is wrong with a header's value (RFC 9110 5.5); we send visible ASCII, spaces and tabs.
fn value_fault(text: &str) -> Option<&'static str> {
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
