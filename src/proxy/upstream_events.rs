//! Events of upstream connections, and who acts on them: the exchange or the subrequest that owns
//! the connection.

use core::net::SocketAddr;

use super::Proxy;
use super::command::{Fault, Report};
use super::context::Context;
use super::exchange::ExchangeStep;
use super::ids::UpstreamId;
use super::reason::{Failure, Reason};
use super::step::Step;
use super::stores;
use super::upstream::{Owner, Search, Stage, Upstreams};

/// Event of an upstream connection.
pub(super) enum UpstreamEvent {
    /// Bytes were put into its inbox.
    Bytes,
    /// The upstream ended its direction.
    End,
    /// The next address of its target is to be tried: the connection is not made.
    Race,
    /// The connection failed; with what the system or TLS said.
    Fault(Fault, Option<Reason>),
}

impl Proxy {
    /// Has the owner of an upstream connection act on an event.
    pub(super) fn on_upstream(&mut self, up: UpstreamId, event: UpstreamEvent) -> Option<Step> {
        let owner = self.upstreams.get(up)?.owner;
        let (upstreams, ctx) = (&mut self.upstreams, &mut self.ctx);
        match (owner, event) {
            (_, UpstreamEvent::Fault(fault, reason)) => upstream_fault(self, up, fault, reason),
            (Owner::Exchange(id), UpstreamEvent::Bytes) => {
                self.relay(id, |relay| relay.on_upstream_bytes(up))
            }
            (Owner::Exchange(id), UpstreamEvent::End) => {
                self.relay(id, |relay| relay.on_upstream_end())
            }
            (Owner::Exchange(id), UpstreamEvent::Race) => self.relay(id, |relay| relay.race_on(up)),
            (Owner::Subrequest(id), UpstreamEvent::Bytes) => {
                let done = self.subrequests.on_upstream_bytes(id, up, upstreams, ctx);
                done.map(Step::subrequest_done)
            }
            (Owner::Subrequest(id), UpstreamEvent::End) => {
                let done = self.subrequests.on_upstream_end(id, up, upstreams, ctx);
                done.map(Step::subrequest_done)
            }
            (Owner::Subrequest(id), UpstreamEvent::Race) => {
                if let Some(mut search) = self.subrequests.search(id) {
                    upstreams.race_on(up, &mut search, ctx);
                }
                None
            }
            (Owner::Store(id), UpstreamEvent::Bytes) => {
                stores::on_bytes(self, id, up);
                None
            }
            (Owner::Store(id), UpstreamEvent::End) => {
                let fault = (Fault::Reset, Some(Reason::EndedEarly));
                stores::on_fault(self, id, up, fault);
                None
            }
            (Owner::Store(id), UpstreamEvent::Race) => {
                stores::on_race(self, id, up);
                None
            }
            (Owner::Idle | Owner::Private(_), UpstreamEvent::Bytes | UpstreamEvent::End) => {
                upstreams.close_idle(up, ctx);
                None
            }
            (Owner::Idle | Owner::Private(_) | Owner::Contender(_), _) => None,
        }
    }
}

/// Acts on a fault of an upstream connection. `reason`: what the system or TLS said.
#[cold]
#[inline(never)]
fn upstream_fault(
    proxy: &mut Proxy,
    up: UpstreamId,
    fault: Fault,
    reason: Option<Reason>,
) -> Option<Step> {
    let upstream = proxy.upstreams.get(up)?;
    let (is_open, owner) = (upstream.stage == Stage::Open, upstream.owner);
    if let Owner::Contender(_) = owner {
        let requester = proxy.upstreams.requester(up);
        let address = proxy.upstreams.address_of(up);
        note_try(proxy, requester, address, (fault, &reason));
        let leader = search(proxy, requester, |upstreams, search, ctx| {
            upstreams.contender_failed(up, search, fault, ctx)
        });
        return proxy.on_upstream(leader?, UpstreamEvent::Race);
    }
    if !is_open {
        let address = proxy.upstreams.address_of(up);
        let next = search(proxy, Some(owner), |upstreams, search, ctx| {
            upstreams.pass_lead(up, search?, fault, ctx)
        });
        if let Some(next) = next {
            note_try(proxy, Some(owner), address, (fault, &reason));
            return proxy.on_upstream(next, UpstreamEvent::Race);
        }
    }
    match owner {
        Owner::Idle | Owner::Private(_) | Owner::Contender(_) => {
            proxy.upstreams.close_idle(up, &mut proxy.ctx);
            None
        }
        Owner::Subrequest(id) => {
            let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
            let fault = (fault, reason);
            let done = if is_open {
                proxy.subrequests.on_fault(id, up, fault, upstreams, ctx)
            } else {
                proxy.subrequests.on_refused(id, up, fault, upstreams, ctx)
            };
            done.map(Step::subrequest_done)
        }
        Owner::Store(id) => {
            stores::on_fault(proxy, id, up, (fault, reason));
            None
        }
        Owner::Exchange(id) if is_open => {
            proxy.relay(id, |relay| relay.on_upstream_fault(up, fault, reason))
        }
        Owner::Exchange(id) if fault == Fault::Exhausted => {
            if proxy.handle_exhausted() {
                return proxy.relay(id, |relay| relay.retry_after_shedding(up));
            }
            proxy.ctx.report(Report::Exhausted);
            let outcome = fault.outcome();
            let step = ExchangeStep::Fail(Failure { outcome, reason });
            Some(Step::Exchange(id, step))
        }
        Owner::Exchange(id) => proxy.relay(id, |relay| relay.on_refused(up, fault, reason)),
    }
}

/// Notes for `tollgate why` that a connection which raced against another one was not made.
#[cold]
fn note_try(
    proxy: &mut Proxy,
    owner: Option<Owner>,
    address: Option<SocketAddr>,
    (fault, reason): (Fault, &Option<Reason>),
) {
    if let Some(Owner::Exchange(id)) = owner
        && let Some(exchange) = proxy.exchanges.get_mut(id)
    {
        let failure = Failure {
            outcome: fault.outcome(),
            reason: reason.clone(),
        };
        let now = proxy.ctx.now;
        exchange.log_entry.note_try((address, false), &failure, now);
    }
}

/// Has the upstream part act for the request that owns a connection.
pub(super) fn search<R>(
    proxy: &mut Proxy,
    owner: Option<Owner>,
    act: impl FnOnce(&mut Upstreams, Option<&mut Search<'_>>, &mut Context) -> R,
) -> R {
    let mut search = match owner {
        Some(Owner::Exchange(id)) => proxy
            .exchanges
            .get_mut(id)
            .map(|exchange| Search::Exchange {
                id,
                client_id: exchange.client,
                client: exchange.log_entry.numbers.client,
                rules: &exchange.rules,
                attempts: &mut exchange.attempts,
            }),
        Some(Owner::Subrequest(id)) => proxy.subrequests.search(id),
        Some(Owner::Store(id)) => proxy.stores.search(id),
        _ => None,
    };
    act(&mut proxy.upstreams, search.as_mut(), &mut proxy.ctx)
}
