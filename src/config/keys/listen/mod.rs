//! `listen`: addresses and what is spoken there, and `PORT` from the environment.

pub(crate) mod address;
pub(crate) mod known;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use self::address::{Purpose, parse, port, systemd, tcp};
use crate::limits::LISTENERS_MAX;

use crate::config::model::{Listen, ListenAddress, ListenKind, Port};
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::{name, networks};
use crate::proxy::settings::PeerSet;

const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5000);

/// Reads the listeners. `port_place`: where an error about `PORT` is reported.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    port_place: &Located<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Vec<Listen> {
    let mut found = place
        .map(|place| listeners(place, source, report))
        .unwrap_or_default();
    if place.is_none() {
        let address = ListenAddress::Tcp(DEFAULT);
        found.push((
            port_place.clone(),
            Listen {
                address,
                kind: ListenKind::Plain,
                name: None,
                proxied: PeerSet::default(),
                port: Port::Own,
            },
        ));
    }
    if let Some(port) = (source.environment)("PORT").filter(|port| !port.is_empty()) {
        override_port(&mut found, &port, port_place, report);
    }
    refuse_duplicates(&found, report);
    // A listener that is broken itself may be the one they lead to.
    let all = place.map_or(1, |place| {
        if let Value::List(items) = &place.node.value {
            items.len()
        } else {
            1
        }
    });
    if found.len() == all {
        refuse_redirects_to_nowhere(&found, report);
    }
    found.into_iter().map(|(_, listen)| listen).collect()
}

type Placed<'a> = (Located<'a>, Listen);

fn listeners<'a>(
    place: &Located<'a>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Vec<Placed<'a>> {
    let items = match &place.node.value {
        Value::List(items) if items.is_empty() => {
            place.fail(
                report,
                "is empty; name at least one address, such as \"0.0.0.0:5000\"",
            );
            return Vec::new();
        }
        Value::List(items) if items.len() > LISTENERS_MAX => {
            place.fail(
                report,
                format!(
                    "has {} addresses; at most {LISTENERS_MAX} can be listened on",
                    items.len()
                ),
            );
            return Vec::new();
        }
        Value::List(_) => place.list(report).unwrap_or_default(),
        _ => vec![place.clone()],
    };
    items
        .into_iter()
        .filter_map(|item| listener(&item, source, report).map(|listen| (item, listen)))
        .collect()
}

fn listener(place: &Located<'_>, source: &Source<'_>, report: &mut Report<'_>) -> Option<Listen> {
    if !matches!(place.node.value, Value::Object(_)) {
        return address(place, report).map(|address| Listen {
            address,
            kind: ListenKind::Plain,
            name: None,
            proxied: PeerSet::default(),
            port: Port::Own,
        });
    }
    let object = place.object(report)?;
    let tls = object.get("tls").filter(|place| !place.is_null());
    let redirects = object.flag("redirectToHttps", report);
    let kind = match tls {
        Some(tls) if redirects => {
            tls.fail_bare(
                report,
                "a listener that redirects to https speaks plain HTTP; remove \"tls\" or \"redirectToHttps\"",
            );
            None
        }
        Some(tls) => tls::compile(tls, source, report).map(ListenKind::Tls),
        None if redirects => Some(ListenKind::Redirect),
        None => Some(ListenKind::Plain),
    };
    let address = match object.get("address") {
        Some(place) => address(place, report),
        None => {
            place.fail(
                report,
                r#""address" is missing; add one such as "0.0.0.0:8443""#,
            );
            None
        }
    };
    let name = name::of(&object, report);
    let proxied = proxied(&object, address.as_ref(), report);
    let port = port_use(&object, address.as_ref(), report);
    Some(Listen {
        address: address?,
        kind: kind?,
        name,
        proxied,
        port,
    })
}

