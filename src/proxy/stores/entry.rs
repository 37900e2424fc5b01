//! Ways from the engine into this part.

use super::super::Proxy;
use super::super::command::Fault;
use super::super::ids::{StoreId, UpstreamId};
use super::super::reason::Reason;
use super::{StoreEnv, Stores};

/// Has the stores act.
pub(in crate::proxy) fn act<R>(
    proxy: &mut Proxy,
    act: impl FnOnce(&mut Stores, &mut StoreEnv<'_>) -> R,
) -> R {
    let mut env = StoreEnv {
        upstreams: &mut proxy.upstreams,
        limiter: &mut proxy.limiter,
        ctx: &mut proxy.ctx,
    };
    act(&mut proxy.stores, &mut env)
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
