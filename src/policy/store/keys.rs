//! Keys of clients in a store.
//!
//! All gateways that share a limit must find the same key for a client, and no client may choose a
//! value that counts for another one. So a key is a hash (SHA-256, the first 128 bits) of what tells
//! the limit from others, and of what tells the client from others. Two values that one client
//! chooses may have one key, after 2^64 tries; then they count together, which helps nobody.

use ring::digest;

use crate::time::Duration;

/// Keys of the clients of one limit.
#[derive(Clone)]
pub struct StoreKeys {
    /// Hash of what tells the limit from others.
    limit: digest::Context,
}

impl StoreKeys {
    /// Creates the keys of a limit. `owner`: identity of the table, the same in all gateways.
    pub fn new(owner: &[u8], window: Duration, ipv6_prefix: u8) -> StoreKeys {
        let mut limit = digest::Context::new(&digest::SHA256);
        limit.update(&(owner.len() as u64).to_be_bytes());
        limit.update(owner);
        limit.update(&window.as_millis().to_be_bytes());
        limit.update(&[ipv6_prefix]);
        StoreKeys { limit }
    }

    /// Returns the key of a client that counts by its address.
    pub fn address(&self, address: u128) -> u128 {
        self.hash(0, &address.to_be_bytes())
    }

    /// Returns the key of a client that counts by a value. No address has this key.
    pub fn value(&self, value: &[u8]) -> u128 {
        self.hash(1, value)
    }

    #[cold]
    fn hash(&self, kind: u8, bytes: &[u8]) -> u128 {
        crate::cost::count(bytes.len());
        let mut hash = self.limit.clone();
        hash.update(&[kind]);
        hash.update(bytes);
        let hash = hash.finish();
        let start = hash.as_ref().first_chunk().copied();
        u128::from_be_bytes(start.unwrap_or_default())
    }
}

/// Appends the key of a client as the store has it: the prefix, and 32 hexadecimal digits.
pub fn write(prefix: &str, client: u128, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix.as_bytes());
    for byte in client.to_be_bytes() {
        for half in [byte >> 4, byte & 15] {
            out.push(if half < 10 {
                b'0'.saturating_add(half)
            } else {
                b'a'.saturating_add(half).saturating_sub(10)
            });
        }
    }
}

/// Returns the key that a store's text stands for: the one that [`write`] writes without a prefix, and
/// a hash of any other text.
pub(super) fn read(text: &[u8]) -> u128 {
    let digits = text.iter().try_fold(0_u128, |key, byte| match byte {
        b'0'..=b'9' | b'a'..=b'f' => {
            let digit = char::from(*byte).to_digit(16)?;
            Some(key << 4 | u128::from(digit))
        }
        _ => None,
    });
    digits.filter(|_| text.len() == 32).unwrap_or_else(|| {
        let hash = digest::digest(&digest::SHA256, text);
        let start = hash.as_ref().first_chunk().copied();
        u128::from_be_bytes(start.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_tells_clients_apart() {
        let keys = StoreKeys::new(b"/a", MINUTE, 64);
        let same = StoreKeys::new(b"/a", MINUTE, 64);
        assert_eq!(keys.address(7), same.address(7), "the same in all gateways");
        assert_eq!(keys.value(b"x"), same.value(b"x"));
        let others = [
            StoreKeys::new(b"/b", MINUTE, 64).address(7),
            StoreKeys::new(b"/a", Duration::from_secs(61), 64).address(7),
            StoreKeys::new(b"/a", MINUTE, 56).address(7),
            keys.address(8),
            keys.value(&7_u128.to_be_bytes()),
            keys.value(b""),
        ];
        for other in others {
            assert_ne!(other, keys.address(7));
        }
    }

    #[test]
    fn a_key_as_the_store_has_it() {
        let mut key = Vec::new();
        write("tollgate:", 0x0123_4567_89ab_cdef, &mut key);
        assert_eq!(key, b"tollgate:00000000000000000123456789abcdef");
    }

    #[test]
    fn a_key_of_a_store_is_read_back() {
        for client in [0, 7, u128::MAX, 0x0123_4567_89ab_cdef] {
            let mut key = Vec::new();
            write("", client, &mut key);
            assert_eq!(read(&key), client);
        }
        let others = [
            &b""[..],
            b"7",
            b"probe",
            &[b'A'; 32],
            &[b'0'; 31],
            &[b'0'; 33],
        ];
        for (place, text) in others.iter().enumerate() {
            assert!(read(text) > 1 << 64, "{text:?}");
            let before = others.iter().take(place);
            assert!(
                before.clone().all(|other| read(other) != read(text)),
                "{text:?}"
            );
        }
    }
}
