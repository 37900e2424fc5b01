//! A connection for a request: from the pool, or fresh.

use core::net::{IpAddr, SocketAddr};

use super::super::command::{Command, Fault, Side};
use super::super::context::Context;
use super::super::ids::{EndpointId, TargetId, UpstreamId};
use super::super::outbox::Outbox;
use super::super::rules::ServiceRules;
use super::Upstreams;
use super::attempts::{Search, Unchosen, UpstreamRef};
use super::connection::{Owner, Stage, Upstream};
use super::selection::Selection;
use crate::observe::metrics::numbers::TargetCounters;
use crate::upstream::addresses::Candidate;
use crate::upstream::group::{Group, Member};

/// Result of a request for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Dialed {
    /// The connection came from the pool: the request goes out at once.
    Reused,
    /// The connection is being made, or waits for the target's name.
    Pending,
    /// The target's name has no address.
    NoAddress,
    /// Each address of the target has as many requests in flight as it takes.
    Full,
}

/// Deadline that runs while a connection is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum ConnectTime {
    /// `timeouts.connect`, from now.
    Fresh,
    /// The deadline that runs already: the addresses of a name share one.
    Running,
}

impl Upstreams {
    /// Gives a request a connection to where it goes, which will carry what is in `outbox`: a
    /// pooled one, or a fresh one.
    pub(in crate::proxy) fn connect(
        &mut self,
        search: &mut Search<'_>,
        selection: Selection,
        outbox: Outbox,
        ctx: &mut Context,
    ) -> Dialed {
        match self.take_pooled(search, selection) {
            Some(up) => {
                self.attach(up, search, selection, outbox, ctx);
                Dialed::Reused
            }
            None => self.connect_fresh(search, selection, outbox, ctx),
        }
    }

    /// Takes an idle connection for a request: one that is kept for its client before any other.
    #[inline(always)]
    pub(super) fn take_pooled(
        &mut self,
        search: &Search<'_>,
        selection: Selection,
    ) -> Option<UpstreamId> {
        let endpoint = selection.endpoint?;
        let private = match search {
            // Few clients have connections of their own.
            Search::Exchange { client_id, .. } if !self.private.is_empty() => {
                self.take_private(*client_id, endpoint)
            }
            Search::Exchange { .. } | Search::Own { .. } => None,
        };
        private.or_else(|| self.take_idle(endpoint))
    }

    /// Gives a request a pooled connection.
    #[inline(always)]
    pub(super) fn attach(
        &mut self,
        up: UpstreamId,
        search: &mut Search<'_>,
        selection: Selection,
        outbox: Outbox,
        ctx: &mut Context,
    ) {
        if let Some(upstream) = self.connections.get_mut(up) {
            upstream.engage(search.owner(), outbox);
            ctx.mark_ready(&mut upstream.queued, Side::Upstream(up));
        }
        search.set_upstream(Some(UpstreamRef {
            id: up,
            reused: true,
        }));
        if let Some(service) = search.service() {
            self.count_in_flight(up, service, selection.destination);
            if let Some(counters) = self.counters_of(up, service, selection.destination) {
                TargetCounters::one_more(&mut counters.requests);
            }
        }
    }

    /// Gives a request a connection of its own.
    pub(in crate::proxy) fn connect_fresh(
        &mut self,
        search: &mut Search<'_>,
        selection: Selection,
        outbox: Outbox,
        ctx: &mut Context,
    ) -> Dialed {
        let up = self.insert(search, selection.target, outbox, ctx);
        self.dial(up, search, selection, ctx)
    }

    fn insert(
        &mut self,
        search: &mut Search<'_>,
        target: TargetId,
        outbox: Outbox,
        ctx: &mut Context,
    ) -> UpstreamId {
        self.make_room(ctx);
        let up = self
            .connections
            .insert(Upstream::new(target, search.owner(), outbox));
        search.set_upstream(Some(UpstreamRef {
            id: up,
            reused: false,
        }));
        up
    }

