//! The upstream connections of exchanges: from the pool or fresh, replayed at most once for each endpoint, carried on to other
//! endpoints when that cannot execute a request twice, and returned to the pool only when nothing is left on them
//! (invariant I3).
//!
//! ```text
//! a pooled connection was dead            --replay-->   a fresh one to the same endpoint
//! the connection was not made             --move on-->  another address of the same target, or another target
//! it ended, or was silent for too long    --move on-->  another target, at most `retries` times
//! ```

use super::Proxy;
use super::balancing::Selection;
use super::client::Phase;
use super::command::{ClientId, Command, Fault, Report, UpstreamId};
use super::endpoints::Waiter;
use super::exchange::UpstreamRef;
use super::outbox::Outbox;
use super::reason::{Failure, Reason};
use super::retarget::{TargetParts, retarget};
use super::upstream::{Owner, Stage, Upstream};
use crate::observe::access::Outcome;
use crate::time::Instant;

/// What runs while a connection is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadline {
    /// `timeouts.connect`, from now.
    Fresh,
    /// The one that runs already: the addresses of a name share one.
    Running,
}

impl Proxy {
    // --- a connection for an exchange ---

    /// Gives the exchange of `id` a connection to where it goes, which will carry what is in `outbox`.
    pub(super) fn link(
        &mut self,
        id: ClientId,
        selection: Selection,
        outbox: Outbox,
        now: Instant,
    ) {
        self.link_within(id, selection, outbox, Deadline::Fresh, now);
    }

    fn link_within(
        &mut self,
        id: ClientId,
        selection: Selection,
        outbox: Outbox,
        deadline: Deadline,
        now: Instant,
    ) {
        let own = selection
            .endpoint
            .and_then(|endpoint| self.take_private(id, endpoint));
        match own.or_else(|| {
            selection
                .endpoint
                .and_then(|endpoint| self.take_idle(endpoint))
        }) {
            Some(up) => self.link_pooled(id, up, selection, outbox, now),
            None => self.link_fresh(id, selection, outbox, deadline, now),
        }
    }

    fn link_pooled(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        selection: Selection,
        outbox: Outbox,
        now: Instant,
    ) {
        if let Some(upstream) = self.upstreams.get_mut(up) {
            upstream.engage(Owner::Exchange(id), outbox, now);
        }
        if let Some(exchange) = self.exchange_of(id) {
            exchange.link = Some(UpstreamRef {
                id: up,
                reused: true,
            });
            exchange.log_entry.goes_up(true, now);
            let service = exchange.service;
            self.count_in_flight(up, service, selection.destination);
        }
        self.arm_response(id, now);
        self.mark_upstream_ready(up);
    }

    fn link_fresh(
        &mut self,
        id: ClientId,
        selection: Selection,
        outbox: Outbox,
        deadline: Deadline,
        now: Instant,
    ) {
        self.make_room_upstream();
        let up = self.upstreams.insert(Upstream::new(
            selection.target,
            Owner::Exchange(id),
            outbox,
            now,
        ));
        self.set_link(
            id,
            Some(UpstreamRef {
                id: up,
                reused: false,
            }),
        );
        if let Some(exchange) = self.exchange_of(id) {
            exchange.log_entry.goes_up(false, now);
        }
        if deadline == Deadline::Fresh {
            let connect = self.timeouts_of(id).and_then(|timeouts| timeouts.connect);
            self.arm_connect(id, connect, now);
        }
        self.dial(id, up, selection, now);
    }

    /// Connects, or waits for the target's name.
    fn dial(&mut self, id: ClientId, up: UpstreamId, selection: Selection, now: Instant) {
        let address = selection
            .endpoint
            .and_then(|id| self.endpoints.get(id))
            .map(|endpoint| endpoint.address);
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        match address {
            Some(address) => {
                upstream.endpoint = selection.endpoint;
                upstream.stage = Stage::Dialing(address);
                self.commands.push_back(Command::Dial {
                    upstream: up,
                    target: selection.target,
                    address,
                });
                if let Some(service) = self.exchange_of(id).map(|exchange| exchange.service) {
                    self.count_in_flight(up, service, selection.destination);
                }
                self.arm_race(up, now);
            }
            None if self.awaits_name(selection.target, now) => {
                self.wait_for_name(Waiter::Exchange(id), selection.target)
            }
            None => self.attempt_failed(id, up, Failure::no_address(), now),
        }
    }

    /// The name that the exchange waited for is known now, or known to have no address.
    pub(super) fn name_resolved(&mut self, id: ClientId, up: UpstreamId, now: Instant) {
        let Some(exchange) = self.exchange_of(id) else {
            return;
        };
        let (service, destination, client) = (
            exchange.service,
            exchange.destination as usize,
            exchange.log_entry.client,
        );
        match self.choose_among(service, client, now, |member| {
            member.destination == destination
        }) {
            Some(selection) => self.dial(id, up, selection, now),
            None => self.attempt_failed(id, up, Failure::no_address(), now),
        }
    }

