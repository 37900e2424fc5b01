//! Durations in buckets of powers of two, from one millisecond.

/// Buckets with an upper bound: 1 ms, 2 ms, .. 16.384 s.
pub const BOUNDED: usize = 15;

/// Upper bounds of the buckets as they stand in `le`, in seconds. The last one has none.
pub const BOUNDS: [&str; BOUNDED + 1] = [
    "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512",
    "1.024", "2.048", "4.096", "8.192", "16.384", "+Inf",
];

/// Durations that were counted.
#[derive(Clone, Copy, Default)]
pub struct Histogram {
    /// Durations of each bucket, without those of the buckets below.
    buckets: [u64; BOUNDED + 1],
    /// Sum of all durations in milliseconds.
    millis: u64,
}

impl Histogram {
    /// Counts a duration.
    #[inline(always)]
    pub fn add(&mut self, millis: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(millis)) {
            *bucket = bucket.wrapping_add(1);
        }
        self.millis = self.millis.wrapping_add(millis);
    }

    /// Adds the durations of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.wrapping_add(more);
        }
        self.millis = self.millis.wrapping_add(other.millis);
    }

    /// Returns the durations that came since `earlier`, a copy of this histogram.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut rest = *self;
        for (bucket, before) in rest.buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        rest.millis = rest.millis.saturating_sub(earlier.millis);
        rest
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }

    /// Returns the sum of the durations in milliseconds.
    pub fn millis(&self) -> u64 {
        self.millis
    }

    /// Returns the number of durations up to each bound.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.buckets.into_iter().scan(0_u64, |sum, bucket| {
            *sum = sum.wrapping_add(bucket);
            Some(*sum)
        })
    }

    /// Returns the duration in milliseconds that this share of the durations does not exceed, as
    /// far as the buckets tell; `None` without durations. Durations above the last bound count as
    /// that bound.
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        let wanted = count.saturating_mul(percent).div_ceil(100).max(1);
        let mut below = 0_u64;
        for (index, &bucket) in self.buckets.iter().enumerate() {
            if bucket > 0 && below.saturating_add(bucket) >= wanted {
                let upper = bound(index.min(BOUNDED.saturating_sub(1)));
                let lower = if index == 0 { 0 } else { upper / 2 };
                let lower = if index == BOUNDED { upper } else { lower };
                // Durations are taken to lie evenly within their bucket.
                let part = wanted.saturating_sub(below);
                let width = upper.saturating_sub(lower).saturating_mul(part);
                return Some(lower.saturating_add(width.div_ceil(bucket)));
            }
            below = below.saturating_add(bucket);
        }
        None
    }
}

/// Returns the upper bound of a bucket in milliseconds.
fn bound(bucket: usize) -> u64 {
    1_u64 << bucket.min(BOUNDED)
}

/// Returns the bucket of a duration: the first one whose bound is not below it.
#[inline(always)]
fn bucket_of(millis: u64) -> usize {
    // Of 0 and 1 ms, no bit is left.
    let bits = u64::BITS.wrapping_sub(millis.saturating_sub(1).leading_zeros());
    (bits as usize).min(BOUNDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_up_to_its_bound() {
        for (millis, bucket) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (16_384, 14),
            (16_385, 15),
            (u64::MAX, 15),
        ] {
            assert_eq!(bucket_of(millis), bucket, "{millis} ms");
        }
        for (index, text) in BOUNDS.iter().take(BOUNDED).enumerate() {
            let seconds = text.parse::<f64>().expect("a number");
            assert_eq!((seconds * 1000.0).round() as u64, bound(index));
            assert_eq!(bucket_of(bound(index)), index);
        }
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(50), None);
        for _ in 0..98 {
            histogram.add(3);
        }
        histogram.add(300);
        histogram.add(60_000);
        assert_eq!((histogram.count(), histogram.millis()), (100, 60_594));
        assert_eq!(histogram.quantile(50), Some(4));
        assert_eq!(histogram.quantile(99), Some(512));
        assert_eq!(histogram.quantile(100), Some(16_384));
        let before = histogram;
        histogram.add(1);
        let recent = histogram.since(&before);
        assert_eq!((recent.count(), recent.quantile(99)), (1, Some(1)));
        assert_eq!(
            before.cumulative().collect::<Vec<_>>(),
            [
                0, 0, 98, 98, 98, 98, 98, 98, 98, 99, 99, 99, 99, 99, 99, 100
            ]
        );
    }
}
