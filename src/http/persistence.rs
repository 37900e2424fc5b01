//! Fields about the reuse of a connection, beside `Connection`: its idle time (`Keep-Alive`), and
//! authentication of the connection as a whole, so that every request on it belongs to one user
//! (NTLM, and Negotiate in RFC 4559 5).

use super::field::{Name, tokens, without_ows};
use super::head::Fields;
use crate::digits;

/// Schemes that authenticate a connection instead of a request.
const CONNECTION_SCHEMES: [&[u8]; 4] = [b"NTLM", b"Negotiate", b"Nego2", b"Kerberos"];

/// Returns the seconds that a connection may idle after a response with these fields; `None` if
/// they do not say.
///
/// `Keep-Alive: timeout=N` (RFC 2068 19.7.1.1) says that the sender closes after N seconds; one
/// second of them is reserved for bytes under way. The shortest of several counts. 0 means that the
/// connection must not be reused. A `timeout` that is not a number, and `max=0`, mean 0, too.
pub fn idle_seconds(fields: &Fields<'_>) -> Option<u64> {
    if !fields.has(Name::KeepAlive) {
        return None;
    }
    fields
        .get_all(Name::KeepAlive)
        .flat_map(tokens)
        .filter_map(idle_seconds_of)
        .min()
}

fn idle_seconds_of(parameter: &[u8]) -> Option<u64> {
    let mut parts = parameter.splitn(2, |&byte| byte == b'=').map(without_ows);
    let (name, value) = (parts.next()?, parts.next().unwrap_or_default());
    if name.eq_ignore_ascii_case(b"timeout") {
        let endless =
            value.len() > crate::limits::DECIMAL_DIGITS && value.iter().all(u8::is_ascii_digit);
        let seconds = if endless {
            u64::MAX
        } else {
            digits::parse(value).unwrap_or(0)
        };
        return Some(seconds.saturating_sub(1));
    }
    (name.eq_ignore_ascii_case(b"max") && digits::parse(value) == Some(0)).then_some(0)
}

/// Returns true if one of these credentials authenticates its connection.
#[inline(always)]
pub fn authenticates_connection(fields: &Fields<'_>) -> bool {
    fields.has(Name::Authorization)
        && fields
            .get_all(Name::Authorization)
            .any(is_connection_scheme)
}

/// Returns true if the credentials in an outgoing head authenticate its connection.
pub fn head_authenticates_connection(head: &[u8]) -> bool {
    const NAME: &[u8] = b"authorization:";
    head.split(|&byte| byte == b'\n').any(|line| {
        let is_named = line
            .get(..NAME.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(NAME));
        is_named && is_connection_scheme(without_ows(line.get(NAME.len()..).unwrap_or_default()))
    })
}

/// Returns true if a 401 or 407 with these fields offers to authenticate the connection. Every
/// element of the list is examined, so a comma in a quoted string can give a false positive, and
/// never a false negative.
pub fn offers_connection_scheme(fields: &Fields<'_>) -> bool {
    let names = [&b"www-authenticate"[..], b"proxy-authenticate"];
    let challenges = fields.iter().filter(|field| {
        names
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name))
    });
    challenges
        .into_iter()
        .any(|field| tokens(field.value).any(is_connection_scheme))
}

