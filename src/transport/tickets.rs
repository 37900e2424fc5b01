//! Tickets by which clients resume sessions (RFC 5077, RFC 8446 4.6.1), and the keys that they are
//! encrypted with.
//!
//! A key makes tickets for six hours and opens them for as long again. Keys can be handed to the
//! next process of an upgrade; they are never written to a file.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

use super::provider::provider;

/// Seconds for which a key makes tickets.
const LIFETIME: u64 = 6 * 60 * 60;
/// Bytes of the name of a key, which a ticket begins with.
const NAME_BYTES: usize = 16;
/// Bytes of a key with its name.
pub const KEY_BYTES: usize = NAME_BYTES + 32;

/// Key of tickets: its name, and the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketKey(pub [u8; KEY_BYTES]);

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

/// Keys of a listener's tickets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketKeys {
    /// Key of new tickets.
    pub current: TicketKey,
    /// Key of the tickets before, which are accepted.
    pub previous: Option<TicketKey>,
    /// Seconds since the epoch at which another key becomes the current one.
    pub until: u64,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys(..)")
    }
}

/// Maker of the tickets of a listener. Clones share the keys.
#[derive(Clone, Debug)]
pub(super) struct Tickets(Arc<Mutex<TicketKeys>>);

impl Tickets {
    /// Creates random keys.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new() -> Result<Tickets, String> {
        let current = TicketKey::random().ok_or("the system gives no random bytes")?;
        let until = now().saturating_add(LIFETIME);
        Ok(Tickets(Arc::new(Mutex::new(TicketKeys {
            current,
            previous: None,
            until,
        }))))
    }

    /// Returns the keys.
    pub(super) fn keys(&self) -> TicketKeys {
        self.at(now())
    }

    /// Replaces the keys. They are used no longer than keys that were made now.
    pub(super) fn restore(&self, keys: TicketKeys) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = TicketKeys {
            until: keys.until.min(now().saturating_add(LIFETIME)),
            ..keys
        };
    }

    /// Returns the keys of this time. Without random bytes the old ones stay.
    fn at(&self, now: u64) -> TicketKeys {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= held.until
            && let Some(current) = TicketKey::random()
        {
            let is_recent = now < held.until.saturating_add(LIFETIME);
            *held = TicketKeys {
                current,
                previous: is_recent.then_some(held.current),
                until: now.saturating_add(LIFETIME),
            };
        }
        *held
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().current.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys();
        let previous = || keys.previous?.open(ticket);
        keys.current.open(ticket).or_else(previous)
    }
}

impl TicketKey {
    fn random() -> Option<TicketKey> {
        let mut bytes = [0; KEY_BYTES];
        provider().secure_random.fill(&mut bytes).ok()?;
        Some(TicketKey(bytes))
    }

    fn parts(&self) -> Option<(&[u8], LessSafeKey)> {
        let (name, secret) = self.0.split_at_checked(NAME_BYTES)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, secret).ok()?;
        Some((name, LessSafeKey::new(key)))
    }

    /// Returns the ticket: name of the key, nonce, encrypted text and tag. The nonce is random,
    /// because a counter would tell clients how many tickets there are.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.parts()?;
        let mut nonce = [0; NONCE_LEN];
        provider().secure_random.fill(&mut nonce).ok()?;
        let mut text = plain.to_vec();
        let tag = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(name),
            &mut text,
        );
        Some([name, &nonce, &text, tag.ok()?.as_ref()].concat())
    }

    /// Returns the text of a ticket of this key.
    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.parts()?;
        let rest = ticket.strip_prefix(name)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key
            .open_in_place(nonce, Aad::from(name), &mut text)
            .ok()?
            .len();
        text.truncate(length);
        Some(text)
    }
}

fn now() -> u64 {
    UnixTime::now().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_opened_by_the_keys_they_were_made_with_and_no_others() {
        let (one, other) = (Tickets::new().expect("keys"), Tickets::new().expect("keys"));
        let ticket = one.encrypt(b"session").expect("a ticket");
        assert_ne!(one.encrypt(b"session").as_ref(), Some(&ticket), "random");
        assert_eq!(one.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(one.decrypt(&changed), None, "byte {at}");
            assert_eq!(one.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        other.restore(one.keys());
        assert_eq!(other.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(
            format!("{other:?}").matches("(..)").count(),
            1,
            "no key is shown"
        );
    }

    #[test]
    fn keys_are_replaced_and_the_one_before_opens_for_as_long_again() {
        let tickets = Tickets::new().expect("keys");
        let first = tickets.keys();
        assert_eq!(tickets.at(first.until - 1), first);
        let second = tickets.at(first.until);
        assert_ne!(second.current.0, first.current.0);
        assert_eq!(second.previous.map(|key| key.0), Some(first.current.0));
        assert_eq!(second.until, first.until + LIFETIME);
        let last = tickets.at(second.until + LIFETIME - 1);
        assert_eq!(last.previous.map(|key| key.0), Some(second.current.0));
        assert_eq!(tickets.at(last.until + LIFETIME).previous, None, "too old");
        // Another process cannot make a key last longer.
        let keys = TicketKeys {
            until: u64::MAX,
            ..first
        };
        tickets.restore(keys);
        assert!(tickets.keys().until <= now() + LIFETIME);
    }
}
