//! Keys of clients in a store.
//!
//! All gateways that share a limit must find the same key for a client, and no client may choose a
//! value that counts for another one. So a key is a hash (SHA-256, the first 128 bits) of what tells
//! the limit from others, and of what tells the client from others. Two values that one client
//! chooses may have one key, after 2^64 tries; then they count together, which helps nobody.
//!
//! A supervisor counts for its workers in sliding windows and buckets, too. There the text of a key goes
//! on with a mark: `s` and the window in ms, or `b`, the window, `/` and the requests that come back in it.

use ring::digest;

use crate::digits;
use crate::policy::meter::{Algorithm, Meter};
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

/// Appends the mark of a key that counts in this way.
pub(in crate::policy) fn mark(meter: &Meter, out: &mut Vec<u8>) {
    let mut number = |before, value| {
        out.push(before);
        out.extend_from_slice(digits::write(value, &mut [0; 20]));
    };
    match meter.algorithm {
        Algorithm::Fixed => {}
        Algorithm::Sliding => number(b's', meter.window.as_millis()),
        Algorithm::Bucket { .. } => {
            number(b'b', meter.window.as_millis());
            number(b'/', meter.requests.into());
        }
    }
}

/// Kind of count under a key of a supervisor, which the first two bits of the key say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Fixed,
    Sliding,
    Bucket,
}

impl Kind {
    /// Returns what is counted under a key.
    pub(super) fn of(key: u128) -> Kind {
        match key >> KEY_BITS {
            1 => Kind::Sliding,
            2 => Kind::Bucket,
            _ => Kind::Fixed,
        }
    }
}

/// Bits of a key without its kind.
const KEY_BITS: u32 = 126;

/// Returns the key that a supervisor's text stands for: the one that [`write`] writes without a prefix, or
/// a hash of any other text; and how it counts, unless in fixed windows.
pub(super) fn read(text: &[u8]) -> (u128, Option<Meter>) {
    let marked = text.split_at_checked(32).and_then(|(digits, mark)| {
        let key = digits.iter().try_fold(0_u128, |key, byte| match byte {
            b'0'..=b'9' | b'a'..=b'f' => {
                let digit = char::from(*byte).to_digit(16)?;
                Some(key << 4 | u128::from(digit))
            }
            _ => None,
        });
        Some((key?, read_mark(mark)?))
    });
    let (key, meter) = marked.unwrap_or_else(|| {
        let hash = digest::digest(&digest::SHA256, text);
        let start = hash.as_ref().first_chunk().copied();
        (u128::from_be_bytes(start.unwrap_or_default()), None)
    });
    let kind = match meter.map(|meter| meter.algorithm) {
        None | Some(Algorithm::Fixed) => Kind::Fixed,
        Some(Algorithm::Sliding) => Kind::Sliding,
        Some(Algorithm::Bucket { .. }) => Kind::Bucket,
    };
    let key = key & !(u128::MAX << KEY_BITS);
    (key | (kind as u128) << KEY_BITS, meter)
}

/// Reads a mark; `Some(None)`: there is none.
fn read_mark(mark: &[u8]) -> Option<Option<Meter>> {
    let Some((first, rest)) = mark.split_first() else {
        return Some(None);
    };
    let at = rest.iter().position(|byte| *byte == b'/');
    let (window, requests) = rest.split_at(at.unwrap_or(rest.len()));
    let (algorithm, requests) = match (first, requests) {
        (b's', []) => (Algorithm::Sliding, 1),
        // What was counted counts, also beyond the bucket.
        (b'b', [_, requests @ ..]) => {
            let requests = u32::try_from(digits::parse(requests)?).ok()?;
            (Algorithm::Bucket { burst: u32::MAX }, requests)
        }
        _ => return None,
    };
    Some(Some(Meter {
        requests,
        window: Duration::from_millis(digits::parse(window)?),
        algorithm,
    }))
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
        let meter = |algorithm| Meter {
            requests: 1_000_000_000,
            window: Duration::from_secs(30 * 24 * 3600),
            algorithm,
        };
        for client in [0, 7, u128::MAX >> 2, 0x0123_4567_89ab_cdef] {
            let mut key = Vec::new();
            write("", client, &mut key);
            assert_eq!(read(&key).0, client);
            assert!(read(&key).1.is_none());
            assert_eq!(Kind::of(client), Kind::Fixed);
            for (algorithm, kind) in [
                (Algorithm::Sliding, Kind::Sliding),
                (Algorithm::Bucket { burst: 7 }, Kind::Bucket),
            ] {
                let mut marked = key.clone();
                mark(&meter(algorithm), &mut marked);
                assert!(marked.len() <= 32 + crate::limits::STORE_MARK_BYTES_MAX);
                let (read, found) = read(&marked);
                assert_eq!((read << 2 >> 2, Kind::of(read)), (client, kind));
                let found = found.expect("it is marked");
                assert_eq!(found.window, meter(algorithm).window);
                assert!(found.algorithm.is_like(algorithm));
                assert!(kind == Kind::Sliding || found.requests == 1_000_000_000);
            }
        }
        let others = [
            &b""[..],
            b"7",
            b"probe",
            &[b'A'; 32],
            &[b'0'; 31],
            &[b'0'; 33],
            &[&[b'0'; 32][..], b"s"].concat(),
            &[&[b'0'; 32][..], b"s1/1"].concat(),
            &[&[b'0'; 32][..], b"sx"].concat(),
            &[&[b'0'; 32][..], b"b1"].concat(),
            &[&[b'0'; 32][..], b"b1/"].concat(),
            &[&[b'0'; 32][..], b"b1/4294967296"].concat(),
            &[&[b'0'; 32][..], b"c1"].concat(),
        ];
        for (place, text) in others.iter().enumerate() {
            let (key, meter) = read(text);
            assert!(key > 1 << 64 && meter.is_none(), "{text:?}");
            let before = others.iter().take(place);
            assert!(before.clone().all(|other| read(other).0 != key), "{text:?}");
        }
    }
}
