//! One upstream connection, as the engine sees it.

use core::net::SocketAddr;

use super::command::DownstreamId;
use super::inquiry::InquiryId;
use super::outbox::Outbox;
use crate::buffer::Buffer;
use crate::http::head::HeadScan;
use crate::time::Instant;
use crate::wheel::Timer;

/// An upstream connection: being made, serving one exchange, or idle in its target's pool.
pub struct Upstream {
    /// Index of its target.
    pub(super) target: usize,
    pub(super) stage: Stage,
    pub(super) work: Work,
    /// Answers it has finished.
    pub(super) served: u32,
    pub(super) inbox: Buffer,
    pub(super) outbox: Outbox,
    pub(super) scan: HeadScan,
    /// Only while idle; an exchange has its deadline at the client's connection.
    pub(super) timer: Timer,
    /// When the current request went out.
    pub(super) since: Instant,
    /// Whether the loop was already told to look.
    pub(super) attended: bool,
    /// Whether writing has failed; what the peer said before is still read.
    pub(super) deaf: bool,
}

/// Whom a connection works for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Nobody: it waits in its target's pool.
    Idle,
    /// The exchange of this client.
    Exchange(DownstreamId),
    /// A question of the gateway's own.
    Inquiry(InquiryId),
}

/// How far the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The target's name is being looked up.
    Resolving,
    /// TCP, and TLS where asked for, is being set up.
    Dialing(SocketAddr),
    /// It can carry bytes.
    Open,
}

impl Upstream {
    pub(super) fn new(target: usize, work: Work, outbox: Outbox, now: Instant) -> Upstream {
        Upstream {
            target,
            stage: Stage::Resolving,
            work,
            served: 0,
            inbox: Buffer::detached(),
            outbox,
            scan: HeadScan::default(),
            timer: Timer::default(),
            since: now,
            attended: false,
            deaf: false,
        }
    }

    /// Takes it out of the pool for `work`, which `outbox` holds the request of.
    pub(super) fn engage(&mut self, work: Work, outbox: Outbox, now: Instant) {
        self.work = work;
        self.outbox = outbox;
        self.since = now;
        self.timer.clear();
    }
}
