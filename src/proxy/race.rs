//! Racing the addresses of one name (RFC 8305 5): while the connection to one of them is not made, the next is tried as well.
//!
//! A race has a leader, the upstream connection that its exchange or inquiry is linked to and that holds the request, and
//! contenders, which hold nothing. All of them are still being made; with TLS that includes the handshake. Only the leader's
//! timer runs: when it fires, or when a connection fails, the next address gets its contender, one of the other family
//! first. The first that is made becomes the leader, and all others are closed. Not a byte of the request is written
//! before that, so a race never sends it twice.
//!
//! An address that had a head start and lost is held against its endpoint like a connection that was not made in time.

use core::net::SocketAddr;

use super::command::{ClientId, Command, Fault, UpstreamId};
use super::endpoints::EndpointId;
use super::exchange::UpstreamRef;
use super::outbox::Outbox;
use super::subrequest::SubrequestId;
use super::upstream::{Owner, Stage, Upstream};
use super::{Proxy, TimerKey};
use crate::limits::RACE_DELAY;
use crate::observe::access::Outcome;
use crate::time::Instant;
use crate::upstream::addresses::Candidate;

/// Where a race goes on: an address, its endpoint, and whose request it is.
struct Next {
    address: SocketAddr,
    endpoint: Option<EndpointId>,
    /// For an exchange: the service, and which of its targets.
    in_flight: Option<(usize, usize)>,
}

impl Proxy {
    /// A connection to one of several addresses of a name is being made: another one is tried in a moment.
    pub(super) fn arm_race(&mut self, leader: UpstreamId, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(leader) else {
            return;
        };
        if self
            .targets
            .get(upstream.target)
            .is_some_and(|state| state.addresses.known().len() > 1)
        {
            self.wheel.arm(
                &mut upstream.timer,
                TimerKey::Up(leader),
                now.after(RACE_DELAY),
            );
        }
    }

    /// The next address of the same name, if there is one left.
    pub(super) fn race_on(&mut self, leader: UpstreamId, now: Instant) {
        let Some(upstream) = self.upstreams.get(leader) else {
            return;
        };
        let (Stage::Dialing(_), target, owner) = (upstream.stage, upstream.target, upstream.owner)
        else {
            return;
        };
        let next = match owner {
            Owner::Exchange(id) => self.next_of_exchange(id, leader, now),
            Owner::Subrequest(id) => self.next_of_subrequest(id),
            Owner::Idle | Owner::Private(_) | Owner::Contender(_) => None,
        };
        let Some(next) = next else { return };
        if let (Some(endpoint), Owner::Exchange(id)) = (next.endpoint, owner)
            && let Some(pooled) = self
                .take_private(id, endpoint)
                .or_else(|| self.take_idle(endpoint))
        {
            return self.win_by_pool(id, leader, pooled, next.in_flight, now);
        }
        self.arm_race(leader, now);
        // A contender is a connection more than its client has. Where there is no room for it, the race goes on later.
        if self.upstreams.len() >= self.bounds.upstreams && !self.shed_idle() {
            if let Owner::Subrequest(id) = owner
                && let Some(subrequest) = self.subrequests.get_mut(id)
            {
                subrequest.attempts = subrequest.attempts.saturating_sub(1);
            }
            return;
        }
        let mut contender = Upstream::new(target, Owner::Contender(leader), Outbox::default(), now);
        contender.endpoint = next.endpoint;
        contender.stage = Stage::Dialing(next.address);
        let contender = self.upstreams.insert(contender);
        self.races
            .entry(leader.index())
            .or_default()
            .push(contender);
        self.commands.push_back(Command::Dial {
            upstream: contender,
            target,
            address: next.address,
        });
        if let Some((service, destination)) = next.in_flight {
            self.count_in_flight(contender, service, destination);
        }
    }

