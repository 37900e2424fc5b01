//! Strict base64 (RFC 4648): no byte outside the alphabet and no unused bits, so each value has
//! exactly one encoding.

/// The two alphabets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// `+` and `/`, padded (4).
    Standard,
    /// `-` and `_`, never padded (5; RFC 7515 2).
    Url,
}

/// Decodes base64url without padding.
pub fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    decode_symbols(text, Alphabet::Url)
}

/// Decodes padded base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let symbols = match text {
        [symbols @ .., b'=', b'='] | [symbols @ .., b'='] => symbols,
        symbols => symbols,
    };
    decode_symbols(symbols, Alphabet::Standard)
}

fn decode_symbols(symbols: &[u8], alphabet: Alphabet) -> Option<Vec<u8>> {
    crate::cost::count(symbols.len());
    let mut out = Vec::with_capacity(symbols.len().div_ceil(4).saturating_mul(3));
    for quad in symbols.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            bits = bits << 6
                | quad
                    .get(at)
                    .map_or(Some(0), |&symbol| value(symbol, alphabet))?;
        }
        // Four symbols encode three bytes, three symbols two, and two symbols one. A single symbol
        // encodes nothing.
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (bytes, left) = bytes
            .split_at_checked(quad.len().saturating_sub(1))
            .filter(|(bytes, _)| !bytes.is_empty())?;
        if left.iter().any(|&bits| bits != 0) {
            return None;
        }
        out.extend_from_slice(bytes);
    }
    Some(out)
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "each arm counts from the start of its own range"
)]
fn value(symbol: u8, alphabet: Alphabet) -> Option<u32> {
    Some(u32::from(match (symbol, alphabet) {
        (b'A'..=b'Z', _) => symbol - b'A',
        (b'a'..=b'z', _) => symbol - b'a' + 26,
        (b'0'..=b'9', _) => symbol - b'0' + 52,
        (b'+', Alphabet::Standard) | (b'-', Alphabet::Url) => 62,
        (b'/', Alphabet::Standard) | (b'_', Alphabet::Url) => 63,
        _ => return None,
    }))
}

/// Encodes as base64url without padding.
pub fn encode_url(bytes: &[u8]) -> String {
    encode_symbols(
        bytes,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    )
}

/// Encodes as padded base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = encode_symbols(
        bytes,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    );
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

fn encode_symbols(bytes: &[u8], symbols: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for triple in bytes.chunks(3) {
        let byte = |at: usize| u32::from(triple.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=triple.len() as u32 {
            let index = bits >> 18_u32.saturating_sub(at.saturating_mul(6)) & 63;
            out.push(char::from(
                symbols.get(index as usize).copied().unwrap_or(b'A'),
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_10() {
        for (plain, padded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let bare = padded.trim_end_matches('=');
            assert_eq!(decode(padded.as_bytes()).as_deref(), Some(plain.as_bytes()));
            assert_eq!(
                decode_url(bare.as_bytes()).as_deref(),
                Some(plain.as_bytes())
            );
            assert_eq!(
                (
                    encode(plain.as_bytes()).as_str(),
                    encode_url(plain.as_bytes()).as_str()
                ),
                (padded, bare)
            );
        }
        assert_eq!(decode_url(b"-_-_"), Some(vec![0xfb, 0xff, 0xbf]));
        assert_eq!(decode(b"+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn one_value_has_one_spelling() {
        for bad in [
            "Z", "Zh", "Zm9", "Zg==", "Zg=", "Zm9v=", "Zm9v\n", " Zm9v", "Zm9vY", "+_", "Zm 9v",
            "Zm9v+A", "=", "Z\u{e9}",
        ] {
            assert_eq!(decode_url(bad.as_bytes()), None, "{bad}");
        }
        for bad in [
            "Z", "Zg", "Zh==", "Zg=", "Zg===", "====", "=", "Zm9v====", "-_-_", "Z===", "Zg==Zg==",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn all_bytes_there_and_back() {
        let bytes = (0..=255).collect::<Vec<u8>>();
        for end in 0..=bytes.len() {
            assert_eq!(
                decode_url(encode_url(&bytes[..end]).as_bytes()).as_deref(),
                Some(&bytes[..end])
            );
            assert_eq!(
                decode(encode(&bytes[..end]).as_bytes()).as_deref(),
                Some(&bytes[..end])
            );
        }
    }
}
