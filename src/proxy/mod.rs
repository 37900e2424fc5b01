//! The engine: the whole gateway without a socket, a clock or a thread.
//!
//! Something happens and the caller says so (`handle_*`), with the time; then it drains
//! [`Proxy::poll_command`] to `None` and asks each side of [`Proxy::poll_ready`] for its windows:
//! [`Proxy::room`] (bytes may be read into it; empty means: do not read) and [`Proxy::pending`]
//! (bytes to write; empty means: nothing). Interest is derived from the two, never set by hand.
//! Bytes that need not be read may be spliced ([`Proxy::splice_offer`]). The same calls
//! drive production, tests, fuzzing and simulation.
//!
//! | part | duty |
//! |---|---|
//! | `client` | connections of clients, and the gateway's own replies |
//! | `exchange` | one request and its response |
//! | `upstream` | connections to targets: names, selection, health, pools |
//! | `subrequest` | requests of the gateway's own |
//! | `auth` | who is let in |
//! | `stores` | counts that gateways share |
//! | `reception` | from a request's head to an exchange, or to a reply |
//! | `drive` | the loop that carries steps from part to part |
//!
//! Each part owns its state, takes the `context`, and returns what should happen next. The compiled
//! configuration is one immutable value: `rules`.

mod access_log;
pub mod announcements;
mod auth;
mod bounds;
pub mod carried;
pub mod challenges;
mod client;
pub mod command;
mod context;
mod deadlines;
pub mod decisions;
mod drive;
mod editions;
pub mod errands;
mod events;
mod exchange;
mod failures;
mod gateway_headers;
mod header_rules;
mod heads;
mod ids;
pub mod inputs;
pub mod inspect;
mod limiter;
mod log_entry;
pub mod memory;
pub mod metrics;
mod open_challenges;
mod outbox;
pub mod overview;
mod prepared;
mod rate_held;
mod rate_owners;
mod rate_queue;
mod rate_rules;
mod reason;
mod recent;
mod reception;
mod record_rule;
mod recorded_settings;
pub mod recorder;
mod reports;
mod routes;
mod rules;
pub mod sealed;
pub mod settings;
mod state_keys;
mod step;
mod stopping;
mod stores;
mod subrequest;
pub mod tables;
mod transfer;
mod tries;
pub mod upgrade;
mod upstream;
mod upstream_events;

use std::collections::VecDeque;
use std::rc::Rc;

use self::auth::Authenticator;
use self::client::Clients;
use self::command::{Command, Ready, Side};
use self::context::{Context, Reads};
use self::editions::{Parts, Retired};
use self::exchange::Exchanges;
pub use self::exchange::SpliceOffer;
use self::limiter::Limiter;
pub use self::prepared::Prepared;
use self::settings::Settings;
use self::step::Step;
pub use self::stopping::{end_others, retire};
use self::stores::Stores;
use self::subrequest::Subrequests;
use self::upstream::{Owner, Stage, Upstreams};
use crate::buffer::total;
use crate::limits::{ACCESS_LOG_BYTES, READ_BYTES};
use crate::time::Instant;

/// The gateway.
pub struct Proxy {
    clients: Clients,
    exchanges: Exchanges,
    upstreams: Upstreams,
    subrequests: Subrequests,
    auth: Authenticator,
    limiter: Limiter,
    stores: Stores,
    ctx: Context,
    /// Steps that wait for the one that is being done.
    steps: VecDeque<Step>,
    retired: Retired,
    /// Answers that a test got to its subrequests.
    #[cfg(test)]
    answers: Vec<(
        subrequest::Requester,
        Result<subrequest::SubResponse, crate::observe::access::Outcome>,
        Instant,
    )>,
}

/// Numbers of what the engine holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holdings {
    /// Client connections.
    pub clients: usize,
    /// Clients that have a connection which is counted.
    pub accounts: usize,
    /// Upstream connections, idle ones included.
    pub upstreams: usize,
    /// Buffers in use; zero when nothing is in flight (invariant I8).
    pub buffers: usize,
    /// Bytes of storage in them; [`memory`] says how many it can be.
    pub buffer_bytes: usize,
}

