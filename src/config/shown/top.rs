//! Values of the top-level keys, as text. No text has a secret in it.

use super::limit::{join, rate, whole};
use super::listener::listener;
use super::service::{Parts, one, peers, span};
use crate::config::schema::units::show_size;
use crate::config::{Config, ListenKind};
use crate::policy::rate::RateLimit;
use crate::policy::security::SecurityHeaders;
use crate::proxy::settings::{ConnectionTimeouts, Limits};

/// Parts of a value, each with its name; several may have the same.
pub(crate) type Named = Vec<(String, String)>;

/// Returns each listener, and the port of redirects to https.
pub(crate) fn listeners(config: &Config) -> Named {
    let shown = config.listeners.iter().map(|listen| {
        let mut text = listener(listen);
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
pub(crate) fn stores(config: &Config) -> Named {
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

/// Returns the rate limits of the top level.
pub(crate) fn rate_limits(limits: &[RateLimit]) -> Parts {
    match limits {
        [limit] => vec![
            ("", rate(limit)),
            ("ipv6Prefix", limit.ipv6_prefix.to_string()),
            ("maxClients", limit.max_clients.to_string()),
        ],
        limits => one(join(limits, whole)),
    }
}

pub(crate) fn timeouts(timeouts: &ConnectionTimeouts) -> Parts {
    timeouts
        .by_key()
        .map(|(key, time)| (key, span(time)))
        .to_vec()
}

pub(crate) fn security_headers(headers: Option<&SecurityHeaders>) -> Named {
    let off = || vec![(String::new(), "off".to_owned())];
    headers.map_or_else(off, |headers| headers.fields.clone())
}

pub(crate) fn limits(limits: &Limits) -> Parts {
    let Limits {
        head_bytes,
        request_line_bytes,
        fields,
        connections,
        connections_per_client,
        body_bytes,
        // No keys.
        overflow: _,
        gathered_bytes: _,
        splice_min_bytes: _,
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
