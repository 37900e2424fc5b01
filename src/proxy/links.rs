//! The upstream connections of exchanges: from the pool or fresh, tried address by address, replayed at most once, and
//! returned to the pool only when nothing is left on them (invariant I3).

use core::net::{IpAddr, SocketAddr};

use super::command::{Command, DownstreamId, Fault, Report, Side, UpstreamId};
use super::downstream::Phase;
use super::exchange::Link;
use super::outbox::Outbox;
use super::settings::{Target, TargetHost};
use super::upstream::{Stage, Upstream};
use super::{Owner, Proxy};
use crate::limits::RESOLVE_INTERVAL;
use crate::observe::access::End;
use crate::time::Instant;
use crate::upstream::addresses::{Addresses, Candidate};
use crate::upstream::idle::IdlePool;
use crate::wheel::Timer;

/// One target: where it is, and what is connected to it and idle.
pub(super) struct TargetState {
    addresses: Addresses,
    idle: IdlePool<UpstreamId>,
    /// Exchanges that wait for the first lookup.
    waiting: Vec<DownstreamId>,
    named: bool,
    /// The next lookup.
    pub(super) timer: Timer,
}

impl TargetState {
    pub(super) fn new(target: &Target) -> TargetState {
        let (addresses, named) = match &target.host {
            TargetHost::Address(IpAddr::V4(address)) => {
                (Addresses::fixed(SocketAddr::from((*address, target.port))), false)
            }
            TargetHost::Address(IpAddr::V6(address)) => {
                (Addresses::fixed(SocketAddr::from((*address, target.port))), false)
            }
            TargetHost::Name(_) => (Addresses::looking(), true),
        };
        TargetState { addresses, idle: IdlePool::default(), waiting: Vec::new(), named, timer: Timer::default() }
    }
}

impl TargetState {
    /// Exchanges that are remembered as waiting for the name.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Proxy {
    // --- names ---

    pub(super) fn look_up_names(&mut self) {
        for target in 0..self.targets.len() {
            if self.targets.get(target).is_some_and(|state| state.named) {
                self.look_up(target);
            }
        }
    }

    pub(super) fn look_up(&mut self, target: usize) {
        if let Some(state) = self.targets.get_mut(target) {
            state.addresses.look();
            self.commands.push_back(Command::Resolve { target });
        }
    }

    pub(super) fn target_resolved(&mut self, target: usize, addresses: &[SocketAddr], now: Instant) {
        let Some(state) = self.targets.get_mut(target) else { return };
        state.addresses.answer(addresses);
        self.wheel.arm(&mut state.timer, Owner::Target(target as u32), now.after(RESOLVE_INTERVAL));
        for id in core::mem::take(&mut state.waiting) {
            // The one that waited may be gone, and its connection busy with another request by now.
            if self.waits_for(id, target)
                && let Some(link) = self.link_of(id)
            {
                self.dial(id, link.id, now);
            }
        }
    }

    // --- a connection for an exchange ---

    /// Gives the exchange of `id` a connection that will carry what is in `outbox`.
    pub(super) fn link(&mut self, id: DownstreamId, outbox: Outbox, now: Instant) {
        let Some(target) = self.target_of(id) else { return };
        let pooled = self.targets.get_mut(target).and_then(|state| state.idle.take());
        match pooled.filter(|&up| self.ups.get(up).is_some()) {
            Some(up) => self.link_pooled(id, up, outbox, now),
            None => self.link_fresh(id, target, outbox, now),
        }
    }

    fn link_pooled(&mut self, id: DownstreamId, up: UpstreamId, outbox: Outbox, now: Instant) {
        if let Some(upstream) = self.ups.get_mut(up) {
            upstream.client = Some(id);
            upstream.outbox = outbox;
            upstream.since = now;
            upstream.timer.clear();
        }
        self.set_link(id, Some(Link { id: up, reused: true }));
        if let Some(exchange) = self.exchange_of(id) {
            exchange.draft.reused = true;
            exchange.draft.upstream_since = Some(now);
        }
        self.arm_response(id, now);
        self.attend_up(up);
    }

    fn link_fresh(&mut self, id: DownstreamId, target: usize, outbox: Outbox, now: Instant) {
        // As many as there may be clients, idle ones included: one that idles makes room for one that is needed.
        if self.ups.len() >= self.settings.limits.connections {
            self.shed_idle();
        }
        let up = self.ups.insert(Upstream::new(target, id, outbox, now));
        self.set_link(id, Some(Link { id: up, reused: false }));
        if let Some(exchange) = self.exchange_of(id) {
            exchange.draft.reused = false;
            exchange.draft.upstream_since = Some(now);
        }
        let connect = self.timeouts_of(id).and_then(|timeouts| timeouts.connect);
        self.arm_down(id, connect, now);
        self.dial(id, up, now);
    }

