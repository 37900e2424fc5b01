//! User name of Basic credentials (RFC 7617), for the access log.

/// Appends the user of a Basic `Authorization` (RFC 7617). Returns false and appends nothing if the
/// credentials are not Basic. The password is checked to be base64 and never copied.
pub fn basic_user(authorization: &[u8], out: &mut Vec<u8>) -> bool {
    let kept = out.len();
    let found = decode_user(authorization, out).is_some();
    if !found {
        out.truncate(kept);
    }
    found
}

/// Decodes strict base64 (RFC 4648 4): whole quads, padding only at the end, no bits left over.
fn decode_user(authorization: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (scheme, rest) = authorization.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let start = rest.iter().position(|&byte| byte != b' ')?;
    let token = rest.get(start..)?;
    let symbols = match token {
        [symbols @ .., b'=', b'='] | [symbols @ .., b'='] => symbols,
        symbols => symbols,
    };
    if token.len() % 4 != 0 {
        return None;
    }
    let mut colon = false;
    for quad in symbols.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            bits = bits << 6 | quad.get(at).map_or(Some(0), |&symbol| sextet(symbol))?;
        }
        // Four symbols are three bytes; each padding symbol is one byte less. Remaining bits must
        // be zero.
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (bytes, left) = bytes.split_at_checked(quad.len().saturating_sub(1))?;
        if left.iter().any(|&bits| bits != 0) {
            return None;
        }
        for &byte in bytes {
            colon |= byte == b':';
            if !colon {
                out.push(byte);
            }
        }
    }
    colon.then_some(())
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "each arm counts from the start of its own range"
)]
fn sextet(symbol: u8) -> Option<u32> {
    Some(u32::from(match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_basic_credentials() {
        for (authorization, user) in [
            ("Basic YW5uOnNlY3JldA==", Some("ann")),
            ("basic YW5uOg==", Some("ann")),
            ("Basic OnNlY3JldA==", Some("")),
            ("Basic   YW5uOg==", Some("ann")),
            ("Basic YW5uOnB+Pz8/", Some("ann")),
            ("Basic YW5uOg", None),
            ("Basic YW5uOg=", None),
            ("Basic YW5uOh==", None),
            ("Basic YW5uOg==YW5u", None),
            ("Basic YW5uOnNlY3JldA==!", None),
            ("Basic YW5uOnNl!3JldA==", None),
            ("Basic YW5uOnNlY3JldA-_", None),
            ("Basic ====", None),
            ("Basic", None),
            ("BasicYW5uOg==", None),
            ("Basic YW5u", None),
            ("Basic !!!!", None),
            ("Basic ", None),
            ("Bearer YW5uOg==", None),
            ("", None),
        ] {
            let mut out = b"kept".to_vec();
            let found = basic_user(authorization.as_bytes(), &mut out);
            assert_eq!(found, user.is_some(), "{authorization}");
            assert_eq!(
                String::from_utf8(out).expect("ASCII"),
                format!("kept{}", user.unwrap_or_default())
            );
        }
    }
}
