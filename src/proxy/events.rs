//! Events that the caller tells the engine: something happened, and when.

use super::Proxy;
use super::client::{ClientStep, Phase, Subject};
use super::command::{Fault, ListenerKind, Side};
use super::context::TimerKey;
use super::deadlines::{due, end_turn};
use super::drive::{finish_exchange, reception};
use super::exchange::ExchangeStep;
use super::ids::{ClientId, LookupId, TargetId, UpstreamId};
use super::inputs;
use super::reason::Reason;
use super::recorder::What;
use super::step::Step;
use super::stores;
use super::upstream::Owner;
use super::upstream_events::{UpstreamEvent, search};
use crate::http::mistaken;
use crate::observe::access::{Outcome, TlsVersion};
use crate::policy::forward::Peer;
use crate::time::{Instant, UnixTime};

impl Proxy {
    /// The time of day is `wall` when the monotonic clock says `now`; say so at the start and once
    /// a second.
    pub fn handle_clock(&mut self, now: Instant, wall: UnixTime) {
        self.ctx.now = now;
        self.ctx.access_log.set_clock(now, wall);
        self.ctx.counters.mark(now);
        self.auth(|auth, env| auth.start_fetching(env));
    }

    /// A client connected. `None`: it must be closed at once, not even a 503 fits.
    /// [`is_full`](Self::is_full) says before whether that is so for every client.
    pub fn handle_accepted(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        now: Instant,
    ) -> Option<ClientId> {
        self.ctx.now = now;
        let id = self.clients.accept(peer, listener, &mut self.ctx);
        self.drive(None);
        id
    }

    /// Names the listener of a client, and the version of its TLS once that is known, for the access
    /// log. The name comes with a place that keeps its number for the next client.
    pub fn note_entrance(
        &mut self,
        id: ClientId,
        listener: Option<(&str, &mut Option<u16>)>,
        tls: Option<TlsVersion>,
    ) {
        if let Some(client) = self.clients.get_mut(id) {
            if let Some((name, number)) = listener {
                let log = &mut self.ctx.access_log;
                client.entrance.listener = *number.get_or_insert_with(|| log.listener(name));
            }
            client.entrance.tls = tls;
        }
    }

    /// The TLS handshake of a client is complete. `subject`: subject of its certificate, as text of
    /// visible ASCII, where one was asked for; upstreams see it as `X-Client-Subject`.
    pub fn handle_secured(&mut self, id: ClientId, subject: Option<Box<[u8]>>, now: Instant) {
        self.ctx.now = now;
        if let Some(client) = self.clients.get_mut(id) {
            client.subject = subject.map(|subject| Box::new(Subject(subject)));
        }
        let span = self.ctx.rules.settings.timeouts.head;
        self.clients.arm(id, span, &mut self.ctx);
    }

    /// A client on a TLS listener speaks plain HTTP: these are its first bytes, and from here on
    /// its connection is a plain one. It is told (RFC 9110 15.5.1), and hears no more.
    pub fn handle_not_tls(&mut self, id: ClientId, bytes: &[u8], now: Instant) {
        self.ctx.now = now;
        let fault = mistaken::fault_on_tls(bytes);
        reception(self, id).refuse_malformed(bytes, fault.into());
    }

    /// The connection that a `Dial` asked for is there; TLS: the handshake is complete and the
    /// certificate good.
    pub fn handle_connected(&mut self, id: UpstreamId, now: Instant) {
        self.ctx.now = now;
        if self.ctx.recorder.is_some() {
            inputs::note(self, Side::Upstream(id), &What::Connected);
        }
        let requester = self.upstreams.requester(id);
        let owner = search(self, requester, |upstreams, search, ctx| {
            upstreams.connected(id, search, ctx)
        });
        if let Some(Owner::Exchange(exchange)) = owner {
            self.relay(exchange, |relay| relay.on_connected());
        } else if let Some(Owner::Store(store)) = owner {
            stores::act(self, |stores, env| stores.on_connected(store, env));
        }
        self.drive(None);
    }

