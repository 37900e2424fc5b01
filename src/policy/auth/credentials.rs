//! Credentials of a request: `Authorization` (RFC 9110 11.6.2), or an API key in its own header.

use super::base64;
use super::key::Secret;
use crate::http::field::Name;
use crate::http::head::Fields;

/// The credentials of an `Authorization` field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authorization<'a> {
    /// No credentials, or a scheme that no provider supports.
    None,
    /// A Bearer token (RFC 6750 2.1); empty if nothing follows the scheme.
    Bearer(&'a [u8]),
    /// Basic credentials (RFC 7617 2).
    Basic(Pair),
    /// Basic credentials that are malformed.
    Malformed,
}

/// User and password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Part before the first colon.
    pub user: Secret,
    /// Part after the first colon.
    pub password: Secret,
}

/// A field that may occur only once occurs twice, so it is ambiguous which one counts (400).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ambiguous;

/// Reads the request's `Authorization`.
///
/// # Errors
/// The field occurs twice.
pub fn authorization<'a>(fields: &Fields<'a>) -> Result<Authorization<'a>, Ambiguous> {
    let mut values = fields.get_all(Name::Authorization);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Ambiguous),
        (None, None) => Ok(Authorization::None),
        (Some(value), None) => Ok(parse(value)),
    }
}

/// Reads the value of a header that carries an API key.
///
/// # Errors
/// The field occurs twice.
pub fn api_key<'a>(fields: &Fields<'a>, header: &str) -> Result<Option<&'a [u8]>, Ambiguous> {
    let mut values = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(header.as_bytes()));
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Ambiguous),
        (found, None) => Ok(found.map(|field| field.value)),
    }
}

/// Parses a field value. The scheme is case-insensitive, and one or more spaces follow it
/// (RFC 9110 11.4).
fn parse(value: &[u8]) -> Authorization<'_> {
    let end = value
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at_checked(end).unwrap_or((value, &[]));
    let start = rest
        .iter()
        .position(|&byte| byte != b' ')
        .unwrap_or(rest.len());
    let rest = rest.get(start..).unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"Bearer") {
        return Authorization::Bearer(rest);
    }
    if scheme.eq_ignore_ascii_case(b"Basic") {
        return basic(rest).map_or(Authorization::Malformed, Authorization::Basic);
    }
    Authorization::None
}

fn basic(token: &[u8]) -> Option<Pair> {
    let decoded = base64::decode(token)?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (user, password) = decoded.split_at_checked(colon)?;
    Some(Pair {
        user: Secret::new(user.to_vec()),
        password: Secret::new(password.get(1..)?.to_vec()),
    })
}

/// Returns true if the bytes are a valid Bearer token (RFC 6750 2.1, `b64token`).
pub fn is_bearer_token(token: &[u8]) -> bool {
    let body = token
        .iter()
        .rposition(|&byte| byte != b'=')
        .map_or(&[][..], |last| token.get(..=last).unwrap_or_default());
    let symbol = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    !body.is_empty() && body.iter().all(symbol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};

    fn with<T>(lines: &str, look: impl FnOnce(&Fields<'_>) -> T) -> T {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let limits = HeadLimits {
            head_bytes: 4096,
            request_line_bytes: 100,
            fields: 10,
        };
        let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
        let head = parse_request(head.as_bytes(), &mut scan, &mut table, &limits)
            .expect("a head")
            .expect("whole");
        look(&head.fields)
    }

    #[test]
    fn authorizations() {
        let pair = |user: &str, password: &str| {
            let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
            Authorization::Basic(Pair {
                user: secret(user),
                password: secret(password),
            })
        };
        for (value, expected) in [
            ("Bearer a.b.c", Authorization::Bearer(b"a.b.c")),
            ("bEARER   a", Authorization::Bearer(b"a")),
            ("Bearer", Authorization::Bearer(b"")),
            ("Bearer a b", Authorization::Bearer(b"a b")),
            ("Basic YW5uOnNlY3JldA==", pair("ann", "secret")),
            ("basic YW5uOg==", pair("ann", "")),
            ("Basic OmE6Yg==", pair("", "a:b")),
            ("Basic YW5u", Authorization::Malformed),
            ("Basic YW5uOg", Authorization::Malformed),
            ("Basic", Authorization::Malformed),
            ("Digest x", Authorization::None),
            ("Bearertoken", Authorization::None),
            ("", Authorization::None),
        ] {
            with(&format!("Authorization: {value}\r\n"), |fields| {
                assert_eq!(authorization(fields), Ok(expected), "{value}")
            });
        }
        with("", |fields| {
            assert_eq!(authorization(fields), Ok(Authorization::None))
        });
        with(
            "Authorization: Bearer a\r\nauthorization: Bearer a\r\n",
            |fields| assert_eq!(authorization(fields), Err(Ambiguous)),
        );
    }

    #[test]
    fn api_keys() {
        with("X-API-Key: k\r\n", |fields| {
            assert_eq!(api_key(fields, "x-api-key"), Ok(Some(&b"k"[..])))
        });
        with("X-Api: k\r\n", |fields| {
            assert_eq!(api_key(fields, "x-api-key"), Ok(None))
        });
        with("A: k\r\na: k\r\n", |fields| {
            assert_eq!(api_key(fields, "A"), Err(Ambiguous))
        });
    }

    #[test]
    fn bearer_tokens() {
        assert!(
            ["a", "a.b-c_d~e+f/g", "a==", "0"]
                .into_iter()
                .all(|token| is_bearer_token(token.as_bytes()))
        );
        assert!(
            !["", "=", "a=b", "a b", "a,b", "a\"", "\u{e9}"]
                .into_iter()
                .any(|token| is_bearer_token(token.as_bytes()))
        );
    }
}
