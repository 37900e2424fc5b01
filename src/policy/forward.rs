//! Client address: the address of the peer, or the one that a trusted proxy reports in
//! X-Forwarded-For.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::digits;
use crate::http::field::{Name, tokens};
use crate::http::head::Fields;

/// A range of IP addresses (CIDR).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Network {
    /// First address of the range; an IPv4-mapped IPv6 address is stored as IPv4.
    pub address: IpAddr,
    /// Number of leading bits that are compared: at most 32 or 128.
    pub prefix: u8,
}

/// The other end of a client connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// An IP address; an IPv4-mapped IPv6 address is stored as IPv4.
    Ip(IpAddr),
    /// A unix socket, whose peers have no address.
    Unix,
}

impl Peer {
    /// Returns the IP address, if the peer has one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Ip(address) => Some(address),
            Peer::Unix => None,
        }
    }

    /// Returns true if the peer is on this machine or on a private network (RFC 1918, RFC 4193,
    /// RFC 6598, and the loopback and link-local addresses).
    pub fn is_private(self) -> bool {
        match self {
            Peer::Unix => true,
            Peer::Ip(IpAddr::V4(address)) => {
                let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
                address.is_private()
                    || address.is_loopback()
                    || address.is_link_local()
                    || is_shared
            }
            Peer::Ip(IpAddr::V6(address)) => {
                address.is_loopback()
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
            }
        }
    }
}

/// Scheme that a client used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// Returns the name of the scheme (RFC 9110 4.2).
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Returns the scheme that a trusted proxy reports in X-Forwarded-Proto.
pub fn scheme(fields: &Fields<'_>) -> Option<Scheme> {
    let said = fields.first(Name::XForwardedProto)?;
    let all = [Scheme::Http, Scheme::Https].into_iter();
    let mut named = all.filter(|scheme| said.eq_ignore_ascii_case(scheme.as_str().as_bytes()));
    named.next()
}

/// A set of peers: networks, and optionally the peers on unix sockets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PeerSet {
    /// The networks.
    pub networks: Vec<Network>,
    /// True if peers on unix sockets are in the set (`"unix"`).
    pub unix: bool,
}

impl PeerSet {
    /// Returns true if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Returns the bytes of the networks.
    pub fn bytes(&self) -> usize {
        self.networks.len().saturating_mul(size_of::<Network>())
    }

    /// Returns true if the peer is in the set.
    #[inline]
    pub fn contains(&self, peer: Peer) -> bool {
        match peer {
            // Most sets are empty; a request asks three of them.
            Peer::Ip(_) if self.networks.is_empty() => false,
            Peer::Ip(address) => self
                .networks
                .iter()
                .any(|network| network.contains(address)),
            Peer::Unix => self.unix,
        }
    }
}

/// Configuration `trustedProxies`.
pub struct TrustedProxies {
    peers: PeerSet,
}

impl TrustedProxies {
    /// Creates the list of these peers.
    pub fn new(peers: &PeerSet) -> TrustedProxies {
        TrustedProxies {
            peers: peers.clone(),
        }
    }

    /// Returns true if the gateway accepts X-Forwarded-* fields from the peer.
    #[inline(always)]
    pub fn is_trusted(&self, peer: Peer) -> bool {
        self.peers.contains(peer)
    }

    /// Returns the address of the client: the right-most address of the chain that is not a trusted
    /// proxy. `forwarded`: the X-Forwarded-For lines, in order. The search ends at an element that
    /// is not an address, because the source of the elements to its left is unknown.
    pub fn client_address<'a>(
        &self,
        peer: Peer,
        forwarded: impl Iterator<Item = &'a [u8]>,
    ) -> Peer {
        if !self.is_trusted(peer) {
            return peer;
        }
        let chain: Vec<&[u8]> = forwarded.flat_map(tokens).collect();
        let mut client = peer;
        for element in chain.into_iter().rev() {
            crate::cost::count(self.peers.networks.len().saturating_add(element.len()));
            let Some(address) = parse_address(element) else {
                break;
            };
            client = Peer::Ip(address);
            if !self.is_trusted(client) {
                break;
            }
        }
        client
    }
}

impl Network {
    /// Returns true if the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let bits = network.to_bits() ^ address.to_bits();
                bits.checked_shr(32_u32.saturating_sub(u32::from(self.prefix)))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let bits = network.to_bits() ^ address.to_bits();
                bits.checked_shr(128_u32.saturating_sub(u32::from(self.prefix)))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// Parses an address as proxies write it: with or without a port, IPv6 with a port in brackets. Any
/// other byte makes the element invalid.
pub fn parse_address(element: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(element).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        let whole = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        return if whole { parse_v6(address) } else { None };
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => parse_v4(address).filter(|_| is_port(port)),
        Some(_) => parse_v6(text),
        None => parse_v4(text),
    }
}

