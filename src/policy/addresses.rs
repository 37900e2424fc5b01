//! Rules `allow` and `deny`: the client addresses whose requests are served.

use super::forward::{Peer, PeerSet};

/// The `allow` and `deny` lists.
pub struct AddressRules {
    allow: PeerSet,
    deny: PeerSet,
}

impl AddressRules {
    /// Creates the rules from both lists. An empty `allow` list allows every client.
    pub fn new(allow: &PeerSet, deny: &PeerSet) -> AddressRules {
        AddressRules {
            allow: allow.clone(),
            deny: deny.clone(),
        }
    }

    /// Returns true if the client may send requests. `deny` wins over `allow`. A client without an
    /// address (on a unix socket) is in no network.
    #[inline(always)]
    pub fn admit(&self, client: Peer) -> bool {
        (self.allow.is_empty() || self.allow.contains(client)) && !self.deny.contains(client)
    }
}

#[cfg(test)]
mod tests {
    use super::super::forward::Network;
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn deny_wins_and_nothing_allowed_is_everything_allowed() {
        let peers = |texts: &[(&str, u8)]| -> PeerSet {
            let network = |&(address, prefix): &(&str, u8)| Network {
                address: address.parse().expect("one"),
                prefix,
            };
            let is_network = |&&(text, _): &&(&str, u8)| text != "unix";
            PeerSet {
                networks: texts.iter().filter(is_network).map(network).collect(),
                unix: texts.iter().any(|&(text, _)| text == "unix"),
            }
        };
        let client = |text: &str| Peer::Ip(text.parse::<IpAddr>().expect("an address"));
        let lan = [("10.0.0.0", 8), ("fd00::", 8)];
        for (allow, deny, peer, admitted) in [
            (&[][..], &[][..], client("1.2.3.4"), true),
            (&[], &[], Peer::Unix, true),
            (&lan, &[], client("10.1.2.3"), true),
            (&lan, &[], client("::ffff:10.1.2.3"), true),
            (&lan, &[], client("fd12::1"), true),
            (&lan, &[], client("11.1.2.3"), false),
            (&lan, &[], Peer::Unix, false),
            (&[], &lan, client("10.1.2.3"), false),
            (&[], &lan, client("11.1.2.3"), true),
            (&[], &lan, Peer::Unix, true),
            (&[("unix", 0)], &[], Peer::Unix, true),
            (&[("unix", 0)], &[], client("10.1.2.3"), false),
            (&[], &[("unix", 0)], Peer::Unix, false),
            (&lan, &[("10.6.6.6", 32)], client("10.6.6.6"), false),
            (&lan, &[("10.6.6.6", 32)], client("10.6.6.7"), true),
        ] {
            let rules = AddressRules::new(&peers(allow), &peers(deny));
            assert_eq!(rules.admit(peer), admitted, "{allow:?} {deny:?} {peer:?}");
        }
    }
}
