//! Reports of the engine to the operator.

use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::reason::Reason;
use super::settings::{Store, Target};
use crate::http::chunked::ChunkError;
use crate::http::proxy_header::HeaderFault;
use crate::observe::access::Outcome;
use crate::policy::meter::Algorithm;
use crate::policy::rate_key::RateKey;
use crate::time::Duration;
use crate::upstream::health::Change;

/// Rate limit that a client reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullLimit {
    /// Label of the service; `None` if the request has no route.
    pub service: Option<Rc<str>>,
    /// Address of the client; `None` for clients on unix sockets.
    pub client: Option<IpAddr>,
    /// Key that the limit counts by.
    pub key: RateKey,
    /// Number of requests that the limit allows.
    pub requests: u32,
    /// Time in which it allows them.
    pub window: Duration,
    /// Way in which it counts.
    pub algorithm: Algorithm,
}

/// Client whose certificate was refused, or that showed none where one is required.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uncertified {
    /// Address of the client; `None` for a client on a unix socket.
    pub client: Option<IpAddr>,
    /// Name of the listener, if it has one.
    pub listener: Option<Box<str>>,
    /// Reason.
    pub reason: Reason,
}

/// Event that the operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// A request failed because of the upstream or of the configuration, or its response was cut.
    UpstreamFailed(Box<Failed>),
    /// A request failed at a target and goes on to another one.
    TryFailed(Box<Failed>),
    /// A request was refused because of its content, or because of missing credentials.
    Refused(Box<Failed>),
    /// A request that was answered before has a malformed body, of which the rest is not read.
    BodyBroken {
        /// Address of the client; `None` for a client on a unix socket.
        client: Option<IpAddr>,
        /// Rule that the body breaks.
        fault: ChunkError,
    },
    /// A service refused its first request because of the rate limit, since the start or the last
    /// reload.
    FirstRateLimited(FullLimit),
    /// `X-Forwarded-For` came from a private address that `trustedProxies` does not name, for the
    /// first time since the start or the last reload.
    ForwardedIgnored {
        /// Address of the sender; `None` for a unix socket.
        peer: Option<IpAddr>,
    },
    /// Messages of one kind were suppressed, because too many came.
    Suppressed {
        /// True if the messages had the level `info`, false for `warn`.
        is_info: bool,
        /// Label of the service of the messages.
        service: Option<Rc<str>>,
        /// Name of the provider of the messages.
        provider: Option<Rc<str>>,
        /// Text of the messages; `None` if they are of several kinds.
        what: Option<&'static str>,
        /// Number of suppressed messages.
        count: u32,
    },
    /// An endpoint became unavailable or available.
    Health {
        /// Label of the service that uses the endpoint.
        service: Rc<str>,
        /// Target of the endpoint.
        target: Rc<Target>,
        /// Address of the endpoint.
        address: SocketAddr,
        /// Change of the endpoint's state.
        change: Change,
        /// Last event that the decision is based on.
        cause: Cause,
        /// Reason of that event, if it is known.
        reason: Option<Reason>,
    },
    /// A connection of a peer in `proxyProtocol` was closed: no header that can be read came.
    Unannounced {
        /// Address of the peer; `None` for a unix socket.
        sender: Option<IpAddr>,
        /// Reason.
        fault: HeaderFault,
    },
    /// A client's certificate was refused, or it showed none where one is required.
    Uncertified(Uncertified),
    /// A connection was rejected (with a 503 if possible).
    ConnectionsFull {
        /// Client that has too many; `None`: `limits.connections` are in use.
        client: Option<IpAddr>,
        /// True for the first one since the start or the last reload, or for an hour.
        is_first: bool,
    },
    /// No descriptor, port or memory was available for an upstream connection.
    Exhausted,
    /// A provider failed, so that it could not decide about a request.
    ProviderFailed {
        /// Name of the provider.
        provider: Rc<str>,
        /// Reason why there is no answer; `None`: there is one, of no use.
        reason: Option<Reason>,
        /// Status of the answer.
        status: Option<u16>,
    },
    /// A store cannot be used, and limits do what its `onFailure` says; or it can be used again.
    Store {
        /// Store.
        store: Rc<Store>,
        /// Reason why it cannot be used; `None`: it can be used again.
        why: Option<Box<str>>,
    },
    /// A provider has new keys.
    KeysFetched {
        /// Name of the provider.
        provider: Rc<str>,
        /// Number of keys.
        count: usize,
        /// Number of usable keys that were left out, because the set is too large.
        left_out: usize,
    },
    /// Fetching a provider's keys failed. Its previous keys remain in use.
    KeysFailed {
        /// Name of the provider.
        provider: Rc<str>,
        /// Fault of the fetch.
        fault: KeysFault,
        /// Reason of a missing response, if it is known.
        reason: Option<Reason>,
    },
}

/// A request that was refused or failed, at least at one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Label of the service, if the request has a route.
    pub service: Option<Rc<str>>,
    /// Target that the request was sent to last.
    pub target: Option<Rc<Target>>,
    /// Address that the request was sent to, if it is known.
    pub address: Option<SocketAddr>,
    /// Outcome of the exchange.
    pub outcome: Outcome,
    /// Reason of the outcome.
    pub reason: Option<Reason>,
    /// Response to the client.
    pub got: Got,
    /// True if the upstream ended a kept connection in place of its response.
    pub is_kept_lost: bool,
    /// Address of the client; `None` for a client on a unix socket.
    pub client: Option<IpAddr>,
    /// Id of the request; `None` if it has none.
    pub id: Option<Box<[u8]>>,
    /// Method as sent, at most 64 bytes; empty if it could not be parsed.
    pub method: Box<[u8]>,
    /// Path and query as sent, at most 512 bytes; empty if they could not be parsed.
    pub path: Box<[u8]>,
}

/// Response that the client of a failed request got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Got {
    /// The gateway's reply with this status.
    Reply(u16),
    /// A part of the response with this status: its connection was closed early.
    Part(u16),
    /// No byte: its connection was closed.
    Nothing,
    /// No byte so far: the request goes on to another target.
    NotYet,
}

/// Last event that an endpoint's state is based on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A health check received this status.
    Status(u16),
    /// A health check or a request ended with this outcome.
    Failure(Outcome),
    /// The ejection time is over.
    Time,
}

/// Reason why a key set could not be fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeysFault {
    /// The endpoint did not respond.
    NoAnswer(Outcome),
    /// The endpoint responded with another status than 200.
    Status(u16),
    /// The response is not a usable key set. The text is written after the words "the key set".
    Refused(&'static str),
}
