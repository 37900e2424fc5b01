//! The engine: the whole gateway without a socket, a clock or a thread.
//!
//! Something happens and the caller says so (`handle_*`), with the time; then it drains [`Proxy::poll_command`] to `None`
//! and asks each side of [`Proxy::poll_ready`] for its windows: [`Proxy::room`] (bytes may be read into it; empty
//! means: do not read) and [`Proxy::pending`] (bytes to write; empty means: nothing). Interest is derived from the two,
//! never set by hand. What need not be seen may go by without being read ([`Proxy::splice_offer`]). The same calls drive
//! production, tests, fuzzing and simulation.
//!
//! | part | duty |
//! |---|---|
//! | [`client`] | connections of clients, and the gateway's own replies |
//! | [`exchange`] | one request and its response |
//! | [`upstream`] | connections to targets: names, selection, health, pools |
//! | [`subrequest`] | requests of the gateway's own |
//! | [`auth`] | who is let in |
//! | [`reception`] | from a request's head to an exchange, or to a reply |
//! | [`drive`] | the loop that carries steps from part to part |
//!
//! Each part owns its state, takes the [`context`], and returns what should happen next. The compiled configuration is one immutable
//! value: [`rules`].

mod access_log;
mod auth;
mod bounds;
mod client;
pub mod command;
mod context;
mod drive;
mod exchange;
mod failures;
mod heads;
mod ids;
mod limiter;
mod log_entry;
pub mod memory;
mod outbox;
mod reason;
mod reception;
mod rules;
pub mod settings;
mod step;
mod subrequest;
mod transfer;
mod upstream;

use std::collections::VecDeque;
use std::rc::Rc;

use self::auth::Authenticator;
use self::client::{ClientStep, Clients, Phase};
use self::command::{Command, Fault, Side};
use self::context::{Context, Reads, TimerKey};
use self::drive::{UpstreamEvent, reception};
use self::exchange::Exchanges;
pub use self::exchange::SpliceOffer;
use self::ids::{ClientId, LookupId, UpstreamId};
use self::limiter::Limiter;
use self::reason::Reason;
use self::rules::Rules;
use self::settings::Settings;
use self::step::Step;
use self::subrequest::Subrequests;
use self::upstream::{Owner, Stage, Upstreams};
use crate::buffer::total;
use crate::http::error::RequestFault;
use crate::limits::{ACCESS_LOG_BYTES, RATE_IPV6_PREFIX_DEFAULT, READ_BYTES};
use crate::observe::access::Outcome;
use crate::policy::forward::Peer;
use crate::time::{Instant, UnixTime};

