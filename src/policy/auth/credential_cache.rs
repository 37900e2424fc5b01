//! Cache of lookup results. Its keys are keyed hashes of credentials, so it keeps no token or
//! password, and a client cannot construct a collision.

use std::collections::{BTreeMap, VecDeque};

use ring::hmac;

use crate::time::{Duration, Instant};

/// Keyed hash of a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the first 128 bits.
    pub fn start(&self) -> u128 {
        let start = self.0.first_chunk();
        start.map_or(0, |start| u128::from_be_bytes(*start))
    }
}

/// Creates fingerprints with a key that is unique to the process.
pub struct Fingerprints(hmac::Key);

impl Fingerprints {
    /// Creates the key from a seed, which must be secret.
    pub fn new(seed: u64) -> Fingerprints {
        Fingerprints(hmac::Key::new(hmac::HMAC_SHA256, &seed.to_be_bytes()))
    }

    /// Computes the fingerprint of a credential for a provider. The credential has two parts; the
    /// second may be empty. Their lengths are hashed too, so bytes cannot move between the parts.
    pub fn compute(&self, provider: u64, first: &[u8], second: &[u8]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.0);
        for number in [provider, first.len() as u64] {
            context.update(&number.to_be_bytes());
        }
        context.update(first);
        context.update(second);
        let mut fingerprint = [0; 32];
        for (to, from) in fingerprint.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Fingerprint(fingerprint)
    }
}

/// Cached results, each with an expiry. The memory is bounded: a full cache evicts the oldest
/// entries.
pub struct CredentialCache<V> {
    entries: BTreeMap<Fingerprint, Entry<V>>,
    /// Fingerprints in the order of insertion. An item whose number differs from its entry's
    /// belongs to an entry that was replaced.
    order: VecDeque<(Fingerprint, u64)>,
    next: u64,
    bytes: usize,
    limit: usize,
}

struct Entry<V> {
    number: u64,
    since: Instant,
    until: Instant,
    bytes: usize,
    value: V,
}

/// Bytes of an entry besides its value: its slots in the map, which may be half empty, and in the
/// queue, which doubles when it grows.
const ENTRY_BYTES: usize = 256;

impl<V> CredentialCache<V> {
    /// Creates an empty cache of at most `limit` bytes.
    pub fn new(limit: usize) -> CredentialCache<V> {
        CredentialCache {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            next: 0,
            bytes: 0,
            limit,
        }
    }

    /// Returns the cached result, if it has not expired.
    pub fn get(&self, fingerprint: &Fingerprint, now: Instant) -> Option<&V> {
        self.entries
            .get(fingerprint)
            .filter(|entry| now < entry.until)
            .map(|entry| &entry.value)
    }

    /// Returns the cached result like `get`, and extends its expiry to `span` from now, but to no
    /// more than `most` after its insertion.
    pub fn renew(
        &mut self,
        fingerprint: &Fingerprint,
        now: Instant,
        span: Duration,
        most: Duration,
    ) -> Option<&V> {
        let entry = self
            .entries
            .get_mut(fingerprint)
            .filter(|entry| now < entry.until)?;
        entry.until = entry
            .until
            .max(now.after(span).min(entry.since.after(most)));
        Some(&entry.value)
    }

    /// Inserts a result that arrived at `since` and expires at `until`. `bytes`: memory that the
    /// value owns outside of itself.
    pub fn put(
        &mut self,
        fingerprint: Fingerprint,
        value: V,
        bytes: usize,
        (since, until): (Instant, Instant),
    ) {
        let bytes = bytes
            .saturating_add(size_of::<V>())
            .saturating_add(ENTRY_BYTES);
        self.remove(&fingerprint);
        while self.bytes.saturating_add(bytes) > self.limit
            || self.order.len() > self.entries.len().saturating_mul(2).saturating_add(16)
        {
            let Some((oldest, number)) = self.order.pop_front() else {
                break;
            };
            if self
                .entries
                .get(&oldest)
                .is_some_and(|entry| entry.number == number)
            {
                self.remove(&oldest);
            }
        }
        if bytes > self.limit {
            return;
        }
        self.next = self.next.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.order.push_back((fingerprint, self.next));
        self.entries.insert(
            fingerprint,
            Entry {
                number: self.next,
                since,
                until,
                bytes,
                value,
            },
        );
    }