    pub(super) fn link_open(&mut self, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.upstreams.get(up) else {
            return;
        };
        if let Owner::Contender(leader) = upstream.owner {
            self.take_lead(up, leader, now);
        } else {
            self.end_race(up);
        }
        self.note_address(up, true);
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        upstream.stage = Stage::Open;
        upstream.timer.clear();
        match upstream.owner {
            Owner::Exchange(id) => {
                self.arm_response(id, now);
                self.mark_upstream_ready(up);
                // What the client sent meanwhile may have waited for room.
                self.mark_client_ready(id);
            }
            Owner::Subrequest(_) => self.mark_upstream_ready(up),
            Owner::Idle | Owner::Private(_) | Owner::Contender(_) => self.close_up(up),
        }
    }

    /// The connection was not made.
    pub(super) fn link_refused(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        fault: Fault,
        reason: Option<Reason>,
        now: Instant,
    ) {
        let failure = Failure {
            end: fault.end(),
            reason,
        };
        if fault == Fault::Exhausted {
            if self.shed_idle() || self.shed_idle_client() {
                return self.start_over(id, up, Deadline::Running, now);
            }
            self.commands.push_back(Command::Report(Report::Exhausted));
            return self.fail_with_reply(id, failure, now);
        }
        self.note_refusal(up, fault, now);
        self.go_elsewhere(id, up, failure, now);
    }

