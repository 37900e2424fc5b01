//! `listen`, and `PORT` from the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::limits::{LISTENERS_MAX, UNIX_PATH_BYTES_MAX};

use super::ListenAddress;
use super::document::Value;
use super::environment::Environment;
use super::raw::{Place, Report};
use super::values::digits;

const EXPECTED: &str =
    r#"an address such as "0.0.0.0:5000", "[::]:5000" or "unix:/run/tollgate.sock", or a list of them"#;
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5000);

/// The listeners. `port_place`: where an error about `PORT` is reported.
pub(super) fn compile(
    place: Option<&Place<'_>>,
    port_place: &Place<'_>,
    environment: Environment<'_>,
    report: &mut Report<'_>,
) -> Vec<ListenAddress> {
    let mut found = place.map(|place| addresses(place, report)).unwrap_or_default();
    if place.is_none() {
        found.push((port_place.clone(), ListenAddress::Tcp(DEFAULT)));
    }
    if let Some(port) = environment("PORT").filter(|port| !port.is_empty()) {
        override_port(&mut found, &port, port_place, report);
    }
    refuse_duplicates(&found, report);
    found.into_iter().map(|(_, address)| address).collect()
}

type Placed<'a> = (Place<'a>, ListenAddress);

fn addresses<'a>(place: &Place<'a>, report: &mut Report<'_>) -> Vec<Placed<'a>> {
    let items = match &place.node.value {
        Value::List(items) if items.is_empty() => {
            place.fail(report, "is empty; name at least one address, such as \"0.0.0.0:5000\"");
            return Vec::new();
        }
        Value::List(items) if items.len() > LISTENERS_MAX => {
            place.fail(report, format!("has {} addresses; at most {LISTENERS_MAX} can be listened on", items.len()));
            return Vec::new();
        }
        Value::List(_) => place.list(report, EXPECTED).unwrap_or_default(),
        _ => vec![place.clone()],
    };
    items.into_iter().filter_map(|item| address(&item, report).map(|address| (item, address))).collect()
}

fn address(place: &Place<'_>, report: &mut Report<'_>) -> Option<ListenAddress> {
    let parsed = match &place.node.value {
        Value::Number(number) => bare_port(number).ok_or_else(|| "a port is a whole number up to 65535".to_owned()),
        Value::Text(text) => parse(text),
        _ => {
            place.mismatch(report, EXPECTED);
            return None;
        }
    };
    parsed.map_err(|message| place.fail(report, message)).ok()
}

fn parse(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    if let Some(address) = bare_port(text) {
        return Ok(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress::Tcp(address));
    }
    let (host, number) = text.rsplit_once(':').unwrap_or((text, ""));
    let port = port(number);
    match (host, port) {
        ("localhost", Some(port)) => Ok(tcp(Ipv4Addr::LOCALHOST, port)),
        ("" | "*", Some(port)) => Err(format!(r#"has no address; write "0.0.0.0:{port}", or "[::]:{port}" for IPv6"#)),
        _ if text.parse::<IpAddr>().is_ok() => Err(match text.contains(':') {
            true => format!(r#"has no port; write "[{text}]:5000""#),
            false => format!(r#"has no port; write "{text}:5000""#),
        }),
        _ => Err(format!("must be {EXPECTED}")),
    }
}

fn unix(path: &str) -> Result<ListenAddress, String> {
    if path.is_empty() || path.contains('\0') {
        return Err(r#"has no path; write "unix:/run/tollgate.sock""#.to_owned());
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!("the path of a unix socket has at most {UNIX_PATH_BYTES_MAX} bytes; choose a shorter one"));
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

fn port(text: &str) -> Option<u16> {
    digits(text).and_then(|port| u16::try_from(port).ok())
}

fn bare_port(text: &str) -> Option<ListenAddress> {
    port(text).map(|port| tcp(Ipv4Addr::UNSPECIFIED, port))
}

fn tcp(address: Ipv4Addr, port: u16) -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::new(IpAddr::V4(address), port))
}

fn override_port(found: &mut [Placed<'_>], text: &str, port_place: &Place<'_>, report: &mut Report<'_>) {
    let Some(port) = port(text) else {
        let shown: String = text.chars().take(32).collect();
        let message = format!("the environment variable PORT is {shown:?}; set it to a port up to 65535, or unset it");
        return report.add(port_place.node.at, &port_place.path, message);
    };
    let first = found.iter_mut().find_map(|(_, address)| match address {
        ListenAddress::Tcp(address) => Some(address),
        ListenAddress::Unix(_) => None,
    });
    if let Some(address) = first {
        address.set_port(port);
    }
}

/// Port 0 is another free port each time.
fn refuse_duplicates(found: &[Placed<'_>], report: &mut Report<'_>) {
    for (index, (place, address)) in found.iter().enumerate() {
        let free = matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
        let first = found.iter().take(index).find(|(_, earlier)| earlier == address && !free);
        if let Some((first, _)) = first {
            place.fail(report, format!("{address} is listened on by {} already; remove one of them", first.path));
        }
    }
}
