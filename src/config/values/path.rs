//! Paths, as routes and targets have them.

use crate::config::syntax::stray::Fault;
use crate::limits::CONFIG_PATH_BYTES_MAX;
use crate::policy::foreign;

/// Returns true if a text has a variable of another program.
pub(crate) fn has_variable(text: &str) -> bool {
    text.contains('{')
        || text.contains("%[")
        || text.contains("$1")
        || foreign::has_known(text.as_bytes())
}

/// Returns the fault of a path that was pasted with the mark behind it.
pub(crate) fn ends_in_a_mark() -> Fault {
    Fault::uncured("ends as no path does")
}

/// Checks that a text has bytes of a path (RFC 3986 3.3) alone, and no dot segment in any spelling.
pub(crate) fn check(path: &str) -> Result<(), Fault> {
    if path.len() > CONFIG_PATH_BYTES_MAX {
        return Err(format!("is longer than {CONFIG_PATH_BYTES_MAX} bytes").into());
    }
    if let Some(wrong) = path.chars().find(|c| !is_path_char(*c)) {
        let hint = match wrong {
            '\\' => "; write \"/\"",
            ' ' => "; write \"%20\"",
            c if c.is_ascii() => "; remove it",
            _ => "; write it percent-encoded, as \"%C3%A9\" for an e with an acute accent",
        };
        return Err(format!("has a character that no path may have ({wrong:?}){hint}").into());
    }
    if has_variable(path) {
        return Err("has a variable, which would stand there as it is; remove it".into());
    }
    // Nobody ends a path so on purpose.
    if path.ends_with([';', ',']) {
        return Err(ends_in_a_mark());
    }
    let Some(decoded) = decode(path) else {
        return Err("has a \"%\" without two hexadecimal digits".into());
    };
    let is_dots = |segment: &[u8]| {
        let bare = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or(segment);
        bare == b"." || bare == b".."
    };
    match decoded.split(|byte| *byte == b'/').any(is_dots) {
        true => Err("has a dot segment (\".\" or \"..\"); write the path it leads to".into()),
        false => Ok(()),
    }
}

/// Tells whether a path may have a character: unreserved, sub-delims, ":", "@", "/" and the "%" of
/// an escape.
fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c)
}

fn decode(path: &str) -> Option<Vec<u8>> {
    let digit = |byte: Option<u8>| {
        byte.and_then(|byte| char::from(byte).to_digit(16))
            .and_then(|n| u8::try_from(n).ok())
    };
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            _ => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in [
            "",
            "/",
            "/a%20b",
            "/a//b",
            "/a%2Fb",
            "/.a/b..",
            "/a%25",
            "/a;v=1,2",
            "/$metadata",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "/$request_uri",
            "/a/$1",
            "/%2e",
            "/a/%2E%2e/b",
            "/.%2e;x",
            "/a%2f..%2fb",
            "/a%",
            "/a%4",
            "/a%4g",
            "/a%+1",
            "/a b",
            "/é",
            "/<",
            "/a;",
            "/a/,",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
