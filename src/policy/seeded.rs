//! Keyed hash of addresses, for tables under the addresses of clients.

use core::hash::{BuildHasher, Hasher};
use std::hash::DefaultHasher;

/// Keyed hash of addresses: multiply-shift over two words (Dietzfelbinger, STACS 1996), the upper
/// half of `a * low + b * high + c` modulo 2^128. With secret keys the hash is strongly universal:
/// for any addresses that clients choose, two of them collide no more often than by chance. A hash
/// table needs nothing more. SipHash gives stronger guarantees and costs ten times as much.
#[derive(Clone, Copy)]
pub(super) struct Seeded {
    factors: [u128; 2],
    offset: u128,
}

impl Seeded {
    /// Derives the keys from `seed`, because the core has no source of randomness.
    pub(super) fn new(seed: u64) -> Seeded {
        let word = |number: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write_u8(number);
            u128::from(hasher.finish())
        };
        let key = |number: u8| word(number) << 64 | word(number.saturating_add(1));
        Seeded {
            factors: [key(0), key(2)],
            offset: key(4),
        }
    }
}

impl BuildHasher for Seeded {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        AddressHasher {
            keys: *self,
            hash: 0,
        }
    }
}

pub(super) struct AddressHasher {
    keys: Seeded,
    hash: u64,
}

impl Hasher for AddressHasher {
    fn write_u128(&mut self, address: u128) {
        let (low, high) = (u128::from(address as u64), address >> 64);
        let [a, b] = self.keys.factors;
        let sum = a
            .wrapping_mul(low)
            .wrapping_add(b.wrapping_mul(high))
            .wrapping_add(self.keys.offset);
        self.hash = (sum >> 64) as u64;
    }

    /// The table hashes only addresses, but the trait requires this function.
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u128(u128::from(byte) << 64 | u128::from(self.hash));
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbours, and addresses that differ in one part alone, must not meet in the buckets of a
    /// table.
    #[test]
    fn addresses_spread_whatever_they_have_in_common() {
        for seed in 0..20 {
            let hasher = Seeded::new(seed);
            for shift in [0, 8, 24, 63, 64, 100, 116] {
                for (part, mask) in [("lower", 0xfff), ("upper", 0xfff << 52)] {
                    let mut buckets = [0_u8; 4096];
                    for n in 0..4096_u128 {
                        let bits = hasher.hash_one(n << shift) & mask;
                        buckets[(bits.rotate_right(mask.trailing_zeros()) & 0xfff) as usize] += 1;
                    }
                    let most = buckets.iter().max().copied().unwrap_or(0);
                    assert!(
                        most <= 64,
                        "seed {seed}, shift {shift}: {most} of 4,096 in one bucket of 4,096, {part} bits"
                    );
                }
            }
            assert_ne!(
                hasher.hash_one(1_u128),
                Seeded::new(seed + 1).hash_one(1_u128),
                "the seed is the key"
            );
        }
    }
}
