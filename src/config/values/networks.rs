//! `trustedProxies`, `allow` and `deny`: blocks of addresses, and peers on unix sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::proxy::settings::{Network, PeerSet};

use crate::config::schema::NETWORK_EXPECTED;
use crate::config::schema::units::digits;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;

/// Reads the peers of a list.
pub(crate) fn compile(place: &Located<'_>, report: &mut Report<'_>) -> PeerSet {
    let items = place.list(report).unwrap_or_default();
    let mut peers = PeerSet::default();
    for item in &items {
        match item.text(report) {
            // nginx and its kin write it with a colon.
            Some("unix" | "unix:") => peers.unix = true,
            Some(text) => match parse(text) {
                Ok(network) => peers.networks.push(network),
                Err(message) => item.fail(report, message),
            },
            None => {}
        }
    }
    peers
}

fn parse(text: &str) -> Result<Network, Fault> {
    let wrong = || Fault::uncured(format!("must be {NETWORK_EXPECTED}"));
    if text == "all" {
        return Err(
            "is no network; \"allow\" alone refuses all others, and all are \"0.0.0.0/0\" and \"::/0\"".into(),
        );
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => width,
        Some(prefix) => digits(prefix).ok_or_else(wrong)?,
    };
    let bits = u8::try_from(prefix).ok().filter(|_| prefix <= width);
    let bits =
        bits.ok_or_else(|| Fault::uncured(format!("must have a prefix from 0 to {width}")))?;
    let first = first_address(address, bits);
    if first != address {
        return Err(format!("has address bits behind its prefix; write \"{first}/{bits}\"").into());
    }
    Ok(canonical(address, bits))
}

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
        }
    }
}

/// Returns the network as clients are compared with it: an IPv4-mapped one is IPv4.
fn canonical(address: IpAddr, prefix: u8) -> Network {
    match (address.to_canonical(), prefix.checked_sub(96)) {
        (IpAddr::V4(inner), Some(bits)) if address.is_ipv6() => Network {
            address: IpAddr::V4(inner),
            prefix: bits,
        },
        _ => Network { address, prefix },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (text, address, prefix) in [
            ("10.0.0.0/8", "10.0.0.0", 8),
            ("10.1.2.3", "10.1.2.3", 32),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("::1", "::1", 128),
            ("::/0", "::", 0),
            ("fd00::/8", "fd00::", 8),
            ("::ffff:10.0.0.0/104", "10.0.0.0", 8),
            ("::ffff:10.0.0.1", "10.0.0.1", 32),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(parse(text), Ok(Network { address, prefix }), "{text}");
        }
        for (text, message) in [
            ("10.0.0.1/8", "write \"10.0.0.0/8\""),
            ("fd00::1/64", "write \"fd00::/64\""),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/", "must be a network"),
            ("10.0.0.0/+8", "must be a network"),
            ("10.0.0/8", "must be a network"),
            ("loopback", "must be a network"),
            ("", "must be a network"),
        ] {
            assert!(
                parse(text).is_err_and(|error| error.to_string().contains(message)),
                "{text}: {:?}",
                parse(text)
            );
        }
    }
}
