//! `requestId`: the field that carries the id of a request.

use std::sync::Arc;

use crate::http::field::Name;
use crate::limits::REQUEST_ID_NAME_BYTES;
use crate::policy::request_id::REQUEST_ID;
use crate::policy::security::SecurityHeaders;
use crate::proxy::settings::{Provider, Service};

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::header_name::{is_no_request_field, is_own, is_token};

/// Reads `requestId`; `None`: off. The security headers of `services` and of the top level, and the
/// headers of `providers`, must have other names.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    (services, security, providers): (&[Arc<Service>], Option<&SecurityHeaders>, &[Provider]),
    report: &mut Report<'_>,
) -> Option<String> {
    let Some(place) = place.filter(|place| !place.is_null()) else {
        return Some(REQUEST_ID.to_owned());
    };
    if place.is_false() {
        return None;
    }
    let name = place.text(report)?;
    let own = services.iter();
    let own = own.filter_map(|service| service.headers.security_headers.if_own());
    let mut security = own.chain(security);
    let is_named = |other: &str| other.eq_ignore_ascii_case(name);
    let fault = if !is_token(name) {
        Some("is no header name; letters, digits and \"-\" are allowed")
    } else if name.len() > REQUEST_ID_NAME_BYTES {
        Some("is longer than 64 bytes; use a shorter name")
    } else if has_a_meaning(name) {
        Some("has a meaning of its own in HTTP; use a name such as \"X-Request-Id\"")
    } else if security.any(|headers| headers.has(name)) {
        Some("is a name in \"securityHeaders\", too; use another name")
    } else if providers
        .iter()
        .any(|provider| provider.kind.headers().into_iter().any(is_named))
    {
        Some("is the header of a provider in \"auth\", too; use another name")
    } else {
        None
    };
    if let Some(fault) = fault {
        place.fail(report, fault);
    }
    Some(name.to_owned())
}

/// Returns true if a field of this name means something else to the gateway or to a server.
fn has_a_meaning(name: &str) -> bool {
    const OTHERS: [&str; 6] = [
        "accept",
        "cache-control",
        "cookie",
        "location",
        "pragma",
        "warning",
    ];
    let lower = name.to_ascii_lowercase();
    let kind = Name::of(name.as_bytes());
    !matches!(kind, Name::Other | Name::XRequestId)
        || is_own(&lower)
        || is_no_request_field(&lower)
        || lower.starts_with("accept-")
        || OTHERS.contains(&&*lower)
}
