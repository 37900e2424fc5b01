//! Racing the addresses of one name (RFC 8305 5): while the connection to one of them is not made,
//! the next is tried as well.
//!
//! A race has a leader, the connection that its request has and that holds the request, and
//! contenders, which hold nothing. All of them are still being made; with TLS that includes the
//! handshake. Only the leader's timer runs: when it fires, or when a connection fails, the next
//! address gets its contender, one of the other family first. The first that is made becomes the
//! leader, and all others are closed. Not a byte of the request is written before that, so a race
//! never sends it twice.
//!
//! An address that had a head start and lost counts against its endpoint like a connection that was
//! not made in time.

use core::net::SocketAddr;

use super::super::command::{Command, Fault};
use super::super::context::{Context, TimerKey};
use super::super::ids::{EndpointId, TargetId, UpstreamId};
use super::super::outbox::Outbox;
use super::Upstreams;
use super::attempts::{Search, UpstreamRef};
use super::connection::{Owner, Stage, Upstream};
use super::selection::Selection;
use crate::limits::RACE_DELAY;
use crate::observe::access::Outcome;
use crate::upstream::addresses::Candidate;
use crate::upstream::group::Member;

/// Next address of a race, and its endpoint.
struct Next {
    address: SocketAddr,
    endpoint: Option<EndpointId>,
}

impl Upstreams {
    /// Sets the time for the next contender, where a connection to one of several addresses of a
    /// name is being made.
    pub(super) fn arm_race(&mut self, leader: UpstreamId, ctx: &mut Context) {
        let Some(upstream) = self.connections.get_mut(leader) else {
            return;
        };
        let state = self.targets.get(upstream.target);
        if state.is_some_and(|state| state.addresses.known().len() > 1) {
            let due = ctx.now.after(RACE_DELAY);
            ctx.timers
                .arm(&mut upstream.timer, TimerKey::Upstream(leader), due);
        }
    }

    /// Tries the next address of the same name, if there is one left. Returns whether a pooled
    /// connection to it won at once.
    pub(in crate::proxy) fn race_on(
        &mut self,
        leader: UpstreamId,
        search: &mut Search<'_>,
        ctx: &mut Context,
    ) -> bool {
        let Some(upstream) = self.connections.get(leader) else {
            return false;
        };
        let (Stage::Dialing(_), target) = (upstream.stage, upstream.target) else {
            return false;
        };
        let next = match search {
            Search::Exchange { .. } => self.next_of_exchange(leader, search, ctx),
            Search::Own { .. } => self.next_of_subrequest(search),
        };
        let Some(next) = next else { return false };
        if let Search::Exchange { attempts, .. } = search {
            let selection = Selection {
                target,
                destination: attempts.destination as usize,
                endpoint: next.endpoint,
            };
            if let Some(pooled) = self.take_pooled(search, selection) {
                self.win_by_pool(leader, pooled, selection, search, ctx);
                return true;
            }
        }
        self.arm_race(leader, ctx);
        // A contender is a connection more than its client has. Where there is no room for it, the
        // race goes on later.
        if self.len() >= ctx.rules.bounds.upstreams && !self.shed_idle(ctx) {
            if let Search::Own { dialing, .. } = search {
                dialing.attempts = dialing.attempts.saturating_sub(1);
            }
            return false;
        }
        self.add_contender(leader, target, next, search, ctx);
        false
    }

    fn add_contender(
        &mut self,
        leader: UpstreamId,
        target: TargetId,
        next: Next,
        search: &mut Search<'_>,
        ctx: &mut Context,
    ) {
        let mut contender = Upstream::new(target, Owner::Contender(leader), Outbox::default());
        contender.endpoint = next.endpoint;
        contender.stage = Stage::Dialing(next.address);
        let contender = self.connections.insert(contender);
        let race = self.races.entry(leader.index()).or_default();
        race.push(contender);
        ctx.command(Command::Dial {
            upstream: contender,
            target,
            address: next.address,
        });
        if let Search::Exchange {
            rules, attempts, ..
        } = search
        {
            let destination = attempts.destination as usize;
            self.count_in_flight(contender, rules.id, destination);
        }
    }

