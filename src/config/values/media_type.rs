//! Media types of bodies that the gateway sends (RFC 9110 8.3.1).

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;

use super::header_name::is_token;

/// Bytes of a media type with its parameters.
const BYTES_MAX: usize = 200;

/// Types by the end of a file's name.
const BY_NAME: [(&str, &str); 8] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
];

/// Reads a media type.
pub(crate) fn given<'a>(place: &Located<'a>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    let name = text.split(';').next().unwrap_or_default().trim_end();
    let is_type = name
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let is_line = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_type || !is_line || text.ends_with(' ') || text.len() > BYTES_MAX {
        place.fail(
            report,
            r#"is no media type; write one such as "text/plain""#,
        );
        return None;
    }
    Some(text.to_owned())
}

/// Returns the type of a file by its name; plain text for any other name.
pub(crate) fn by_name(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let mut known = BY_NAME.iter();
    let known = known.find(|(known, _)| known.eq_ignore_ascii_case(end));
    known.map_or("text/plain; charset=utf-8", |(_, media)| media)
}
