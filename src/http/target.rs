//! Request targets and Host (RFC 9112 3.2, RFC 9110 7.2).

use core::net::Ipv6Addr;

use super::error::{RequestError, RequestFault};
use super::field::Name;
use super::head::{RequestHead, Version};
use crate::bytes;
use crate::digits;

/// Form of a request target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form<'a> {
    /// Origin form: `/path?query`.
    Origin,
    /// Absolute form: `http://authority/path?query`.
    Absolute {
        /// Host and port, valid and equal to the Host field.
        authority: &'a [u8],
    },
    /// Asterisk form: `*`, only for OPTIONS.
    Asterisk,
}

/// Parts of a request target, as sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// Form of the target.
    pub form: Form<'a>,
    /// Path from the first `/` to the query; `/` for an absolute form without a path, empty for
    /// `*`.
    pub path: &'a [u8],
    /// Query with its `?`, or empty.
    pub query: &'a [u8],
}

/// Parses the target and compares it with Host.
///
/// # Errors
/// CONNECT and TRACE, any other form, or a Host that is missing (HTTP/1.1), repeated, invalid, or
/// different from the target's.
pub fn parse_target<'a>(head: &RequestHead<'a>) -> Result<Target<'a>, RequestError> {
    if head.method == b"CONNECT" || head.method == b"TRACE" {
        return Err(RequestError::MethodNotAllowed);
    }
    let host = host(head)?;
    // Nearly no target has one of the two bytes that may be invalid.
    if !bytes::all(head.target, |byte| (byte != b'#') & (byte != b'\\')) {
        check_bytes(head.target)?;
    }
    let target = match head.target {
        b"*" => Target {
            form: Form::Asterisk,
            path: b"",
            query: b"",
        },
        [b'/', ..] => split_query(head.target, Form::Origin),
        _ => absolute(head.target)?,
    };
    match target.form {
        Form::Asterisk if head.method != b"OPTIONS" => Err(RequestFault::Asterisk.into()),
        Form::Absolute { authority }
            if host.is_some_and(|host| !same_authority(host, authority, head.target)) =>
        {
            Err(RequestFault::HostDiffers.into())
        }
        // RFC 9112 3.2.4: OPTIONS with an absolute form and no path means the server as a whole.
        Form::Absolute { .. }
            if target.path.is_empty() && head.method == b"OPTIONS" && target.query.is_empty() =>
        {
            Ok(Target {
                form: Form::Asterisk,
                ..target
            })
        }
        Form::Absolute { .. } if target.path.is_empty() => Ok(Target {
            path: b"/",
            ..target
        }),
        _ => Ok(target),
    }
}

/// Returns the authority of a target in absolute form; `None` for any other target.
pub fn authority(target: &[u8]) -> Option<&[u8]> {
    match absolute(target).ok()?.form {
        Form::Absolute { authority } => Some(authority),
        Form::Origin | Form::Asterisk => None,
    }
}

/// Rejects `#` anywhere, which begins a fragment (RFC 9112 3.2), and `\\` before the query. In the
/// query a `\\` is data: browsers do not encode it (WHATWG URL, query percent-encode set).
#[cold]
fn check_bytes(target: &[u8]) -> Result<(), RequestError> {
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    match target.contains(&b'#') || path.contains(&b'\\') {
        true => Err(RequestFault::TargetByte.into()),
        false => Ok(()),
    }
}

fn split_query<'a>(target: &'a [u8], form: Form<'a>) -> Target<'a> {
    let at = target
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(target.len());
    let (path, query) = target.split_at_checked(at).unwrap_or((target, b""));
    Target { form, path, query }
}

/// Parses the absolute form (RFC 9112 3.2.2).
fn absolute(target: &[u8]) -> Result<Target<'_>, RequestError> {
    let malformed = RequestError::Malformed(RequestFault::TargetForm);
    let rest = behind_scheme(target).ok_or(malformed)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).ok_or(malformed)?;
    if !is_authority(authority) {
        return Err(malformed);
    }
    Ok(split_query(rest, Form::Absolute { authority }))
}

fn behind_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Returns Host (RFC 9112 3.2): exactly one valid field; HTTP/1.0 may have none.
fn host<'a>(head: &RequestHead<'a>) -> Result<Option<&'a [u8]>, RequestError> {
    let mut hosts = head.fields.get_all(Name::Host);
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::Http10 => Ok(None),
        (Some(host), None) if is_authority(host) => Ok(Some(host)),
        (None, _) => Err(RequestFault::NoHost.into()),
        (Some(_), None) => Err(RequestFault::Host.into()),
        (Some(_), Some(_)) => Err(RequestFault::TwoHosts.into()),
    }
}

