//! Addresses of listeners as text, for clients and for the admin listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::model::ListenAddress;
use crate::config::schema::units::digits;
use crate::config::schema::{ADDRESS_EXPECTED, ADMIN_EXPECTED};
use crate::config::syntax::stray::{Fault, MARKS};
use crate::config::values::path::ends_in_a_mark;
use crate::limits::{SOCKET_NAME_BYTES_MAX, UNIX_PATH_BYTES_MAX};

/// Purpose of an address, which decides what is said about a wrong one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `listen`: clients come from other machines.
    Clients,
    /// `admin`: those who may ask are on this machine.
    Admin,
}

impl Purpose {
    /// Returns the words behind "must be".
    fn expected(self) -> &'static str {
        match self {
            Purpose::Clients => ADDRESS_EXPECTED,
            Purpose::Admin => ADMIN_EXPECTED,
        }
    }

    /// Returns the hosts for a port without one, of IPv4 and of IPv6, and the port for a host
    /// without one.
    fn defaults(self) -> (Ipv4Addr, Ipv6Addr, u16) {
        match self {
            Purpose::Clients => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, 5000),
            Purpose::Admin => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, 5001),
        }
    }
}

/// Parses an address. A port alone is taken with the host that its purpose has for it.
pub(crate) fn parse(text: &str, purpose: Purpose) -> Result<ListenAddress, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let (any, any_ipv6, usual) = purpose.defaults();
    if let Some(port) = port(text) {
        return Ok(tcp(any, port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress::Tcp(address));
    }
    let (host, number) = text.rsplit_once(':').unwrap_or((text, ""));
    let ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let host = match host {
        // `::80` is port 80 of all addresses, rather than an address.
        ":" => "::",
        _ if text.ends_with(']') => text,
        host => host,
    };
    Err(match (host, port(number)) {
        ("localhost", Some(port)) => return Ok(tcp(Ipv4Addr::LOCALHOST, port)),
        (_, Some(port)) if number.len() > 1 && ipv6(host) => {
            format!(r#"has an IPv6 address without brackets; write "[{host}]:{port}""#).into()
        }
        _ if ipv6(text) => format!(r#"has no valid port; write "[{text}]:{usual}""#).into(),
        _ if text.contains([' ', ';', ',', '/']) => of_more(text, purpose),
        (_, Some(port)) => {
            format!(r#"has no address; write "{any}:{port}", or "[{any_ipv6}]:{port}" for IPv6"#)
                .into()
        }
        (_, None) if parse(&format!("{host}:{usual}"), purpose).is_ok() => {
            format!(r#"has no valid port; write "{host}:{usual}""#).into()
        }
        _ => of_more(text, purpose),
    })
}

/// Returns what is said about text that is no address, but may have one, such as `443 ssl` or
/// `https://0.0.0.0:443`.
fn of_more(text: &str, purpose: Purpose) -> Fault {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.trim_matches(MARKS);
    let bare = bare.split([' ', ';', ',', '/']).next().unwrap_or_default();
    if bare == text {
        return Fault::uncured(format!("must be {}", purpose.expected()));
    }
    let is_tls = purpose == Purpose::Clients && (text.contains("ssl") || text.starts_with("https"));
    match parse(bare, purpose) {
        Ok(address) if is_tls => format!(
            r#"is more than an address; write {{ "address": "{address}", "tls": {{ "certificates": [..] }} }}"#
        )
        .into(),
        Ok(address) => format!(r#"is more than an address; write "{address}""#).into(),
        Err(message) => message,
    }
}

fn unix(path: &str) -> Result<ListenAddress, Fault> {
    if path.is_empty() || path.contains('\0') {
        return Err(r#"has no path; write "unix:/run/tollgate.sock""#.into());
    }
    if path.starts_with('@') {
        return Err(
            r#"is an abstract socket, which is not supported; write a path, such as "unix:/run/tollgate.sock""#
                .into(),
        );
    }
    if path.ends_with(MARKS) {
        return Err(ends_in_a_mark());
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!(
            "has a path of {} bytes, and that of a unix socket has at most {UNIX_PATH_BYTES_MAX}; choose a shorter one",
            path.len()
        )
        .into());
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

pub(super) fn systemd(name: &str) -> Result<ListenAddress, Fault> {
    if name.is_empty() {
        return Err(
            r#"has no name; write "systemd:web" and FileDescriptorName=web in the socket unit"#
                .into(),
        );
    }
    let is_valid = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b':';
    if name.len() > SOCKET_NAME_BYTES_MAX || !name.as_bytes().iter().all(is_valid) {
        return Err(format!(
            "has a name that no socket of systemd has: write at most {SOCKET_NAME_BYTES_MAX} visible ASCII characters without a colon"
        )
        .into());
    }
    Ok(ListenAddress::Systemd(name.into()))
}

pub(super) fn port(text: &str) -> Option<u16> {
    digits(text).and_then(|port| u16::try_from(port).ok())
}

pub(super) fn tcp(address: Ipv4Addr, port: u16) -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::new(IpAddr::V4(address), port))
}
