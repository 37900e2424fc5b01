//! Lines of a JSON access log: the members of one object that a request needs.
//!
//! The access log writes a byte outside printable ASCII as `\u00HH`, and no reader of JSON gives
//! that byte back: it makes a character of it. This one returns bytes.

use crate::digits;

/// Levels of nested arrays and objects that are skipped; our log has none.
const DEPTH_MAX: usize = 16;

/// Members of a line. `None`: the line does not have it, or it is null.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Members {
    pub(super) client: Option<Vec<u8>>,
    pub(super) method: Option<Vec<u8>>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) proto: Option<Vec<u8>>,
    pub(super) host: Option<Vec<u8>>,
    pub(super) service: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) listener: Option<Vec<u8>>,
    /// True if the client spoke TLS, false if it is null.
    pub(super) is_secure: Option<bool>,
    pub(super) status: Option<u64>,
    pub(super) bytes_in: Option<u64>,
}

/// A value of a member.
enum Value {
    Text(Vec<u8>),
    Number(u64),
    /// Null, true, false, any other number, an array or an object.
    Other,
}

/// Reads a line; `None`: it is no JSON object, or has something behind it.
pub(super) fn read(line: &[u8]) -> Option<Members> {
    let mut rest = Rest(line);
    let mut members = Members::default();
    rest.skip(b'{')?;
    if rest.next_is(b'}') {
        rest.skip(b'}')?;
    } else {
        loop {
            rest.space();
            let name = rest.text()?;
            rest.skip(b':')?;
            members.put(&name, rest.value()?);
            if !rest.next_is(b',') {
                break;
            }
            rest.skip(b',')?;
        }
        rest.skip(b'}')?;
    }
    rest.space();
    rest.0.is_empty().then_some(members)
}

impl Members {
    fn put(&mut self, name: &[u8], value: Value) {
        if name == b"tls" {
            self.is_secure = Some(matches!(value, Value::Text(_)));
        }
        let (text, number) = match value {
            Value::Text(text) => (Some(text), None),
            Value::Number(number) => (None, Some(number)),
            Value::Other => (None, None),
        };
        match name {
            b"client" => self.client = text,
            b"method" => self.method = text,
            b"path" => self.path = text,
            b"proto" => self.proto = text,
            b"host" => self.host = text,
            b"service" => self.service = text,
            b"target" => self.target = text,
            b"listener" => self.listener = text,
            b"status" => self.status = number,
            b"bytesIn" => self.bytes_in = number,
            _ => {}
        }
    }
}