/// Reads `proxyProtocol`.
fn proxied(
    object: &Object<'_>,
    address: Option<&ListenAddress>,
    report: &mut Report<'_>,
) -> PeerSet {
    let Some(place) = object.get("proxyProtocol") else {
        return PeerSet::default();
    };
    let peers = networks::compile(place, report);
    let is_unreachable = match address {
        Some(ListenAddress::Tcp(_)) => peers.networks.is_empty() && peers.unix,
        Some(ListenAddress::Unix(_)) => !peers.networks.is_empty() && !peers.unix,
        Some(ListenAddress::Systemd(_)) | None => false,
    };
    if is_unreachable {
        place.fail_bare(
            report,
            "names no peer that can connect here: peers of a TCP address have addresses, and those of a unix socket are \"unix\"",
        );
    }
    peers
}

/// Reads `reusePort`.
fn port_use(object: &Object<'_>, address: Option<&ListenAddress>, report: &mut Report<'_>) -> Port {
    if !object.flag("reusePort", report) {
        return Port::Own;
    }
    let advice = match address {
        Some(ListenAddress::Unix(_)) => {
            "is for TCP ports: a unix socket belongs to one process; remove it, or give each process an address of its own"
        }
        Some(ListenAddress::Systemd(_)) => {
            "is set where the socket is opened: write ReusePort=yes into the socket unit, and remove it here"
        }
        Some(ListenAddress::Tcp(_)) | None => return Port::Shared,
    };
    if let Some(place) = object.get("reusePort") {
        place.fail_bare(report, advice);
    }
    Port::Own
}

fn address(place: &Located<'_>, report: &mut Report<'_>) -> Option<ListenAddress> {
    let parsed = match &place.node.value {
        Value::Number(number) => {
            let port = port(number).map(|port| tcp(Ipv4Addr::UNSPECIFIED, port));
            port.ok_or_else(|| "must be a port, a whole number up to 65535".into())
        }
        Value::Text(text) => match text.strip_prefix("systemd:") {
            Some(name) => systemd(name),
            // As other programs say it: `fd://3`, `fd@3`, `sd:web`.
            None if ["fd:", "fd@", "sd:"].iter().any(|word| text.starts_with(word)) => Err(
                r#"is no address; a socket that systemd passes on is "systemd:NAME", with the FileDescriptorName= of its unit"#
                    .into(),
            ),
            None => parse(text, Purpose::Clients),
        },
        _ => {
            place.mismatch(report);
            return None;
        }
    };
    parsed.map_err(|message| place.fail(report, message)).ok()
}

fn override_port(
    found: &mut [Placed<'_>],
    text: &str,
    port_place: &Located<'_>,
    report: &mut Report<'_>,
) {
    let Some(port) = port(text) else {
        let shown: String = text.chars().take(32).collect();
        let message = format!(
            "the environment variable PORT is {shown:?}; set it to a port up to 65535, or unset it"
        );
        return report.add(port_place.node.at, &port_place.path, message);
    };
    let first = found
        .iter_mut()
        .find_map(|(_, listen)| match &mut listen.address {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
        });
    if let Some(address) = first {
        address.set_port(port);
    }
}

/// Reports addresses that stand twice. Port 0 is another free port each time.
fn refuse_duplicates(found: &[Placed<'_>], report: &mut Report<'_>) {
    for (index, (place, Listen { address, .. })) in found.iter().enumerate() {
        let free = matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
        let first = found
            .iter()
            .take(index)
            .find(|(_, earlier)| earlier.address == *address && !free);
        if let Some((first, _)) = first {
            place.fail_bare(
                report,
                format!(
                    "{address} is listened on by {} already; remove one of them",
                    first.path
                ),
            );
        }
    }
}

fn refuse_redirects_to_nowhere(found: &[Placed<'_>], report: &mut Report<'_>) {
    let is_tls = |(_, listen): &Placed<'_>| {
        matches!(
            (&listen.kind, &listen.address),
            (
                ListenKind::Tls(_),
                ListenAddress::Tcp(_) | ListenAddress::Systemd(_)
            )
        )
    };
    if found.iter().any(is_tls) {
        return;
    }
    for (place, _) in found
        .iter()
        .filter(|(_, listen)| listen.kind == ListenKind::Redirect)
    {
        place.fail(
            report,
            "redirects to https, but no address in \"listen\" has \"tls\"; add one such as \"0.0.0.0:8443\"",
        );
    }
}