/// Returns true for a valid authority without userinfo (RFC 3986 3.2): a host that is not empty, and an
/// optional port, whose digits may be missing (3.2.3).
pub fn is_authority(authority: &[u8]) -> bool {
    // Nearly always the authority is a name or an IPv4 address alone.
    if is_name(authority) {
        return true;
    }
    let (host, port) = split_port(authority);
    let valid_host = match host {
        // Rust's parser is strict: no zone, no spaces, and only one run of zeros is omitted.
        [b'[', literal @ .., b']'] => {
            core::str::from_utf8(literal).is_ok_and(|literal| literal.parse::<Ipv6Addr>().is_ok())
        }
        _ => is_name(host),
    };
    valid_host
        && port.is_none_or(|port| {
            port.is_empty() || digits::parse(port).is_some_and(|port| port <= 65_535)
        })
}

/// Returns true for at least one unreserved character (RFC 3986 2.3) and nothing else.
fn is_name(host: &[u8]) -> bool {
    let unreserved = |byte: u8| {
        byte.is_ascii_alphanumeric()
            | (byte == b'-')
            | (byte == b'.')
            | (byte == b'_')
            | (byte == b'~')
    };
    !host.is_empty() && bytes::all(host, unreserved)
}

/// Splits an authority into host and port. The colons of an IPv6 literal are inside its brackets.
/// An empty port is `Some(b"")`.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    let bracket = authority.iter().rposition(|&byte| byte == b']');
    let (host, port) = colon
        .filter(|colon| bracket.is_none_or(|bracket| bracket < *colon))
        .and_then(|colon| authority.split_at_checked(colon))
        .unwrap_or((authority, &[]));
    (host, port.strip_prefix(b":"))
}

