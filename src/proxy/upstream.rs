//! One upstream connection, as the engine sees it.

use core::net::SocketAddr;

use super::command::DownstreamId;
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
    /// The client it works for; `None` while idle.
    pub(super) client: Option<DownstreamId>,
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
    pub(super) fn new(target: usize, client: DownstreamId, outbox: Outbox, now: Instant) -> Upstream {
        Upstream {
            target,
            stage: Stage::Resolving,
            client: Some(client),
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
}
