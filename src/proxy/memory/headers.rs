//! The most memory that the header policies of a service can come to hold.

use super::super::bounds::grown;
use super::super::header_rules::ServiceCors;
use super::super::rules::COPIES_MAX;
use super::super::settings::{Condition, Service, Sticky};
use crate::buffer::total;
use crate::limits::EDITIONS_MAX;
use crate::policy::cors::{Cors, CorsPolicy};
use crate::policy::security::{SecurityBlock, SecurityHeaders};

/// Editions that may hold a policy: the current one, those that requests began with, the one whose
/// storage is being given back, and one that is being read. Copies of a service share its policies.
const EDITIONS: usize = EDITIONS_MAX + 3;

/// Copies of each text within an edition: in the settings, and in the compiled lines, whose storage
/// may have grown to twice their bytes.
const TEXTS: usize = 3;

/// Bytes of the sticky sessions of a service.
pub(super) fn sticky(service: &Service) -> usize {
    let sticky = service.sticky.as_deref();
    let bytes = sticky.map_or(0, |sticky| {
        size_of::<Sticky>().saturating_add(sticky.cookie.bound())
    });
    bytes.saturating_mul(COPIES_MAX)
}

/// Bytes of the policies that a service does not share with the top level.
pub(super) fn held(service: &Service) -> usize {
    let cors = service.headers.cors.if_own().map_or(0, cors);
    let security = service
        .headers
        .security_headers
        .if_own()
        .map_or(0, security);
    let place = size_of::<Option<ServiceCors>>();
    let shared = total([cors, security, place]).saturating_mul(EDITIONS);
    total([shared, conditions(service)])
}

/// Bytes of the conditions of a service: in each copy, and in the routing table of each of its
/// hosts, where a name and a place stand beside each value.
fn conditions(service: &Service) -> usize {
    let each = service.conditions.iter().map(|condition| {
        let texts = total([condition.name.len(), condition.value.len()]);
        total([texts, size_of::<Condition>()])
    });
    let tables = service.hosts.len().max(1).saturating_mul(EDITIONS);
    total(each).saturating_mul(total([COPIES_MAX, tables.saturating_mul(2)]))
}

fn cors(policy: &CorsPolicy) -> usize {
    let lists = [&policy.origins, &policy.headers].into_iter().flatten();
    let lists = lists.chain([&policy.methods, &policy.expose_headers]);
    let texts = lists.flatten().map(|text| total([text.len(), 2]));
    let (texts, count) = texts.fold((0_usize, 0_usize), |(bytes, count), text| {
        (bytes.saturating_add(text), count.saturating_add(1))
    });
    total([
        texts.saturating_mul(TEXTS),
        grown(count, size_of::<String>()).saturating_mul(2),
        Cors::new(policy).bound(),
        size_of::<CorsPolicy>(),
        size_of::<Cors>(),
    ])
}

fn security(headers: &SecurityHeaders) -> usize {
    total([
        headers.bytes().saturating_mul(TEXTS),
        grown(headers.fields.len(), size_of::<[String; 4]>()),
        size_of::<SecurityHeaders>(),
        size_of::<SecurityBlock>(),
    ])
}
