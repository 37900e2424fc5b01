//! Cookie that keeps a client at one endpoint (`sticky`; RFC 6265).

use crate::http::head::Fields;
use crate::time::Duration;

/// Digits of a value.
const DIGITS: usize = 16;

/// Cookie of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StickyCookie {
    name: String,
    /// Attributes behind the value.
    attributes: String,
}

impl StickyCookie {
    /// Compiles the cookie of a service. `ttl`: time for which clients keep it; `None` for the time
    /// of their session.
    pub fn new(name: &str, route: &str, ttl: Option<Duration>) -> StickyCookie {
        let age = ttl.map_or(String::new(), |ttl| {
            format!("; Max-Age={}", ttl.as_secs_ceil())
        });
        StickyCookie {
            name: name.to_owned(),
            attributes: format!("; Path={route}{age}; HttpOnly; SameSite=Lax"),
        }
    }

    /// Returns the cookie as text: its name and its attributes.
    pub fn shown(&self) -> String {
        [self.name.as_str(), &self.attributes].concat()
    }

    /// Returns an upper bound of the bytes of [`line`](Self::line).
    pub fn bound(&self) -> usize {
        self.name
            .len()
            .saturating_add(self.attributes.len())
            .saturating_add(DIGITS + 32)
    }

    /// Returns the value that a client sends. The first cookie of the name counts; without one, and
    /// when that one has no value of ours, `None`.
    pub fn find(&self, fields: &Fields<'_>) -> Option<u64> {
        let mut cookies = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(b"cookie"))
            .flat_map(|field| field.value.split(|byte| *byte == b';'));
        let value = cookies.find_map(|cookie| {
            let cookie = without_spaces(cookie);
            cookie
                .strip_prefix(self.name.as_bytes())?
                .strip_prefix(b"=")
        });
        parse(value?)
    }

    /// Returns the field line that sets the cookie. `is_secure`: the client came over TLS.
    pub fn line(&self, value: u64, is_secure: bool) -> Vec<u8> {
        let secure = if is_secure { "; Secure" } else { "" };
        let StickyCookie { name, attributes } = self;
        format!("Set-Cookie: {name}={value:016x}{attributes}{secure}\r\n").into_bytes()
    }
}

/// Returns what follows the spaces in front of a cookie.
fn without_spaces(cookie: &[u8]) -> &[u8] {
    let spaces = cookie
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'));
    cookie.get(spaces.count()..).unwrap_or_default()
}

/// Reads a value: hexadecimal digits in lower case, and nothing else.
fn parse(text: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte.checked_sub(b'0')?,
            b'a'..=b'f' => byte.checked_sub(b'a')?.checked_add(10)?,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    (text.len() == DIGITS).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};

    fn found(lines: &str) -> Option<u64> {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let limits = HeadLimits {
            head_bytes: 4096,
            request_line_bytes: 1024,
            fields: 10,
        };
        let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
        let head = parse_request(bytes.as_bytes(), &mut scan, &mut table, &limits);
        let head = head.expect("a head").expect("whole");
        StickyCookie::new("tg", "/", None).find(&head.fields)
    }

    #[test]
    fn values_of_a_client() {
        const SEVEN: Option<u64> = Some(7);
        for (lines, expected) in [
            ("", None),
            ("Cookie: tg=0000000000000007\r\n", SEVEN),
            ("cookie: a=b; tg=0000000000000007; c=d\r\n", SEVEN),
            ("Cookie: a=b;tg=0000000000000007\r\n", SEVEN),
            ("Cookie: a=b\r\nCookie: tg=0000000000000007\r\n", SEVEN),
            // The first one counts.
            (
                "Cookie: tg=0000000000000007; tg=0000000000000008\r\n",
                SEVEN,
            ),
            ("Cookie: tg=x; tg=0000000000000007\r\n", None),
            ("Cookie: tg=00000000000000007\r\n", None),
            ("Cookie: tg=000000000000007\r\n", None),
            ("Cookie: tg=000000000000000A\r\n", None),
            ("Cookie: tg=\r\n", None),
            ("Cookie: tg\r\n", None),
            ("Cookie: xtg=0000000000000007\r\n", None),
            ("Cookie: TG=0000000000000007\r\n", None),
            ("Cookie: \"tg=0000000000000007\r\n", None),
            ("Cookie: ;;;\r\n", None),
            ("X: tg=0000000000000007\r\n", None),
        ] {
            assert_eq!(found(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn lines_for_a_client() {
        let cookie = StickyCookie::new("tg", "/a", Some(Duration::from_secs(3600)));
        let line = |secure| String::from_utf8(cookie.line(0xab, secure)).expect("ASCII");
        assert_eq!(
            line(true),
            "Set-Cookie: tg=00000000000000ab; Path=/a; Max-Age=3600; HttpOnly; SameSite=Lax; Secure\r\n"
        );
        assert!(line(true).len() <= cookie.bound());
        let session = StickyCookie::new("tg", "/", None).line(1, false);
        assert_eq!(
            session,
            b"Set-Cookie: tg=0000000000000001; Path=/; HttpOnly; SameSite=Lax\r\n"
        );
    }
}
