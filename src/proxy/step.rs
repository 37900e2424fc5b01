//! What follows from what a part did. [`Proxy`](super::Proxy) carries each step to the part that it concerns, in one loop.

use super::auth::{Resolved, SuspendedRequest};
use super::client::ClientStep;
use super::exchange::ExchangeStep;
use super::ids::{ClientId, ExchangeId};
use super::subrequest::Done;
use crate::observe::access::Outcome;

/// One thing that is to be done next.
pub(super) enum Step {
    /// A client connection goes on.
    Client(ClientId, ClientStep),
    /// What came behind a request's head is looked at.
    Body(ClientId),
    /// An exchange goes on.
    Exchange(ExchangeId, ExchangeStep),
    /// A request that waited for a provider is looked at again.
    Resume(ClientId, Box<SuspendedRequest>),
    /// A client connection ends, and whatever it was busy with; `abort`: with a reset.
    DropClient {
        id: ClientId,
        outcome: Outcome,
        abort: bool,
    },
    /// A request of the gateway's own came to its end.
    SubrequestDone(Done),
    /// A look-up of a credential came to its end.
    Resolved(Resolved),
}
