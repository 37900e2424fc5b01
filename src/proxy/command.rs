//! Commands of the engine to the loop, and the faults that the loop reports to the engine.

use core::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

pub use super::ids::{ClientId, LookupId, TargetId, UpstreamId};
pub use super::reason::{Busy, Reason};
pub use super::reports::{Cause, Failed, FullLimit, Got, KeysFault, Report, Uncertified};
use super::settings::Target;
use crate::observe::access::Outcome;
use crate::policy::auth::basic::Verification;
use crate::policy::auth::signature::CostlySignature;
use crate::policy::forward::Scheme;

/// A connection of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A client connection.
    Client(ClientId),
    /// An upstream connection.
    Upstream(UpstreamId),
}

/// A side to look at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The side.
    pub side: Side,
    /// True if bytes wait to be written to it.
    pub has_pending: bool,
}

/// Kind of listener that a client connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerKind {
    /// Plain HTTP.
    Plain,
    /// TLS.
    Secure,
    /// Plain HTTP that redirects every request to the TLS listener.
    Redirect,
}

impl ListenerKind {
    /// Returns the scheme of its connections.
    pub(super) fn scheme(self) -> Scheme {
        match self {
            ListenerKind::Secure => Scheme::Https,
            ListenerKind::Plain | ListenerKind::Redirect => Scheme::Http,
        }
    }
}

/// Commands for the loop. Their order matters: a `Close` comes before the `Dial` that reuses its
/// slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Connect to the address, with a TLS handshake if the target uses TLS. The loop replies with
    /// `handle_connected` or `handle_fault`.
    Dial {
        /// Id of the new connection.
        upstream: UpstreamId,
        /// Target, for its TLS settings.
        target: TargetId,
        /// Address to connect to.
        address: SocketAddr,
    },
    /// Resolve the target's name. The loop replies with `handle_resolved`.
    Resolve {
        /// Target, to name in the reply.
        target: TargetId,
        /// Host name and port of the target.
        name: Rc<Target>,
    },
    /// All bytes are written: end the sending direction (TLS: close_notify first), but continue to
    /// read.
    Shut(Side),
    /// Close the connection.
    Close {
        /// The connection; its key is invalid from now on.
        side: Side,
        /// True to close with a reset, so that the peer cannot take the sent bytes for a complete
        /// message.
        abort: bool,
    },
    /// Run slow work outside of the loop. The loop replies with `handle_verified`.
    Verify {
        /// Id of the lookup.
        verification: LookupId,
        /// Work to run.
        work: Work,
    },
    /// Report an event to the operator.
    Report(Report),
    /// Fetch the recording of a failed request: see [`inputs::take`](super::inputs::take).
    Record,
    /// Fetch the answer to an errand: see [`errands::take`](super::errands::take).
    Errand,
}

/// Name and value of a field.
pub type Field = (Box<[u8]>, Box<[u8]>);

/// Answer to an errand.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Names and values of the fields.
    pub fields: Vec<Field>,
    /// Body.
    pub body: Vec<u8>,
}

/// Answer to an errand, or a text that says why there is none.
pub type Answered = Result<Answer, String>;

/// Work that is too slow for the event loop. Passwords take much longer than signatures, so the two
/// kinds must not wait for each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Verification of a password.
    Password(Box<Verification>),
    /// Verification of a token's signature.
    Signature(Arc<CostlySignature>),
}

/// Reason why a connection of a client is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// `limits.connections` are in use.
    Full,
    /// The client has its share of the connections.
    ClientShare,
    /// The address rules deny the client.
    Denied,
    /// A peer in `proxyProtocol` sent no header of that protocol.
    ProxyHeader,
    /// The certificate of the client was refused, or none came where one is required.
    Certificate,
}

impl Refused {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Refused; 5] = [
        Refused::Full,
        Refused::ClientShare,
        Refused::Denied,
        Refused::ProxyHeader,
        Refused::Certificate,
    ];

    /// Returns the word of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refused::Full => "full",
            Refused::ClientShare => "client_share",
            Refused::Denied => "denied",
            Refused::ProxyHeader => "proxy_header",
            Refused::Certificate => "certificate",
        }
    }
}

/// Fault of a connection, as far as the engine distinguishes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The upstream accepted no connection: connection refused, or a connect timeout of the kernel.
    Refused,
    /// A router or the neighbour discovery reported that the host or its network is not reachable
    /// (RFC 4443 3.1).
    NoRoute,
    /// No route of this machine leads to the address, or it has no address of that family.
    Unreachable,
    /// The TLS handshake failed, or the peer's certificate does not match.
    Tls,
    /// The connection broke.
    Reset,
    /// A TLS stream ended without close_notify. A client may end it so (RFC 9112 9.8), as its requests
    /// say where they end; of an upstream bytes may be missing.
    Truncated,
    /// The peer closed while the gateway was writing. Reading continues, because the peer may have
    /// sent a response before.
    SendFailed,
    /// No descriptor, port or memory left on this machine.
    Exhausted,
}

impl Fault {
    /// Returns the outcome of an exchange that ends because of this fault of the upstream
    /// connection.
    pub fn outcome(self) -> Outcome {
        match self {
            Fault::Refused => Outcome::UpstreamRefused,
            Fault::NoRoute | Fault::Unreachable => Outcome::UpstreamUnreachable,
            Fault::Tls => Outcome::UpstreamTls,
            Fault::Reset | Fault::Truncated | Fault::SendFailed => Outcome::UpstreamClosed,
            Fault::Exhausted => Outcome::OverLimit,
        }
    }
}