/// The gateway.
pub struct Proxy {
    clients: Clients,
    exchanges: Exchanges,
    upstreams: Upstreams,
    subrequests: Subrequests,
    auth: Authenticator,
    limiter: Limiter,
    ctx: Context,
    /// Steps that wait for the one that is being done.
    steps: VecDeque<Step>,
    /// What a test was told of its subrequests.
    #[cfg(test)]
    answers: Vec<(
        subrequest::Requester,
        Result<subrequest::SubResponse, Outcome>,
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
    /// `seed` keys the hash of client addresses, so that a client cannot aim at one slot of the rate table.
    pub fn new(settings: Settings, seed: u64) -> Proxy {
        let bounds = memory::bounds(&settings);
        let rules = Rc::new(Rules::new(settings, bounds));
        let settings = &rules.settings;
        let ipv6_prefix = settings
            .rate_limit
            .as_ref()
            .map_or(RATE_IPV6_PREFIX_DEFAULT, |limit| limit.ipv6_prefix);
        let mut proxy = Proxy {
            clients: Clients::new(ipv6_prefix, seed),
            exchanges: Exchanges::default(),
            upstreams: Upstreams::new(settings, seed),
            subrequests: Subrequests::new(),
            auth: Authenticator::new(settings, seed),
            limiter: Limiter::new(settings, seed),
            ctx: Context::new(rules.clone()),
            steps: VecDeque::new(),
            #[cfg(test)]
            answers: Vec::new(),
        };
        proxy.upstreams.find_targets(&mut proxy.ctx);
        proxy
    }

    // --- something happened ---

    /// The time of day is `wall` when the monotonic clock says `now`; say so at the start and once a second.
    pub fn handle_clock(&mut self, now: Instant, wall: UnixTime) {
        self.ctx.now = now;
        self.ctx.access_log.set_clock(now, wall);
        self.auth(|auth, env| auth.start_fetching(env));
    }

    /// A client connected. `None`: it must be closed at once, not even a 503 fits. [`is_full`](Self::is_full) says before whether
    /// that is so for every client.
    pub fn handle_accepted(
        &mut self,
        peer: Peer,
        listener: command::ListenerKind,
        now: Instant,
    ) -> Option<ClientId> {
        self.ctx.now = now;
        let id = self.clients.accept(peer, listener, &mut self.ctx);
        self.drive(None);
        id
    }

    /// The TLS handshake of a client is complete. `subject`: subject of its certificate, as text of visible ASCII, where one
    /// was asked for; upstreams see it as `X-Client-Subject`.
    pub fn handle_secured(&mut self, id: ClientId, subject: Option<Box<[u8]>>, now: Instant) {
        self.ctx.now = now;
        if let Some(client) = self.clients.get_mut(id) {
            client.subject = subject;
        }
        let span = self.ctx.rules.settings.timeouts.head;
        self.clients.arm(id, span, &mut self.ctx);
    }

    /// A client on a TLS listener speaks plain HTTP: these are its first bytes, and from here on its connection is a plain one.
    /// It is told (RFC 9110 15.5.1), and hears no more.
    pub fn handle_not_tls(&mut self, id: ClientId, bytes: &[u8], now: Instant) {
        self.ctx.now = now;
        let fault = RequestFault::PlainOnTls;
        reception(self, id).refuse_malformed(bytes, fault.into());
    }

    /// The connection that a `Dial` asked for is there; TLS: the handshake is complete and the certificate good.
    pub fn handle_connected(&mut self, id: UpstreamId, now: Instant) {
        self.ctx.now = now;
        let requester = self.upstreams.requester(id);
        let owner = self.search(requester, |upstreams, search, ctx| {
            upstreams.connected(id, search, ctx)
        });
        if let Some(Owner::Exchange(exchange)) = owner {
            self.relay(exchange, |relay| relay.on_connected());
        }
        self.drive(None);
    }

    /// `n` bytes were put into `room(side)`; zero: nothing came after all. Follows every call of `room` that gave space.
    pub fn handle_received(&mut self, side: Side, n: usize, now: Instant) {
        self.ctx.now = now;
        match side {
            Side::Client(id) => {
                let step = self.clients.received(id, n, &mut self.ctx);
                let next = match step {
                    ClientStep::Exchange(exchange) => {
                        self.relay(exchange, |relay| relay.on_client_bytes())
                    }
                    ClientStep::Wait => None,
                    step => Some(Step::Client(id, step)),
                };
                self.drive(next);
                if let Some(client) = self.clients.get_mut(id) {
                    self.ctx.buffers.shrink(&mut client.inbox);
                }
            }
            Side::Upstream(id) => {
                if let Some(upstream) = self.upstreams.get_mut(id) {
                    upstream.inbox.fill(n);
                }
                let next = (n > 0).then_some(UpstreamEvent::Bytes);
                let next = next.and_then(|event| self.on_upstream(id, event));
                self.drive(next);
                if let Some(upstream) = self.upstreams.get_mut(id) {
                    self.ctx.buffers.shrink(&mut upstream.inbox);
                }
            }
        }
    }

    /// `n` bytes of `pending(side)` were written.
    pub fn handle_sent(&mut self, side: Side, n: usize, now: Instant) {
        self.ctx.now = now;
        let next = match side {
            Side::Client(id) => match self.clients.sent(id, n, &mut self.ctx) {
                ClientStep::Exchange(exchange) => {
                    self.relay(exchange, |relay| relay.on_client_sent())
                }
                ClientStep::Wait => None,
                step => Some(Step::Client(id, step)),
            },
            Side::Upstream(id) => {
                let Some(upstream) = self.upstreams.get_mut(id) else {
                    return;
                };
                upstream.outbox.sent(n, &mut self.ctx.buffers);
                match upstream.owner {
                    Owner::Exchange(exchange) => {
                        self.relay(exchange, |relay| relay.on_upstream_sent())
                    }
                    _ => None,
                }
            }
        };
        self.drive(next);
    }

    /// The peer ended its direction in order (FIN; TLS: close_notify), and everything before that was read.
    pub fn handle_end(&mut self, side: Side, now: Instant) {
        self.ctx.now = now;
        let next = match side {
            Side::Client(id) => match self.clients.ended(id, &mut self.ctx) {
                ClientStep::Exchange(exchange) => {
                    self.relay(exchange, |relay| relay.on_client_end())
                }
                step => Some(Step::Client(id, step)),
            },
            Side::Upstream(id) => self.on_upstream(id, UpstreamEvent::End),
        };
        self.drive(next);
    }

    /// The peer has ended its direction, although bytes may wait in the socket that are not to be read yet.
    pub fn handle_hangup(&mut self, side: Side, now: Instant) {
        self.ctx.now = now;
        let Side::Client(id) = side else { return };
        let half_close = self.ctx.rules.settings.half_close;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let next = match client.phase {
            Phase::Exchange(exchange) => self.relay(exchange, |relay| relay.on_client_hangup()),
            Phase::Suspended(_) => {
                client.ended = true;
                (!half_close).then_some(Step::Client(id, ClientStep::GiveUp))
            }
            _ => None,
        };
        self.drive(next);
    }

    /// The connection failed. After any fault but `SendFailed`, and a client's `Tls`, the side is gone. `SendFailed`: the connection
    /// is dead (RST), although bytes that came before may wait in the socket; a client's request ends at once, and of an upstream
    /// what it has sent is still read. `why`: what the system or TLS said of a connection to an upstream, for the logs.
    pub fn handle_fault(&mut self, side: Side, fault: Fault, why: Option<Box<str>>, now: Instant) {
        self.ctx.now = now;
        let reason = why.map(Reason::System);
        let next = match side {
            Side::Client(id) if fault == Fault::Tls => {
                self.clients.not_secured(id, &mut self.ctx);
                None
            }
            Side::Client(id) => {
                self.clients.record_unfinished(id, &mut self.ctx);
                Some(Step::DropClient {
                    id,
                    outcome: Outcome::ClientClosed,
                    abort: true,
                })
            }
            Side::Upstream(id) => self.on_upstream(id, UpstreamEvent::Fault(fault, reason)),
        };
        self.drive(next);
    }

    /// The lookup of a target's name ended; an empty answer means that it failed.
    pub fn handle_resolved(
        &mut self,
        target: usize,
        addresses: &[core::net::SocketAddr],
        now: Instant,
    ) {
        self.ctx.now = now;
        for up in self.upstreams.resolved(target, addresses, &mut self.ctx) {
            // One that waited may be gone, and its slot in use by another by now.
            if !self.upstreams.is_waiting(up, target) {
                continue;
            }
            match self.upstreams.get(up).map(|upstream| upstream.owner) {
                Some(Owner::Exchange(id)) => {
                    let next = self.relay(id, |relay| relay.on_name_resolved(up));
                    self.drive(next);
                }
                Some(Owner::Subrequest(id)) => {
                    let (upstreams, ctx) = (&mut self.upstreams, &mut self.ctx);
                    self.subrequests.on_name_resolved(id, up, upstreams, ctx);
                }
                _ => {}
            }
        }
        self.drive(None);
    }

    /// A password or a signature was verified: whether it is right.
    pub fn handle_verified(&mut self, lookup: LookupId, good: bool, now: Instant) {
        self.ctx.now = now;
        let resolved = self.auth(|auth, env| auth.credential_verified(lookup, good, env));
        self.drive(resolved.map(Step::Resolved));
    }

    /// Time passed: call at or after what [`poll_timeout`](Self::poll_timeout) said.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ctx.now = now;
        while let Some(reminder) = self.ctx.timers.pop_due(now) {
            let key = reminder.item;
            let timer = match key {
                TimerKey::Client(id) => self.clients.get_mut(id).map(|client| &mut client.timer),
                TimerKey::Exchange(slot) => self.exchanges.timer(slot),
                TimerKey::Subrequest(id) => self.subrequests.timer(id),
                TimerKey::Provider(provider) => self.auth.timer(provider),
                TimerKey::Messages => Some(&mut self.ctx.messages.timer),
                TimerKey::Upstream(_) | TimerKey::HealthChecks(_) | TimerKey::Target(_) => {
                    self.upstreams.timer(key)
                }
            };
            let Some(timer) = timer else { continue };
            if self.ctx.timers.fire(timer, reminder, now) {
                let next = self.due(key);
                self.drive(next);
            }
        }
        self.limiter.expire(now);
    }

