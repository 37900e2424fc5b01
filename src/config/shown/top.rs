//! Values of the top-level keys, as text. No text has a secret in it.

use super::limit::{join, rate, whole};
use super::service::{
    Parts, allowed, cors, edits, error_pages, maintenance, off, one, peers, span,
};
use crate::config::check;
use crate::config::schema::units::show_size;
use crate::config::{Config, ListenKind};
use crate::policy::security::SecurityHeaders;
use crate::proxy::settings::Limits;

/// Returns the value of a key by the name that [`changes`](crate::config::changes) has for it. A
/// part may occur several times.
pub(crate) fn parts(key: &str, config: &Config) -> Vec<(String, String)> {
    let settings = &config.settings;
    let named = |parts: Parts| {
        let parts = parts.into_iter();
        parts.map(|(name, text)| (name.to_owned(), text)).collect()
    };
    match key {
        "listen" => listeners(config),
        "auth" => {
            let providers = settings.auth.iter();
            let providers = providers.map(|one| (one.name.clone(), one.kind.name().to_owned()));
            providers.collect()
        }
        "stores" => stores(config),
        "securityHeaders" => security_headers(settings.security_headers.as_ref()),
        "rateLimit" => named(match &settings.rate_limit[..] {
            [limit] => vec![
                ("", rate(limit)),
                ("ipv6Prefix", limit.ipv6_prefix.to_string()),
                ("maxClients", limit.max_clients.to_string()),
            ],
            limits => one(join(limits, whole)),
        }),
        "authFailures" => {
            let limit = settings.auth_failures.as_ref();
            named(limit.map_or_else(off, |limit| one(rate(limit))))
        }
        "timeouts" => {
            let timeouts = &settings.timeouts;
            named(vec![
                ("head", span(timeouts.head)),
                ("keepAlive", span(timeouts.keep_alive)),
                ("shutdown", span(timeouts.shutdown)),
            ])
        }
        "limits" => named(limits(&settings.limits)),
        "cors" => named(settings.cors.as_ref().map_or_else(off, cors)),
        _ => named(one(word(key, config))),
    }
}

/// Returns the value of a key without parts.
fn word(key: &str, config: &Config) -> String {
    let settings = &config.settings;
    match key {
        "halfClose" => settings.half_close.to_string(),
        "trustedProxies" => peers(&settings.trusted_proxies),
        "allow" => allowed(&settings.allow),
        "deny" => peers(&settings.deny),
        "requestHeaders" => edits(settings.edits.as_deref(), |edits| &edits.request),
        "responseHeaders" => edits(settings.edits.as_deref(), |edits| &edits.response),
        "accessLog" => settings.access_log.word().to_owned(),
        "errorPages" => error_pages(settings.error_pages.as_deref()),
        "maintenance" => {
            let on = settings.maintenance.as_deref();
            on.map_or("off".to_owned(), maintenance)
        }
        "requestId" => settings.request_id.clone().unwrap_or("off".to_owned()),
        "record" => match &settings.record {
            None => "off".to_owned(),
            Some(rule) => format!("{} files in {}", rule.keep, rule.dir),
        },
        "acme" => config
            .acme
            .as_ref()
            .map_or("off".to_owned(), |acme| acme.shown()),
        "logLevel" => config.log_level.as_str().to_owned(),
        "admin" if config.admin.addresses.is_empty() => "off".to_owned(),
        "admin" => check::admin(&config.admin),
        "watch" => config.watch.to_string(),
        "workers" => config.workers.to_string(),
        _ => String::new(),
    }
}

/// Returns each listener, and the port of redirects to https.
fn listeners(config: &Config) -> Vec<(String, String)> {
    let shown = config.listeners.iter().map(|listen| {
        let mut text = check::listener(listen);
        if let ListenKind::Tls(files) = &listen.kind {
            let names = files.certificates.iter();
            let names = names.map(|one| one.certificate.display().to_string());
            text = format!("{text}, {}", names.collect::<Vec<_>>().join(", "));
        }
        if !listen.proxied.is_empty() {
            text = format!("{text} from {}", peers(&listen.proxied));
        }
        (listen.address.to_string(), text)
    });
    let port = config.settings.https_port;
    let port = port.map(|port| ("port of redirects".to_owned(), port.to_string()));
    shown.chain(port).collect()
}

/// Returns each store, without its user and password.
pub(crate) fn stores(config: &Config) -> Vec<(String, String)> {
    let settings = &config.settings;
    let stores = settings.stores.iter();
    let stores = stores.map(|store| {
        let closed = if store.is_closed {
            ", closed on failure"
        } else {
            ""
        };
        let (url, prefix) = (store.url(&settings.targets), &store.prefix);
        let text = format!("{url}, keys {prefix}*{closed}");
        (store.name.clone(), text)
    });
    stores.collect()
}

fn security_headers(headers: Option<&SecurityHeaders>) -> Vec<(String, String)> {
    let off = || vec![(String::new(), "off".to_owned())];
    headers.map_or_else(off, |headers| headers.fields.clone())
}

fn limits(limits: &Limits) -> Parts {
    let Limits {
        head_bytes,
        request_line_bytes,
        fields,
        connections,
        connections_per_client,
        body_bytes,
        ..
    } = limits;
    let size = |bytes: usize| show_size(bytes as u64);
    let per_client = connections_per_client.map_or("default".to_owned(), |most| most.to_string());
    vec![
        ("headBytes", size(*head_bytes)),
        ("requestLine", size(*request_line_bytes)),
        ("headers", fields.to_string()),
        ("connections", connections.to_string()),
        ("connectionsPerClient", per_client),
        (
            "bodyBytes",
            body_bytes.map_or("any size".to_owned(), show_size),
        ),
    ]
}
