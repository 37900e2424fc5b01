//! One client connection and the phases it goes through.
//!
//! ```text
//! Idle: between two requests; with the first byte of the next one it is ReadHead
//! SuspendedRequest: a provider is asked; with its answer the head is looked at again, as in ReadHead
//!
//!            head complete                    reply written, keep
//! ReadHead ----------------> Relay ------------------------------> ReadHead
//!    |                        |  \ 101                          \
//!    | refused here           |   `----> Tunnel --> closed       \ reply written, close
//!    v                        v failed before the head            v
//!  LocalReply <-------------------'                                 Linger --> closed
//!    |  written and drained, keep --> ReadHead
//!    `  written, close ------------------------------------------> Linger
//! ```

use super::auth::SuspendedRequest;
use super::command::ListenerKind;
use super::exchange::Exchange;
use super::outbox::Outbox;
use super::relay::Transfer;
use crate::buffer::Buffer;
use crate::http::head::HeadScan;
use crate::policy::forward::Peer;
use crate::time::Instant;
use crate::wheel::Timer;

/// A client connection.
pub struct Client {
    pub(super) peer: Peer,
    pub(super) listener: ListenerKind,
    /// Whom the client's certificate is for, where one was asked for.
    pub(super) subject: Option<Box<[u8]>>,
    pub(super) phase: Phase,
    pub(super) inbox: Buffer,
    pub(super) outbox: Outbox,
    pub(super) timer: Timer,
    /// Whether the loop was already told to look.
    pub(super) queued: bool,
    /// The client ended its direction (or said that it will).
    pub(super) ended: bool,
    /// Upstream connections may be kept for this client alone.
    pub(super) has_private: bool,
    pub(super) admission: Admission,
}

/// What a client connection was let in for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It is served, and one of the `limits.connections`.
    Served,
    /// It is told 503: it is one too many.
    Overflow,
    /// Its first request is answered 403: its peer is denied.
    Denied,
}

/// What a client connection is busy with.
pub(super) enum Phase {
    /// The next request of a connection that has had one is awaited, and nothing of it is here. The neighbours are those in the
    /// list of idle connections, by their slots: see `arrivals`.
    Idle {
        older: Option<u32>,
        newer: Option<u32>,
    },
    /// A request head is awaited, or arriving.
    ReadHead {
        scan: HeadScan,
        /// Whether this request's first byte has come: from then on `timeouts.head` runs.
        begun: bool,
    },
    /// A request waits for a provider to say whether it is let in; its head stays in the inbox.
    Suspended(Box<SuspendedRequest>),
    /// An exchange with an upstream.
    Relay(Box<Exchange>),
    /// A reply of our own is being written; its request's body is being dropped.
    Reply {
        /// In a box: few answers drain anything, and every connection has the room that the largest phase takes.
        drain: Option<Box<Transfer>>,
        keep: bool,
    },
    /// Both sides talk another protocol.
    Tunnel(Box<Exchange>),
    /// The last reply is out and our direction ended; what the client still sends is dropped, so that no reset destroys
    /// the reply before it was read (RFC 9112 9.6).
    Linger { since: Instant, left: u64 },
    /// Nothing more happens here.
    Closed,
}

impl Client {
    pub(super) fn new(peer: Peer, listener: ListenerKind, admission: Admission) -> Client {
        Client {
            peer,
            listener,
            subject: None,
            phase: Phase::ReadHead {
                scan: HeadScan::default(),
                begun: false,
            },
            inbox: Buffer::detached(),
            outbox: Outbox::default(),
            timer: Timer::default(),
            queued: false,
            ended: false,
            has_private: false,
            admission,
        }
    }

    /// The exchange in flight, if there is one.
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        match &mut self.phase {
            Phase::Relay(exchange) | Phase::Tunnel(exchange) => Some(exchange),
            _ => None,
        }
    }
}
