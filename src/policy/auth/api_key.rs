//! API keys. The gateway knows only their SHA-256 hashes. Keys are long and random, so a single
//! fast hash is enough.

use std::sync::Arc;

use ring::digest;

use super::grant::Grant;

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

/// A key of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// Hash of the key.
    pub hash: KeyHash,
    /// Grant of the consumer that the key is named after.
    pub grant: Arc<Grant>,
}

/// Returns the grant of a key, if it is one of these. Compares with all of them, so the time does
/// not show which one matched.
pub fn find<'k>(key: &[u8], known: &'k [ApiKey]) -> Option<&'k Arc<Grant>> {
    let hash = KeyHash::new(key);
    let places = (0_usize..).zip(known);
    let found = places.fold(usize::MAX, |found, (place, other)| {
        let differs = usize::from(other.hash.matches(&hash)).wrapping_sub(1);
        // The mask is all ones for another key, and zero for this one.
        (found & differs) | (place & !differs)
    });
    known.get(found).map(|known| &known.grant)
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
        let known = [("one", KeyHash::new(b"a")), ("two", hash)].map(|(name, hash)| ApiKey {
            hash,
            grant: Arc::new(Grant::named(name)),
        });
        let found = |key| find(key, &known).and_then(|grant| grant.consumer());
        assert_eq!(
            [found(b"abc"), found(b"a"), found(b"b"), found(b"")],
            [Some("two"), Some("one"), None, None]
        );
        assert_eq!(find(b"abc", &[]), None);
    }
}
