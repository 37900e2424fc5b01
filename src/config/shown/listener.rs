//! Listeners, as text.

use crate::config::model::{AdminAccess, Listen, ListenKind, Port};
use crate::transport::server::{ClientAuth, TlsFiles, TlsVersion};

/// Returns the addresses of the admin listener, and the hosts that it answers to.
pub(crate) fn admin(AdminAccess { addresses, hosts }: &AdminAccess) -> String {
    let addresses = addresses.iter().map(ToString::to_string);
    let addresses = addresses.collect::<Vec<_>>().join(", ");
    match hosts.as_slice() {
        [] => addresses,
        hosts => format!("{addresses} (hosts: {})", hosts.join(", ")),
    }
}

/// Returns the address of a listener, what is spoken there, its name and how its port is used.
pub(crate) fn listener(listen: &Listen) -> String {
    let mut text = listener_kind(listen);
    if let Some(name) = &listen.name {
        text.push_str(", name ");
        text.push_str(name);
    }
    if !listen.proxied.is_empty() {
        text.push_str(", PROXY protocol");
    }
    if listen.port == Port::Shared {
        text.push_str(", shared port");
    }
    text
}

/// Returns the address of a listener and what is spoken there.
fn listener_kind(listen: &Listen) -> String {
    let Listen { address, kind, .. } = listen;
    let TlsFiles {
        certificates,
        ordered,
        contact: _,
        min_version,
        client_ca,
        client_auth,
    } = match kind {
        ListenKind::Plain => return address.to_string(),
        ListenKind::Redirect => return format!("{address} (redirects to https)"),
        ListenKind::Tls(files) => files,
    };
    let count = match (certificates.len(), ordered.as_slice()) {
        (0, names) => format!("orders {}", names.join(" ")),
        (1, []) => "1 certificate".to_owned(),
        (count, []) => format!("{count} certificates"),
        (count, names) => format!("{count} from files, orders {}", names.join(" ")),
    };
    let version = if *min_version == TlsVersion::Tls13 {
        "TLS 1.3"
    } else {
        "TLS 1.2 and 1.3"
    };
    let clients = match (client_ca, client_auth) {
        (None, _) => "",
        (Some(_), ClientAuth::Required) => ", client certificates",
        (Some(_), ClientAuth::Optional) => ", optional client certificates",
    };
    format!("{address} ({version}, {count}{clients})")
}