/// Compares authorities, ignoring case. The scheme's port equals an empty one or none
/// (RFC 9110 4.2.3).
fn same_authority(host: &[u8], authority: &[u8], target: &[u8]) -> bool {
    let default: &[u8] = if target.get(4) == Some(&b':') {
        b"80"
    } else {
        b"443"
    };
    let ((a, port_a), (b, port_b)) = (split_port(host), split_port(authority));
    let is_given = |port: &&[u8]| !port.is_empty();
    a.eq_ignore_ascii_case(b)
        && port_a.filter(is_given).unwrap_or(default) == port_b.filter(is_given).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};

    const LIMITS: HeadLimits = HeadLimits::DEFAULT;

    fn parse(line: &str, fields: &str) -> Result<(String, String, String), u16> {
        let text = format!("{line}\r\n{fields}\r\n");
        let mut table = FieldTable::default();
        let head = parse_request(
            text.as_bytes(),
            &mut HeadScan::default(),
            &mut table,
            &LIMITS,
        );
        let target = parse_target(&head.expect("well-formed").expect("complete"))
            .map_err(RequestError::status)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let form = match target.form {
            Form::Origin => "origin".to_owned(),
            Form::Absolute { authority } => text(authority),
            Form::Asterisk => "*".to_owned(),
        };
        Ok((form, text(target.path), text(target.query)))
    }

    #[test]
    fn forms() {
        for (row, line, expected) in [
            (
                "12",
                "GET /a/b?c?d HTTP/1.1",
                Ok(("origin", "/a/b", "?c?d")),
            ),
            ("12", "GET //h/a HTTP/1.1", Ok(("origin", "//h/a", ""))),
            ("12 no slash", "GET foo HTTP/1.1", Err(400)),
            ("13", "GET http://h/x?y HTTP/1.1", Ok(("h", "/x", "?y"))),
            (
                "13 case",
                "GET HTTP://H:80/x HTTP/1.1",
                Ok(("H:80", "/x", "")),
            ),
            (
                "13 empty port",
                "GET http://h:/x HTTP/1.1",
                Ok(("h:", "/x", "")),
            ),
            (
                "13 empty port, no path",
                "GET http://h:?y HTTP/1.1",
                Ok(("h:", "/", "?y")),
            ),
            (
                "13 empty port, no host",
                "GET http://:/x HTTP/1.1",
                Err(400),
            ),
            ("13 no path", "GET http://h HTTP/1.1", Ok(("h", "/", ""))),
            (
                "13 no path, query",
                "GET http://h?y HTTP/1.1",
                Ok(("h", "/", "?y")),
            ),
            (
                "13 https",
                "GET https://h:443/x HTTP/1.1",
                Ok(("h:443", "/x", "")),
            ),
            ("13 empty authority", "GET http:///x HTTP/1.1", Err(400)),
            ("13 scheme", "GET ftp://h/x HTTP/1.1", Err(400)),
            ("13 mismatch", "GET http://other/x HTTP/1.1", Err(400)),
            ("13 port mismatch", "GET http://h:81/x HTTP/1.1", Err(400)),
            ("17 userinfo", "GET http://user@h/x HTTP/1.1", Err(400)),
            ("11 fragment", "GET /a#b HTTP/1.1", Err(400)),
            (
                "11 fragment behind a query",
                "GET /a?b#c HTTP/1.1",
                Err(400),
            ),
            ("11 backslash", "GET /a\\b HTTP/1.1", Err(400)),
            (
                "11 backslash before a query",
                "GET /a\\b?c\\d HTTP/1.1",
                Err(400),
            ),
            (
                "11 backslash in a query",
                "GET /a?b=C:\\d&e=\\ HTTP/1.1",
                Ok(("origin", "/a", "?b=C:\\d&e=\\")),
            ),
            (
                "11 backslash in an absolute form's query",
                "GET http://h?\\ HTTP/1.1",
                Ok(("h", "/", "?\\")),
            ),
            (
                "11 backslash behind an authority",
                "GET http://h\\a HTTP/1.1",
                Err(400),
            ),
            (
                "11 backslash in an authority",
                "GET http://a\\h/ HTTP/1.1",
                Err(400),
            ),
            ("14", "CONNECT h:443 HTTP/1.1", Err(405)),
            ("14 TRACE", "TRACE /a HTTP/1.1", Err(405)),
            ("15", "GET * HTTP/1.1", Err(400)),
            ("15", "OPTIONS * HTTP/1.1", Ok(("*", "", ""))),
            (
                "15 absolute",
                "OPTIONS http://h HTTP/1.1",
                Ok(("*", "", "")),
            ),
        ] {
            let expected = expected
                .map(|(form, path, query)| (form.to_owned(), path.to_owned(), query.to_owned()));
            assert_eq!(parse(line, "Host: h\r\n"), expected, "row {row}: {line}");
        }
    }

    #[test]
    fn host_rules() {
        let ok = |fields: &str| parse("GET / HTTP/1.1", fields).is_ok();
        for good in [
            "h",
            "h:8080",
            "a.b-c_d",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "h:0",
            "[2001:DB8::1]",
            "[::ffff:192.0.2.1]",
            "h:",
            "127.0.0.1:",
            "[::1]:",
        ] {
            assert!(ok(&format!("Host: {good}\r\n")), "{good}");
        }
        for bad in [
            "",
            "a,b",
            "user@h",
            "h/p",
            ":",
            ":80",
            "h::",
            "h: 80",
            "h:80:",
            "[::1]::",
            "[]:",
            "h:x",
            "h:65536",
            "h:80:80",
            "[::1",
            "::1",
            "[]",
            "h h",
            "h?x",
            "[v1.x]",
            "[:]",
            "[1:2]",
            "[::::]",
            "[12345::]",
            "[1.2.3.4:]",
            "[fe80::1%25lo]",
            "[::1]x",
        ] {
            assert!(!ok(&format!("Host: {bad}\r\n")), "{bad}");
        }
        assert!(!ok("") && !ok("Host: h\r\nHost: h\r\n"));
        // An empty port is the scheme's, on either side.
        for (line, host, good) in [
            ("http://h/", "h:", true),
            ("http://h:/", "h", true),
            ("http://h:/", "h:80", true),
            ("http://h:80/", "h:", true),
            ("https://h:/", "h:443", true),
            ("http://h:/", "h:443", false),
            ("http://h:81/", "h:", false),
            ("http://[::1]:/", "[::1]", true),
        ] {
            assert_eq!(
                parse(
                    &format!("GET {line} HTTP/1.1"),
                    &format!("Host: {host}\r\n")
                )
                .is_ok(),
                good,
                "{line} {host}"
            );
        }
        assert!(parse("GET / HTTP/1.0", "").is_ok());
        assert!(parse("GET / HTTP/1.0", "Host: h\r\nHost: h\r\n").is_err());
    }
}
