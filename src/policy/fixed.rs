//! Replies that a service gives in place of a target: redirects and fixed responses.

use std::sync::Arc;

use crate::buffer::total;

/// Reply of a service that has no targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FixedReply {
    /// `redirect`.
    Redirect(Redirect),
    /// `respond`.
    Respond(Respond),
}

/// `redirect`: sends clients to another place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// Status: 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `keepPath`: the path behind the route goes along.
    pub keeps_path: bool,
    /// `to`: a path or an absolute URL, without query and fragment.
    base: Box<str>,
    /// Query of `to` with its `?`; empty without one.
    query: Box<str>,
    /// Fragment of `to` with its `#`; empty without one.
    fragment: Box<str>,
}

/// `respond`: one response for all requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Respond {
    /// Status.
    pub status: u16,
    /// Field line `Content-Type`; empty without a body.
    pub type_line: Box<str>,
    /// Body. All copies of the settings share it.
    pub body: Arc<[u8]>,
}

impl FixedReply {
    /// Returns the key of the configuration.
    pub fn key(&self) -> &'static str {
        match self {
            FixedReply::Redirect(_) => "redirect",
            FixedReply::Respond(_) => "respond",
        }
    }

    /// Returns the bytes that a head or body has of it at most.
    pub fn bytes(&self) -> usize {
        match self {
            FixedReply::Redirect(redirect) => {
                let Redirect {
                    base,
                    query,
                    fragment,
                    ..
                } = redirect;
                total([base.len(), query.len(), fragment.len()])
            }
            FixedReply::Respond(respond) => total([respond.type_line.len(), respond.body.len()]),
        }
    }
}

impl Redirect {
    /// Creates a redirect to `to`, a path or an absolute URL of visible ASCII characters.
    pub fn new(to: &str, status: u16, keeps_path: bool) -> Redirect {
        let (rest, fragment) = to.split_at(to.find('#').unwrap_or(to.len()));
        let (base, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        Redirect {
            status,
            keeps_path,
            base: base.into(),
            query: if query == "?" { "" } else { query }.into(),
            fragment: fragment.into(),
        }
    }

    /// Returns `to`.
    pub fn to(&self) -> String {
        [&*self.base, &*self.query, &*self.fragment].concat()
    }

    /// Returns the value of `Location` in parts. `rest`: the path behind the route, empty or with a
    /// slash in front. `query`: that of the request, with its `?`. The query of a request is always
    /// kept.
    pub fn location<'a>(&'a self, rest: &'a [u8], query: &'a [u8]) -> [&'a [u8]; 6] {
        let (mut base, mut rest) = (self.base.as_bytes(), rest);
        if !self.keeps_path {
            rest = b"";
        }
        if base == b"/" {
            // `//host` and `/\host` are another authority for a browser (WHATWG URL 4.4).
            while let [b'/' | b'\\', behind @ ..] = rest {
                rest = behind;
            }
        } else if !rest.is_empty() {
            base = base.strip_suffix(b"/").unwrap_or(base);
        }
        let own = self.query.as_bytes();
        let (joint, query): (&[u8], &[u8]) = match query {
            [] | [_] if !own.is_empty() => (b"", b""),
            [_, behind @ ..] if !own.is_empty() => (b"&", behind),
            query => (b"", query),
        };
        [base, rest, own, joint, query, self.fragment.as_bytes()]
    }
}

impl Respond {
    /// Returns true if a response of this status has no body (RFC 9110 6.4.1, 15.3.6).
    pub fn is_bodiless(status: u16) -> bool {
        matches!(status, 100..=199 | 204 | 205 | 304)
    }

    /// Returns the value of `Content-Type`; empty without a body.
    pub fn content_type(&self) -> &str {
        let value = self
            .type_line
            .split_once(": ")
            .map_or("", |(_, value)| value);
        value.trim_end_matches("\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (to, keeps_path, rest, query, expected) in [
            ("/new", false, "/x", "", "/new"),
            ("/new", false, "/x", "?q=1", "/new?q=1"),
            ("/new", true, "/x", "?q=1", "/new/x?q=1"),
            ("/new", true, "", "?", "/new?"),
            ("/new/", true, "", "", "/new/"),
            ("/new/", true, "/x/", "", "/new/x/"),
            ("/new?a=1", true, "/x", "?b=2", "/new/x?a=1&b=2"),
            ("/new?a=1", true, "/x", "?", "/new/x?a=1"),
            ("/new?", false, "", "?b=2", "/new?b=2"),
            ("/new?a=1#top", false, "", "?b=2", "/new?a=1&b=2#top"),
            ("/new#a?b", false, "", "?c", "/new?c#a?b"),
            ("https://new.test", true, "/x", "", "https://new.test/x"),
            ("https://new.test", true, "", "?q", "https://new.test?q"),
            ("https://new.test/", true, "/x", "", "https://new.test/x"),
            ("https://new.test/a", true, "/x", "", "https://new.test/a/x"),
            // No path becomes another authority, whatever let it in.
            ("/", true, "", "", "/"),
            ("/", true, "/x", "", "/x"),
            ("/", true, "//evil.test/x", "", "/evil.test/x"),
            ("/", true, "/\\evil.test", "", "/evil.test"),
            ("/", true, "/\\/evil.test", "?//", "/evil.test?//"),
            ("/n", true, "//evil.test", "", "/n//evil.test"),
        ] {
            let redirect = Redirect::new(to, 308, keeps_path);
            let parts = redirect.location(rest.as_bytes(), query.as_bytes());
            let found = String::from_utf8(parts.concat()).expect("ASCII");
            assert_eq!(found, expected, "{to} {keeps_path} {rest} {query}");
        }
        assert_eq!(Redirect::new("/a?b#c", 301, true).to(), "/a?b#c");
    }
}