/// Bytes of a line that are not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Skips white space (RFC 8259 2).
    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        self.0.first() == Some(&byte)
    }

    /// Skips a byte and the white space before it.
    fn skip(&mut self, byte: u8) -> Option<()> {
        self.space();
        let [first, rest @ ..] = self.0 else {
            return None;
        };
        self.0 = rest;
        (*first == byte).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let [first, rest @ ..] = self.0 else {
            return None;
        };
        self.0 = rest;
        Some(*first)
    }

    /// Reads a string (RFC 8259 7).
    fn text(&mut self) -> Option<Vec<u8>> {
        self.skip(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                b'"' => return Some(text),
                b'\\' => self.escape(&mut text)?,
                0..=0x1f => return None,
                byte => text.push(byte),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let byte = match self.byte()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(text),
            _ => return None,
        };
        text.push(byte);
        Some(())
    }

    /// Reads the digits of `\uHHHH`. Up to `\u00FF` it is a byte, as the access log writes it; above
    /// it is a character of another writer, in UTF-8. Half a surrogate pair is U+FFFD.
    fn unicode(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let mut unit = 0_u32;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16)?;
            unit = unit << 4 | digit;
        }
        match u8::try_from(unit) {
            Ok(byte) => text.push(byte),
            Err(_) => {
                let letter = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Some(())
    }

    fn value(&mut self) -> Option<Value> {
        self.space();
        match self.0.first()? {
            b'"' => self.text().map(Value::Text),
            b'[' | b'{' => self.nested(),
            _ => self.word(),
        }
    }

    /// Reads a number, or one of the words (RFC 8259 3).
    fn word(&mut self) -> Option<Value> {
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let end = self.0.iter().position(|byte| !is_part(byte));
        let (word, rest) = self.0.split_at_checked(end.unwrap_or(self.0.len()))?;
        self.0 = rest;
        match word {
            b"null" | b"true" | b"false" => Some(Value::Other),
            [b'0'..=b'9' | b'-', ..] => {
                Some(digits::parse(word).map_or(Value::Other, Value::Number))
            }
            _ => None,
        }
    }

    /// Skips an array or an object by its brackets.
    fn nested(&mut self) -> Option<Value> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.0.first()? {
                b'"' => {
                    self.text()?;
                    continue;
                }
                b'[' if open.len() < DEPTH_MAX => open.push(b']'),
                b'{' if open.len() < DEPTH_MAX => open.push(b'}'),
                b'[' | b'{' => return None,
                byte @ (b']' | b'}') if open.pop() != Some(*byte) => return None,
                _ => {}
            }
            self.byte()?;
            if open.is_empty() {
                return Some(Value::Other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(line: &[u8]) -> Option<Option<Vec<u8>>> {
        read(line).map(|members| members.path)
    }

    #[test]
    fn escapes_are_undone() {
        for (text, expected) in [
            (r"/a", &b"/a"[..]),
            (r#"/\"\\\u000A\u00FF\u0000"#, b"/\"\\\n\xff\0"),
            (r"\u00ff\u0022", b"\xff\""),
            (r"\/\b\f\n\r\t", b"/\x08\x0c\n\r\t"),
            (r"\u0100\u20AC\uD83D", "\u{100}\u{20ac}\u{fffd}".as_bytes()),
            ("\u{e4}", "\u{e4}".as_bytes()),
            ("\x7f", b"\x7f"),
        ] {
            let line = format!(r#"{{"path":"{text}"}}"#);
            assert_eq!(
                path(line.as_bytes()),
                Some(Some(expected.to_vec())),
                "{line}"
            );
        }
    }

    #[test]
    fn all_bytes_come_back_from_the_access_logs_escapes() {
        for byte in 0..=255_u8 {
            let line = format!(r#"{{"path":"a\u00{byte:02X}b"}}"#);
            assert_eq!(path(line.as_bytes()), Some(Some(vec![b'a', byte, b'b'])));
        }
    }

    #[test]
    fn lines_of_other_shapes() {
        for (line, expected) in [
            (r#"{}"#, Some(None)),
            (
                r#" { "x" : 1 , "path" : "/a" } "#,
                Some(Some(b"/a".to_vec())),
            ),
            (r#"{"path":null}"#, Some(None)),
            (r#"{"path":12}"#, Some(None)),
            (
                r#"{"x":[{"path":"/no","y":"]}"},[]],"path":"/a"}"#,
                Some(Some(b"/a".to_vec())),
            ),
            (
                r#"{"x":-1.5e+3,"y":true,"path":"/a"}"#,
                Some(Some(b"/a".to_vec())),
            ),
            ("", None),
            ("{", None),
            ("[]", None),
            (r#"{"path"}"#, None),
            (r#"{"path":}"#, None),
            (r#"{"path":"/a""#, None),
            (r#"{"path":"/a}"#, None),
            (r#"{"path":"/a",}"#, None),
            (r#"{"path":"/a"} x"#, None),
            (r#"{"path":"\x41"}"#, None),
            (r#"{"path":"\u00G0"}"#, None),
            (r#"{"path":"\u00"}"#, None),
            (r#"{"path":"\"#, None),
            ("{\"path\":\"a\nb\"}", None),
            (r#"{"x":[}]}"#, None),
            (r#"{"x":nul}"#, None),
        ] {
            assert_eq!(path(line.as_bytes()), expected, "{line}");
        }
        let deep =
            |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(deep(DEPTH_MAX).as_bytes()).is_some());
        assert!(read(deep(DEPTH_MAX + 1).as_bytes()).is_none());
    }

    #[test]
    fn a_line_that_is_cut_is_no_line() {
        let line =
            br#"{"client":"127.0.0.1","path":"/a\u00FF","status":404,"bytesIn":7,"reused":false}"#;
        let members = read(line).expect("a line");
        assert_eq!((members.status, members.bytes_in), (Some(404), Some(7)));
        for end in 0..line.len() {
            assert_eq!(read(&line[..end]), None, "{end}");
        }
    }
}
