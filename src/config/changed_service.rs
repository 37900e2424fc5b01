//! Keys of a service that changed.

use super::changed_headers;
use super::shown::service::providers;
use crate::policy::edits::Edits;
use crate::proxy::settings::{Gate, Role, Service, ServiceAuth, Settings, Target};

/// Returns the keys of a service that changed.
pub(crate) fn service_keys(
    (old, of_old): (&Service, &Settings),
    (new, of_new): (&Service, &Settings),
) -> Vec<&'static str> {
    // Every field has a line below, or makes the identity of the service.
    let Service {
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
        headers: _,
        rate_limit: _,
        timeouts: _,
        auth:
            ServiceAuth {
                providers: _,
                scopes: _,
                strips_credentials: _,
                forwards_consumer: _,
            },
    } = old;
    let several = old.destinations.len() > 1 || new.destinations.len() > 1;
    let targets = if several { "targets" } else { "target" };
    let differs = [
        (
            destinations(old, of_old) != destinations(new, of_new),
            targets,
        ),
        (old.balance != new.balance, "balance"),
        (old.health_check != new.health_check, "healthCheck"),
        (old.passive_health != new.passive_health, "passiveHealth"),
        (old.retries != new.retries, "retries"),
        (old.strip_prefix != new.strip_prefix, "stripPrefix"),
        (old.preserve_host != new.preserve_host, "preserveHost"),
        (old.entrance != new.entrance, "clientCertificate"),
        (
            old.keeps_encoded_slashes != new.keeps_encoded_slashes,
            "encodedSlashes",
        ),
        (old.rate_limit != new.rate_limit, "rateLimit"),
        (old.timeouts != new.timeouts, "timeouts"),
    ];
    let mut keys = names_of(&differs);
    keys.extend(auth_keys((old, of_old), (new, of_new)));
    keys.extend(names_of(&service_edit_keys(old, new)));
    keys.extend(changed_headers::keys(&old.headers, &new.headers));
    keys.extend(gate_keys(old, new));
    keys
}

/// Returns the keys of a service that changed, of those about who is let in.
fn auth_keys(
    (old, of_old): (&Service, &Settings),
    (new, of_new): (&Service, &Settings),
) -> Vec<&'static str> {
    names_of(&[
        (providers(old, of_old).ne(providers(new, of_new)), "auth"),
        (old.auth.scopes != new.auth.scopes, "scopes"),
        (
            old.auth.strips_credentials != new.auth.strips_credentials,
            "forwardCredentials",
        ),
    ])
}

/// Returns the keys of a service that changed, of those about clients, maintenance, bodies and log
/// lines.
fn gate_keys(old: &Service, new: &Service) -> Vec<&'static str> {
    let none = Gate::default();
    let [before, after] = [old, new].map(|service| service.gate.as_deref().unwrap_or(&none));
    let reply = new.reply.as_ref().or(old.reply.as_ref());
    names_of(&[
        (
            old.reply != new.reply,
            reply.map_or("", |reply| reply.key()),
        ),
        (before.allow != after.allow, "allow"),
        (before.deny != after.deny, "deny"),
        (before.maintenance != after.maintenance, "maintenance"),
        (
            before.body != after.body || old.in_flight != new.in_flight,
            "limits",
        ),
        (old.error_pages != new.error_pages, "errorPages"),
        (old.access_log != new.access_log, "accessLog"),
        (old.sticky != new.sticky, "sticky"),
    ])
}

/// Returns where the requests of a service go.
fn destinations(service: &Service, settings: &Settings) -> Vec<(Option<Target>, String, Role)> {
    let destinations = service.destinations.iter();
    let known = destinations.map(|to| {
        let target = settings.targets.get(to.target).cloned();
        (target, to.path.clone(), to.role)
    });
    known.collect()
}

/// Returns whether each key of a service differs that edits headers. `X-Consumer` is one of the
/// compiled edits.
fn service_edit_keys(old: &Service, new: &Service) -> [(bool, &'static str); 3] {
    let [(is_request_changed, request), response] =
        edit_keys(old.edits.as_deref(), new.edits.as_deref());
    let is_consumer_changed = old.auth.forwards_consumer != new.auth.forwards_consumer;
    [
        (is_request_changed && !is_consumer_changed, request),
        response,
        (is_consumer_changed, "forwardConsumer"),
    ]
}

/// Returns whether each kind of header edits differs.
pub(super) fn edit_keys(old: Option<&Edits>, new: Option<&Edits>) -> [(bool, &'static str); 2] {
    let none = Edits::default();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    [
        (old.request != new.request, "requestHeaders"),
        (old.response != new.response, "responseHeaders"),
    ]
}

/// Returns the names of what differs.
pub(super) fn names_of(differs: &[(bool, &'static str)]) -> Vec<&'static str> {
    let differing = differs.iter().filter(|(differs, _)| *differs);
    differing.map(|(_, name)| *name).collect()
}