impl Proxy {
    /// A gateway at its start: nothing is connected, names are about to be looked up.
    ///
    /// `seed` has random bits. Its lower half keys the hash of client addresses, so that a client
    /// cannot aim at one slot of the rate table. Its upper half keys the ids of requests, which
    /// clients see: the two halves must not depend on each other.
    pub fn new(settings: Settings, seed: u128) -> Proxy {
        let (id_key, seed) = ((seed >> 64) as u64, seed as u64);
        let mut upstreams = Upstreams::new(seed);
        let mut auth = Authenticator::new(seed);
        let mut limiter = Limiter::new(seed);
        let mut stores = Stores::default();
        let parts = Parts {
            upstreams: &mut upstreams,
            auth: &mut auth,
            limiter: &mut limiter,
            stores: &mut stores,
        };
        let (rules, _) = editions::compile(parts, settings.into(), None, Vec::new());
        let rules = Rc::new(rules);
        let mut proxy = Proxy {
            clients: Clients::new(editions::ipv6_prefix(&rules.settings), seed),
            exchanges: Exchanges::default(),
            upstreams,
            subrequests: Subrequests::new(),
            auth,
            limiter,
            stores,
            ctx: Context::new(Rc::clone(&rules), id_key),
            steps: VecDeque::new(),
            retired: Retired::default(),
            #[cfg(test)]
            answers: Vec::new(),
        };
        proxy.upstreams.begin_edition(&rules, &mut proxy.ctx);
        stores::act(&mut proxy, |stores, env| {
            stores.begin_edition(&rules.state, env);
        });
        proxy
    }

    // --- windows ---

    /// Returns the space for bytes from this side; empty: do not read. Follow up with
    /// `handle_received`.
    pub fn room(&mut self, side: Side) -> &mut [u8] {
        let (clients, upstreams) = (&mut self.clients, &mut self.upstreams);
        let (inbox, needed) = match side {
            Side::Client(id) => {
                let head = self.ctx.rules.request_limits.head_bytes.saturating_add(1);
                let client = clients.get_mut(id).filter(|client| match client.reads() {
                    Reads::Always => true,
                    Reads::Never => false,
                    Reads::Exchange(exchange) => self
                        .exchanges
                        .get(exchange)
                        .is_some_and(|exchange| exchange.wants_from_client(client, upstreams)),
                });
                (client.map(|client| &mut client.inbox), READ_BYTES.max(head))
            }
            Side::Upstream(id) => {
                let upstream = upstreams
                    .get_mut(id)
                    .filter(|upstream| match upstream.reads() {
                        Reads::Always => true,
                        Reads::Never => false,
                        Reads::Exchange(exchange) => {
                            self.exchanges.get(exchange).is_some_and(|exchange| {
                                exchange.wants_from_upstream(upstream, clients)
                            })
                        }
                    });
                (upstream.map(|upstream| &mut upstream.inbox), READ_BYTES)
            }
        };
        let Some(inbox) = inbox else { return &mut [] };
        // A head that comes in many pieces is moved when its storage is full, and not for each of
        // them.
        if inbox.is_empty() || inbox.room().is_empty() {
            self.ctx.buffers.reserve(inbox, needed);
        }
        inbox.room()
    }

    /// Bytes to write to this side, in two parts that belong together; both empty: nothing.
    pub fn pending(&self, side: Side) -> (&[u8], &[u8]) {
        match side {
            Side::Client(id) => match self.clients.get(id) {
                Some(client) => client.outbox.pending(),
                None => (&[], &[]),
            },
            Side::Upstream(id) => match self.upstreams.get(id) {
                Some(up) if up.stage == Stage::Open && !up.write_failed => up.outbox.pending(),
                _ => (&[], &[]),
            },
        }
    }

    /// Returns whether [`pending`](Self::pending) may have bytes. Where it says no, there are none.
    #[inline]
    pub fn has_pending(&self, side: Side) -> bool {
        let outbox = match side {
            Side::Client(id) => self.clients.get(id).map(|client| &client.outbox),
            Side::Upstream(id) => self.upstreams.get(id).map(|upstream| &upstream.outbox),
        };
        outbox.is_some_and(outbox::Outbox::has_bytes)
    }

    /// Returns what may go from this side to another unread. Asking is optional, and so is taking
    /// it; a caller that does follows up with `handle_spliced` once the bytes are out of the one
    /// socket, and with `handle_sent` as they get into the other. Until then they are the caller's
    /// to keep, and die with the receiver's connection.
    pub fn splice_offer(&mut self, side: Side) -> Option<SpliceOffer> {
        let least = self.ctx.rules.settings.limits.splice_min_bytes;
        match side {
            Side::Client(id) => {
                let exchange = self.clients.get(id)?.exchange()?;
                self.relay_of(exchange)?.splice_from_client(least)
            }
            Side::Upstream(id) => {
                let Owner::Exchange(exchange) = self.upstreams.get(id)?.owner else {
                    return None;
                };
                self.relay_of(exchange)?.splice_from_upstream(id, least)
            }
        }
    }

