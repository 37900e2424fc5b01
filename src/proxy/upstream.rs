//! One upstream connection, as the engine sees it.

use core::net::SocketAddr;

use super::command::{ClientId, UpstreamId};
use super::endpoints::EndpointId;
use super::outbox::Outbox;
use super::subrequest::SubrequestId;
use crate::buffer::Buffer;
use crate::http::head::HeadScan;
use crate::time::{Duration, Instant};
use crate::wheel::Timer;

/// An upstream connection: being made, serving one exchange, or idle in its target's pool.
pub struct Upstream {
    /// Index of its target.
    pub(super) target: usize,
    /// The address of it that it goes to; `None`: it waits for the name. Stale: the name does not have that address any more.
    pub(super) endpoint: Option<EndpointId>,
    /// The group that counts it as busy.
    pub(super) in_flight: Option<InFlight>,
    pub(super) stage: Stage,
    pub(super) owner: Owner,
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
    pub(super) queued: bool,
    /// Whether writing has failed; what the peer said before is still read.
    pub(super) write_failed: bool,
    /// Whether it is authenticated as a whole: it serves the client that it served then, and no other.
    pub(super) private: bool,
    /// Seconds for which it may idle, as the upstream said; `u16::MAX`: it said nothing, or more than that.
    pub(super) idle_seconds: u16,
}

/// What an exchange occupies in a group, together with the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InFlight {
    /// Whose group.
    pub(super) service: u32,
    /// Which of the service's targets.
    pub(super) destination: u32,
}

/// Whom a connection works for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// Nobody: it waits in its target's pool.
    Idle,
    /// Nobody: it waits for the next request of this client, which is the only one that may use it.
    Private(ClientId),
    /// The exchange of this client.
    Exchange(ClientId),
    /// A question of the gateway's own.
    Subrequest(SubrequestId),
    /// It races against this one: see `race`.
    Contender(UpstreamId),
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
    pub(super) fn new(target: usize, owner: Owner, outbox: Outbox, now: Instant) -> Upstream {
        Upstream {
            target,
            endpoint: None,
            in_flight: None,
            stage: Stage::Resolving,
            owner,
            served: 0,
            inbox: Buffer::detached(),
            outbox,
            scan: HeadScan::default(),
            timer: Timer::default(),
            since: now,
            queued: false,
            write_failed: false,
            private: false,
            idle_seconds: u16::MAX,
        }
    }

    /// Whether nothing is left on it, in either direction, and it takes more.
    pub(super) fn is_clean(&self) -> bool {
        !self.write_failed && self.inbox.is_empty() && self.outbox.is_sent()
    }

    /// For how long it may idle, if the upstream said so.
    pub(super) fn may_idle(&self) -> Option<Duration> {
        (self.idle_seconds < u16::MAX).then(|| Duration::from_secs(u64::from(self.idle_seconds)))
    }

    /// The upstream says for how long it may idle.
    pub(super) fn note_idle(&mut self, seconds: u64) {
        self.idle_seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
    }

    /// Takes it out of the pool for `work`, which `outbox` holds the request of.
    pub(super) fn engage(&mut self, owner: Owner, outbox: Outbox, now: Instant) {
        self.owner = owner;
        self.outbox = outbox;
        self.since = now;
        self.timer.clear();
    }
}
