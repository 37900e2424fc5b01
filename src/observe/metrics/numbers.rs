//! Numbers of one service or target, and what is counted of a request that has ended.

use super::histogram::Histogram;
use crate::observe::access::Outcome;

/// Numbers of a service.
#[derive(Clone, Copy)]
pub struct ServiceCounters {
    /// Requests by the first digit of the status; 0: no status was sent.
    pub codes: [u64; CODES],
    /// Requests by [`Outcome`].
    pub ended: [u64; Outcome::ALL.len()],
    /// Time from the head of a request to its end.
    pub duration: Histogram,
    /// Time from sending a request to the head of the response.
    pub upstream: Histogram,
    /// Bytes of the bodies of requests.
    pub request_bytes: u64,
    /// Bytes of the bodies of responses.
    pub response_bytes: u64,
    /// Attempts beyond the first of a request.
    pub retries: u64,
}

/// Number of the values of [`ServiceCounters::codes`].
pub const CODES: usize = 6;

/// Numbers of an address of a target, as one service uses it.
#[derive(Clone, Copy, Default, Debug)]
pub struct TargetCounters {
    /// Requests that were sent there, each attempt by itself.
    pub requests: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Health checks that failed.
    pub check_failures: u64,
}

/// Facts about a request that has ended.
#[derive(Clone, Copy)]
pub struct Ended {
    /// Status that the client got.
    pub status: Option<u16>,
    /// End of the exchange.
    pub outcome: Outcome,
    /// Milliseconds from its head to its end.
    pub millis: u64,
    /// Milliseconds from sending it to the head of the response.
    pub upstream_millis: Option<u32>,
    /// Bytes of its body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Number of retries.
    pub retries: u32,
}

impl Default for ServiceCounters {
    fn default() -> ServiceCounters {
        ServiceCounters {
            codes: [0; CODES],
            ended: [0; Outcome::ALL.len()],
            duration: Histogram::default(),
            upstream: Histogram::default(),
            request_bytes: 0,
            response_bytes: 0,
            retries: 0,
        }
    }
}

/// Adds to one number of an array. A `u64` does not overflow in the life of a process.
#[inline(always)]
pub(super) fn add<const N: usize>(numbers: &mut [u64; N], index: usize, more: u64) {
    if let Some(number) = numbers.get_mut(index) {
        *number = number.wrapping_add(more);
    }
}

impl ServiceCounters {
    /// Counts a request.
    #[inline(always)]
    pub(super) fn count(&mut self, ended: &Ended) {
        let code = usize::from(ended.status.unwrap_or(0) / 100);
        add(&mut self.codes, code.min(CODES.saturating_sub(1)), 1);
        add(&mut self.ended, ended.outcome as usize, 1);
        self.duration.add(ended.millis);
        if let Some(millis) = ended.upstream_millis {
            self.upstream.add(millis.into());
        }
        self.request_bytes = self.request_bytes.wrapping_add(ended.request_bytes);
        self.response_bytes = self.response_bytes.wrapping_add(ended.response_bytes);
        self.retries = self.retries.wrapping_add(ended.retries.into());
    }

    /// Returns the number of requests that ended in one way.
    pub fn ended_as(&self, outcome: Outcome) -> u64 {
        self.ended.get(outcome as usize).copied().unwrap_or(0)
    }

    /// Adds the numbers of another service with the same name.
    pub fn merge(&mut self, other: &ServiceCounters) {
        // All fields are named, so that a new one is an error here.
        let ServiceCounters {
            codes,
            ended,
            duration,
            upstream,
            request_bytes,
            response_bytes,
            retries,
        } = other;
        let numbers = self.codes.iter_mut().zip(codes);
        for (number, more) in numbers.chain(self.ended.iter_mut().zip(ended)) {
            *number = number.wrapping_add(*more);
        }
        self.duration.merge(duration);
        self.upstream.merge(upstream);
        self.request_bytes = self.request_bytes.wrapping_add(*request_bytes);
        self.response_bytes = self.response_bytes.wrapping_add(*response_bytes);
        self.retries = self.retries.wrapping_add(*retries);
    }
}

impl TargetCounters {
    /// Adds the numbers of the same address.
    pub fn merge(&mut self, other: &TargetCounters) {
        let TargetCounters {
            requests,
            connects,
            check_failures,
        } = *other;
        self.requests = self.requests.wrapping_add(requests);
        self.connects = self.connects.wrapping_add(connects);
        self.check_failures = self.check_failures.wrapping_add(check_failures);
    }

    /// Counts one more of something.
    pub fn one_more(number: &mut u64) {
        *number = number.wrapping_add(1);
    }
}
