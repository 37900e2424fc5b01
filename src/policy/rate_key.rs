//! Keys of clients: which requests a rate limit counts together.
//!
//! Tables have keys of a fixed size. Values of clients become such keys by a keyed hash, whatever
//! their length and their bytes. The key is secret, and the hash has 128 bits: a client cannot choose
//! two values that count as one.

use super::auth::credential_cache::Fingerprints;
use crate::http::head::RequestHead;

/// Configuration `rateLimit.key`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum RateKey {
    /// Address of the client.
    #[default]
    Ip,
    /// Value of a header; by address without one.
    Header(String),
    /// Name of the API key, user of Basic, or subject of a token; by address without one.
    Consumer,
    /// Value of a claim of the token; as `Consumer` without one.
    Claim(String),
}

impl RateKey {
    /// Returns true if the key is known after authentication only.
    pub const fn is_of_credential(&self) -> bool {
        match self {
            RateKey::Ip | RateKey::Header(_) => false,
            RateKey::Consumer | RateKey::Claim(_) => true,
        }
    }

    /// Returns the key as the configuration has it.
    pub fn text(&self) -> String {
        match self {
            RateKey::Ip => "ip".to_owned(),
            RateKey::Header(name) => format!("header:{name}"),
            RateKey::Consumer => "consumer".to_owned(),
            RateKey::Claim(name) => format!("claim:{name}"),
        }
    }
}

/// Returns the value of a field that a request has once, unless it is empty.
pub fn only_value<'a>(head: &RequestHead<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let fields = head.fields.iter();
    let mut values = fields.filter(|field| field.name.eq_ignore_ascii_case(name));
    let first = values.next()?.value;
    let is_only = values.next().is_none() && !first.is_empty();
    is_only.then_some(first)
}

/// Keyed hash (HMAC-SHA-256, the first 128 bits) of what makes a client.
pub struct ClientHash {
    seed: u64,
    hash: Fingerprints,
}

impl ClientHash {
    /// Creates the hash. `seed` must not be known to clients.
    pub fn new(seed: u64) -> ClientHash {
        ClientHash {
            seed,
            hash: Fingerprints::new(seed),
        }
    }

    /// Returns the seed. Another process with the same seed makes the same keys.
    pub fn seed(&self) -> u64 {
        self.seed
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
    fn hash(&self, kind: u64, bytes: &[u8]) -> u128 {
        crate::cost::count(bytes.len());
        self.hash.compute(kind, bytes, b"").start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_value_of_its_bytes_are_two_clients() {
        let hash = ClientHash::new(1);
        let address = hash.address(7);
        assert_ne!(address, hash.value(&7_u128.to_be_bytes()));
        assert_ne!(address, hash.address(8));
        assert_ne!(hash.value(b"a"), hash.value(b"b"));
        assert_ne!(hash.value(b""), hash.value(b"\0"));
        assert_eq!(hash.value(b"a"), ClientHash::new(hash.seed()).value(b"a"));
        assert_ne!(
            hash.value(b"a"),
            ClientHash::new(2).value(b"a"),
            "the seed is the key"
        );
    }
}
