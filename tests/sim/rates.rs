//! Reference of the rate limits by address (I14). It counts from the times of all requests that
//! passed, in the way that `docs/configuration.md` says, and shares nothing with the gateway.
//!
//! The outcome of some requests is not known: their client left, or the answer does not say whether
//! they were counted. Both possibilities are followed then.

use tollgate::policy::meter::Algorithm;
use tollgate::policy::rate::RateLimit;
use tollgate::policy::rate_key::RateKey;

/// A limit of requests by address.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    requests: u64,
    /// Milliseconds.
    window: u64,
    algorithm: Algorithm,
}

/// What is known of the decision about a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    Passed,
    Unknown,
    Limited,
}

/// Most possible histories of an address. With more, its later requests are not judged.
const HISTORIES: usize = 200;

/// Returns those of the limits that count by address.
pub fn by_address(limits: &[RateLimit]) -> Vec<Limit> {
    let by_address = limits.iter().filter(|limit| limit.key == RateKey::Ip);
    by_address
        .map(|limit| Limit {
            requests: limit.requests.into(),
            window: limit.window.as_millis(),
            algorithm: limit.algorithm,
        })
        .collect()
}

impl Limit {
    /// Returns true if one more request passes at `now`, after those that passed at these times.
    fn passes(&self, passed: &[u64], now: u64) -> bool {
        match self.algorithm {
            Algorithm::Fixed => {
                let (mut start, mut count) = (0, 0);
                for &time in passed {
                    if count == 0 || time >= start + self.window {
                        (start, count) = (time, 0);
                    }
                    count += 1;
                }
                count < self.requests || now >= start + self.window
            }
            Algorithm::Sliding => self.slides(passed, now),
            // In parts, of which a request takes as many as the window has milliseconds.
            Algorithm::Bucket { burst } => {
                let most = u64::from(burst) * self.window;
                let (mut parts, mut last) = (most, 0);
                for &time in passed {
                    parts = (parts + (time - last) * self.requests).min(most) - self.window;
                    last = time;
                }
                (parts + (now - last) * self.requests).min(most) >= self.window
            }
        }
    }

    /// The window before counts by the share of it that is not older than a window.
    fn slides(&self, passed: &[u64], now: u64) -> bool {
        let share = |requests: u64, until: u64, now: u64| {
            requests * until.saturating_sub(now).min(self.window) / self.window
        };
        // Start of the window, its requests, and what the one before weighed when it began.
        let mut running: Option<(u64, u64, u64)> = None;
        for &time in passed {
            running = match running {
                Some((start, count, before)) if time < start + self.window => {
                    Some((start, count + 1, before))
                }
                Some((start, count, _)) => {
                    Some((time, 1, share(count, start + 2 * self.window, time)))
                }
                None => Some((time, 1, 0)),
            };
        }
        let used = match running {
            Some((start, count, before)) if now < start + self.window => {
                count + share(before, start + self.window, now)
            }
            Some((start, count, _)) => share(count, start + 2 * self.window, now),
            None => 0,
        };
        used < self.requests
    }

    /// Returns the largest number of requests that pass within a time.
    pub fn most_within(&self, millis: u64) -> u64 {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => self.requests * (millis / self.window + 1),
            Algorithm::Bucket { burst } => u64::from(burst) + self.requests * millis / self.window,
        }
    }
}

/// Judges the requests of one address, in the order of their times. Returns the number of those
/// that were judged.
///
/// # Errors
/// The place of the first request for which no possible history explains what was decided.
pub fn judge(limits: &[Limit], asked: &mut [(u64, Verdict)]) -> Result<usize, usize> {
    // Of the requests of one moment the first ones pass.
    asked.sort_unstable();
    let mut histories: Vec<Vec<u64>> = vec![Vec::new()];
    for (place, &(now, verdict)) in asked.iter().enumerate() {
        let mut next = Vec::new();
        for history in histories {
            let passes = limits.iter().all(|limit| limit.passes(&history, now));
            if passes && verdict != Verdict::Limited {
                next.push([&history[..], &[now]].concat());
            }
            if verdict == Verdict::Unknown || !passes && verdict == Verdict::Limited {
                next.push(history);
            }
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return Err(place);
        }
        if next.len() > HISTORIES {
            return Ok(place);
        }
        histories = next;
    }
    Ok(asked.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(algorithm: Algorithm) -> Limit {
        Limit {
            requests: 2,
            window: 1000,
            algorithm,
        }
    }

    /// Returns which requests at these times pass.
    fn passing(algorithm: Algorithm, times: &[u64]) -> Vec<bool> {
        let mut passed = Vec::new();
        let each = times.iter().map(|&now| {
            let passes = limit(algorithm).passes(&passed, now);
            passed.extend(passes.then_some(now));
            passes
        });
        each.collect()
    }

    #[test]
    fn each_algorithm_by_hand() {
        let times = [0, 900, 999, 1000, 1001, 1002, 1500, 2500];
        let [yes, no] = [true, false];
        assert_eq!(
            passing(Algorithm::Fixed, &times),
            [yes, yes, no, yes, yes, no, no, yes]
        );
        // 2 of the window before weigh 2 at 1000, 1 at 1001, and nothing at 1002.
        assert_eq!(
            passing(Algorithm::Sliding, &times),
            [yes, yes, no, no, yes, yes, no, yes]
        );
        // A request comes back in 500 ms.
        assert_eq!(
            passing(Algorithm::Bucket { burst: 1 }, &times),
            [yes, yes, no, no, no, no, yes, yes]
        );
    }

    #[test]
    fn what_no_history_explains_is_found() {
        use Verdict::{Limited, Passed, Unknown};
        let judged =
            |asked: &[(u64, Verdict)]| judge(&[limit(Algorithm::Fixed)], &mut asked.to_vec());
        assert_eq!(judged(&[(0, Passed), (0, Limited), (0, Passed)]), Ok(3));
        assert_eq!(judged(&[(0, Passed), (1, Passed), (2, Passed)]), Err(2));
        assert_eq!(judged(&[(0, Passed), (1, Limited)]), Err(1));
        // The second one may have counted, or not.
        assert_eq!(judged(&[(0, Passed), (1, Unknown), (2, Limited)]), Ok(3));
        assert_eq!(judged(&[(0, Passed), (1, Unknown), (2, Passed)]), Ok(3));
        assert_eq!(
            judged(&[(0, Passed), (1, Unknown), (2, Passed), (3, Passed)]),
            Err(3)
        );
    }
}