/// Returns true if these credentials, or this challenge, begin with such a scheme.
fn is_connection_scheme(value: &[u8]) -> bool {
    let end = value
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b',' | b'='))
        .unwrap_or(value.len());
    let scheme = value.get(..end).unwrap_or_default();
    CONNECTION_SCHEMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_response};

    const LIMITS: HeadLimits = HeadLimits::DEFAULT;

    fn with_fields<T>(lines: &str, check: impl FnOnce(&Fields<'_>) -> T) -> T {
        let text = format!("HTTP/1.1 401 X\r\n{lines}\r\n");
        let mut table = FieldTable::default();
        let head = parse_response(
            text.as_bytes(),
            &mut HeadScan::default(),
            &mut table,
            &LIMITS,
        );
        check(&head.expect("well-formed").expect("complete").fields)
    }

    #[test]
    fn keep_alive_says_how_long_a_connection_may_idle() {
        for (lines, expected) in [
            ("", None),
            ("Keep-Alive: timeout=5\r\n", Some(4)),
            ("keep-alive: TimeOut=5\r\n", Some(4)),
            ("Keep-Alive: timeout = 5\r\n", Some(4)),
            ("Keep-Alive: timeout=5, max=100\r\n", Some(4)),
            ("Keep-Alive: max=100,timeout=5\r\n", Some(4)),
            ("Keep-Alive: ,, timeout=005 ,\r\n", Some(4)),
            ("Keep-Alive: max=100\r\n", None),
            ("Keep-Alive: max=0, timeout=9\r\n", Some(0)),
            (
                "Keep-Alive: timeout=30\r\nKeep-Alive: timeout=5\r\n",
                Some(4),
            ),
            ("Keep-Alive: timeout=5\r\nKeep-Alive: max=3\r\n", Some(4)),
            ("Keep-Alive: timeout=1\r\n", Some(0)),
            ("Keep-Alive: timeout=0\r\n", Some(0)),
            (
                "Keep-Alive: timeout=999999999999999999\r\n",
                Some(999_999_999_999_999_998),
            ),
            (
                "Keep-Alive: timeout=99999999999999999999999999\r\n",
                Some(u64::MAX - 1),
            ),
            // In doubt the connection is not reused.
            ("Keep-Alive: timeout=\r\n", Some(0)),
            ("Keep-Alive: timeout\r\n", Some(0)),
            ("Keep-Alive: timeout=+5\r\n", Some(0)),
            ("Keep-Alive: timeout=-5\r\n", Some(0)),
            ("Keep-Alive: timeout=5.5\r\n", Some(0)),
            ("Keep-Alive: timeout=5s\r\n", Some(0)),
            ("Keep-Alive: timeout=0x5\r\n", Some(0)),
            // Another parameter, or another field.
            ("Keep-Alive: idletimeout=5\r\n", None),
            ("Keep-Alive: 300\r\n", None),
            ("X-Keep-Alive: timeout=5\r\n", None),
        ] {
            assert_eq!(with_fields(lines, idle_seconds), expected, "{lines}");
        }
    }

    #[test]
    fn some_credentials_are_a_connections() {
        for (value, expected) in [
            ("NTLM TlRMTVNTUAAB", true),
            ("ntlm TlRMTVNTUAAB", true),
            ("Negotiate YII", true),
            ("negotiate\tYII", true),
            ("NTLM", true),
            ("Kerberos x", true),
            ("Bearer NTLM", false),
            ("Basic Negotiate", false),
            ("NTLMx abc", false),
            ("Digest username=\"a\"", false),
            ("", false),
        ] {
            let line = format!("Authorization: {value}\r\n");
            assert_eq!(
                with_fields(&line, authenticates_connection),
                expected,
                "{value}"
            );
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nauthorization:{value}\r\n\r\n");
            assert_eq!(
                head_authenticates_connection(head.as_bytes()),
                expected,
                "{value}"
            );
        }
        let twice = "Authorization: Basic eA==\r\nAuthorization: NTLM x\r\n";
        assert!(with_fields(twice, authenticates_connection));
        assert!(!with_fields(
            "X-Authorization: NTLM x\r\n",
            authenticates_connection
        ));
        assert!(!head_authenticates_connection(
            b"GET /authorization:NTLM HTTP/1.1\r\nX: NTLM\r\n\r\n"
        ));
    }

    #[test]
    fn some_challenges_are_for_connections() {
        for (lines, expected) in [
            ("WWW-Authenticate: NTLM\r\n", true),
            ("www-authenticate: negotiate\r\n", true),
            ("WWW-Authenticate: NTLM TlRMTVNTUAAC\r\n", true),
            ("WWW-Authenticate: Basic realm=\"x\", NTLM\r\n", true),
            (
                "WWW-Authenticate: Basic realm=\"x\" ,\tNegotiate , Digest realm=\"y\"\r\n",
                true,
            ),
            (
                "WWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: NTLM\r\n",
                true,
            ),
            ("Proxy-Authenticate: Negotiate\r\n", true),
            ("WWW-Authenticate: Basic realm=\"a, NTLM b\"\r\n", true),
            ("WWW-Authenticate: Basic realm=\"NTLM\"\r\n", false),
            (
                "WWW-Authenticate: Bearer, Basic realm=\"Negotiate\"\r\n",
                false,
            ),
            ("X-Authenticate: NTLM\r\n", false),
            ("", false),
        ] {
            assert_eq!(
                with_fields(lines, offers_connection_scheme),
                expected,
                "{lines}"
            );
        }
    }
}
