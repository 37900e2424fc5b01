//! Who the client is: the peer itself, or whom a trusted proxy names in X-Forwarded-For.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::digits;
use crate::http::field::tokens;

/// A network of trusted proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// The first address; IPv4-mapped IPv6 is IPv4 here.
    pub address: IpAddr,
    /// Leading bits that count: at most 32 or 128.
    pub prefix: u8,
}

/// The other end of a client connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// An address; IPv4-mapped IPv6 is IPv4 here.
    Ip(IpAddr),
    /// A unix socket, whose peers have no address.
    Unix,
}

impl Peer {
    /// The address, if there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Ip(address) => Some(address),
            Peer::Unix => None,
        }
    }
}

/// A list of peers: networks, and perhaps those that come over unix sockets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerSet {
    /// The networks.
    pub networks: Vec<Network>,
    /// Whether peers on unix sockets are in the list (`"unix"`).
    pub unix: bool,
}

impl PeerSet {
    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether the peer is in the list.
    #[inline]
    pub fn contains(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(address) => self
                .networks
                .iter()
                .any(|network| network.contains(address)),
            Peer::Unix => self.unix,
        }
    }
}

/// `trustedProxies`.
pub struct TrustedProxies {
    peers: PeerSet,
}

impl TrustedProxies {
    /// Of these peers.
    pub fn new(peers: &PeerSet) -> TrustedProxies {
        TrustedProxies {
            peers: peers.clone(),
        }
    }

    /// Whether the peer's X-Forwarded-* are believed.
    pub fn is_trusted(&self, peer: Peer) -> bool {
        self.peers.contains(peer)
    }

    /// The client: the right-most address of the chain that is not a trusted proxy. `forwarded`: the X-Forwarded-For lines,
    /// in order. What is no address ends the walk: nobody knows who wrote what stands left of it.
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
            let Some(address) = parse_element(element) else {
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
    /// Whether the address is inside.
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

/// An address as proxies write it: bare or with a port, IPv6 with a port in brackets. Nothing else may stand around it.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
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