    fn remove(&mut self, fingerprint: &Fingerprint) {
        if let Some(gone) = self.entries.remove(fingerprint) {
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }

    /// Returns the bytes that the cache occupies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(number: u64) -> Fingerprint {
        Fingerprints::new(7).compute(0, &number.to_be_bytes(), b"")
    }

    #[test]
    fn fingerprints_differ_by_all_they_are_of() {
        let fingerprints = Fingerprints::new(7);
        let all = [
            fingerprints.compute(0, b"ab", b"c"),
            fingerprints.compute(1, b"ab", b"c"),
            fingerprints.compute(0, b"a", b"bc"),
            fingerprints.compute(0, b"abc", b""),
            fingerprints.compute(0, b"", b"abc"),
            Fingerprints::new(8).compute(0, b"ab", b"c"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
    }

    #[test]
    fn answers_end_and_are_replaced() {
        let mut answers = CredentialCache::new(10_000);
        let at = Instant::from_millis;
        answers.put(fingerprint(1), 'a', 0, (at(0), at(100)));
        assert_eq!(
            (
                answers.get(&fingerprint(1), at(99)),
                answers.get(&fingerprint(1), at(100))
            ),
            (Some(&'a'), None)
        );
        assert_eq!(answers.get(&fingerprint(2), at(0)), None);
        answers.put(fingerprint(1), 'b', 0, (at(0), at(200)));
        assert_eq!(answers.get(&fingerprint(1), at(150)), Some(&'b'));
    }

    #[test]
    fn answers_that_are_used_stay_for_some_time() {
        let (at, span, most) = (
            Instant::from_millis,
            Duration::from_millis(60),
            Duration::from_millis(200),
        );
        let mut answers = CredentialCache::new(10_000);
        answers.put(fingerprint(1), 'a', 0, (at(0), at(60)));
        for now in [59, 59, 110, 160] {
            assert_eq!(
                answers.renew(&fingerprint(1), at(now), span, most),
                Some(&'a'),
                "{now}"
            );
        }
        assert_eq!(
            (
                answers.get(&fingerprint(1), at(199)),
                answers.get(&fingerprint(1), at(200))
            ),
            (Some(&'a'), None)
        );
        assert_eq!(
            answers.renew(&fingerprint(1), at(200), span, most),
            None,
            "what has ended does not begin again"
        );
        answers.put(fingerprint(1), 'b', 0, (at(300), at(360)));
        answers.renew(&fingerprint(1), at(301), Duration::ZERO, most);
        assert_eq!(
            answers.get(&fingerprint(1), at(359)),
            Some(&'b'),
            "using it does not shorten it"
        );
    }

    #[test]
    fn the_oldest_go_first_and_the_bytes_are_bounded() {
        let mut answers = CredentialCache::new(2_000);
        for number in 0..1000 {
            answers.put(
                fingerprint(number),
                number,
                100,
                (Instant::ZERO, Instant::from_millis(1)),
            );
            assert!(answers.bytes() <= 2_000 && answers.order.len() <= 40);
        }
        assert!(
            answers.get(&fingerprint(999), Instant::ZERO).is_some()
                && answers.get(&fingerprint(990), Instant::ZERO).is_none()
        );
        for _ in 0..1000 {
            answers.put(
                fingerprint(999),
                1,
                100,
                (Instant::ZERO, Instant::from_millis(1)),
            );
            assert!(answers.order.len() <= 40, "replacing leaves nothing behind");
        }
        answers.put(
            fingerprint(5),
            5,
            5_000,
            (Instant::ZERO, Instant::from_millis(1)),
        );
        assert!(
            answers.get(&fingerprint(5), Instant::ZERO).is_none(),
            "it does not fit"
        );
        assert!(answers.bytes() <= 2_000);
    }
}