    fn next_of_exchange(&mut self, id: ClientId, leader: UpstreamId, now: Instant) -> Option<Next> {
        let exchange = self.exchange_of(id)?;
        let (service, from, client) = (
            exchange.service,
            exchange.destination as usize,
            exchange.log_entry.client,
        );
        let mut out = core::mem::take(&mut exchange.tried);
        let known = out.len();
        let racing = self.contenders(leader).iter().chain([&leader]);
        out.extend(racing.filter_map(|up| self.upstreams.get(*up)?.endpoint));
        let last = self.contenders(leader).last().copied().unwrap_or(leader);
        let last_is_v4 = self
            .upstreams
            .get(last)
            .is_some_and(|up| matches!(up.stage, Stage::Dialing(at) if at.is_ipv4()));
        let others = self
            .targets
            .get(self.upstreams.get(leader)?.target)
            .map_or(&[][..], |state| &state.endpoints);
        let of_other_family = others.iter().copied().filter(|id| {
            self.endpoints
                .get(*id)
                .is_some_and(|endpoint| endpoint.address.is_ipv4() != last_is_v4)
        });
        let of_other_family = of_other_family.collect::<Vec<_>>();
        let mut pick = |preferred: bool| {
            self.choose_among(service, client, now, |member| {
                let fits = !preferred || of_other_family.contains(&member.endpoint);
                fits && member.destination == from && !out.contains(&member.endpoint)
            })
        };
        let selection = pick(true).or_else(|| pick(false));
        out.truncate(known);
        if let Some(exchange) = self.exchange_of(id) {
            exchange.tried = out;
        }
        let endpoint = selection?.endpoint?;
        let address = self.endpoints.get(endpoint)?.address;
        Some(Next {
            address,
            endpoint: Some(endpoint),
            in_flight: Some((service, from)),
        })
    }

    fn next_of_subrequest(&mut self, id: SubrequestId) -> Option<Next> {
        let subrequest = self
            .subrequests
            .get_mut(id)
            .filter(|subrequest| subrequest.address.is_none())?;
        let target = subrequest.target;
        let state = self.targets.get(target)?;
        let Candidate::Address(address) = state
            .addresses
            .candidate(subrequest.first_address, subrequest.attempts)
        else {
            return None;
        };
        subrequest.attempts = subrequest.attempts.saturating_add(1);
        Some(Next {
            address,
            endpoint: self.endpoint_at(target, address),
            in_flight: None,
        })
    }

    // --- how it ends ---

    /// A contender is the first whose connection is made: it gets the request, and the others are closed.
    pub(super) fn take_lead(&mut self, winner: UpstreamId, leader: UpstreamId, now: Instant) {
        let others = self.races.remove(&leader.index()).unwrap_or_default();
        let ahead = others.iter().take_while(|up| **up != winner).count();
        for loser in [leader]
            .into_iter()
            .chain(others.iter().copied().take(ahead))
        {
            self.note_failure(loser, Outcome::UpstreamTimeout, now);
            self.note_address(loser, false);
        }
        self.hand_over(leader, winner);
        self.close_up(leader);
        for loser in others.into_iter().filter(|up| *up != winner) {
            self.close_up(loser);
        }
    }

    /// A connection that idles elsewhere serves the request sooner than any that is being made.
    fn win_by_pool(
        &mut self,
        id: ClientId,
        leader: UpstreamId,
        pooled: UpstreamId,
        in_flight: Option<(usize, usize)>,
        now: Instant,
    ) {
        self.note_failure(leader, Outcome::UpstreamTimeout, now);
        let Some(upstream) = self.upstreams.get_mut(leader) else {
            return;
        };
        let outbox = core::mem::take(&mut upstream.outbox);
        self.close_up(leader);
        if let Some(upstream) = self.upstreams.get_mut(pooled) {
            upstream.engage(Owner::Exchange(id), outbox, now);
        }
        let Some(exchange) = self.exchange_of(id) else {
            return;
        };
        exchange.link = Some(UpstreamRef {
            id: pooled,
            reused: true,
        });
        exchange.log_entry.goes_up(true, now);
        if let Some((service, destination)) = in_flight {
            self.count_in_flight(pooled, service, destination);
        }
        self.arm_response(id, now);
        self.mark_upstream_ready(pooled);
        // What the client sent meanwhile may have waited for room.
        self.mark_client_ready(id);
    }

    /// The leader's connection was not made. True: a contender took its place, and the next address is tried at once.
    pub(super) fn pass_lead(&mut self, leader: UpstreamId, fault: Fault, now: Instant) -> bool {
        if self.races.is_empty() {
            return false;
        }
        let Some(mut others) = self
            .races
            .remove(&leader.index())
            .filter(|others| !others.is_empty())
        else {
            return false;
        };
        let next = others.remove(0);
        if fault != Fault::Exhausted {
            self.note_refusal(leader, fault, now);
        }
        self.remember_tried(leader);
        self.hand_over(leader, next);
        self.close_up(leader);
        for up in &others {
            if let Some(upstream) = self.upstreams.get_mut(*up) {
                upstream.owner = Owner::Contender(next);
            }
        }
        if !others.is_empty() {
            self.races.insert(next.index(), others);
        }
        self.arm_race(next, now);
        self.race_on(next, now);
        true
    }