    /// Connects, or waits for the target's name.
    fn dial(
        &mut self,
        up: UpstreamId,
        search: &mut Search<'_>,
        selection: Selection,
        ctx: &mut Context,
    ) -> Dialed {
        let target = selection.target;
        let address = self.selected_address(selection);
        let Some(address) = address else {
            if !self.awaits_name(target, ctx) {
                return Dialed::NoAddress;
            }
            self.wait_for_name(up, target, ctx);
            if let Some(service) = search.service() {
                self.hold_slot(up, service, selection.destination);
            }
            return Dialed::Pending;
        };
        self.start_dial(up, (target, address), selection.endpoint, ctx);
        if let Some(service) = search.service() {
            self.count_in_flight(up, service, selection.destination);
        }
        self.arm_race(up, ctx);
        Dialed::Pending
    }

    /// Has the loop connect to an address of a target.
    fn start_dial(
        &mut self,
        up: UpstreamId,
        (target, address): (TargetId, SocketAddr),
        endpoint: Option<EndpointId>,
        ctx: &mut Context,
    ) {
        if let Some(upstream) = self.connections.get_mut(up) {
            upstream.endpoint = endpoint;
            upstream.stage = Stage::Dialing(address);
            ctx.command(Command::Dial {
                upstream: up,
                target,
                address,
            });
        }
    }

    /// Goes on with a connection whose target's name is known now, or known to have no address.
    pub(in crate::proxy) fn name_resolved(
        &mut self,
        up: UpstreamId,
        search: &mut Search<'_>,
        ctx: &mut Context,
    ) -> Dialed {
        let (rules, from, client, name) = match search {
            Search::Own { .. } => return self.dial_next(up, search, ctx),
            Search::Exchange {
                rules,
                attempts,
                client,
                ..
            } => {
                let (from, name) = (attempts.destination as usize, attempts.sticky);
                (*rules, from, *client, name)
            }
        };
        let is_same = |member: &Member<_>| member.destination == from;
        // The connection counts again where it is dialed.
        self.release_in_flight(up, false);
        let named = name.and_then(|name| self.choose_named(rules, client, name, ctx));
        // The head is written for this destination.
        let named = named.filter(|selection| selection.destination == from);
        let chosen = match named {
            Some(selection) => Ok(selection),
            None => self.choose_among(rules, client, ctx, is_same),
        };
        match chosen {
            Ok(selection) => self.dial(up, search, selection, ctx),
            Err(Unchosen::Full) => Dialed::Full,
            Err(Unchosen::NoMember) => Dialed::NoAddress,
        }
    }

    /// Chooses for a request that failed elsewhere. That takes no turn of the others: of two targets,
    /// one that hangs would get each request first.
    pub(in crate::proxy) fn choose_again(
        &mut self,
        rules: &ServiceRules,
        client: Option<IpAddr>,
        ctx: &mut Context,
        allowed: impl Fn(&Member<EndpointId>) -> bool,
    ) -> Result<Selection, Unchosen> {
        let turn = self.group(rules.id).map(Group::turn);
        let chosen = self.choose_among(rules, client, ctx, allowed);
        if let (Some(turn), Some(group)) = (turn, self.group_mut(rules.id)) {
            group.set_turn(turn);
        }
        chosen
    }

    // --- requests of the gateway's own ---

    /// Gives a request of the gateway's own a connection; a pooled one only where `may_reuse`.
    pub(in crate::proxy) fn connect_subrequest(
        &mut self,
        search: &mut Search<'_>,
        may_reuse: bool,
        outbox: Outbox,
        ctx: &mut Context,
    ) -> Dialed {
        let Search::Own { dialing, .. } = search else {
            return Dialed::NoAddress;
        };
        let target = dialing.target;
        if may_reuse && let Some(up) = self.take_any_idle(target) {
            let selection = Selection {
                target,
                destination: 0,
                endpoint: None,
            };
            self.attach(up, search, selection, outbox, ctx);
            return Dialed::Reused;
        }
        let up = self.insert(search, target, outbox, ctx);
        self.dial_next(up, search, ctx)
    }

