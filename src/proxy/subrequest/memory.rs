//! Bounds of what subrequests hold: see [`crate::proxy::memory`], which adds it up.

use std::sync::Arc;

use super::super::ids::OfUpstream;
use super::super::settings::{Service, Settings};
use super::super::upstream::{Upstream, health_request};
use super::{OwnedField, Subrequests};
use crate::buffer::{BufferPool, total};
use crate::limits::{FIELDS_MAX, READ_BYTES, RESPONSE_HEAD_BYTES};
use crate::slab::Slab;

/// Bytes of one subrequest: its request, the bytes read of the response, and the fields of its head.
pub fn state_of_subrequest(settings: &Settings) -> usize {
    let slots = total([
        Subrequests::SLOT_BYTES,
        Slab::<Upstream, OfUpstream>::SLOT_BYTES,
    ])
    .saturating_mul(2);
    total([
        slots,
        buffers_of_subrequest(settings),
        RESPONSE_HEAD_BYTES,
        FIELDS_MAX.saturating_mul(size_of::<OwnedField>()),
    ])
}

/// Bytes of the buffers of one subrequest, without those of authentication.
pub(in crate::proxy) fn buffers_of_subrequest(settings: &Settings) -> usize {
    let request = |service: &Arc<Service>| {
        let authorities = service
            .destinations
            .iter()
            .filter_map(|to| settings.targets.get(to.target));
        let authority = authorities
            .map(|target| target.authority.as_str())
            .max_by_key(|text| text.len());
        service.health_check.as_ref().map_or(0, |check| {
            health_request(check, authority.unwrap_or_default()).len()
        })
    };
    let request = settings.services.iter().map(request).max().unwrap_or(0);
    total([request, READ_BYTES].map(BufferPool::storage_for))
}
