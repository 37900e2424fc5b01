//! Keys of a service that may change in a reload. Each has one row: how two values are compared, and
//! the value as text.

use super::facts::{
    Of, chosen, destinations, inherited, is_consumer_changed, is_edit_changed, is_gate_changed,
    is_reply_changed, is_several, of_gate, providers, reply, rewrites, targets,
};
use crate::config::shown::limit::rates;
use crate::config::shown::service as shown;
use crate::config::shown::service::{Parts, list, off, one};
use crate::policy::edits::Edits;
use crate::policy::of_service::{HeaderPolicies, OfService};
use crate::policy::own_url::Rewrites;
use crate::proxy::settings::{
    Gate, OwnMaintenance, Service, ServiceAuth, ServiceEntrance, ServiceRateLimit,
};

struct ServiceKey {
    name: &'static str,
    differs: fn(Of<'_>, Of<'_>) -> bool,
    parts: fn(Of<'_>) -> Parts,
}

/// Returns the keys of a service that changed.
pub(crate) fn changed(old: Of<'_>, new: Of<'_>) -> Vec<&'static str> {
    let differing = KEYS.iter().filter(|key| (key.differs)(old, new));
    differing.map(|key| key.name).collect()
}

/// Returns the value of a key, in parts; nothing for a name that is not in the table.
pub(crate) fn parts(name: &str, of: Of<'_>) -> Parts {
    let key = KEYS.iter().find(|key| key.name == name);
    key.map_or_else(Vec::new, |key| (key.parts)(of))
}