    fn next_of_exchange(
        &mut self,
        leader: UpstreamId,
        search: &mut Search<'_>,
        ctx: &mut Context,
    ) -> Option<Next> {
        let Search::Exchange {
            rules,
            attempts,
            client,
            ..
        } = search
        else {
            return None;
        };
        let (rules, from) = (*rules, attempts.destination as usize);
        let mut out = attempts.tried().to_vec();
        let racing = self.contenders(leader).iter().chain([&leader]);
        out.extend(racing.filter_map(|up| self.connections.get(*up)?.endpoint));
        let of_other_family = self.endpoints_of_other_family(leader);
        let client = *client;
        let mut pick = |this: &mut Upstreams, is_preferred: bool| {
            this.choose_among(rules, client, ctx, |member: &Member<EndpointId>| {
                let fits = !is_preferred || of_other_family.contains(&member.endpoint);
                fits && member.destination == from && !out.contains(&member.endpoint)
            })
        };
        let selection = pick(self, true).or_else(|_| pick(self, false));
        let selection = selection.ok()?;
        Some(Next {
            address: self.selected_address(selection)?,
            endpoint: selection.endpoint,
        })
    }

    /// Endpoints of a race's target whose addresses are of another family than the one that was
    /// tried last.
    fn endpoints_of_other_family(&self, leader: UpstreamId) -> Vec<EndpointId> {
        let last = self.contenders(leader).last().copied().unwrap_or(leader);
        let last = self.connections.get(last);
        let last_is_v4 =
            last.is_some_and(|up| matches!(up.stage, Stage::Dialing(at) if at.is_ipv4()));
        let target = self.connections.get(leader).map(|up| up.target);
        let state = target.and_then(|target| self.targets.get(target));
        let endpoints = state.map_or(&[][..], |state| &state.endpoints);
        let is_other = |id: &EndpointId| {
            self.address_at(*id)
                .is_some_and(|address| address.is_ipv4() != last_is_v4)
        };
        endpoints.iter().copied().filter(is_other).collect()
    }

    fn next_of_subrequest(&mut self, search: &mut Search<'_>) -> Option<Next> {
        let Search::Own { dialing, .. } = search else {
            return None;
        };
        if dialing.address.is_some() {
            return None;
        }
        let state = self.targets.get(dialing.target)?;
        let candidate = state
            .addresses
            .candidate(dialing.first_address, dialing.attempts);
        let Candidate::Address(address) = candidate else {
            return None;
        };
        dialing.attempts = dialing.attempts.saturating_add(1);
        Some(Next {
            address,
            endpoint: self.endpoint_at(dialing.target, address),
        })
    }

    // --- how a race ends ---

    /// Makes the contender whose connection is made first the leader: it gets the request, and the
    /// others are closed.
    pub(super) fn take_lead(
        &mut self,
        winner: UpstreamId,
        leader: UpstreamId,
        search: Option<&mut Search<'_>>,
        ctx: &mut Context,
    ) {
        let others = self.races.remove(&leader.index()).unwrap_or_default();
        if let Some(search) = search {
            let ahead = others.iter().copied().take_while(|up| *up != winner);
            for loser in [leader].into_iter().chain(ahead) {
                self.note_failure(loser, search, Outcome::UpstreamTimeout, ctx);
                self.note_address(loser, false);
            }
            self.hand_over(leader, winner, search);
        }
        self.close(leader, ctx);
        for loser in others.into_iter().filter(|up| *up != winner) {
            self.close(loser, ctx);
        }
    }

    /// Gives the request to a connection that idles elsewhere, which serves it sooner than any that
    /// is being made.
    fn win_by_pool(
        &mut self,
        leader: UpstreamId,
        pooled: UpstreamId,
        selection: Selection,
        search: &mut Search<'_>,
        ctx: &mut Context,
    ) {
        self.note_failure(leader, search, Outcome::UpstreamTimeout, ctx);
        let Some(upstream) = self.connections.get_mut(leader) else {
            return;
        };
        let outbox = core::mem::take(&mut upstream.outbox);
        self.close(leader, ctx);
        self.attach(pooled, search, selection, outbox, ctx);
    }

