//! Steps: the results of a part that concern another part. [`Proxy`](super::Proxy) carries each of
//! them to its part, in one loop.

use super::auth::{Resolved, SuspendedRequest};
use super::client::ClientStep;
use super::exchange::ExchangeStep;
use super::ids::{ClientId, ExchangeId};
use super::subrequest::Done;
use crate::observe::access::Outcome;

/// Next step of one of the parts.
pub(super) enum Step {
    /// Continue a client connection.
    Client(ClientId, ClientStep),
    /// Process the bytes after a request's head.
    Body(ClientId),
    /// Continue an exchange.
    Exchange(ExchangeId, ExchangeStep),
    /// Decide again about a request that waited for a provider.
    Resume(ClientId, Box<SuspendedRequest>),
    /// Close a client connection, with its exchange or request; `abort`: with a reset.
    DropClient {
        id: ClientId,
        outcome: Outcome,
        abort: bool,
    },
    /// Handle the end of a subrequest. The box keeps its answer from making every step large.
    SubrequestDone(Box<Done>),
    /// Handle the end of a credential lookup.
    Resolved(Resolved),
}

impl Step {
    /// Returns the step after an event of a client connection, where there is one.
    #[inline]
    pub(super) fn of_client(id: ClientId, step: ClientStep) -> Option<Step> {
        match step {
            ClientStep::Wait => None,
            step => Some(Step::Client(id, step)),
        }
    }

    /// Returns the step after an event of an exchange, where there is one.
    #[inline]
    pub(super) fn of_exchange(id: ExchangeId, step: ExchangeStep) -> Option<Step> {
        match step {
            ExchangeStep::Wait => None,
            step => Some(Step::Exchange(id, step)),
        }
    }

    /// Returns the step after the end of a request of the gateway's own.
    pub(super) fn subrequest_done(done: Done) -> Step {
        Step::SubrequestDone(Box::new(done))
    }
}