    /// Acts on a deadline.
    fn due(&mut self, key: TimerKey) -> Option<Step> {
        match key {
            TimerKey::Client(id) => {
                let step = self.clients.on_deadline(id, &mut self.ctx);
                return Some(Step::Client(id, step));
            }
            TimerKey::Exchange(slot) => {
                let id = self.exchanges.at(slot)?;
                return self.relay(id, |relay| relay.on_deadline());
            }
            TimerKey::Upstream(id) => match self.upstreams.get(id)?.owner {
                Owner::Idle | Owner::Private(_) => self.upstreams.close_idle(id, &mut self.ctx),
                Owner::Exchange(_) | Owner::Subrequest(_) => {
                    return self.on_upstream(id, UpstreamEvent::Race);
                }
                Owner::Contender(_) => {}
            },
            TimerKey::Subrequest(id) => {
                let (upstreams, ctx) = (&mut self.upstreams, &mut self.ctx);
                let done = self.subrequests.on_deadline(id, upstreams, ctx);
                return done.map(Step::SubrequestDone);
            }
            TimerKey::HealthChecks(service) => {
                let (upstreams, ctx) = (&mut self.upstreams, &mut self.ctx);
                self.subrequests
                    .send_checks(service as usize, upstreams, ctx);
            }
            TimerKey::Target(target) => self.upstreams.look_up(target as usize, &mut self.ctx),
            TimerKey::Provider(provider) => {
                self.auth(|auth, env| auth.fetch_keys(provider as usize, env));
            }
            TimerKey::Messages => self.ctx.report_counts(),
        }
        None
    }

