//! Ways from the engine into this part.

use super::super::Proxy;
use super::super::command::Fault;
use super::super::ids::{StoreId, UpstreamId};
use super::super::reason::Reason;
use super::super::step::Step;
use super::{StoreEnv, Stores};

/// Has the stores act. Requests that have waited for them go on.
pub(in crate::proxy) fn act<R>(
    proxy: &mut Proxy,
    act: impl FnOnce(&mut Stores, &mut StoreEnv<'_>) -> R,
) -> R {
    let mut env = StoreEnv {
        upstreams: &mut proxy.upstreams,
        limiter: &mut proxy.limiter,
        ctx: &mut proxy.ctx,
    };
    let result = act(&mut proxy.stores, &mut env);
    if !proxy.limiter.queues.judged.is_empty() {
        resume(proxy);
    }
    result
}

/// Has requests go on whose answers have come.
#[cold]
fn resume(proxy: &mut Proxy) {
    for judged in core::mem::take(&mut proxy.limiter.queues.judged) {
        let id = judged.waiter.client;
        let client = proxy.clients.get_mut(id);
        let suspended = client.and_then(|client| client.take_judged(judged));
        let step = suspended.map(|suspended| Step::Resume(id, suspended));
        proxy.steps.extend(step);
    }
}

/// Has a store read what came on its connection.
#[cold]
pub(in crate::proxy) fn on_bytes(proxy: &mut Proxy, id: StoreId, up: UpstreamId) {
    act(proxy, |stores, env| stores.on_bytes(id, up, env));
}

/// Has a store act on a fault of its connection.
#[cold]
pub(in crate::proxy) fn on_fault(
    proxy: &mut Proxy,
    id: StoreId,
    up: UpstreamId,
    fault: (Fault, Option<Reason>),
) {
    act(proxy, |stores, env| stores.on_fault(id, up, fault, env));
}

/// Has the next address of a store raced.
#[cold]
pub(in crate::proxy) fn on_race(proxy: &mut Proxy, id: StoreId, up: UpstreamId) {
    if let Some(mut search) = proxy.stores.search(id) {
        proxy.upstreams.race_on(up, &mut search, &mut proxy.ctx);
    }
}
