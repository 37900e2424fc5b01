//! Attempts of a request: where it may go, and where it was tried.

use core::net::{IpAddr, SocketAddr};

use super::super::ids::{ClientId, EndpointId, ExchangeId, ServiceId, TargetId, UpstreamId};
use super::super::rules::ServiceRules;
use super::connection::Owner;
use crate::time::Duration;

/// The upstream connection of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct UpstreamRef {
    pub(in crate::proxy) id: UpstreamId,
    /// True if it came from the pool: it may have died unnoticed, and then one retry on a fresh one
    /// is allowed.
    pub(in crate::proxy) reused: bool,
}

/// The attempts of an exchange.
#[derive(Default)]
pub(in crate::proxy) struct Attempts {
    /// Upstream connection; `None` before the first, and once the response was read to its end.
    pub(in crate::proxy) upstream: Option<UpstreamRef>,
    /// Number of the destination that the request's head is written for.
    pub(in crate::proxy) destination: u32,
    /// Number of times that the request went to another target.
    pub(in crate::proxy) retried: u32,
    /// True if it was sent again to the endpoint that it is at now.
    pub(in crate::proxy) retried_same_endpoint: bool,
    /// Name of the endpoint that the client's cookie has; `None` without one.
    pub(in crate::proxy) sticky: Option<u64>,
    /// Endpoints where the request failed. In a box, which nearly no request has.
    tried: Option<Box<Tried>>,
}

/// Endpoints where a request failed.
#[derive(Default)]
struct Tried(Vec<EndpointId>);

/// The attempts of a request of the gateway's own.
pub(in crate::proxy) struct Dialing {
    /// Upstream connection.
    pub(in crate::proxy) upstream: Option<UpstreamRef>,
    /// Target of the request.
    pub(in crate::proxy) target: TargetId,
    /// Address of the target that must be used; `None`: any, in turn.
    pub(in crate::proxy) address: Option<SocketAddr>,
    /// Addresses that were tried.
    pub(in crate::proxy) attempts: usize,
    /// Address at which the turn began.
    pub(in crate::proxy) first_address: usize,
}

/// A request that gets a connection.
pub(in crate::proxy) enum Search<'a> {
    /// An exchange, and whose it is.
    Exchange {
        id: ExchangeId,
        client_id: ClientId,
        /// Address of the client, for affinity and for what its failures count.
        client: Option<IpAddr>,
        /// Rules that the exchange began with.
        rules: &'a ServiceRules,
        attempts: &'a mut Attempts,
    },
    /// A request of the gateway's own, or a store.
    Own {
        owner: Owner,
        dialing: &'a mut Dialing,
    },
}

/// Reason why a service has no endpoint for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum NoEndpoint {
    /// The checks of all endpoints fail; a check may say otherwise after this time.
    AllDown(Duration),
    /// The service has as many requests in flight as `limits.inFlight` allows.
    ServiceFull,
    /// Each target has as many requests in flight as its `maxInFlight` allows.
    TargetsFull,
}

/// Result of a choice among some endpoints that chose none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Unchosen {
    /// Each of them has as many requests in flight as it takes.
    Full,
    /// No endpoint may be used.
    NoMember,
}

impl Attempts {
    /// Bytes of the list of endpoints where a request failed, beside its elements.
    pub(in crate::proxy) const TRIED_BYTES: usize = size_of::<Tried>();

    /// Creates the attempts of a request whose head is written for this destination.
    pub(in crate::proxy) fn at(destination: u32) -> Attempts {
        Attempts {
            destination,
            ..Attempts::default()
        }
    }

    /// Returns the id of the connection.
    pub(in crate::proxy) fn upstream_id(&self) -> Option<UpstreamId> {
        self.upstream.map(|upstream| upstream.id)
    }

    /// Returns the endpoints where the request failed.
    pub(super) fn tried(&self) -> &[EndpointId] {
        self.tried.as_ref().map_or(&[], |tried| &tried.0)
    }

    /// Returns whether the request failed at an endpoint.
    pub(in crate::proxy) fn was_tried(&self, endpoint: EndpointId) -> bool {
        self.tried().contains(&endpoint)
    }

    /// Notes that the request does not go to an endpoint again.
    pub(super) fn note_tried(&mut self, endpoint: EndpointId) {
        if !self.was_tried(endpoint) {
            self.tried.get_or_insert_default().0.push(endpoint);
        }
    }
}

impl Dialing {
    /// A request that has no connection yet.
    pub(in crate::proxy) fn new(target: TargetId, address: Option<SocketAddr>) -> Dialing {
        Dialing {
            upstream: None,
            target,
            address,
            attempts: 0,
            first_address: 0,
        }
    }
}

impl Search<'_> {
    /// Returns the owner of the request's connection.
    pub(super) fn owner(&self) -> Owner {
        match self {
            Search::Exchange { id, .. } => Owner::Exchange(*id),
            Search::Own { owner, .. } => *owner,
        }
    }

    /// Sets the connection of the request.
    pub(super) fn set_upstream(&mut self, upstream: Option<UpstreamRef>) {
        match self {
            Search::Exchange { attempts, .. } => attempts.upstream = upstream,
            Search::Own { dialing, .. } => dialing.upstream = upstream,
        }
    }

    /// Returns the service of an exchange.
    pub(super) fn service(&self) -> Option<ServiceId> {
        match self {
            Search::Exchange { rules, .. } => Some(rules.id),
            Search::Own { .. } => None,
        }
    }

    /// Returns the service of an exchange, and the number of the destination that it goes to.
    pub(super) fn place(&self) -> Option<(ServiceId, usize)> {
        match self {
            Search::Exchange {
                rules, attempts, ..
            } => Some((rules.id, attempts.destination as usize)),
            Search::Own { .. } => None,
        }
    }

    /// Returns the attempts of an exchange.
    pub(super) fn exchange(&mut self) -> Option<&mut Attempts> {
        match self {
            Search::Exchange { attempts, .. } => Some(attempts),
            Search::Own { .. } => None,
        }
    }

    /// Returns the address of the client, and whether the request went to another target before.
    pub(super) fn blame(&self) -> (Option<IpAddr>, bool) {
        match self {
            Search::Exchange {
                attempts, client, ..
            } => (*client, attempts.retried > 0),
            Search::Own { .. } => (None, false),
        }
    }
}