    /// Connects to the next address that the exchange has not tried.
    fn dial(&mut self, id: DownstreamId, up: UpstreamId, now: Instant) {
        let Some(target) = self.ups.get(up).map(|upstream| upstream.target) else { return };
        let Some(start) = self.targets.get(target).map(|state| state.addresses.start()) else { return };
        let Some(exchange) = self.exchange_of(id) else { return };
        if exchange.attempts == 0 {
            exchange.first_address = start;
        }
        let (first, attempts) = (exchange.first_address, exchange.attempts);
        let (Some(upstream), Some(state)) = (self.ups.get_mut(up), self.targets.get_mut(target)) else { return };
        match state.addresses.candidate(first, attempts) {
            Candidate::Address(address) => {
                upstream.stage = Stage::Dialing(address);
                self.commands.push_back(Command::Dial { upstream: up, target, address });
                if let Some(exchange) = self.exchange_of(id) {
                    exchange.attempts = exchange.attempts.saturating_add(1);
                }
            }
            Candidate::Wait => self.wait_for_name(id, target),
            Candidate::None => self.fail(id, End::UpstreamUnresolved, now),
        }
    }

    /// Remembers who waits for the target's first lookup. Those that gave up are forgotten when there are as many as can wait.
    fn wait_for_name(&mut self, id: DownstreamId, target: usize) {
        let Some(state) = self.targets.get_mut(target) else { return };
        let mut waiting = core::mem::take(&mut state.waiting);
        if waiting.len() >= self.bounds.waiting {
            waiting.retain(|&id| self.waits_for(id, target));
            waiting.sort_unstable_by_key(|id| id.index());
            waiting.dedup();
        }
        waiting.push(id);
        if let Some(state) = self.targets.get_mut(target) {
            state.waiting = waiting;
        }
    }

    fn waits_for(&self, id: DownstreamId, target: usize) -> bool {
        let up = self.link_of(id).and_then(|link| self.ups.get(link.id));
        up.is_some_and(|up| up.stage == Stage::Resolving && up.target == target)
    }

    pub(super) fn link_open(&mut self, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.ups.get_mut(up) else { return };
        upstream.stage = Stage::Open;
        match upstream.client {
            Some(id) => {
                self.arm_response(id, now);
                self.attend_up(up);
                // What the client sent meanwhile may have waited for room.
                self.attend_down(id);
            }
            None => self.close_up(up),
        }
    }

    /// The connection was not made: another address may do.
    pub(super) fn link_refused(&mut self, id: DownstreamId, up: UpstreamId, fault: Fault, now: Instant) {
        let Some(upstream) = self.ups.get_mut(up) else { return };
        let target = upstream.target;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        if let (Stage::Dialing(address), Some(state)) = (upstream.stage, self.targets.get_mut(target)) {
            state.addresses.refused(address);
        }
        self.close_up(up);
        let Some((first, tried)) = self.exchange_of(id).map(|exchange| (exchange.first_address, exchange.attempts))
        else {
            return;
        };
        let another = self
            .targets
            .get(target)
            .is_some_and(|state| matches!(state.addresses.candidate(first, tried), Candidate::Address(_)));
        match fault {
            Fault::Refused if another => {
                let up = self.ups.insert(Upstream::new(target, id, outbox, now));
                self.set_link(id, Some(Link { id: up, reused: false }));
                self.dial(id, up, now);
            }
            Fault::Exhausted if self.shed_idle() => {
                if let Some(exchange) = self.exchange_of(id) {
                    exchange.attempts = exchange.attempts.saturating_sub(1);
                }
                let up = self.ups.insert(Upstream::new(target, id, outbox, now));
                self.set_link(id, Some(Link { id: up, reused: false }));
                self.dial(id, up, now);
            }
            _ => {
                if fault == Fault::Exhausted {
                    self.commands.push_back(Command::Report(Report::Exhausted));
                }
                outbox.clear(&mut self.pool);
                self.set_link(id, None);
                self.fail(id, fault.end(), now);
            }
        }
    }