    /// The gateway stops: what is idle closes, what is in flight finishes, and its connections close then.
    pub fn handle_shutdown(&mut self) {
        self.ctx.draining = true;
        for id in self.clients.keys() {
            if self.clients.is_between_requests(id) {
                self.clients.close(id, false, &mut self.ctx);
            }
        }
        self.upstreams.close_all_idle(&mut self.ctx);
        self.drive(None);
    }

    /// No more waiting: what is in flight is cut.
    pub fn handle_abort(&mut self, now: Instant) {
        self.ctx.now = now;
        for id in self.clients.keys() {
            self.drop_client(id, Outcome::Shutdown, true);
        }
        self.subrequests
            .cancel_all(&mut self.upstreams, &mut self.ctx);
        self.drive(None);
        self.upstreams.close_all_idle(&mut self.ctx);
    }

    /// The process ran out of descriptors: frees the one that is needed least. False when there is none.
    pub fn handle_exhausted(&mut self) -> bool {
        let is_shed =
            self.upstreams.shed_idle(&mut self.ctx) || self.clients.shed_idle(&mut self.ctx);
        self.drive(None);
        is_shed
    }

    /// `n` bytes of the splice offer from this side were taken out of its socket.
    pub fn handle_spliced(&mut self, side: Side, n: usize, now: Instant) {
        self.ctx.now = now;
        let next = match side {
            Side::Client(id) => match self.clients.get(id).and_then(|client| client.exchange()) {
                Some(exchange) => self.relay(exchange, |relay| relay.request_spliced(n)),
                None => None,
            },
            Side::Upstream(id) => match self.upstreams.get(id).map(|upstream| upstream.owner) {
                Some(Owner::Exchange(exchange)) => {
                    self.relay(exchange, |relay| relay.response_spliced(n))
                }
                _ => None,
            },
        };
        self.drive(next);
    }

    // --- windows ---

