//! Numbers of the stores for the metrics and the state.

use super::super::Proxy;
use super::Stage;
use crate::observe::metrics::histogram::Histogram;

/// Numbers of a store.
pub(in crate::proxy) struct StoreView<'a> {
    pub(in crate::proxy) name: &'a str,
    pub(in crate::proxy) is_up: bool,
    /// Time from sending a count to its answer.
    pub(in crate::proxy) duration: &'a Histogram,
}

/// Returns the stores, in the order of the settings.
pub(in crate::proxy) fn stores(proxy: &Proxy) -> impl Iterator<Item = StoreView<'_>> {
    let ids = proxy.ctx.rules.state.stores.iter();
    ids.filter_map(|id| {
        let store = proxy.stores.slab.get(*id)?;
        Some(StoreView {
            name: &store.settings.name,
            is_up: store.stage == Stage::Up,
            duration: &store.duration,
        })
    })
}