    /// Puts a contender in the place of a leader whose connection was not made. Returns whether
    /// there was one; then the next address is to be tried at once, see [`race_on`](Self::race_on).
    pub(in crate::proxy) fn pass_lead(
        &mut self,
        leader: UpstreamId,
        search: &mut Search<'_>,
        fault: Fault,
        ctx: &mut Context,
    ) -> Option<UpstreamId> {
        if self.races.is_empty() {
            return None;
        }
        let mut others = self.races.remove(&leader.index())?;
        if others.is_empty() {
            return None;
        }
        let next = others.remove(0);
        if fault != Fault::Exhausted {
            self.note_refusal(leader, search, fault, ctx);
        }
        self.note_tried(leader, search);
        self.hand_over(leader, next, search);
        self.close(leader, ctx);
        for up in &others {
            if let Some(upstream) = self.connections.get_mut(*up) {
                upstream.owner = Owner::Contender(next);
            }
        }
        if !others.is_empty() {
            self.races.insert(next.index(), others);
        }
        self.arm_race(next, ctx);
        Some(next)
    }

    /// Drops a contender whose connection was not made. Returns the leader, where the next address
    /// is to be tried at once.
    pub(in crate::proxy) fn contender_failed(
        &mut self,
        up: UpstreamId,
        search: Option<&mut Search<'_>>,
        fault: Fault,
        ctx: &mut Context,
    ) -> Option<UpstreamId> {
        let Owner::Contender(leader) = self.connections.get(up)?.owner else {
            return None;
        };
        let is_fault_of_upstream = fault != Fault::Exhausted;
        if is_fault_of_upstream && let Some(search) = search {
            self.note_refusal(up, search, fault, ctx);
            self.note_tried(up, search);
        }
        self.drop_contender(up, leader, ctx);
        is_fault_of_upstream.then_some(leader)
    }

    /// Closes those that race against a connection: it is made, or given up.
    pub(super) fn end_race(&mut self, leader: UpstreamId, ctx: &mut Context) {
        if self.races.is_empty() {
            return;
        }
        for up in self.races.remove(&leader.index()).unwrap_or_default() {
            self.close(up, ctx);
        }
    }

    /// Closes a contender of any race, to make room.
    pub(super) fn shed_contender(&mut self, ctx: &mut Context) {
        let last = self.races.values().find_map(|race| race.last().copied());
        let owner = last.and_then(|up| self.connections.get(up));
        if let (Some(up), Some(Owner::Contender(leader))) = (last, owner.map(|up| up.owner)) {
            self.drop_contender(up, leader, ctx);
        }
    }

    /// Returns those that race against a connection, in the order in which they began.
    pub(super) fn contenders(&self, leader: UpstreamId) -> &[UpstreamId] {
        self.races.get(&leader.index()).map_or(&[], |race| race)
    }

    fn drop_contender(&mut self, up: UpstreamId, leader: UpstreamId, ctx: &mut Context) {
        if let Some(race) = self.races.get_mut(&leader.index()) {
            race.retain(|other| *other != up);
            if race.is_empty() {
                self.races.remove(&leader.index());
            }
        }
        self.close(up, ctx);
    }

    /// Gives the request of `from` to `to`.
    fn hand_over(&mut self, from: UpstreamId, to: UpstreamId, search: &mut Search<'_>) {
        let Some(upstream) = self.connections.get_mut(from) else {
            return;
        };
        let outbox = core::mem::take(&mut upstream.outbox);
        if let Some(upstream) = self.connections.get_mut(to) {
            upstream.outbox = outbox;
            upstream.owner = search.owner();
        }
        self.move_slot(from, to);
        search.set_upstream(Some(UpstreamRef {
            id: to,
            reused: false,
        }));
    }

    /// Notes that the exchange does not go to the endpoint of a connection again.
    fn note_tried(&mut self, up: UpstreamId, search: &mut Search<'_>) {
        let endpoint = self.get(up).and_then(|upstream| upstream.endpoint);
        if let (Some(attempts), Some(endpoint)) = (search.exchange(), endpoint) {
            attempts.note_tried(endpoint);
        }
    }

    /// Notes that the exchange does not go again to the endpoint of a connection, nor to those of
    /// its contenders, which had their time, too.
    pub(in crate::proxy) fn note_all_tried(&mut self, up: UpstreamId, search: &mut Search<'_>) {
        let Search::Exchange {
            rules, attempts, ..
        } = search
        else {
            return;
        };
        if !self.has_group(rules.id) {
            return;
        }
        for &connection in self.contenders(up).iter().chain([&up]) {
            if let Some(endpoint) = self.get(connection).and_then(|upstream| upstream.endpoint) {
                attempts.note_tried(endpoint);
            }
        }
    }
}
