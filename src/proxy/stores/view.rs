//! Numbers of the stores for the metrics and the state.

use super::super::Proxy;
use super::super::settings::Store;
use super::Stage;
use crate::observe::metrics::histogram::Histogram;
use crate::time::Instant;

/// Numbers of a store.
pub(in crate::proxy) struct StoreView<'a> {
    pub(in crate::proxy) settings: &'a Store,
    pub(in crate::proxy) is_up: bool,
    /// Time since which it is up or down; `None`: neither was seen yet.
    pub(in crate::proxy) since: Option<Instant>,
    /// Reason why the last connection that failed did.
    pub(in crate::proxy) why: Option<&'a str>,
    /// Time from sending a count to its answer.
    pub(in crate::proxy) duration: &'a Histogram,
    /// Requests that waited for an answer which came too late, or not at all.
    pub(in crate::proxy) late: u64,
}

/// Returns the stores, in the order of the settings.
pub(in crate::proxy) fn stores(proxy: &Proxy) -> impl Iterator<Item = StoreView<'_>> {
    let ids = proxy.ctx.rules.state.stores.iter();
    ids.filter_map(|id| {
        let store = proxy.stores.slab.get(*id)?;
        Some(StoreView {
            settings: &store.settings,
            is_up: store.stage == Stage::Up,
            since: store.since,
            why: store.why.as_deref(),
            duration: &store.duration,
            late: store.late,
        })
    })
}
