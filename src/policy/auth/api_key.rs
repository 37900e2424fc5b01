//! API keys. The gateway knows only their SHA-256 hashes. Keys are long and random, so a single
//! fast hash is enough.

use ring::digest;

/// A key's hash, as `sha256:<hex>` in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Computes the hash of a key.
    pub fn new(key: &[u8]) -> KeyHash {
        let mut hash = [0; 32];
        for (to, from) in hash
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, key).as_ref())
        {
            *to = *from;
        }
        KeyHash(hash)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<KeyHash> {
        let hex = text.strip_prefix("sha256:")?.as_bytes();
        let mut hash = [0; 32];
        if hex.len() != hash.len().saturating_mul(2) {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(hex.chunks(2)) {
            let [high, low] = pair else { return None };
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(KeyHash(hash))
    }

    /// Returns true if both are the hash of the same key. Takes constant time.
    pub fn matches(&self, other: &KeyHash) -> bool {
        let difference = self
            .0
            .iter()
            .zip(&other.0)
            .fold(0, |all, (a, b)| all | (a ^ b));
        core::hint::black_box(difference) == 0
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

impl core::fmt::Display for KeyHash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Returns true if the key is one of these. Compares with all of them, so the time does not show
/// which one matched.
pub fn is_known(key: &[u8], known: &[KeyHash]) -> bool {
    let hash = KeyHash::new(key);
    known
        .iter()
        .fold(false, |found, other| found | other.matches(&hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes() {
        // FIPS 180-2 B.1
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = KeyHash::new(b"abc");
        assert_eq!(
            (hash.to_string().as_str(), KeyHash::parse(text)),
            (text, Some(hash))
        );
        assert_eq!(
            KeyHash::parse(&text.to_uppercase().replace("SHA256", "sha256")),
            Some(hash)
        );
        for bad in [
            "",
            "sha256:",
            text.strip_suffix('d').expect("the last digit"),
            &format!("{text}0"),
            &text.replace('b', "g"),
            text.strip_prefix("sha256:").expect("the prefix"),
            &text.replace("sha256", "sha1"),
        ] {
            assert_eq!(KeyHash::parse(bad), None, "{bad}");
        }
        let known = [KeyHash::new(b"a"), hash];
        assert!(
            is_known(b"abc", &known)
                && is_known(b"a", &known)
                && !is_known(b"b", &known)
                && !is_known(b"", &known)
        );
        assert!(!is_known(b"abc", &[]));
    }
}