    /// `n` bytes were put into `room(side)`; zero: nothing came after all. Follows every call of
    /// `room` that gave space.
    pub fn handle_received(&mut self, side: Side, n: usize, now: Instant) {
        self.ctx.now = now;
        if self.ctx.recorder.is_some() {
            inputs::note_received(self, side, n);
        }
        match side {
            Side::Client(id) => {
                let step = self.clients.received(id, n, &mut self.ctx);
                let next = match step {
                    ClientStep::Exchange(exchange) => {
                        self.relay(exchange, |relay| relay.on_client_bytes())
                    }
                    // The usual one, without the way through the loop.
                    ClientStep::ReadHead => self.read_head(id, None),
                    step => Step::of_client(id, step),
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
        if self.ctx.recorder.is_some() {
            inputs::note_sent(self, side);
        }
        let next = match side {
            Side::Client(id) => match self.clients.sent(id, n, &mut self.ctx) {
                ClientStep::Exchange(exchange) => {
                    let relay = self.relay_of(exchange);
                    match relay.map(|mut relay| relay.on_client_sent()) {
                        // The usual one, without the way through the loop.
                        Some(ExchangeStep::Finished) => finish_exchange(self, exchange),
                        Some(step) => Step::of_exchange(exchange, step),
                        None => None,
                    }
                }
                step => Step::of_client(id, step),
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

    /// The peer ended its direction in order (FIN; TLS: close_notify), and everything before that
    /// was read.
    pub fn handle_end(&mut self, side: Side, now: Instant) {
        self.ctx.now = now;
        if self.ctx.recorder.is_some() {
            inputs::note(self, side, &What::End);
        }
        let next = match side {
            Side::Client(id) => client_ended(self, id),
            Side::Upstream(id) => self.on_upstream(id, UpstreamEvent::End),
        };
        self.drive(next);
    }

    /// The peer has ended its direction, although bytes may wait in the socket that are not to be
    /// read yet.
    pub fn handle_hangup(&mut self, side: Side, now: Instant) {
        self.ctx.now = now;
        let Side::Client(id) = side else { return };
        if self.ctx.recorder.is_some() {
            inputs::note(self, side, &|_| What::Hangup);
        }
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

    /// The connection failed. After any fault but `SendFailed`, and a client's `Tls` and `Truncated`,
    /// the side is gone. `Truncated`: the client has ended its direction, as by FIN. `SendFailed`: the
    /// connection is dead (RST), although bytes that came before may wait in the socket; a client's
    /// request ends at once, and of an upstream what it has sent is still read. `why`: what the system
    /// or TLS said of a connection to an upstream, for the logs; of a client's `Tls`, why its
    /// certificate was refused, if that is what failed.
    pub fn handle_fault(&mut self, side: Side, fault: Fault, why: Option<Box<str>>, now: Instant) {
        self.ctx.now = now;
        if self.ctx.recorder.is_some() {
            inputs::note(self, side, &|number| {
                What::Fault(number, fault, why.clone())
            });
        }
        let reason = why.map(Reason::System);
        let next = match side {
            Side::Client(id) if fault == Fault::Tls => {
                self.clients.not_secured(id, reason, &mut self.ctx);
                None
            }
            Side::Client(id) if fault == Fault::Truncated => client_ended(self, id),
            Side::Client(id) => {
                self.clients.record_unfinished(id, &mut self.ctx);
                Some(Step::DropClient {
                    id,
                    outcome: outcome_of_reset(self, id),
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
        target: TargetId,
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
                Some(Owner::Store(id)) => {
                    stores::act(self, |stores, env| stores.on_name_resolved(id, up, env));
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
                TimerKey::Store(store) => self.stores.timer(store),
                TimerKey::Messages => Some(&mut self.ctx.messages.timer),
                TimerKey::Upstream(_) | TimerKey::HealthChecks(_) | TimerKey::Target(_) => {
                    self.upstreams.timer(key)
                }
            };
            let Some(timer) = timer else { continue };
            if self.ctx.timers.fire(timer, reminder, now) {
                let next = due(self, key);
                self.drive(next);
            }
        }
        self.limiter.expire(now);
        if self.ctx.has_leftovers {
            end_turn(self);
        }
    }

    /// The process ran out of descriptors: frees the one that is needed least. False when there is
    /// none.
    pub fn handle_exhausted(&mut self) -> bool {
        let is_shed =
            self.upstreams.shed_idle(&mut self.ctx) || self.clients.shed_idle(&mut self.ctx);
        self.drive(None);
        is_shed
    }

    /// `n` bytes of the splice offer from this side were taken out of its socket.
    pub fn handle_spliced(&mut self, side: Side, n: usize, now: Instant) {
        self.ctx.now = now;
        if self.ctx.recorder.is_some() {
            inputs::note_bytes(self, side, b"", n);
        }
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
}

/// Acts on the end of a client's direction.
fn client_ended(proxy: &mut Proxy, id: ClientId) -> Option<Step> {
    match proxy.clients.ended(id, &mut proxy.ctx) {
        ClientStep::Exchange(exchange) => proxy.relay(exchange, |relay| relay.on_client_end()),
        step => Step::of_client(id, step),
    }
}

/// Returns how a request ends whose client's connection broke.
fn outcome_of_reset(proxy: &Proxy, id: ClientId) -> Outcome {
    let exchange = proxy.clients.get(id).and_then(|client| client.exchange());
    let exchange = exchange.and_then(|exchange| proxy.exchanges.get(exchange));
    match exchange {
        Some(exchange) if exchange.has_passed_end() => Outcome::Ok,
        _ => Outcome::ClientClosed,
    }
}
