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
    /// Handle the end of a subrequest.
    SubrequestDone(Done),
    /// Handle the end of a credential lookup.
    Resolved(Resolved),
}
