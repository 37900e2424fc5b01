//! A client connection and the phases it goes through.
//!
//! ```text
//!                                provider answers
//!            .---------- Suspended <-.
//!            v                       | a provider is asked
//! Idle --> ReadHead --------------------------------> Exchange ----------> Idle (or ReadHead: the next request is here)
//!  ^         |          head complete                    |    \ reply written, close
//!  |         | refused here                              |     `--> Linger --> closed
//!  |         v                                           v
//!  |       Reply <------------------------- failed before the response's head was passed on
//!  |         |  written and drained, keep
//!  `---------'
//!            `  written, close --> Linger --> closed
//! ```
//!
//! An exchange that becomes a tunnel stays the connection's exchange until both directions ended.

use super::super::auth::SuspendedRequest;
use super::super::command::ListenerKind;
use super::super::context::Reads;
use super::super::ids::ExchangeId;
use super::super::outbox::Outbox;
use super::super::rate_queue::Judged;
use super::super::transfer::Transfer;
use crate::buffer::Buffer;
use crate::http::head::HeadScan;
use crate::observe::access::Entrance;
use crate::policy::forward::Peer;
use crate::time::Instant;
use crate::wheel::Timer;

/// A client connection.
pub(in crate::proxy) struct Client {
    pub(in crate::proxy) peer: Peer,
    pub(in crate::proxy) listener: ListenerKind,
    /// Subject of the client's certificate, where one was asked for.
    pub(in crate::proxy) subject: Option<Box<Subject>>,
    pub(in crate::proxy) phase: Phase,
    pub(in crate::proxy) inbox: Buffer,
    pub(in crate::proxy) outbox: Outbox,
    /// Deadline of the connection. An exchange has its own.
    pub(in crate::proxy) timer: Timer,
    /// True if the loop was told to look at it already.
    pub(in crate::proxy) queued: bool,
    /// True if the client ended its direction, or said that it will.
    pub(in crate::proxy) ended: bool,
    /// True if upstream connections may be kept for this client alone.
    pub(in crate::proxy) has_private: bool,
    pub(in crate::proxy) place: Place,
    pub(in crate::proxy) entrance: Entrance,
}

/// Subject of a client's certificate. Few clients have one, and a pointer to it takes half the room
/// of a pointer to its bytes.
pub(in crate::proxy) struct Subject(pub(in crate::proxy) Box<[u8]>);

/// The place that a client connection has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Place {
    /// Within `limits.connections`: its requests are served.
    Served,
    /// Beyond them: it is told 503.
    Overflow,
    /// Beyond them: its peer is denied, and its first request is answered 403.
    Denied,
    /// Within `limits.connections`: the address of its client is still to be announced, and until
    /// then it counts for no client.
    Unannounced,
}

/// Work of a client connection.
pub(in crate::proxy) enum Phase {
    /// The next request of a connection that has had one is awaited, and nothing of it is here. The
    /// neighbours are those in the list of idle connections, by their slots: see `idle`.
    Idle {
        older: Option<u32>,
        newer: Option<u32>,
    },
    /// A request head is awaited, or arriving.
    ReadHead {
        scan: HeadScan,
        /// True if this request's first byte has come: from then on `timeouts.head` runs.
        started: bool,
    },
    /// A request waits for a provider, or a store, to say whether it is let in; its head stays in the
    /// inbox.
    Suspended(Box<SuspendedRequest>),
    /// An exchange with an upstream, or the tunnel that it became.
    Exchange(ExchangeId),
    /// A reply of the gateway's own is being written; its request's body is being dropped.
    Reply {
        /// In a box: few replies drain anything, and every connection has the room that the largest
        /// phase takes.
        drain: Option<Box<Transfer>>,
        keep: bool,
    },
    /// The last reply is out and our direction ended; what the client still sends is dropped, so
    /// that no reset destroys the reply before it was read (RFC 9112 9.6).
    Linger { since: Instant, left: u64 },
    /// The exchange, or the suspended request, was taken out; the connection is about to close or
    /// to reply.
    Closed,
}

impl Client {
    /// Returns whether bytes of the client may be read.
    #[inline]
    pub(in crate::proxy) fn reads(&self) -> Reads {
        let may_read = match &self.phase {
            Phase::Exchange(exchange) => return Reads::Exchange(*exchange),
            Phase::Idle { .. } | Phase::ReadHead { .. } => self.outbox.is_sent(),
            Phase::Reply { drain, .. } => drain.is_some() && !self.ended,
            Phase::Linger { .. } => true,
            Phase::Suspended(_) | Phase::Closed => false,
        };
        if may_read {
            Reads::Always
        } else {
            Reads::Never
        }
    }

    pub(super) fn new(peer: Peer, listener: ListenerKind, place: Place) -> Client {
        Client {
            peer,
            listener,
            subject: None,
            phase: Phase::ReadHead {
                scan: HeadScan::default(),
                started: false,
            },
            inbox: Buffer::detached(),
            outbox: Outbox::default(),
            timer: Timer::default(),
            queued: false,
            ended: false,
            has_private: false,
            place,
            entrance: Entrance::default(),
        }
    }

    /// Returns the exchange of the connection.
    #[inline]
    pub(in crate::proxy) fn exchange(&self) -> Option<ExchangeId> {
        match self.phase {
            Phase::Exchange(id) => Some(id),
            _ => None,
        }
    }

    /// Takes the request out that waits for a store, if this answer was the last for it.
    #[cold]
    pub(in crate::proxy) fn take_judged(
        &mut self,
        judged: Judged,
    ) -> Option<Box<SuspendedRequest>> {
        let is_over = match &mut self.phase {
            Phase::Suspended(suspended) => suspended.judge(judged),
            _ => false,
        };
        is_over.then(|| self.take_suspended())?
    }

    /// Takes the request out that waits for a provider or a store.
    pub(in crate::proxy) fn take_suspended(&mut self) -> Option<Box<SuspendedRequest>> {
        if !matches!(self.phase, Phase::Suspended(_)) {
            return None;
        }
        let awaited = Phase::ReadHead {
            scan: HeadScan::default(),
            started: true,
        };
        match core::mem::replace(&mut self.phase, awaited) {
            Phase::Suspended(suspended) => Some(suspended),
            _ => None,
        }
    }
}