    /// Sends the whole request again on a fresh connection, when that cannot execute it twice: the connection came from the
    /// pool, died before a byte of the answer, and the method is idempotent or nothing was written. At most once.
    pub(super) fn replay(&mut self, id: DownstreamId, up: UpstreamId, now: Instant) -> bool {
        let Some(upstream) = self.ups.get_mut(up) else { return false };
        let Some(exchange) = self.downs.get_mut(id).and_then(|down| down.exchange()) else { return false };
        let reused = exchange.link.is_some_and(|link| link.reused);
        let safe = exchange.idempotent || !upstream.outbox.touched();
        if !reused || exchange.replayed || exchange.answered || !safe || !upstream.outbox.can_rewind() {
            return false;
        }
        exchange.replayed = true;
        exchange.draft.retries = exchange.draft.retries.saturating_add(1);
        let target = upstream.target;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        outbox.rewind();
        self.close_up(up);
        self.link_fresh(id, target, outbox, now);
        true
    }

    // --- the pool ---

    /// The response was read to its end: the connection goes to the pool, or is closed.
    pub(super) fn release(&mut self, id: DownstreamId, pool: bool, now: Instant) {
        let keep = self.timeouts_of(id).and_then(|timeouts| timeouts.upstream_keep_alive);
        let Some(link) = self.link_of(id) else { return };
        self.set_link(id, None);
        let Some(upstream) = self.ups.get_mut(link.id) else { return };
        upstream.outbox.forget(&mut self.pool);
        let pure = pool && keep.is_some() && !self.draining && upstream.inbox.is_empty() && upstream.outbox.is_sent();
        let target = upstream.target;
        if !pure || !self.targets.get_mut(target).is_some_and(|state| state.idle.put(link.id)) {
            return self.close_up(link.id);
        }
        upstream.client = None;
        upstream.served = upstream.served.saturating_add(1);
        upstream.outbox = Outbox::default();
        self.pool.give_back(&mut upstream.inbox);
        if let Some(span) = keep {
            self.wheel.arm(&mut upstream.timer, Owner::Up(link.id), now.after(span));
        }
        // Bytes nobody asked for may already wait in the socket.
        self.attend_up(link.id);
    }

    /// An idle connection ends: its time is over, or the peer closed it or spoke unasked.
    pub(super) fn close_idle(&mut self, up: UpstreamId) {
        let Some(upstream) = self.ups.get(up).filter(|upstream| upstream.client.is_none()) else { return };
        if let Some(state) = self.targets.get_mut(upstream.target) {
            state.idle.remove(up);
        }
        self.close_up(up);
    }

    pub(super) fn close_all_idle(&mut self) {
        while self.shed_idle() {}
    }

    /// Closes the oldest idle connection of the target that has most of them.
    pub(super) fn shed_idle(&mut self) -> bool {
        let fullest = self.targets.iter_mut().max_by_key(|state| state.idle.len());
        match fullest.and_then(|state| state.idle.take_oldest()) {
            Some(up) => {
                self.close_up(up);
                true
            }
            None => false,
        }
    }

    /// Ends an upstream connection and everything it holds.
    pub(super) fn close_up(&mut self, up: UpstreamId) {
        if let Some(mut upstream) = self.ups.remove(up) {
            self.pool.give_back(&mut upstream.inbox);
            upstream.outbox.clear(&mut self.pool);
            self.commands.push_back(Command::Close { side: Side::Up(up), abort: false });
        }
    }

    // --- look-ups ---

    pub(super) fn exchange_of(&mut self, id: DownstreamId) -> Option<&mut super::Exchange> {
        self.downs.get_mut(id).and_then(|down| down.exchange())
    }

    pub(super) fn link_of(&self, id: DownstreamId) -> Option<Link> {
        match &self.downs.get(id)?.phase {
            Phase::Relay(exchange) | Phase::Tunnel(exchange) => exchange.link,
            _ => None,
        }
    }

    fn set_link(&mut self, id: DownstreamId, link: Option<Link>) {
        if let Some(exchange) = self.exchange_of(id) {
            exchange.link = link;
        }
    }

    fn target_of(&mut self, id: DownstreamId) -> Option<usize> {
        let service = self.exchange_of(id)?.service;
        self.settings.services.get(service).map(|service| service.target)
    }

    pub(super) fn timeouts_of(&self, id: DownstreamId) -> Option<&super::settings::ExchangeTimeouts> {
        match &self.downs.get(id)?.phase {
            Phase::Relay(exchange) | Phase::Tunnel(exchange) => {
                self.settings.services.get(exchange.service).map(|service| &service.timeouts)
            }
            _ => None,
        }
    }

    pub(super) fn arm_response(&mut self, id: DownstreamId, now: Instant) {
        let span = self.timeouts_of(id).and_then(|timeouts| timeouts.response);
        self.arm_down(id, span, now);
    }

    pub(super) fn arm_idle(&mut self, id: DownstreamId, now: Instant) {
        let span = self.timeouts_of(id).and_then(|timeouts| timeouts.idle);
        self.arm_down(id, span, now);
    }
}