    /// Where bytes from this side may be put now; empty: do not read. Follow up with `handle_received`.
    pub fn room(&mut self, side: Side) -> &mut [u8] {
        let readiness = match side {
            Side::Client(id) => self.clients.reads(id),
            Side::Upstream(id) => self.upstreams.reads(id),
        };
        let may_read = match readiness {
            Reads::Always => true,
            Reads::Never => false,
            Reads::Exchange(exchange) => self.relay_of(exchange).is_some_and(|relay| match side {
                Side::Client(_) => relay.wants_from_client(),
                Side::Upstream(_) => relay.wants_from_upstream(),
            }),
        };
        if !may_read {
            return &mut [];
        }
        let (inbox, needed) = match side {
            Side::Client(id) => {
                let head = self.ctx.rules.request_limits.head_bytes.saturating_add(1);
                let client = self.clients.get_mut(id);
                (client.map(|client| &mut client.inbox), READ_BYTES.max(head))
            }
            Side::Upstream(id) => {
                let upstream = self.upstreams.get_mut(id);
                (upstream.map(|upstream| &mut upstream.inbox), READ_BYTES)
            }
        };
        let Some(inbox) = inbox else { return &mut [] };
        // A head that comes in many pieces is moved when its storage is full, and not for each of them.
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

    /// Whether [`pending`](Self::pending) may have bytes. Where it says no, there are none.
    #[inline]
    pub fn has_pending(&self, side: Side) -> bool {
        let outbox = match side {
            Side::Client(id) => self.clients.get(id).map(|client| &client.outbox),
            Side::Upstream(id) => self.upstreams.get(id).map(|upstream| &upstream.outbox),
        };
        outbox.is_some_and(outbox::Outbox::has_bytes)
    }

    /// What may go from this side to another unread. Asking is optional, and so is taking it; a caller that does follows up with
    /// `handle_spliced` once the bytes are out of the one socket, and with `handle_sent` as they get into the other. Until then
    /// they are the caller's to keep, and die with the receiver's connection.
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

    /// The next side to look at again: it may have become worth reading ([`room`](Self::room)) or writing
    /// ([`pending`](Self::pending)). Drain the commands first, or it may be one that is not connected yet.
    #[inline]
    pub fn poll_ready(&mut self) -> Option<Side> {
        let side = self.ctx.ready.pop_front()?;
        let queued = match side {
            Side::Client(id) => self.clients.get_mut(id).map(|client| &mut client.queued),
            Side::Upstream(id) => self
                .upstreams
                .get_mut(id)
                .map(|upstream| &mut upstream.queued),
        };
        if let Some(queued) = queued {
            *queued = false;
        }
        Some(side)
    }

    /// Whether [`poll_ready`](Self::poll_ready) has a side.
    pub fn has_ready(&self) -> bool {
        !self.ctx.ready.is_empty()
    }

    /// When `handle_timeout` is to be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let windows = self.limiter.next_expiry();
        self.ctx.timers.next_due().into_iter().chain(windows).min()
    }

    /// Lines of the access log that wait to be written; the caller takes what it can.
    pub fn access_lines(&mut self) -> &mut Vec<u8> {
        self.ctx.access_log.lines()
    }

    /// Lines that found no room since this was asked last: more than [`ACCESS_LOG_BYTES`] were waiting for the caller.
    pub fn take_dropped_lines(&mut self) -> u64 {
        self.ctx.access_log.take_dropped()
    }

    /// Whether no further connection is taken, not even to tell it 503. New ones are best left waiting in the kernel.
    pub fn is_full(&self) -> bool {
        self.clients.is_full(&self.ctx)
    }

    /// Numbers of what the engine holds now.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            clients: self.clients.len(),
            accounts: self.clients.counts().accounts,
            upstreams: self.upstreams.len(),
            buffers: self.ctx.buffers.lent(),
            buffer_bytes: self.ctx.buffers.lent_bytes(),
        }
    }

    /// Checks that the engine holds no more than [`memory`] says it can and, where `thoroughly`, that what is counted is what there
    /// is, which looks at every connection. Tests and fuzzers ask after every step.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, thoroughly: bool) -> Result<(), &'static str> {
        let settings = &self.ctx.rules.settings;
        let (bounds, all) = (&self.ctx.rules.bounds, memory::clients(settings));
        let counts = self.clients.counts();
        let buffers = total([
            counts.served.saturating_mul(bounds.served),
            counts.overflow.saturating_mul(bounds.overflow),
            counts.denied.saturating_mul(bounds.denied),
            self.subrequests.len().saturating_mul(bounds.of_subrequest),
        ]);
        let is_within = self.ctx.buffers.lent_bytes() <= buffers
            && self.upstreams.len() <= bounds.upstreams.saturating_add(bounds.subrequests)
            && self.subrequests.len() <= bounds.subrequests
            && self.exchanges.len() <= settings.limits.connections
            && self.ctx.access_log.kept_entries() <= all
            && counts.counted <= counts.served
            && counts.accounts <= counts.served
            && counts.denied <= memory::denied(settings)
            && self.ctx.timers.len() <= bounds.reminders.saturating_add(all)
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
        Ok(())
    }
}
