//! Bounds of what stores hold: see [`crate::proxy::memory`], which adds it up.

use super::super::ids::{OfStore, OfUpstream};
use super::super::rate_queue::StoreQueues;
use super::super::rules::COPIES_MAX;
use super::super::settings::{Settings, Store};
use super::super::upstream::Upstream;
use super::{Sent, StoreState};
use crate::buffer::{BufferPool, total};
use crate::limits::{READ_BYTES, STORE_COUNTS_MAX, STORE_PIPELINE_BYTES, STORE_WHY_CHARS_MAX};
use crate::slab::Slab;

/// Bytes of all stores.
pub fn stores(settings: &Settings) -> usize {
    let store = |store: &Store| {
        let Store {
            name,
            account,
            prefix,
            ..
        } = store;
        let texts = [Some(name), account.user.as_ref(), account.password.as_ref()];
        let texts = texts.into_iter().flatten().chain([prefix]);
        let texts = total(texts.map(String::len)).saturating_add(size_of::<Store>());
        let in_flight = STORE_COUNTS_MAX.saturating_mul(size_of::<Option<Sent>>());
        // What the conversation awaits, a tag and a kind each.
        let awaited = STORE_COUNTS_MAX.saturating_mul(2).saturating_mul(8);
        total([
            texts.saturating_mul(COPIES_MAX),
            Slab::<StoreState, OfStore>::SLOT_BYTES.saturating_mul(2),
            Slab::<Upstream, OfUpstream>::SLOT_BYTES.saturating_mul(2),
            in_flight.saturating_mul(2),
            awaited.saturating_mul(2),
            StoreQueues::BYTES,
            buffers_of_store(),
            // The reason, and the one before it.
            STORE_WHY_CHARS_MAX.saturating_mul(size_of::<[char; 2]>()),
            // The commands before they are in a buffer.
            STORE_PIPELINE_BYTES,
        ])
    };
    total(settings.stores.iter().map(store))
}

/// Bytes of the buffers of one store: its commands, and what was read.
pub(in crate::proxy) fn buffers_of_store() -> usize {
    total([STORE_PIPELINE_BYTES, READ_BYTES].map(BufferPool::storage_for))
}
