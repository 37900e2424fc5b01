//! Times in nanoseconds, kept to within 1.6 %: 64 buckets for each power of two.

const SUB_BITS: u32 = 6;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) << SUB_BITS;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Returns the value that `share` (0 to 1) of the recorded ones do not exceed, as the upper end of its bucket; 0 without a value.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_end(index);
            }
        }
        0
    }
}

/// Returns the bucket of a value. Each value below 64 has its own; above, the six bits behind the leading one and their power name it.
fn bucket(nanos: u64) -> usize {
    if nanos < 1 << SUB_BITS {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros() - SUB_BITS;
    let top = (nanos >> power) as usize & ((1 << SUB_BITS) - 1);
    ((power as usize + 1) << SUB_BITS) + top
}

fn upper_end(bucket: usize) -> u64 {
    if bucket < 1 << SUB_BITS {
        return bucket as u64;
    }
    let power = (bucket >> SUB_BITS) as u32 - 1;
    let top = (bucket & ((1 << SUB_BITS) - 1)) as u64 | 1 << SUB_BITS;
    ((top + 1) << power) - 1
}

/// Checks that every value lies in its bucket, and that no bucket is wider than a 64th of its values. It runs at each start.
pub fn check() {
    for nanos in (0..63).flat_map(|power| [0, 1, 12345].map(|more| (1_u64 << power) + more)) {
        let end = upper_end(bucket(nanos));
        assert!(
            nanos <= end && end - nanos <= nanos / 64,
            "{nanos} is in a bucket that ends at {end}"
        );
        assert!(
            bucket(end) == bucket(nanos) && bucket(end + 1) == bucket(nanos) + 1,
            "{nanos}: buckets adjoin"
        );
    }
}
