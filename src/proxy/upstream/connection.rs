//! An upstream connection, as the engine sees it.

use core::net::SocketAddr;

use super::super::context::Reads;
use super::super::ids::{
    ClientId, EndpointId, ExchangeId, ServiceId, StoreId, SubrequestId, TargetId, UpstreamId,
};
use super::super::outbox::Outbox;
use crate::buffer::{Buffer, BufferPool};
use crate::http::head::HeadScan;
use crate::time::Duration;
use crate::wheel::Timer;

/// An upstream connection: being made, serving one exchange, or idle in its target's pool.
pub(in crate::proxy) struct Upstream {
    /// Target that the connection goes to.
    pub(in crate::proxy) target: TargetId,
    /// Endpoint that it goes to; `None`: it waits for the name. Stale: the name does not have that
    /// address any more.
    pub(in crate::proxy) endpoint: Option<EndpointId>,
    /// Group that counts it as busy.
    pub(in crate::proxy) in_flight: Option<InFlight>,
    pub(in crate::proxy) stage: Stage,
    pub(in crate::proxy) owner: Owner,
    /// Responses that came on it.
    pub(in crate::proxy) served: u32,
    pub(in crate::proxy) inbox: Buffer,
    pub(in crate::proxy) outbox: Outbox,
    pub(in crate::proxy) scan: HeadScan,
    /// End of its idle time, or the next contender of its race. An exchange has a deadline of its
    /// own.
    pub(in crate::proxy) timer: Timer,
    /// True if the loop was told to look at it already.
    pub(in crate::proxy) queued: bool,
    /// True if writing has failed; what the peer sent before is still read.
    pub(in crate::proxy) write_failed: bool,
    /// True if it is authenticated as a whole: it serves the client that it served then, and no
    /// other.
    pub(in crate::proxy) private: bool,
    /// Seconds for which it may idle, as the upstream said; `u16::MAX`: it said nothing, or more
    /// than that.
    pub(in crate::proxy) idle_seconds: u16,
}

/// Place that an exchange occupies in a group, together with the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct InFlight {
    pub(in crate::proxy) service: ServiceId,
    /// Number of the destination within the service.
    pub(in crate::proxy) destination: u32,
    /// Slots of the service that it holds: 1, or 0 of a contender, whose leader holds the slot.
    pub(in crate::proxy) slots: u32,
}

/// Owner of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Owner {
    /// Waits in its endpoint's pool.
    Idle,
    /// Waits for the next request of this client, which is the only one that may use it.
    Private(ClientId),
    /// Serves this exchange.
    Exchange(ExchangeId),
    /// Serves this request of the gateway's own.
    Subrequest(SubrequestId),
    /// Leads to this store.
    Store(StoreId),
    /// Races against this connection: see `race`.
    Contender(UpstreamId),
}

/// Progress of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Stage {
    /// The target's name is being looked up.
    Resolving,
    /// TCP, and TLS where asked for, is being set up.
    Dialing(SocketAddr),
    /// The connection can carry bytes.
    Open,
}

impl Upstream {
    pub(in crate::proxy) fn new(target: TargetId, owner: Owner, outbox: Outbox) -> Upstream {
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
            queued: false,
            write_failed: false,
            private: false,
            idle_seconds: u16::MAX,
        }
    }

    /// Returns whether bytes of the upstream may be read.
    #[inline]
    pub(in crate::proxy) fn reads(&self) -> Reads {
        if self.stage != Stage::Open {
            return Reads::Never;
        }
        match self.owner {
            Owner::Exchange(exchange) => Reads::Exchange(exchange),
            // An idle connection is read so that its end, or bytes that were not asked for, are
            // noticed.
            Owner::Idle | Owner::Private(_) | Owner::Subrequest(_) | Owner::Store(_) => {
                Reads::Always
            }
            Owner::Contender(_) => Reads::Never,
        }
    }

    /// Returns whether nothing is left on the connection, in either direction, and it takes more.
    #[inline(always)]
    pub(in crate::proxy) fn is_clean(&self) -> bool {
        !self.write_failed && self.inbox.is_empty() && self.outbox.is_sent()
    }

    /// Returns whether the connection may wait for a further request.
    #[inline(always)]
    pub(super) fn may_be_kept(&self) -> bool {
        self.is_clean() && self.idle_seconds > 0
    }

    /// Returns the time for which the connection may idle, if the upstream said so.
    pub(super) fn may_idle(&self) -> Option<Duration> {
        (self.idle_seconds < u16::MAX).then(|| Duration::from_secs(u64::from(self.idle_seconds)))
    }

    /// Notes the time for which the connection may idle, as the upstream says.
    pub(in crate::proxy) fn note_idle(&mut self, seconds: u64) {
        self.idle_seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
    }

    /// Begins to wait for a further request, as `owner` says.
    #[inline(always)]
    pub(super) fn disengage(&mut self, owner: Owner, buffers: &mut BufferPool) {
        self.owner = owner;
        self.served = self.served.saturating_add(1);
        self.outbox = Outbox::default();
        buffers.give_back(&mut self.inbox);
    }

    /// Takes the connection into use for `owner`, whose request is in `outbox`.
    pub(super) fn engage(&mut self, owner: Owner, outbox: Outbox) {
        self.owner = owner;
        self.outbox = outbox;
        self.timer.clear();
    }
}
