//! The upstream connections of exchanges: from the pool or fresh, tried address by address, replayed at most once, and
//! returned to the pool only when nothing is left on them (invariant I3).

use core::net::{IpAddr, SocketAddr};

use super::command::{Command, DownstreamId, Fault, Report, Side, UpstreamId};
use super::downstream::Phase;
use super::exchange::Link;
use super::inquiry::InquiryId;
use super::outbox::Outbox;
use super::settings::{Target, TargetHost};
use super::upstream::{Stage, Upstream, Work};
use super::{Owner, Proxy};
use crate::limits::RESOLVE_INTERVAL;
use crate::observe::access::End;
use crate::time::{Duration, Instant};
use crate::upstream::addresses::{Addresses, Candidate};
use crate::upstream::idle::IdlePool;
use crate::wheel::Timer;

/// One target: where it is, and what is connected to it and idle.
pub(super) struct TargetState {
    pub(super) addresses: Addresses,
    idle: IdlePool<UpstreamId>,
    /// Who waits for the first lookup.
    waiting: Vec<Waiter>,
    named: bool,
    /// The next lookup.
    pub(super) timer: Timer,
}

/// Who waits for a target's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Exchange(DownstreamId),
    Inquiry(InquiryId),
}

impl Waiter {
    /// Any order that puts the same ones side by side.
    fn rank(self) -> (bool, u32) {
        match self {
            Waiter::Exchange(id) => (false, id.index()),
            Waiter::Inquiry(id) => (true, id.index()),
        }
    }
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
    /// Exchanges and inquiries that are remembered as waiting for the name.
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
        for waiter in core::mem::take(&mut state.waiting) {
            // The one that waited may be gone, and its connection busy with another request by now.
            let Some(link) = self.link_that_waits(waiter, target) else { continue };
            match waiter {
                Waiter::Exchange(id) => self.dial(id, link, now),
                Waiter::Inquiry(id) => self.dial_inquiry(id, link, now),
            }
        }
    }

    // --- a connection for an exchange ---

    /// Gives the exchange of `id` a connection that will carry what is in `outbox`.
    pub(super) fn link(&mut self, id: DownstreamId, outbox: Outbox, now: Instant) {
        let Some(target) = self.target_of(id) else { return };
        match self.take_idle(target) {
            Some(up) => self.link_pooled(id, up, outbox, now),
            None => self.link_fresh(id, target, outbox, now),
        }
    }

    fn link_pooled(&mut self, id: DownstreamId, up: UpstreamId, outbox: Outbox, now: Instant) {
        if let Some(upstream) = self.ups.get_mut(up) {
            upstream.engage(Work::Exchange(id), outbox, now);
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
        self.make_room_upstream();
        let up = self.ups.insert(Upstream::new(target, Work::Exchange(id), outbox, now));
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
            Candidate::Wait => self.wait_for_name(Waiter::Exchange(id), target),
            Candidate::None => self.fail(id, End::UpstreamUnresolved, now),
        }
    }

    /// Remembers who waits for the target's first lookup. Those that gave up are forgotten when there are as many as can wait.
    pub(super) fn wait_for_name(&mut self, waiter: Waiter, target: usize) {
        let Some(state) = self.targets.get_mut(target) else { return };
        let mut waiting = core::mem::take(&mut state.waiting);
        if waiting.len() >= self.bounds.waiting {
            waiting.retain(|&waiter| self.link_that_waits(waiter, target).is_some());
            waiting.sort_unstable_by_key(|waiter| waiter.rank());
            waiting.dedup();
        }
        waiting.push(waiter);
        if let Some(state) = self.targets.get_mut(target) {
            state.waiting = waiting;
        }
    }

    /// The connection that will be made once the name of `target` is known; `None`: this waiter has gone.
    fn link_that_waits(&self, waiter: Waiter, target: usize) -> Option<UpstreamId> {
        let link = match waiter {
            Waiter::Exchange(id) => self.link_of(id),
            Waiter::Inquiry(id) => self.link_of_inquiry(id),
        }?;
        let up = self.ups.get(link.id)?;
        (up.stage == Stage::Resolving && up.target == target).then_some(link.id)
    }

    pub(super) fn link_open(&mut self, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.ups.get_mut(up) else { return };
        upstream.stage = Stage::Open;
        match upstream.work {
            Work::Exchange(id) => {
                self.arm_response(id, now);
                self.attend_up(up);
                // What the client sent meanwhile may have waited for room.
                self.attend_down(id);
            }
            Work::Inquiry(_) => self.attend_up(up),
            Work::Idle => self.close_up(up),
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
                let up = self.ups.insert(Upstream::new(target, Work::Exchange(id), outbox, now));
                self.set_link(id, Some(Link { id: up, reused: false }));
                self.dial(id, up, now);
            }
            Fault::Exhausted if self.shed_idle() => {
                if let Some(exchange) = self.exchange_of(id) {
                    exchange.attempts = exchange.attempts.saturating_sub(1);
                }
                let up = self.ups.insert(Upstream::new(target, Work::Exchange(id), outbox, now));
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
        self.put_back(link.id, pool, keep, now);
    }

    /// Puts a connection into its target's pool, for at most `keep`, when it may go there and nothing is left on it.
    pub(super) fn put_back(&mut self, up: UpstreamId, pool: bool, keep: Option<Duration>, now: Instant) {
        let Some(upstream) = self.ups.get_mut(up) else { return };
        upstream.outbox.forget(&mut self.pool);
        let pure = pool && keep.is_some() && !self.draining && upstream.inbox.is_empty() && upstream.outbox.is_sent();
        let target = upstream.target;
        if !pure || !self.targets.get_mut(target).is_some_and(|state| state.idle.put(up)) {
            return self.close_up(up);
        }
        upstream.work = Work::Idle;
        upstream.served = upstream.served.saturating_add(1);
        upstream.outbox = Outbox::default();
        self.pool.give_back(&mut upstream.inbox);
        if let Some(span) = keep {
            self.wheel.arm(&mut upstream.timer, Owner::Up(up), now.after(span));
        }
        // Bytes nobody asked for may already wait in the socket.
        self.attend_up(up);
    }

    /// The connection to this target that idles for the shortest time.
    pub(super) fn take_idle(&mut self, target: usize) -> Option<UpstreamId> {
        let pooled = self.targets.get_mut(target).and_then(|state| state.idle.take());
        pooled.filter(|&up| self.ups.get(up).is_some())
    }

    /// There are as many as there may be, idle ones included: one that idles makes room for one that is needed.
    pub(super) fn make_room_upstream(&mut self) {
        if self.ups.len() >= self.bounds.upstreams {
            self.shed_idle();
        }
    }

    /// An idle connection ends: its time is over, or the peer closed it or spoke unasked.
    pub(super) fn close_idle(&mut self, up: UpstreamId) {
        let Some(upstream) = self.ups.get(up).filter(|upstream| upstream.work == Work::Idle) else { return };
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

    fn link_of_inquiry(&self, id: InquiryId) -> Option<Link> {
        self.inquiries.get(id)?.link
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