const fn row(
    name: &'static str,
    differs: fn(Of<'_>, Of<'_>) -> bool,
    parts: fn(Of<'_>) -> Parts,
) -> ServiceKey {
    ServiceKey {
        name,
        differs,
        parts,
    }
}

/// The rows, in the order in which changes are named.
const KEYS: [ServiceKey; 33] = [
    row(
        "name",
        |old, new| old.service.name != new.service.name,
        |of| match of.service.name.as_deref() {
            Some(name) => one(name.to_owned()),
            None => off(),
        },
    ),
    row(
        "target",
        |old, new| !is_several(old, new) && destinations(old) != destinations(new),
        targets,
    ),
    row(
        "targets",
        |old, new| is_several(old, new) && destinations(old) != destinations(new),
        targets,
    ),
    row(
        "balance",
        |old, new| old.service.balance != new.service.balance,
        |of| one(shown::strategy(of.service.balance).to_owned()),
    ),
    row(
        "healthCheck",
        |old, new| old.service.health_check != new.service.health_check,
        |of| {
            let check = of.service.health_check.as_deref();
            check.map_or_else(off, shown::health_check)
        },
    ),
    row(
        "passiveHealth",
        |old, new| old.service.passive_health != new.service.passive_health,
        |of| {
            let health = of.service.passive_health;
            health.map_or_else(off, shown::passive_health)
        },
    ),
    row(
        "retries",
        |old, new| old.service.retries != new.service.retries,
        |of| one(of.service.retries.to_string()),
    ),
    row(
        "stripPrefix",
        |old, new| old.service.strip_prefix != new.service.strip_prefix,
        |of| one(of.service.strip_prefix.to_string()),
    ),
    row(
        "preserveHost",
        |old, new| old.service.preserve_host != new.service.preserve_host,
        |of| one(of.service.preserve_host.to_string()),
    ),
    row(
        "listeners",
        |old, new| old.service.listeners() != new.service.listeners(),
        |of| match of.service.listeners() {
            [] => one("all".to_owned()),
            names => one(list(names)),
        },
    ),
    row(
        "clientCertificate",
        |old, new| old.service.needs_certificate() != new.service.needs_certificate(),
        |of| chosen(of.service.needs_certificate(), "required", "not needed"),
    ),
    row(
        "encodedSlashes",
        |old, new| old.service.keeps_encoded_slashes != new.service.keeps_encoded_slashes,
        |of| chosen(of.service.keeps_encoded_slashes, "keep", "reject"),
    ),
    row(
        "rateLimit",
        |old, new| old.service.rate_limit != new.service.rate_limit,
        |of| match &of.service.rate_limit {
            ServiceRateLimit::Inherited => inherited(),
            ServiceRateLimit::Off => off(),
            ServiceRateLimit::Own(limits) => one(rates(limits)),
        },
    ),
    row(
        "timeouts",
        |old, new| old.service.timeouts != new.service.timeouts,
        |of| shown::exchange_timeouts(&of.service.timeouts),
    ),
    row(
        "auth",
        |old, new| providers(old).ne(providers(new)),
        |of| one(list(providers(of))),
    ),
    row(
        "scopes",
        |old, new| old.service.auth.scopes != new.service.auth.scopes,
        |of| one(list(&of.service.auth.scopes)),
    ),
    row(
        "forwardCredentials",
        |old, new| old.service.auth.strips_credentials != new.service.auth.strips_credentials,
        |of| one((!of.service.auth.strips_credentials).to_string()),
    ),
    row(
        "requestHeaders",
        // `X-Consumer` is one of the compiled edits.
        |old, new| {
            is_edit_changed(old, new, |edits| &edits.request) && !is_consumer_changed(old, new)
        },
        |of| {
            one(shown::edits(of.service.edits.as_deref(), |edits| {
                &edits.request
            }))
        },
    ),
    row(
        "responseHeaders",
        |old, new| is_edit_changed(old, new, |edits| &edits.response),
        |of| {
            one(shown::edits(of.service.edits.as_deref(), |edits| {
                &edits.response
            }))
        },
    ),
    row("forwardConsumer", is_consumer_changed, |of| {
        one(of.service.auth.forwards_consumer.to_string())
    }),
    row(
        "cors",
        |old, new| old.service.headers.cors != new.service.headers.cors,
        |of| match &of.service.headers.cors {
            OfService::Inherited => inherited(),
            OfService::Off => off(),
            OfService::Own(policy) => shown::cors(policy),
        },
    ),
    row(
        "securityHeaders",
        |old, new| old.service.headers.security_headers != new.service.headers.security_headers,
        |of| match &of.service.headers.security_headers {
            OfService::Inherited => one("those of the top level".to_owned()),
            OfService::Off => off(),
            OfService::Own(headers) => one(shown::security_headers(headers)),
        },
    ),
    row(
        "rewriteLocation",
        |old, new| rewrites(old).location != rewrites(new).location,
        |of| one(rewrites(of).location.to_string()),
    ),
    row(
        "rewriteCookiePath",
        |old, new| rewrites(old).cookie_path != rewrites(new).cookie_path,
        |of| one(rewrites(of).cookie_path.to_string()),
    ),
    row(
        "redirect",
        |old, new| is_reply_changed("redirect", old, new),
        |of| reply("redirect", of),
    ),
    row(
        "respond",
        |old, new| is_reply_changed("respond", old, new),
        |of| reply("respond", of),
    ),
    row(
        "allow",
        |old, new| is_gate_changed(old, new, |gate| &gate.allow),
        |of| of_gate(of, |gate| shown::allowed(&gate.allow)),
    ),
    row(
        "deny",
        |old, new| is_gate_changed(old, new, |gate| &gate.deny),
        |of| of_gate(of, |gate| shown::peers(&gate.deny)),
    ),
    row(
        "maintenance",
        |old, new| is_gate_changed(old, new, |gate| &gate.maintenance),
        |of| match of.service.gate.as_deref().map(|gate| &gate.maintenance) {
            None | Some(OwnMaintenance::Inherited) => inherited(),
            Some(OwnMaintenance::Off) => off(),
            Some(OwnMaintenance::On(own)) => one(shown::maintenance(own)),
        },
    ),
    row(
        "limits",
        |old, new| {
            old.service.in_flight != new.service.in_flight
                || is_gate_changed(old, new, |gate| &gate.body)
        },
        |of| shown::limits(of.service),
    ),
    row(
        "errorPages",
        |old, new| old.service.error_pages != new.service.error_pages,
        |of| one(shown::error_pages(of.service.error_pages.as_deref())),
    ),
    row(
        "accessLog",
        |old, new| old.service.access_log != new.service.access_log,
        |of| match of.service.access_log {
            Some(format) => one(format.word().to_owned()),
            None => inherited(),
        },
    ),
    row(
        "sticky",
        |old, new| old.service.sticky != new.service.sticky,
        |of| match of.service.sticky.as_deref() {
            Some(sticky) => one(format!("cookie {}", sticky.cookie.shown())),
            None => off(),
        },
    ),
];

/// Names every field of a service, so that a new one is an error here: it needs a row, or it belongs
/// to the identity of the service, which no row compares.
const _: fn(Service) = |service| {
    let Service {
        name: _,
        route: _,
        hosts: _,
        methods: _,
        conditions: _,
        entrance: _,
        destinations: _,
        reply: _,
        gate: _,
        error_pages: _,
        access_log: _,
        balance: _,
        health_check: _,
        passive_health: _,
        retries: _,
        in_flight: _,
        sticky: _,
        strip_prefix: _,
        preserve_host: _,
        keeps_encoded_slashes: _,
        edits: _,
        headers:
            HeaderPolicies {
                cors: _,
                security_headers: _,
                rewrites:
                    Rewrites {
                        location: _,
                        cookie_path: _,
                    },
            },
        rate_limit: _,
        timeouts: _,
        auth:
            ServiceAuth {
                providers: _,
                scopes: _,
                strips_credentials: _,
                forwards_consumer: _,
            },
    } = service;
};

/// Names every field of the parts whose rows compare one field each. One that is compared nowhere
/// would be a change that a reload does not name.
const _: fn(Gate, ServiceEntrance, Edits) = |gate, entrance, edits| {
    let Gate {
        allow: _,
        deny: _,
        maintenance: _,
        body: _,
    } = gate;
    let ServiceEntrance {
        listeners: _,
        needs_certificate: _,
    } = entrance;
    let Edits {
        // The text of `request` has it.
        host: _,
        request: _,
        response: _,
    } = edits;
};