    /// A contender's connection was not made.
    pub(super) fn contender_failed(
        &mut self,
        up: UpstreamId,
        leader: UpstreamId,
        fault: Fault,
        now: Instant,
    ) {
        if fault != Fault::Exhausted {
            self.note_refusal(up, fault, now);
            self.remember_tried(up);
        }
        self.drop_contender(up, leader);
        if fault != Fault::Exhausted {
            self.race_on(leader, now);
        }
    }

    /// Closes those that race against an upstream connection: it is made, or given up.
    pub(super) fn end_race(&mut self, leader: UpstreamId) {
        if self.races.is_empty() {
            return;
        }
        for up in self.races.remove(&leader.index()).unwrap_or_default() {
            self.close_up(up);
        }
    }

    /// Closes a contender of any race, to make room. False: there is none.
    pub(super) fn shed_contender(&mut self) -> bool {
        let Some(up) = self
            .races
            .values()
            .find_map(|others| others.last().copied())
        else {
            return false;
        };
        let Some(Owner::Contender(leader)) = self.upstreams.get(up).map(|upstream| upstream.owner)
        else {
            return false;
        };
        self.drop_contender(up, leader);
        true
    }

    /// Those that race against an upstream connection, in the order in which they began.
    pub(super) fn contenders(&self, leader: UpstreamId) -> &[UpstreamId] {
        self.races.get(&leader.index()).map_or(&[], |others| others)
    }

    fn drop_contender(&mut self, up: UpstreamId, leader: UpstreamId) {
        if let Some(others) = self.races.get_mut(&leader.index()) {
            others.retain(|other| *other != up);
            if others.is_empty() {
                self.races.remove(&leader.index());
            }
        }
        self.close_up(up);
    }

    /// Gives the request of `from`, and whose it is, to `to`.
    fn hand_over(&mut self, from: UpstreamId, to: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(from) else {
            return;
        };
        let (outbox, owner) = (core::mem::take(&mut upstream.outbox), upstream.owner);
        if let Some(upstream) = self.upstreams.get_mut(to) {
            upstream.outbox = outbox;
            upstream.owner = owner;
        }
        let link = UpstreamRef {
            id: to,
            reused: false,
        };
        match owner {
            Owner::Exchange(id) => {
                if let Some(exchange) = self.exchange_of(id) {
                    exchange.link = Some(link);
                }
            }
            Owner::Subrequest(id) => {
                if let Some(subrequest) = self.subrequests.get_mut(id) {
                    subrequest.link = Some(link);
                }
            }
            Owner::Idle | Owner::Private(_) | Owner::Contender(_) => {}
        }
    }

    /// The exchange does not go to this endpoint again.
    fn remember_tried(&mut self, up: UpstreamId) {
        let Some(endpoint) = self
            .upstreams
            .get(up)
            .and_then(|upstream| upstream.endpoint)
        else {
            return;
        };
        let Some(id) = self.racer(up) else { return };
        if let Some(exchange) = self.exchange_of(id)
            && !exchange.tried.contains(&endpoint)
        {
            exchange.tried.push(endpoint);
        }
    }

    /// The client whose exchange a connection is made for.
    pub(super) fn racer(&self, up: UpstreamId) -> Option<ClientId> {
        match self.upstreams.get(up)?.owner {
            Owner::Exchange(id) => Some(id),
            Owner::Contender(leader) => match self.upstreams.get(leader)?.owner {
                Owner::Exchange(id) => Some(id),
                _ => None,
            },
            _ => None,
        }
    }

    /// A connection was refused, or failed in another way before it was made.
    pub(super) fn note_refusal(&mut self, up: UpstreamId, fault: Fault, now: Instant) {
        if !self.note_absence(up, fault, now) {
            self.note_failure(up, fault.end(), now);
        }
        self.note_address(up, false);
    }

    /// Who asks without a choice begins with the address that was reached last.
    pub(super) fn note_address(&mut self, up: UpstreamId, reached: bool) {
        let Some(upstream) = self.upstreams.get(up) else {
            return;
        };
        let (Stage::Dialing(address), target) = (upstream.stage, upstream.target) else {
            return;
        };
        if let Some(state) = self.targets.get_mut(target) {
            if reached {
                state.addresses.reached(address)
            } else {
                state.addresses.refused(address)
            }
        }
    }
}
