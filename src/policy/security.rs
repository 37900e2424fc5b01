//! Security headers: the defaults of helmet 8. A header is not added if the upstream sent one of
//! that name.

use core::ops::Range;

use crate::buffer::total;
use crate::http::field::{Name, NameSet};

/// Configuration `securityHeaders`, if it is not false: name and value of each header, in the order
/// of sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecurityHeaders {
    /// Field names and values, all valid (RFC 9110 5.1, 5.5).
    pub fields: Vec<(String, String)>,
}

/// Defaults of helmet 8.
const HELMET: [(&str, &str); 12] = [
    (
        "Content-Security-Policy",
        "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';\
         img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';\
         style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Origin-Agent-Cluster", "?1"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Strict-Transport-Security",
        "max-age=31536000; includeSubDomains",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-DNS-Prefetch-Control", "off"),
    ("X-Download-Options", "noopen"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Permitted-Cross-Domain-Policies", "none"),
    ("X-XSS-Protection", "0"),
];

impl SecurityHeaders {
    /// Returns the twelve default headers of helmet 8.
    pub fn helmet_defaults() -> SecurityHeaders {
        SecurityHeaders {
            fields: HELMET
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// Returns the number of bytes of the lines.
    pub fn bytes(&self) -> usize {
        const AROUND: usize = b": \r\n".len();
        let fields = self.fields.iter();
        total(fields.map(|(name, value)| total([name.len(), value.len(), AROUND])))
    }

    /// Returns true if there is a header of this name.
    pub fn has(&self, name: &str) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Replaces or adds a header, or removes it (`None`).
    pub fn with_change(&mut self, name: &str, value: Option<&str>) {
        let at = self
            .fields
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name));
        match (at, value) {
            (Some(at), Some(value)) => {
                if let Some(field) = self.fields.get_mut(at) {
                    field.1 = value.to_owned();
                }
            }
            (Some(at), None) => drop(self.fields.remove(at)),
            (None, Some(value)) => self.fields.push((name.to_owned(), value.to_owned())),
            (None, None) => {}
        }
    }
}

/// The security headers as lines.
pub struct SecurityBlock {
    bytes: Vec<u8>,
    /// Name and byte range of each line.
    lines: Vec<(Box<[u8]>, Range<usize>)>,
    /// Kinds of the names; includes `Other` if a line's name is not a known one.
    kinds: NameSet,
}

impl SecurityBlock {
    /// Builds the block.
    pub fn new(headers: &SecurityHeaders) -> SecurityBlock {
        let mut block = SecurityBlock {
            bytes: Vec::new(),
            lines: Vec::new(),
            kinds: NameSet::EMPTY,
        };
        for (name, value) in &headers.fields {
            let start = block.bytes.len();
            block
                .bytes
                .extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            block
                .lines
                .push((name.as_bytes().into(), start..block.bytes.len()));
            block.kinds.insert(Name::of(name.as_bytes()));
        }
        block
    }

    /// Returns all lines.
    pub fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns true if a message with these names may already contain one of the headers. False is
    /// certain.
    pub fn may_overlap(&self, present: NameSet) -> bool {
        self.kinds.intersects(present)
    }

    /// Returns name and line of each header.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|(name, line)| {
            (
                name.as_ref(),
                self.bytes.get(line.clone()).unwrap_or_default(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_the_lines() {
        let block = SecurityBlock::new(&SecurityHeaders::helmet_defaults());
        assert_eq!(block.lines().count(), 12);
        assert_eq!(
            block
                .lines()
                .flat_map(|(_, line)| line.to_vec())
                .collect::<Vec<_>>(),
            block.whole()
        );
        assert!(
            block.whole().starts_with(
                b"Content-Security-Policy: default-src 'self';base-uri 'self';font-src"
            )
        );
        assert!(block.whole().ends_with(b"X-XSS-Protection: 0\r\n"));
        assert!(
            block.may_overlap(NameSet::of(&[Name::XFrameOptions]))
                && !block.may_overlap(NameSet::of(&[Name::Other]))
        );
    }

    /// The documented default set, name by name.
    #[test]
    fn the_defaults_are_the_contracts() {
        let expected = [
            "Content-Security-Policy: default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';\
             frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';\
             style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
            "Cross-Origin-Opener-Policy: same-origin",
            "Cross-Origin-Resource-Policy: same-origin",
            "Origin-Agent-Cluster: ?1",
            "Referrer-Policy: no-referrer",
            "Strict-Transport-Security: max-age=31536000; includeSubDomains",
            "X-Content-Type-Options: nosniff",
            "X-DNS-Prefetch-Control: off",
            "X-Download-Options: noopen",
            "X-Frame-Options: SAMEORIGIN",
            "X-Permitted-Cross-Domain-Policies: none",
            "X-XSS-Protection: 0",
        ];
        let block = SecurityBlock::new(&SecurityHeaders::helmet_defaults());
        assert_eq!(
            String::from_utf8_lossy(block.whole()),
            expected.map(|line| format!("{line}\r\n")).concat()
        );
        for ((name, line), expected) in block.lines().zip(expected) {
            assert_eq!(
                Some(String::from_utf8_lossy(name).as_ref()),
                expected.split(':').next()
            );
            assert_eq!(String::from_utf8_lossy(line), format!("{expected}\r\n"));
        }
    }

    #[test]
    fn changes() {
        let mut headers = SecurityHeaders::helmet_defaults();
        headers.with_change("x-frame-options", Some("DENY"));
        headers.with_change("Content-Security-Policy", None);
        headers.with_change("X-Own", Some("yes"));
        headers.with_change("X-Gone", None);
        let block = SecurityBlock::new(&headers);
        let text = String::from_utf8_lossy(block.whole()).into_owned();
        assert!(
            text.contains("X-Frame-Options: DENY\r\n")
                && !text.contains("Content-Security")
                && text.ends_with("X-Own: yes\r\n")
        );
        assert!(
            block.may_overlap(NameSet::of(&[Name::Other])),
            "an own name needs a look at the names"
        );
    }
}
