//! Deadlines, and the end of a turn of the loop.

use super::Proxy;
use super::context::TimerKey;
use super::step::Step;
use super::stores;
use super::upstream::Owner;
use super::upstream_events::UpstreamEvent;

/// Does what waits for the end of a turn: the storage of replaced rules goes piece by piece, and
/// stores hear of what was counted.
#[cold]
pub(super) fn end_turn(proxy: &mut Proxy) {
    proxy.retired.give_back(&mut proxy.limiter);
    proxy.ctx.has_leftovers = !proxy.retired.is_empty();
    stores::act(proxy, |stores, env| stores.end_turn(env));
    proxy.drive(None);
}

/// Acts on a deadline.
pub(super) fn due(proxy: &mut Proxy, key: TimerKey) -> Option<Step> {
    match key {
        TimerKey::Client(id) => {
            let step = proxy.clients.on_deadline(id, &mut proxy.ctx);
            return Step::of_client(id, step);
        }
        TimerKey::Exchange(slot) => {
            let id = proxy.exchanges.at(slot)?;
            return proxy.relay(id, |relay| relay.on_deadline());
        }
        TimerKey::Upstream(id) => match proxy.upstreams.get(id)?.owner {
            Owner::Idle | Owner::Private(_) => proxy.upstreams.close_idle(id, &mut proxy.ctx),
            Owner::Exchange(_) | Owner::Subrequest(_) | Owner::Store(_) => {
                return proxy.on_upstream(id, UpstreamEvent::Race);
            }
            Owner::Contender(_) => {}
        },
        TimerKey::Subrequest(id) => {
            let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
            let done = proxy.subrequests.on_deadline(id, upstreams, ctx);
            return done.map(Step::subrequest_done);
        }
        TimerKey::HealthChecks(service) => {
            let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
            proxy.subrequests.send_checks(service, upstreams, ctx);
        }
        TimerKey::Target(target) => proxy.upstreams.look_up(target, &mut proxy.ctx),
        TimerKey::Provider(provider) => {
            proxy.auth(|auth, env| auth.fetch_keys(provider, env));
        }
        TimerKey::Store(store) => {
            stores::act(proxy, |stores, env| stores.on_deadline(store, env));
        }
        TimerKey::Messages => proxy.ctx.report_counts(),
    }
    None
}