fn is_port(text: &str) -> bool {
    digits::parse(text.as_bytes()).is_some_and(|port| port <= u64::from(u16::MAX))
}

// Both parsers of the standard library are strict: no leading zeros, no spaces, no zone.

fn parse_v4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>()
        .ok()
        .map(|address| IpAddr::V6(address).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(trusted: &[(&str, u8)], peer: &str, forwarded: &[&str]) -> String {
        let networks: Vec<_> = trusted
            .iter()
            .map(|(address, prefix)| Network {
                address: ip(address),
                prefix: *prefix,
            })
            .collect();
        let trusted = TrustedProxies::new(&PeerSet {
            networks,
            unix: false,
        });
        match trusted.client_address(
            Peer::Ip(ip(peer)),
            forwarded.iter().map(|line| line.as_bytes()),
        ) {
            Peer::Ip(address) => address.to_string(),
            Peer::Unix => "unix".to_owned(),
        }
    }

    #[test]
    fn private_peers() {
        assert!(Peer::Unix.is_private());
        for (address, is_private) in [
            ("10.0.0.1", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.255.1", true),
            ("127.0.0.2", true),
            ("169.254.0.1", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.63.0.1", false),
            ("100.128.0.1", false),
            ("192.0.2.1", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            let peer = Peer::Ip(address.parse().expect("an address"));
            assert_eq!(peer.is_private(), is_private, "{address}");
        }
    }

    #[test]
    fn the_right_most_untrusted_address() {
        let lan = [("10.0.0.0", 8), ("fd00::", 8)];
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["1.2.3.4"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.9.9.9"], "1.2.3.4"),
            ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, garbage, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["010.1.1.1"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:567"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]:567"], "2001:db8::1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["1.2.3.4:65535"], "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4:65536"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:http"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:+1"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::1]x"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::1]:"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::1"], "10.0.0.1"),
            ("10.0.0.1", &["[1.2.3.4]"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4.5"], "10.0.0.1"),
            ("10.0.0.1", &["0x1.2.3.4"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4 5.6.7.8"], "10.0.0.1"),
            ("10.0.0.1", &[" 1.2.3.4 ,, ,\t10.3.3.3"], "1.2.3.4"),
            ("fd00::1", &["1.2.3.4"], "1.2.3.4"),
            ("::ffff:10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
        ] {
            assert_eq!(
                client(&lan, peer, forwarded),
                expected,
                "{peer} {forwarded:?}"
            );
        }
        assert_eq!(client(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(
            client(&[("0.0.0.0", 0)], "9.9.9.9", &["8.8.8.8"]),
            "8.8.8.8"
        );
    }

    #[test]
    fn networks() {
        let network = |address: &str, prefix| Network {
            address: ip(address),
            prefix,
        };
        assert!(
            network("10.1.0.0", 16).contains(ip("10.1.255.255"))
                && !network("10.1.0.0", 16).contains(ip("10.2.0.0"))
        );
        assert!(
            network("1.2.3.4", 32).contains(ip("1.2.3.4"))
                && !network("1.2.3.4", 32).contains(ip("1.2.3.5"))
        );
        assert!(
            network("::", 0).contains(ip("2001::")) && !network("::", 0).contains(ip("1.2.3.4"))
        );
    }

    /// A unix socket is trusted where the list says so, and nowhere else.
    #[test]
    fn unix_sockets() {
        let everywhere = Network {
            address: ip("0.0.0.0"),
            prefix: 0,
        };
        let lan = Network {
            address: ip("10.0.0.0"),
            prefix: 8,
        };
        for (networks, unix, expected) in [
            (vec![], false, Peer::Unix),
            (vec![everywhere], false, Peer::Unix),
            (vec![], true, Peer::Ip(ip("10.1.1.1"))),
            (vec![lan], true, Peer::Ip(ip("1.2.3.4"))),
        ] {
            let trusted = TrustedProxies::new(&PeerSet { networks, unix });
            let chain = || [&b"1.2.3.4, 10.1.1.1"[..]].into_iter();
            assert_eq!(
                trusted.client_address(Peer::Unix, chain()),
                expected,
                "unix {unix}"
            );
            assert_eq!(
                trusted.client_address(Peer::Unix, [].into_iter()),
                Peer::Unix
            );
            if unix {
                assert_eq!(
                    trusted.client_address(Peer::Ip(ip("9.9.9.9")), chain()),
                    Peer::Ip(ip("9.9.9.9"))
                );
            }
        }
    }
}