    /// Sends the whole request again on a fresh connection, when that cannot execute it twice: the connection came from the
    /// pool, died before a byte of the answer, and the method is idempotent or nothing was written. At most once an endpoint.
    pub(super) fn retry_same_endpoint(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        now: Instant,
    ) -> bool {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return false;
        };
        let Some(exchange) = self
            .clients
            .get_mut(id)
            .and_then(|client| client.exchange())
        else {
            return false;
        };
        let reused = exchange.link.is_some_and(|link| link.reused);
        if !reused || exchange.retried_same_endpoint || !exchange.may_go_again(upstream) {
            return false;
        }
        exchange.retried_same_endpoint = true;
        exchange.log_entry.retries = exchange.log_entry.retries.saturating_add(1);
        self.start_over(id, up, Deadline::Fresh, now);
        true
    }

    /// The same request to the same endpoint, on a connection of its own.
    fn start_over(&mut self, id: ClientId, up: UpstreamId, deadline: Deadline, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        let (target, endpoint) = (upstream.target, upstream.endpoint);
        let mut outbox = core::mem::take(&mut upstream.outbox);
        outbox.rewind();
        self.close_up(up);
        let destination = self
            .exchange_of(id)
            .map_or(0, |exchange| exchange.destination as usize);
        self.link_fresh(
            id,
            Selection {
                target,
                destination,
                endpoint,
            },
            outbox,
            deadline,
            now,
        );
    }

    // --- another endpoint ---

    /// A try came to nothing: another endpoint may do, or the exchange has failed.
    pub(super) fn attempt_failed(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        failure: Failure,
        now: Instant,
    ) {
        self.note_failure(up, failure.end, now);
        self.go_elsewhere(id, up, failure, now);
    }

    fn go_elsewhere(&mut self, id: ClientId, up: UpstreamId, failure: Failure, now: Instant) {
        if !self.retry_next_endpoint(id, up, failure.end, now) {
            self.fail_with_reply(id, failure, now);
        }
    }

    /// Carries the request on to another endpoint, when there is one and that cannot execute it twice: not a byte of the answer
    /// came, and the method is idempotent or not a byte of the request was written. The other addresses of a name cost no retry
    /// while the connection is being made: to whoever wrote the file they are one target.
    fn retry_next_endpoint(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        end: Outcome,
        now: Instant,
    ) -> bool {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return false;
        };
        let Some(exchange) = self
            .clients
            .get_mut(id)
            .and_then(|client| client.exchange())
        else {
            return false;
        };
        if !exchange.may_go_again(upstream) {
            return false;
        }
        let (service, from, client) = (
            exchange.service,
            exchange.destination as usize,
            exchange.log_entry.client,
        );
        let Some(limit) = self
            .settings
            .services
            .get(service)
            .map(|service| service.retries)
        else {
            return false;
        };
        let is_address_failover = upstream.stage != Stage::Open && end != Outcome::UpstreamTimeout;
        let retries = exchange.retried < limit;
        let failed_at = upstream.endpoint;
        let mut tried = core::mem::take(&mut exchange.tried);
        if self.has_group(service) {
            // Those that raced against it had their time, too.
            let raced = self
                .contenders(up)
                .iter()
                .filter_map(|up| self.upstreams.get(*up)?.endpoint);
            for endpoint in raced.chain(failed_at) {
                if !tried.contains(&endpoint) {
                    tried.push(endpoint);
                }
            }
        }
        let selection = self.choose_among(service, client, now, |member| {
            !tried.contains(&member.endpoint)
                && (retries || is_address_failover && member.destination == from)
        });
        let Some(exchange) = self.exchange_of(id) else {
            return false;
        };
        exchange.tried = tried;
        let Some(selection) = selection else {
            return false;
        };
        let free = is_address_failover && selection.destination == from;
        exchange.retried = exchange.retried.saturating_add(u32::from(!free));
        exchange.retried_same_endpoint = false;
        exchange.log_entry.retries = exchange.log_entry.retries.saturating_add(1);
        let Some(mut outbox) = self
            .upstreams
            .get_mut(up)
            .map(|upstream| core::mem::take(&mut upstream.outbox))
        else {
            return false;
        };
        outbox.rewind();
        self.close_up(up);
        self.set_link(id, None);
        if !self.readdress(id, selection, &mut outbox) {
            outbox.clear(&mut self.pool);
            return false;
        }
        self.link_within(
            id,
            selection,
            outbox,
            if free {
                Deadline::Running
            } else {
                Deadline::Fresh
            },
            now,
        );
        true
    }

    /// Makes the head in `outbox` one for the target of `spot`.
    fn readdress(&mut self, id: ClientId, selection: Selection, outbox: &mut Outbox) -> bool {
        let Some(exchange) = self
            .clients
            .get_mut(id)
            .and_then(|client| client.exchange())
        else {
            return false;
        };
        let from =
            core::mem::replace(&mut exchange.destination, selection.destination as u32) as usize;
        exchange.log_entry.sent_to = Some(selection.target as u32);
        if from == selection.destination {
            return true;
        }
        let (service, variant) = (exchange.service, exchange.variant);
        let target_parts = |destination: usize| {
            let target = self
                .settings
                .services
                .get(service)?
                .destinations
                .get(destination)?
                .target;
            Some(TargetParts {
                path: self
                    .policy
                    .rewrites
                    .get(service)?
                    .get(destination)?
                    .start(variant.is_bare),
                host: self.settings.targets.get(target)?.authority.as_bytes(),
            })
        };
        let (Some(from), Some(to)) = (target_parts(from), target_parts(selection.destination))
        else {
            return false;
        };
        let more = to.path.len().saturating_add(to.host.len());
        let written = outbox.rewrite_head(more, &mut self.pool, |head, out| {
            retarget(head, variant.keeps_host, from, to, out)
        });
        debug_assert!(
            written.is_ok(),
            "the head was written for the target that it is rewritten from"
        );
        written.is_ok()
    }

    // --- the end of it ---

    /// The response was read to its end: the connection goes to the pool, or is closed.
    pub(super) fn release(&mut self, id: ClientId, pool: bool, now: Instant) {
        let keep = self
            .timeouts_of(id)
            .and_then(|timeouts| timeouts.upstream_keep_alive);
        let Some(exchange) = self.exchange_of(id) else {
            return;
        };
        let (is_private, goes_on) = (exchange.private, exchange.keep);
        let Some(link) = exchange.link.take() else {
            return;
        };
        let is_private = is_private
            || self
                .upstreams
                .get(link.id)
                .is_some_and(|upstream| upstream.private);
        if is_private {
            self.keep_private(id, link.id, pool && goes_on, keep, now);
        } else {
            self.put_back(link.id, pool, keep, now);
        }
    }

    // --- look-ups ---

    pub(super) fn exchange_of(&mut self, id: ClientId) -> Option<&mut super::Exchange> {
        self.clients
            .get_mut(id)
            .and_then(|client| client.exchange())
    }

    pub(super) fn link_of(&self, id: ClientId) -> Option<UpstreamRef> {
        match &self.clients.get(id)?.phase {
            Phase::Relay(exchange) | Phase::Tunnel(exchange) => exchange.link,
            _ => None,
        }
    }

    fn set_link(&mut self, id: ClientId, link: Option<UpstreamRef>) {
        if let Some(exchange) = self.exchange_of(id) {
            exchange.link = link;
        }
    }

    pub(super) fn timeouts_of(&self, id: ClientId) -> Option<&super::settings::ExchangeTimeouts> {
        match &self.clients.get(id)?.phase {
            Phase::Relay(exchange) | Phase::Tunnel(exchange) => self
                .settings
                .services
                .get(exchange.service)
                .map(|service| &service.timeouts),
            _ => None,
        }
    }

    pub(super) fn arm_response(&mut self, id: ClientId, now: Instant) {
        self.arm_exchange(id, now, |timeouts| timeouts.response);
    }

    pub(super) fn arm_idle(&mut self, id: ClientId, now: Instant) {
        self.arm_exchange(id, now, |timeouts| timeouts.idle);
    }
}