    /// Connects to the one address that a request of the gateway's own is about, or to the next
    /// that it has not tried.
    fn dial_next(&mut self, up: UpstreamId, search: &mut Search<'_>, ctx: &mut Context) -> Dialed {
        let Search::Own { dialing, .. } = search else {
            return Dialed::NoAddress;
        };
        let target = dialing.target;
        let Some(state) = self.targets.get_mut(target) else {
            return Dialed::NoAddress;
        };
        if dialing.attempts == 0 {
            dialing.first_address = state.addresses.start();
        }
        let candidate = match dialing.address {
            Some(address) if dialing.attempts == 0 => Candidate::Address(address),
            Some(_) => Candidate::None,
            None => state
                .addresses
                .candidate(dialing.first_address, dialing.attempts),
        };
        let waits = match candidate {
            Candidate::Address(address) => {
                dialing.attempts = dialing.attempts.saturating_add(1);
                let races = dialing.address.is_none();
                let endpoint = self.endpoint_at(target, address);
                self.start_dial(up, (target, address), endpoint, ctx);
                if races {
                    self.arm_race(up, ctx);
                }
                return Dialed::Pending;
            }
            Candidate::Wait => true,
            Candidate::None => dialing.attempts == 0 && self.awaits_name(target, ctx),
        };
        if !waits {
            return Dialed::NoAddress;
        }
        self.wait_for_name(up, target, ctx);
        Dialed::Pending
    }

    /// Tries the next address for a request of the gateway's own whose connection was not made,
    /// where there is one. `None`: that was all, and the connection is closed.
    pub(in crate::proxy) fn redial(
        &mut self,
        up: UpstreamId,
        search: &mut Search<'_>,
        fault: Fault,
        ctx: &mut Context,
    ) -> Option<Dialed> {
        let upstream = self.connections.get_mut(up)?;
        let target = upstream.target;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        self.note_address(up, false);
        self.close(up, ctx);
        search.set_upstream(None);
        let may_try = matches!(fault, Fault::Refused | Fault::NoRoute | Fault::Unreachable);
        if may_try && self.has_next_address(search, target) {
            let up = self.insert(search, target, outbox, ctx);
            return Some(self.dial_next(up, search, ctx));
        }
        outbox.clear(&mut ctx.buffers);
        None
    }

    /// Returns whether a request of the gateway's own has an address of its target left to try.
    fn has_next_address(&self, search: &Search<'_>, target: TargetId) -> bool {
        let Search::Own { dialing, .. } = search else {
            return false;
        };
        // The target is gone after a reload.
        let Some(state) = self.targets.get(target) else {
            return false;
        };
        let (first, attempts) = (dialing.first_address, dialing.attempts);
        let next = state.addresses.candidate(first, attempts);
        dialing.address.is_none() && matches!(next, Candidate::Address(_))
    }

    // --- a connection is there ---

    /// Marks a connection as made: it wins its race. Returns its owner.
    pub(in crate::proxy) fn connected(
        &mut self,
        up: UpstreamId,
        search: Option<&mut Search<'_>>,
        ctx: &mut Context,
    ) -> Option<Owner> {
        let place = search.as_deref().and_then(Search::place);
        if let Owner::Contender(leader) = self.connections.get(up)?.owner {
            self.take_lead(up, leader, search, ctx);
        } else {
            self.end_race(up, ctx);
        }
        self.note_address(up, true);
        let upstream = self.connections.get_mut(up)?;
        upstream.stage = Stage::Open;
        upstream.timer.clear();
        let owner = upstream.owner;
        if let Some((service, destination)) = place
            && let Some(counters) = self.counters_of(up, service, destination)
        {
            TargetCounters::one_more(&mut counters.connects);
            TargetCounters::one_more(&mut counters.requests);
        }
        match owner {
            Owner::Exchange(_) | Owner::Subrequest(_) | Owner::Store(_) => {
                self.mark_ready(up, ctx);
            }
            Owner::Idle | Owner::Private(_) | Owner::Contender(_) => self.close(up, ctx),
        }
        Some(owner)
    }

    /// Returns whose request a connection is made for: the owner of the leader, where it races
    /// against another one.
    pub(in crate::proxy) fn requester(&self, up: UpstreamId) -> Option<Owner> {
        match self.connections.get(up)?.owner {
            Owner::Contender(leader) => Some(self.connections.get(leader)?.owner),
            owner => Some(owner),
        }
    }
}
