//! `acme`: where certificates are ordered, and how names are proven.

use std::path::PathBuf;

#[cfg(test)]
mod tests;

use crate::limits::{ACME_TEXT_BYTES_MAX, CONFIG_PATH_BYTES_MAX};
use crate::policy::auth::base64;
use crate::transport::server::TlsFiles;

use crate::config::keys::target_list::TargetList;
use crate::config::keys::upstream_tls::{TlsSettings, Trust};
use crate::config::model::{Listen, ListenAddress, ListenKind};
use crate::config::orders::{Acme, Binding, Challenge, Order};
use crate::config::schema::ACME;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::target_url;

const CHALLENGES: [(&str, Option<Challenge>); 3] = [
    ("auto", None),
    ("http-01", Some(Challenge::Http01)),
    ("tls-alpn-01", Some(Challenge::TlsAlpn01)),
];

const NO_LISTENER: &str = "orders nothing: no listener has \"tls\": { \"acme\": { \"names\": [\"api.example.com\"] } }; \
     add that to one, or remove this";

const NOT_AGREED: &str = "must be true: with it you agree to the terms of the authority, which nobody else can do for you";

/// Reads `acme`, and decides how the names of each listener are proven.
pub(crate) fn compile(
    top: &Object<'_>,
    (listeners, targets): (&[Listen], &mut TargetList),
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Option<Acme> {
    let place = top.get("acme").filter(|place| !place.is_null());
    let mut wanted = listeners.iter().filter_map(tls_of);
    let first = wanted.find(|files| !files.ordered.is_empty());
    let Some(place) = place else {
        if let (Some(files), Some(listen)) = (first, top.get("listen")) {
            let names = files.ordered.join(" ");
            listen.fail_bare(
                report,
                format!(
                    "orders a certificate for {names}, and nothing says where; add \"acme\": {{ \"agree\": true }} at the top level"
                ),
            );
        }
        return None;
    };
    let object = place.object(report)?;
    let challenge = object.get("challenge");
    let kind = match challenge {
        Some(place) => place.choice(report, &CHALLENGES).flatten(),
        None => None,
    };
    agreed(place, &object, report);
    let profile = text(&object, "profile", report);
    let binding = object.get("eab").filter(|place| !place.is_null());
    let binding = binding.and_then(|place| binding_of(place, report));
    let state = state(&object, report);
    let target = authority(place, &object, (source, targets), report);
    // The listeners may have errors of their own.
    if first.is_none() && report.is_empty() {
        place.fail_bare(report, NO_LISTENER);
    }
    let (directory, target) = target?;
    Some(Acme {
        directory,
        target,
        state: state?,
        emails: emails(listeners),
        profile,
        binding,
        orders: orders(listeners, kind, challenge.unwrap_or(place), report),
    })
}

fn tls_of(listen: &Listen) -> Option<&TlsFiles> {
    match &listen.kind {
        ListenKind::Tls(files) => Some(files),
        ListenKind::Plain | ListenKind::Redirect => None,
    }
}

/// Returns the contacts of all listeners, each once.
fn emails(listeners: &[Listen]) -> Vec<String> {
    let mut emails = Vec::new();
    let contacts = listeners.iter().filter_map(tls_of);
    for contact in contacts.filter_map(|files| files.contact.clone()) {
        if !emails.contains(&contact) {
            emails.push(contact);
        }
    }
    emails
}

/// Checks `agree`.
fn agreed(place: &Located<'_>, object: &Object<'_>, report: &mut Report<'_>) {
    match object.get("agree") {
        None => place.fail_bare(
            report,
            "\"agree\" is missing; add \"agree\": true: with it you agree to the terms of the authority",
        ),
        Some(place) => {
            if place.flag(report) == Some(false) {
                place.fail(report, NOT_AGREED);
            }
        }
    }
}

/// Reads the target of the authority. Returns its URL and the index of the target.
fn authority(
    place: &Located<'_>,
    object: &Object<'_>,
    (source, targets): (&Source<'_>, &mut TargetList),
    report: &mut Report<'_>,
) -> Option<(String, usize)> {
    let url = match object.get("directory") {
        Some(place) => place.text(report)?.to_owned(),
        None => default_of("directory")?,
    };
    let at = object.get("directory").unwrap_or(place);
    let (target, path) = match target_url::parse(&url) {
        Ok(parsed) => parsed,
        Err(message) => {
            at.fail(report, message);
            return None;
        }
    };
    if !target.tls || target.host.socket().is_some() {
        at.fail(
            report,
            "must be an https URL: what is ordered is signed, and answers must be the authority's",
        );
        return None;
    }
    if path.is_empty() {
        at.fail(
            report,
            "has no path; write the whole URL of the directory, as the authority names it",
        );
        return None;
    }
    let ca = object.get("ca").filter(|place| !place.is_null());
    let roots = match ca {
        Some(place) => Trust::new(source).roots(place, report)?,
        None => Vec::new(),
    };
    let tls = TlsSettings {
        roots,
        ..TlsSettings::default()
    };
    Some((url, targets.share(target, tls)))
}

/// Reads `state`.
fn state(object: &Object<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let Some(place) = object.get("state") else {
        return default_of("state").map(PathBuf::from);
    };
    let path = place.text(report)?;
    if !path.starts_with('/') || path.len() > CONFIG_PATH_BYTES_MAX {
        place.fail(
            report,
            format!(
                "must be an absolute path of at most {CONFIG_PATH_BYTES_MAX} bytes, such as \"/var/lib/tollgate\""
            ),
        );
        return None;
    }
    Some(PathBuf::from(path))
}

/// Returns the default of a key that is a string.
fn default_of(key: &str) -> Option<String> {
    let json = ACME.key(key)?.default_json()?;
    Some(json.trim_matches('"').to_owned())
}

/// Reads a text that may be missing.
fn text(object: &Object<'_>, key: &str, report: &mut Report<'_>) -> Option<String> {
    let place = object.get(key).filter(|place| !place.is_null())?;
    let text = place.text(report)?;
    if text.is_empty() || text.len() > ACME_TEXT_BYTES_MAX || !text.bytes().all(is_visible) {
        place.fail(
            report,
            format!("must have 1 to {ACME_TEXT_BYTES_MAX} visible ASCII characters"),
        );
        return None;
    }
    Some(text.to_owned())
}

fn is_visible(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// Reads `eab`.
fn binding_of(place: &Located<'_>, report: &mut Report<'_>) -> Option<Binding> {
    let object = place.object(report)?;
    for (key, what) in [("kid", "id"), ("key", "key")] {
        if object.get(key).is_none() {
            place.fail_bare(
                report,
                format!("{key:?} is missing; add the {what} that the authority gave you"),
            );
        }
    }
    let kid = text(&object, "kid", report);
    let secret = object.get("key")?;
    let text = secret.secret_text(report)?;
    // Authorities write the key with padding, too.
    let key = base64::decode_url(text.trim_end_matches('=').as_bytes());
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        secret.fail_bare(
            report,
            "is no base64url (letters, digits, \"-\" and \"_\"); copy the key as the authority gave it",
        );
        return None;
    };
    Some(Binding { kid: kid?, key })
}

/// Returns the certificates to order. `kind`: the proof that is asked for; `None`: any.
fn orders(
    listeners: &[Listen],
    kind: Option<Challenge>,
    place: &Located<'_>,
    report: &mut Report<'_>,
) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    let is_plain = |listen: &&Listen| {
        matches!(listen.kind, ListenKind::Plain | ListenKind::Redirect)
            && !matches!(listen.address, ListenAddress::Unix(_))
    };
    let plain = || listeners.iter().filter(is_plain).map(port);
    let secure = || listeners.iter().filter(|one| tls_of(one).is_some());
    let plain_port = plain().find(|port| *port == 80).or(plain().next());
    let has_443 = secure().any(|listen| port(listen) == 443);
    for listen in listeners {
        let Some(files) = tls_of(listen).filter(|files| !files.ordered.is_empty()) else {
            continue;
        };
        let (challenge, port) = match (kind, plain_port) {
            (Some(Challenge::TlsAlpn01), _) => (Challenge::TlsAlpn01, port(listen)),
            (None, _) if has_443 => (Challenge::TlsAlpn01, 443),
            (_, Some(port)) => (Challenge::Http01, port),
            (_, None) => {
                refuse_unproven(kind, &files.ordered, place, report);
                continue;
            }
        };
        if orders.iter().all(|order| order.names != files.ordered) {
            orders.push(Order {
                names: files.ordered.clone(),
                challenge,
                port,
            });
        }
    }
    orders
}

/// Reports names that no listener can prove.
fn refuse_unproven(
    kind: Option<Challenge>,
    names: &[String],
    place: &Located<'_>,
    report: &mut Report<'_>,
) {
    let names = names.join(" ");
    let message = match kind {
        None => format!(
            "no listener can prove {names}: the authority connects to port 443 with TLS, or to port 80; add {{ \"address\": \
             \"0.0.0.0:80\", \"redirectToHttps\": true }} to \"listen\", or write \"challenge\": \"tls-alpn-01\" where another \
             machine leads port 443 here"
        ),
        Some(_) => format!(
            "http-01 needs a listener without \"tls\" to prove {names}; add {{ \"address\": \"0.0.0.0:80\", \
             \"redirectToHttps\": true }} to \"listen\""
        ),
    };
    place.fail_bare(report, message);
}

/// Returns the port of a listener; 0 if it is not known.
fn port(listen: &Listen) -> u16 {
    match listen.address {
        ListenAddress::Tcp(address) => address.port(),
        ListenAddress::Unix(_) | ListenAddress::Systemd(_) => 0,
    }
}
