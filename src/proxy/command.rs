//! The words between the engine and the loop: what the loop is asked to do, and what it says went wrong.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use super::ids::{ClientId, LookupId, UpstreamId};
pub use super::reason::Reason;
use crate::observe::access::Outcome;
use crate::policy::auth::basic::Verification;
use crate::policy::auth::signature::CostlySignature;
use crate::upstream::health::Change;

/// One end of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A client connection.
    Client(ClientId),
    /// An upstream connection.
    Upstream(UpstreamId),
}

/// The kind of listener that a client came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerKind {
    /// Plain HTTP.
    Plain,
    /// TLS.
    Secure,
    /// Plain HTTP, where every request is sent on to the TLS listener.
    Redirect,
}

/// What the loop is to do next. Commands are in order: a `Close` comes before the `Dial` that reuses its slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Connect, and shake hands where the target is TLS; answer with `handle_connected` or `handle_fault`.
    Dial {
        /// The connection to make.
        upstream: UpstreamId,
        /// Index into the settings' targets, for its TLS settings.
        target: usize,
        /// Where to.
        address: SocketAddr,
    },
    /// Look up the target's name; answer with `handle_resolved`.
    Resolve {
        /// Index into the settings' targets.
        target: usize,
    },
    /// Everything is written: end our direction (TLS: close_notify first), keep reading.
    Shut(Side),
    /// The engine is done with it.
    Close {
        /// Which connection; its key is stale from here on.
        side: Side,
        /// Cut it with a reset, so that what was sent cannot be taken for complete.
        abort: bool,
    },
    /// Run this away from the loop, it takes long; answer with `handle_verified`.
    Verify {
        /// Which one it is.
        verification: LookupId,
        /// What is to be run.
        work: Work,
    },
    /// Something the operator should know.
    Report(Report),
}

/// Work that takes too long for the event loop. Passwords take far longer than signatures, so neither must wait for the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// A password.
    Password(Box<Verification>),
    /// The signature of a token.
    Signature(Arc<CostlySignature>),
}

/// What the operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// An exchange failed for a reason that lies with the upstream, or was cut.
    UpstreamFailed(Box<Failed>),
    /// A request was refused for what it is, or for what it lacks.
    Refused(Box<Failed>),
    /// More messages of one kind came than are told.
    Unsaid {
        /// Index of the service they are about.
        service: Option<u32>,
        /// Index of the provider they are about.
        provider: Option<u32>,
        /// What they say; `None`: they are of several kinds.
        what: Option<&'static str>,
        /// How many there were.
        count: u32,
    },
    /// An endpoint went, or came back.
    Health {
        /// Index of the service in whose eyes it did.
        service: u32,
        /// Index into the settings' targets.
        target: u32,
        /// Which of the target's addresses.
        address: SocketAddr,
        /// What happened.
        change: Change,
        /// What was seen last.
        cause: Cause,
        /// Why, where that is known.
        reason: Option<Reason>,
    },
    /// A connection was answered 503 or turned away: `limits.connections` are in use.
    ConnectionsFull,
    /// A connection was answered 503 or turned away: its client has its share of them.
    ClientConnectionsFull {
        /// Who it is.
        client: IpAddr,
    },
    /// No descriptor, port or memory was left for an upstream connection.
    Exhausted,
    /// A provider could not say whether a request is let in.
    ProviderFailed {
        /// Index into the settings' providers.
        provider: usize,
        /// What was wrong.
        end: Outcome,
        /// Why, where that is known.
        reason: Option<Reason>,
    },
    /// A provider has other keys than before.
    KeysFetched {
        /// Index into the settings' providers.
        provider: usize,
        /// How many.
        count: usize,
        /// How many more the set has, that could be used if there were room for them.
        left_out: usize,
    },
    /// A provider's keys could not be fetched; those it had stay.
    KeysFailed {
        /// Index into the settings' providers.
        provider: usize,
        /// What was wrong.
        fault: KeysFault,
        /// Why there was no answer, where that is known.
        reason: Option<Reason>,
    },
}

/// A request that was refused, or whose exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Index of the service, where a route was found.
    pub service: Option<u32>,
    /// Index into the settings' targets: the one it went to last.
    pub target: Option<u32>,
    /// The address it went to, where that was known.
    pub address: Option<SocketAddr>,
    /// How it ended.
    pub end: Outcome,
    /// Why.
    pub reason: Option<Reason>,
    /// The status that the client was told.
    pub status: Option<u16>,
    /// Whether the response had begun, so that the client's connection was cut.
    pub is_cut: bool,
    /// Who sent the request; `None`: a client on a unix socket.
    pub client: Option<IpAddr>,
    /// As sent, at most 64 bytes of it, and empty where it could not be read.
    pub method: Box<[u8]>,
    /// The path and the query as sent, at most 512 bytes of them, and empty where they could not be read.
    pub path: Box<[u8]>,
}

/// What was the last that an endpoint was judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A check was answered with this status.
    Status(u16),
    /// A check or a request ended like this.
    Failure(Outcome),
    /// Its time aside is over.
    Time,
}

/// What went wrong with a connection, as far as the engine must tell it apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The upstream could not be reached: refused, no route, connect timed out in the kernel.
    Refused,
    /// This machine has no way to the address: no route, or no address of its family.
    Unreachable,
    /// The TLS handshake failed, or the peer's certificate is not the one that was asked for.
    Tls,
    /// The connection broke: reset, or a TLS stream that ended without close_notify.
    Reset,
    /// The peer closed while we wrote. Reading goes on: it may have said why before.
    SendFailed,
    /// No descriptor, port or memory left on our side.
    Exhausted,
}

impl Fault {
    /// How the access log names an exchange that this fault of the upstream's ended.
    pub fn outcome(self) -> Outcome {
        match self {
            Fault::Refused | Fault::Unreachable => Outcome::UpstreamRefused,
            Fault::Tls => Outcome::UpstreamTls,
            Fault::Reset | Fault::SendFailed => Outcome::UpstreamClosed,
            Fault::Exhausted => Outcome::OverLimit,
        }
    }
}

/// Why a key set was not obtained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeysFault {
    /// There was no answer.
    NoAnswer(Outcome),
    /// There was one with another status than 200.
    Status(u16),
    /// What came is no set that can be used; what it is, to follow "the key set".
    Refused(&'static str),
}
