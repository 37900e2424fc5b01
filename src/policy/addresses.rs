//! `allow` and `deny`: whose requests are looked at, by the client's address.

use super::forward::{Network, Peer};

/// Both lists.
pub struct AddressRules {
    allow: Vec<Network>,
    deny: Vec<Network>,
}

impl AddressRules {
    /// Of these networks; nothing in `allow` allows all.
    pub fn new(allow: &[Network], deny: &[Network]) -> AddressRules {
        AddressRules { allow: allow.to_vec(), deny: deny.to_vec() }
    }

    /// Whether this client may ask for anything. `deny` wins; a client without an address (a unix socket's) is in no network.
    pub fn admit(&self, client: Peer) -> bool {
        let is_in = |networks: &[Network]| {
            client.ip().is_some_and(|address| networks.iter().any(|network| network.contains(address)))
        };
        (self.allow.is_empty() || is_in(&self.allow)) && !is_in(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn deny_wins_and_nothing_allowed_is_everything_allowed() {
        let networks = |texts: &[(&str, u8)]| -> Vec<Network> {
            let network = |&(address, prefix): &(&str, u8)| Network { address: address.parse().expect("one"), prefix };
            texts.iter().map(network).collect()
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
            (&lan, &[("10.6.6.6", 32)], client("10.6.6.6"), false),
            (&lan, &[("10.6.6.6", 32)], client("10.6.6.7"), true),
        ] {
            let rules = AddressRules::new(&networks(allow), &networks(deny));
            assert_eq!(rules.admit(peer), admitted, "{allow:?} {deny:?} {peer:?}");
        }
    }
}
