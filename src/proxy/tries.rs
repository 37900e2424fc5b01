//! Failed attempts of a request, and the verdict of authentication: what a decision
//! keeps beside the numbers of the access log.

use core::net::SocketAddr;

use super::reason::{Failure, Reason};
use crate::limits::{DECISION_REASON_BYTES, DECISION_TRIES};
use crate::observe::access::Outcome;

/// Failed attempts of a request: the first ones and the last one.
#[derive(Default)]
pub(super) struct Tries {
    pub(super) list: Vec<Try>,
    /// Number of all failed attempts.
    pub(super) count: u32,
}

/// Failed attempt.
pub(super) struct Try {
    /// Milliseconds since the start of the request.
    pub(super) at: u32,
    /// Number of the destination.
    pub(super) destination: u32,
    pub(super) address: Option<SocketAddr>,
    /// True for a kept connection, false for one that was made for the attempt; `None`: none was made.
    pub(super) kept: Option<bool>,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
}

/// Result of authentication for a request.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Verdict {
    /// The service has no providers, or the request came to no service.
    #[default]
    NotAsked,
    /// A preflight carries no credentials.
    Preflight,
    /// An API key admitted it.
    Key,
    /// Another credential than an API key admitted it.
    Credential,
    /// The request was refused.
    Refused,
}

impl Tries {
    /// Upper bound of the bytes of the attempts of one request.
    pub(super) const BYTES: usize = size_of::<Tries>().saturating_add(
        size_of::<Try>()
            .saturating_add(DECISION_REASON_BYTES)
            .saturating_mul(DECISION_TRIES),
    );

    /// Notes a failed attempt to a destination. `at`: milliseconds since the start of
    /// the request. `address`: where it went, if that is known, and whether on a kept connection.
    #[cold]
    pub(super) fn note(
        &mut self,
        at: u32,
        destination: u32,
        (address, kept): (Option<SocketAddr>, Option<bool>),
        failure: &Failure,
    ) {
        self.count = self.count.saturating_add(1);
        // The last one says why the request failed.
        if self.list.len() >= DECISION_TRIES {
            self.list.pop();
        }
        let mut reason = failure.reason.clone();
        if let Some(reason) = &mut reason {
            shorten(reason);
        }
        self.list.push(Try {
            at,
            destination,
            address,
            kept,
            outcome: failure.outcome,
            reason,
        });
    }
}

/// Cuts the text of a reason, where a peer or the system has a part in it.
pub(super) fn shorten(reason: &mut Reason) {
    if let Reason::System(text) = reason
        && text.len() > DECISION_REASON_BYTES
    {
        *text = cut(text, DECISION_REASON_BYTES);
    }
}

/// Returns a text of at most `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> Box<str> {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().into()
}
