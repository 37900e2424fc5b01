//! Exchanges: a request and its response, as two one-way transfers that end on their own.
//!
//! | file | duty |
//! |---|---|
//! | `relay` | an exchange with both its connections: what all files here work on |
//! | `dispatch` | a connection for it, and attempts that come to nothing |
//! | `request` | the request's body, from the client to the upstream |
//! | `pace` | how fast that body must come |
//! | `kept` | text of the request that the response needs |
//! | `response` | the response's heads and body, from the upstream to the client |
//! | `tunnel` | what follows a 101 |
//! | `splice` | bodies that go from socket to socket without being read |
//! | `teardown` | ends, faults and deadlines |
//! | `settle` | what becomes of both connections |
//!
//! The functions return an [`ExchangeStep`]: what is to be done next. Nothing here calls the parts
//! that own other exchanges, client connections or requests of the gateway's own.

mod dispatch;
mod kept;
mod pace;
mod reading;
mod relay;
mod request;
mod response;
mod retry;
mod settle;
mod splice;
mod sticky;
mod teardown;
mod traits;
mod tunnel;

use std::rc::Rc;
use std::sync::Arc;

pub(super) use self::dispatch::Attempt;
pub(super) use self::kept::KeptText;
use self::pace::Pace;
pub(super) use self::relay::Relay;
use self::request::Gathering;
use self::settle::RequestEnd;
pub(super) use self::settle::{ClientEnd, ResponseEnd, settle};
pub use self::splice::SpliceOffer;
pub(super) use self::traits::{Persistence, Sharing, Traits, WaitsFor};
pub(super) use self::tunnel::Tunnel;
use super::context::TimerKey;
use super::heads::{HeadVariant, OwnUrls};
use super::ids::{ClientId, ExchangeId, OfExchange, ServiceId, UpstreamId};
use super::log_entry::AccessLogEntry;
use super::reason::Failure;
use super::rules::ServiceRules;
use super::transfer::Transfer;
use super::upstream::{Attempts, NoEndpoint};
use crate::observe::access::Outcome;
use crate::policy::auth::grant::Grant;
use crate::policy::rate_fields::RateFields;
use crate::slab::Slab;
use crate::time::Instant;
use crate::wheel::{Timer, Wheel};

/// A request in flight.
pub(super) struct Exchange {
    /// The client connection that carries it.
    pub(super) client: ClientId,
    /// In a box, because it changes hands more often than it is written to.
    pub(super) log_entry: Box<AccessLogEntry>,
    /// Rules of the service that the request began with.
    pub(super) rules: Rc<ServiceRules>,
    pub(super) attempts: Attempts,
    pub(super) upload: Upload,
    /// Pace of the request's body, where it is watched.
    pub(super) pace: Option<Box<Pace>>,
    pub(super) response: Response,
    /// Facts of the request that matter once its head is gone.
    pub(super) traits: Traits,
    pub(super) persistence: Persistence,
    pub(super) sharing: Sharing,
    /// Subject of the exchange's deadline.
    pub(super) waits_for: WaitsFor,
    pub(super) variant: HeadVariant,
    /// Number of 1xx heads that came.
    pub(super) interim: u32,
    /// Bytes of the 1xx heads that came.
    pub(super) interim_bytes: u32,
    /// Text of the request that the response needs.
    pub(super) kept: KeptText,
    /// Grant with lines for the client ([`Grant::client_lines`]): the final head has them, or a reply
    /// of the gateway's own.
    pub(super) for_client: Option<Arc<Grant>>,
}

/// The request body's way.
pub(super) enum Upload {
    /// Not begun: bytes behind the head may not belong to HTTP (an upgrade without its 101 yet).
    NotStarted,
    /// All of it is read before a connection is taken: it is small.
    Gather(Box<Gathering>),
    /// Under way.
    Copy(Transfer),
    /// All of it was handed to the upstream connection.
    Done,
    /// Given up: the upstream takes no more.
    Abandoned,
}

/// The response's way.
pub(super) enum Response {
    /// Not a byte of it has come.
    Awaited,
    /// Bytes have come; the final head is not complete.
    Begun,
    /// The head was passed on, the body follows.
    Copy {
        transfer: Transfer,
        /// True if the upstream connection may serve another request afterwards.
        reusable: bool,
    },
    /// All of it waits in the client's outbox.
    Done,
    /// A 101 was passed on: both sides talk another protocol.
    Tunnel(Tunnel),
}

/// Step that follows an event of an exchange.
pub(super) enum ExchangeStep {
    /// Nothing.
    Wait,
    /// The request is whole and gets a connection.
    Connect(Box<Gathering>),
    /// The upstream connection ended or broke before a byte of the final head: once more on a fresh
    /// one, or on another endpoint, or a reply of the gateway's own.
    UpstreamLost(Failure),
    /// An attempt came to nothing: another endpoint may do, or the exchange has failed.
    AttemptFailed(Failure),
    /// The exchange has failed: a reply of the gateway's own in place of the response.
    Fail(Failure),
    /// The request's body broke a rule while it was passed on.
    RefuseBody(Failure),
    /// No endpoint takes the request now that its body or its target's name is there.
    Refuse(NoEndpoint),
    /// The response fails behind its head: a reply of the gateway's own where no byte of the head is
    /// out, otherwise no clean end may follow.
    Reset(Failure),
    /// The exchange ends with its client connection; `abort`: with a reset.
    Drop { outcome: Outcome, abort: bool },
    /// The last byte of the response is written.
    Finished,
}