    // --- what next ---

    /// The next thing to do; drain to `None` after every `handle_*`.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.ctx.commands.pop_front()
    }

    /// The next side to look at again: it may have become worth reading ([`room`](Self::room)) or
    /// writing ([`pending`](Self::pending)). Drain the commands first, or it may be one that is not
    /// connected yet.
    #[inline]
    pub fn poll_ready(&mut self) -> Option<Ready> {
        let side = self.ctx.ready.pop()?;
        let found = match side {
            Side::Client(id) => self
                .clients
                .get_mut(id)
                .map(|client| (&mut client.queued, &client.outbox)),
            Side::Upstream(id) => self
                .upstreams
                .get_mut(id)
                .map(|upstream| (&mut upstream.queued, &upstream.outbox)),
        };
        let mut has_pending = false;
        if let Some((queued, outbox)) = found {
            *queued = false;
            has_pending = outbox.has_bytes();
        }
        Some(Ready { side, has_pending })
    }

    /// Returns whether [`poll_ready`](Self::poll_ready) has a side.
    pub fn has_ready(&self) -> bool {
        !self.ctx.ready.is_empty()
    }

    /// Returns when `handle_timeout` must be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ctx.has_leftovers {
            return Some(self.ctx.now);
        }
        let windows = self.limiter.next_expiry();
        self.ctx.timers.next_due().into_iter().chain(windows).min()
    }

    /// Lines of the access log that wait to be written; the caller takes what it can.
    pub fn access_lines(&mut self) -> &mut Vec<u8> {
        self.ctx.access_log.lines()
    }

    /// Lines that found no room since this was asked last: more than [`ACCESS_LOG_BYTES`] were
    /// waiting for the caller.
    pub fn take_dropped_lines(&mut self) -> u64 {
        self.ctx.access_log.take_dropped()
    }

    /// Returns whether no further connection is taken, not even to tell it 503. New ones are best
    /// left waiting in the kernel.
    pub fn is_full(&self) -> bool {
        self.clients.is_full(&self.ctx)
    }

    /// Numbers of what the engine holds now. The loop asks in each turn: none may take a walk.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            clients: self.clients.len(),
            accounts: self.clients.counts().accounts,
            upstreams: self.upstreams.len(),
            buffers: self.ctx.buffers.lent(),
            buffer_bytes: self.ctx.buffers.lent_bytes(),
        }
    }

    /// Checks that the engine holds no more than [`memory`] says it can and, where `thoroughly`,
    /// that what is counted is what there is, which looks at every connection. Tests and fuzzers
    /// ask after every step.
    ///
    /// # Errors
    /// Text that says which of the two does not hold.
    pub fn check(&self, thoroughly: bool) -> Result<(), &'static str> {
        // New limits are for new work: what came before is within those of its time.
        let bounds = &self.ctx.peaks;
        let counts = self.clients.counts();
        let buffers = total([
            counts.served.saturating_mul(bounds.served),
            counts.overflow.saturating_mul(bounds.overflow),
            counts.denied.saturating_mul(bounds.denied),
            self.subrequests.len().saturating_mul(bounds.of_subrequest),
            bounds
                .stores
                .saturating_mul(stores::memory::buffers_of_store()),
        ]);
        let is_within = self.ctx.buffers.lent_bytes() <= buffers
            && self.upstreams.len() <= total([bounds.upstreams, bounds.subrequests, bounds.stores])
            && self.subrequests.len() <= bounds.subrequests
            && self.exchanges.len() <= bounds.connections
            && self.ctx.access_log.kept_entries() <= bounds.clients
            && counts.counted <= counts.served
            && counts.accounts <= counts.served
            && counts.denied <= bounds.denied_clients
            && self.ctx.timers.len() <= bounds.reminders.saturating_add(bounds.clients)
            && self.upstreams.is_within_bounds(bounds.waiting)
            && self.auth.is_within_bounds(self.clients.len())
            && self.ctx.access_log.waiting_bytes()
                <= ACCESS_LOG_BYTES.saturating_add(memory::access_line());
        if !is_within {
            return Err("more memory is held than its bound");
        }
        if thoroughly && !self.clients.counts_hold(&self.ctx) {
            return Err("connections are counted wrongly, or the idle ones are not one list");
        }
        let in_flight = self.exchanges.in_flight();
        if thoroughly && !self.upstreams.counts_hold(in_flight) {
            return Err("requests in flight are counted wrongly");
        }
        Ok(())
    }
}
