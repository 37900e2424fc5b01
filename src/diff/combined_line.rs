//! Lines of a combined access log: `ADDRESS - USER [DATE] "REQUEST LINE" STATUS ..`.

/// Parts of a line.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Parts<'a> {
    /// Address of the client, as written.
    pub(super) client: &'a [u8],
    /// Request line, with the log's escapes undone.
    pub(super) request: Vec<u8>,
}

/// Reads a line; `None`: it has another form.
pub(super) fn read(line: &[u8]) -> Option<Parts<'_>> {
    // No part before the request line has a quote in it: the log escapes one in a user's name.
    let quote = line.iter().position(|&byte| byte == b'"')?;
    let (before, rest) = line.split_at_checked(quote)?;
    if !before.ends_with(b"] ") {
        return None;
    }
    let client = before.split(|&byte| byte == b' ').next()?;
    let (request, rest) = unquote(rest.get(1..)?)?;
    let [b' ', status @ ..] = rest else {
        return None;
    };
    let is_status = match status {
        [b'-'] | [b'-', b' ', ..] => true,
        [a, b, c, behind @ ..] => {
            [a, b, c].iter().all(|digit| digit.is_ascii_digit())
                && matches!(behind, [] | [b' ', ..])
        }
        _ => false,
    };
    is_status.then_some(Parts { client, request })
}

/// Reads up to the closing quote, and returns what is behind it, too.
///
/// The gateway and nginx write `\xHH`; Apache also has `\"`, `\\` and the letters of C.
fn unquote(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let (byte, behind) = match rest {
            [b'"', behind @ ..] => return Some((text, behind)),
            [b'\\', b'x', high, low, behind @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high)? << 4 | digit(low)?;
                (u8::try_from(byte).ok()?, behind)
            }
            [b'\\', letter, behind @ ..] => (plain(*letter)?, behind),
            [b'\\'] | [] => return None,
            [byte, behind @ ..] => (*byte, behind),
        };
        text.push(byte);
        rest = behind;
    }
}

/// Returns the byte of an escape of one letter.
fn plain(letter: u8) -> Option<u8> {
    Some(match letter {
        b'"' | b'\\' => letter,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "127.0.0.1 - - [22/Nov/2026:12:15:43 +0000] ";

    fn request(line: &[u8]) -> Option<Vec<u8>> {
        read(line).map(|parts| parts.request)
    }

    #[test]
    fn escapes_are_undone() {
        for (text, expected) in [
            ("GET / HTTP/1.1", &b"GET / HTTP/1.1"[..]),
            (r"GET /a?x=\x221\x22 HTTP/1.1", b"GET /a?x=\"1\" HTTP/1.1"),
            (r"\x5C\x0A\xFF\xff\x00", b"\\\n\xff\xff\0"),
            (r#"\"\\\b\t\n\v\f\r"#, b"\"\\\x08\t\n\x0b\x0c\r"),
            ("-", b"-"),
            ("", b""),
        ] {
            let line = format!(r#"{START}"{text}" 404 70 "-" "curl""#);
            assert_eq!(request(line.as_bytes()), Some(expected.to_vec()), "{line}");
        }
        for byte in 0..=255_u8 {
            let line = format!(r#"{START}"a\x{byte:02X}b" 404 70 "-" "curl""#);
            assert_eq!(request(line.as_bytes()), Some(vec![b'a', byte, b'b']));
        }
    }

    #[test]
    fn clients_and_users() {
        for (start, client) in [
            ("2001:db8::1 - ann [x]", "2001:db8::1"),
            ("unix: - - [x]", "unix:"),
            (r"192.0.2.1 - an\x22n [y] [x]", "192.0.2.1"),
        ] {
            let line = format!(r#"{start} "GET / HTTP/1.1" 200 -"#);
            let parts = read(line.as_bytes()).expect("a line");
            assert_eq!(parts.client, client.as_bytes());
        }
    }

    #[test]
    fn lines_of_other_forms() {
        for text in [
            r#""GET / HTTP/1.1" 200 5 "-" "-""#,
            r#""GET / HTTP/1.1" - - "-" "-""#,
            r#""GET / HTTP/1.1" 200"#,
        ] {
            assert!(
                read(format!("{START}{text}").as_bytes()).is_some(),
                "{text}"
            );
        }
        for text in [
            "",
            "GET / HTTP/1.1",
            r#""GET / HTTP/1.1"#,
            r#""GET / HTTP/1.1""#,
            r#""GET / HTTP/1.1" "#,
            r#""GET / HTTP/1.1" 20"#,
            r#""GET / HTTP/1.1" 2000"#,
            r#""GET / HTTP/1.1" abc"#,
            r#""GET / HTTP/1.1" -1"#,
            r#""GET /\x2" 200"#,
            r#""GET /\xZZ" 200"#,
            r#""GET /\q" 200"#,
            r#""GET /\"#,
        ] {
            assert_eq!(read(format!("{START}{text}").as_bytes()), None, "{text}");
        }
        assert_eq!(read(br#"127.0.0.1 "GET / HTTP/1.1" 200 5"#), None);
        assert_eq!(read(b"\x7fELF\0\x01\"\xff\""), None);
    }
}
