//! Decision about a failed attempt: whether the request goes again, and where to.
//!
//! A request is never executed twice: it goes again only before a byte of the response, when all of
//! it is still here, and when its method is idempotent (RFC 9110 9.2.2) or nothing of it was written.
//! Out of scope: which endpoints are left, and `retries`.

/// Connection that the attempt used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Used {
    /// The connection was not made in time, or waited for a name.
    Silent,
    /// The connection was refused, or failed in another way before it was made.
    Refused,
    /// The connection was made for this attempt.
    Fresh,
    /// The connection came from the pool, and ended or broke: it may have been dead.
    LostFromPool,
    /// The connection came from the pool, and the attempt failed in another way; or the endpoint had
    /// its second chance already, or is gone from the rules.
    FromPool,
}

/// Facts about a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedAttempt {
    pub(super) used: Used,
    /// True if a part of the response came.
    pub(super) answered: bool,
    /// True if all of the request is still here.
    pub(super) whole: bool,
    /// True if a byte of the request was written.
    pub(super) written: bool,
    /// True if the method is idempotent.
    pub(super) idempotent: bool,
}

/// Consequence of a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Retry {
    /// The request goes again to the same endpoint, on a fresh connection.
    SameEndpoint,
    /// The request goes to another address of the same target, which costs no retry, or to another
    /// target.
    OtherAddress,
    /// The request goes to another endpoint, which costs a retry.
    OtherEndpoint,
    /// The request has failed.
    No,
}

impl FailedAttempt {
    /// Decides about the request.
    pub(super) fn decide(self) -> Retry {
        let is_safe = self.idempotent || !self.written;
        if self.answered || !self.whole || !is_safe {
            return Retry::No;
        }
        match self.used {
            Used::LostFromPool => Retry::SameEndpoint,
            Used::Refused => Retry::OtherAddress,
            Used::Silent | Used::Fresh | Used::FromPool => Retry::OtherEndpoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each connection with each state of request and response: 80 rows in 15 lines.
    #[test]
    fn a_request_is_never_executed_twice() {
        use Retry::{No, OtherAddress, OtherEndpoint, SameEndpoint};
        const ALL: [bool; 2] = [false, true];
        for (used, expected) in [
            (Used::Silent, OtherEndpoint),
            (Used::Refused, OtherAddress),
            (Used::Fresh, OtherEndpoint),
            (Used::LostFromPool, SameEndpoint),
            (Used::FromPool, OtherEndpoint),
        ] {
            for (answered, whole) in ALL
                .into_iter()
                .flat_map(|one| ALL.map(|other| (one, other)))
            {
                // Written, idempotent, and whether the request may be sent again.
                for (written, idempotent, safe) in [
                    (false, false, true),
                    (false, true, true),
                    (true, false, false),
                    (true, true, true),
                ] {
                    let attempt = FailedAttempt {
                        used,
                        answered,
                        whole,
                        written,
                        idempotent,
                    };
                    let goes_again = !answered && whole && safe;
                    let expected = if goes_again { expected } else { No };
                    assert_eq!(attempt.decide(), expected, "{attempt:?}");
                }
            }
        }
    }
}
