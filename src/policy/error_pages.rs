//! `errorPages`: pages in place of the JSON of the gateway's own replies, for clients that ask for
//! HTML. The status stays. Responses of targets and of `respond` are never replaced.

use core::ops::RangeInclusive;
use std::sync::Arc;

use crate::buffer::total;
use crate::http::head::Fields;

/// Pages by status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ErrorPages {
    /// Statuses of each page: one, or a class of them; single statuses come first.
    pages: Vec<(RangeInclusive<u16>, Arc<[u8]>)>,
}

impl ErrorPages {
    /// Creates the pages of these statuses.
    pub fn new(pages: Vec<(RangeInclusive<u16>, Arc<[u8]>)>) -> ErrorPages {
        let is_single = |(range, _): &(RangeInclusive<u16>, _)| range.start() == range.end();
        let (mut all, classes): (Vec<_>, Vec<_>) = pages.into_iter().partition(is_single);
        all.extend(classes);
        ErrorPages { pages: all }
    }

    /// Returns the page of a status: its own, or that of its class.
    pub fn page(&self, status: u16) -> Option<&[u8]> {
        let mut pages = self.pages.iter();
        let page = pages.find(|(statuses, _)| statuses.contains(&status));
        page.map(|(_, body)| &**body)
    }

    /// Returns the keys of the configuration, and the size of each page.
    pub fn shown(&self) -> String {
        let shown = self.pages.iter().map(|(statuses, body)| {
            let (first, last) = (*statuses.start(), *statuses.end());
            let name = match first == last {
                true => first.to_string(),
                false => format!("{}xx", first / 100),
            };
            format!("{name}: {} bytes", body.len())
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Returns the bytes of all pages.
    pub fn bytes(&self) -> usize {
        total(self.pages.iter().map(|(_, body)| body.len()))
    }

    /// Returns the bytes of the longest page.
    pub fn longest(&self) -> usize {
        let lengths = self.pages.iter().map(|(_, body)| body.len());
        lengths.max().unwrap_or(0)
    }
}

/// Returns true if `Accept` names `text/html` with a weight above zero (RFC 9110 12.5.1). A range
/// such as `*/*` does not name it, and a member that breaks the grammar counts for nothing.
#[cold]
pub fn names_html(fields: &Fields<'_>) -> bool {
    let lines = fields.iter();
    let lines = lines.filter(|field| field.name.eq_ignore_ascii_case(b"accept"));
    lines
        .flat_map(|field| field.value.split(|&byte| byte == b','))
        .any(is_html)
}

fn is_html(member: &[u8]) -> bool {
    let mut parts = member.split(|&byte| byte == b';');
    let range = parts.next().unwrap_or_default().trim_ascii();
    if !range.eq_ignore_ascii_case(b"text/html") {
        return false;
    }
    for part in parts {
        let part = part.trim_ascii();
        if let [b'q' | b'Q', b'=', weight @ ..] = part {
            return is_above_zero(weight);
        }
    }
    true
}

/// Returns true for a valid weight above zero (RFC 9110 12.4.2).
fn is_above_zero(weight: &[u8]) -> bool {
    match weight {
        [b'1'] => true,
        [b'1', b'.', digits @ ..] => digits.len() <= 3 && digits.iter().all(|&digit| digit == b'0'),
        [b'0', b'.', digits @ ..] => {
            digits.len() <= 3
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().any(|&digit| digit != b'0')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_ask_for_html() {
        for (accept, expected) in [
            ("text/html", true),
            ("TEXT/html;q=0.001", true),
            ("application/json, text/html;level=1;q=1.000", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("text/html;q=0", false),
            ("text/html; q=0.000", false),
            ("text/html;q=1.1", false),
            ("text/html;q=0.0001", false),
            ("text/html;q=", false),
            ("text/html;q=x", false),
            ("text/htmlx", false),
            ("x/text/html", false),
            ("", false),
        ] {
            let found = accept.as_bytes().split(|&byte| byte == b',').any(is_html);
            assert_eq!(found, expected, "{accept}");
        }
    }

    #[test]
    fn a_status_goes_before_its_class() {
        let body = |text: &str| Arc::from(text.as_bytes());
        let pages = ErrorPages::new(vec![(500..=599, body("class")), (502..=502, body("one"))]);
        assert_eq!(pages.page(502), Some(&b"one"[..]));
        assert_eq!(pages.page(504), Some(&b"class"[..]));
        assert_eq!(pages.page(404), None);
        assert_eq!(pages.shown(), "502: 3 bytes, 5xx: 5 bytes");
    }
}