/// All exchanges. The timer of an exchange stays with its slot: a deadline that is moved, or set
/// again by the next exchange of the slot, is one store.
#[derive(Default)]
pub(super) struct Exchanges {
    slab: Slab<Exchange, OfExchange>,
    timers: Vec<Timer>,
}

impl Exchange {
    /// Returns whether the final head of the response has not come.
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.response, Response::Awaited | Response::Begun)
    }

    /// Returns whether it became a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.response, Response::Tunnel(_))
    }

    /// Returns whether it is a tunnel whose client has all that the upstream sent, and its end.
    pub(super) fn has_passed_end(&self) -> bool {
        matches!(self.response, Response::Tunnel(tunnel) if tunnel.client_has_all())
    }

    /// Returns the rate limit fields of a response that is written at `now`.
    #[inline(always)]
    fn rate_fields(&self, now: Instant) -> Option<RateFields<'_>> {
        RateFields::of(
            self.rules.rate_lines.as_deref(),
            self.log_entry.numbers.quota,
            now,
        )
    }

    /// Returns the client's `Origin`, where the response needs it.
    #[inline(always)]
    pub(super) fn origin(&self) -> Option<&[u8]> {
        let has_url = self.rules.service.headers.rewrites.location;
        self.kept.origin(has_url)
    }

    /// Returns the rules for URLs and cookie paths of the response; `None`: they stay as they are.
    #[inline(always)]
    fn own_urls(&self) -> Option<OwnUrls<'_>> {
        let rewrites = self.rules.service.headers.rewrites;
        rewrites.any().then(|| OwnUrls {
            rules: &self.rules,
            destination: self.attempts.destination as usize,
            origin: self.kept.url(),
        })
    }

    /// Returns how the request's body stands.
    fn request_end(&self) -> RequestEnd {
        match self.upload {
            Upload::Done => RequestEnd::Complete,
            Upload::NotStarted | Upload::Gather(_) | Upload::Copy(_) | Upload::Abandoned => {
                RequestEnd::Unfinished
            }
        }
    }

    /// Returns what becomes of both connections when the response ends like this.
    pub(super) fn settle(&self, response: ResponseEnd) -> (settle::UpstreamEnd, ClientEnd) {
        settle(
            self.request_end(),
            response,
            self.persistence == Persistence::KeepAlive,
        )
    }
}

impl Exchanges {
    /// Puts an exchange in.
    pub(super) fn insert(&mut self, exchange: Exchange) -> ExchangeId {
        let id = self.slab.insert(exchange);
        if self.timers.len() <= id.index() as usize {
            self.timers.push(Timer::default());
        }
        id
    }

    /// Returns an exchange.
    pub(super) fn get(&self, id: ExchangeId) -> Option<&Exchange> {
        self.slab.get(id)
    }

    /// Returns an exchange.
    pub(super) fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.slab.get_mut(id)
    }

    /// Returns an exchange and its timer.
    #[inline]
    pub(super) fn with_timer(&mut self, id: ExchangeId) -> Option<(&mut Exchange, &mut Timer)> {
        let timer = self.timers.get_mut(id.index() as usize)?;
        Some((self.slab.get_mut(id)?, timer))
    }

    /// Returns the exchange in a slot.
    pub(super) fn at(&self, slot: u32) -> Option<ExchangeId> {
        self.slab.at(slot).map(|(id, _)| id)
    }

    /// Returns the timer of a slot.
    pub(super) fn timer(&mut self, slot: u32) -> Option<&mut Timer> {
        self.timers.get_mut(slot as usize)
    }

    /// Takes an exchange out, and its deadline back.
    #[inline(always)]
    pub(super) fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.slab.remove(id)?;
        if let Some(timer) = self.timers.get_mut(id.index() as usize) {
            timer.clear();
        }
        Some(exchange)
    }

    /// All exchanges.
    pub(super) fn values(&self) -> impl Iterator<Item = &Exchange> {
        self.slab.values()
    }

    /// All exchanges.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.slab.values_mut()
    }

    /// Returns the upstream connection of each exchange that has one, the service, and the number of
    /// the destination.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (UpstreamId, ServiceId, u32)> {
        self.slab.values().filter_map(|exchange| {
            let up = exchange.attempts.upstream_id()?;
            Some((up, exchange.rules.id, exchange.attempts.destination))
        })
    }

    /// Number of exchanges.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Leaves one reminder for each timer.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for (slot, timer) in self.timers.iter_mut().enumerate() {
            timers.renew(timer, TimerKey::Exchange(slot as u32));
        }
    }

    /// Bytes of `count` exchanges at once.
    pub(super) const SLOT_BYTES: usize =
        Slab::<Exchange, OfExchange>::SLOT_BYTES + size_of::<Timer>();
}
