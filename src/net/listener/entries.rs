//! Sockets for the entries of a configuration, beside those that the gateway has already.

use std::io;
use std::net::SocketAddr;

use super::Listener;
use crate::config::{Listen, ListenAddress, Port};

impl Listener {
    /// Checks that IPv6 wildcards that are `open` can stay open: whether one takes IPv4, too, is set before it is
    /// bound, and depends on the other addresses.
    ///
    /// # Errors
    /// The new addresses have it take IPv4, or leave it to another one, and the old did not.
    #[inline(never)]
    pub(in crate::net) fn can_stay(open: &[ListenAddress], now: &[Listen]) -> io::Result<()> {
        let addresses = || now.iter().map(|listen| &listen.address);
        for address in addresses() {
            let is_wildcard = matches!(address, ListenAddress::Tcp(SocketAddr::V6(v6)) if v6.ip().is_unspecified());
            if !is_wildcard || !open.contains(address) {
                continue;
            }
            let was_taken = Listener::is_ipv4_taken(address, open.iter());
            let reason = match Listener::is_ipv4_taken(address, addresses()) {
                is_taken if is_taken == was_taken => continue,
                true => "is open, and takes IPv4, too: remove the IPv4 address of its port",
                false => {
                    "is open for IPv6 alone: keep the IPv4 address of its port, which was removed"
                }
            };
            return Err(io::Error::other(format!(
                "{address} {reason}, or stop the gateway and start it again"
            )));
        }
        Ok(())
    }

    /// Binds and listens for an entry of a configuration with these addresses. `held`: sockets that
    /// the gateway has already. One of an address that the configuration does not have may hold the
    /// port, such as that of 127.0.0.1 where 0.0.0.0 comes. Linux lets both listen while they share
    /// the port.
    ///
    /// # Errors
    /// Faults of [`bind_as`](Self::bind_as).
    pub(in crate::net) fn bind_entry<'a, 'b>(
        (address, port): (&ListenAddress, Port),
        addresses: impl Iterator<Item = &'a ListenAddress> + Clone,
        held: impl Iterator<Item = &'b Listener>,
    ) -> io::Result<Listener> {
        let ipv6_only = Listener::is_ipv4_taken(address, addresses.clone());
        let error = match Listener::bind_as(address, ipv6_only, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
            bound => return bound,
        };
        let leaves = held.filter(|held| {
            let is_tcp =
                matches!(address, ListenAddress::Tcp(tcp) if held.port() == Some(tcp.port()));
            is_tcp && !addresses.clone().any(|listed| *listed == held.address())
        });
        let mut is_ours = false;
        for held in leaves {
            held.change_port(Port::Shared);
            is_ours = true;
        }
        if !is_ours {
            return Err(error);
        }
        Listener::bind_as(address, ipv6_only, Port::Shared).map_err(|_| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_wildcard_takes_ipv4_or_not_as_long_as_it_is_open() {
        let list = |texts: &[&str]| {
            let text = format!(
                r#"{{ "listen": {texts:?}, "services": [{{ "route": "/", "target": "http://a.test" }}] }}"#
            );
            let read = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
            let config = crate::config::load(text.as_bytes(), "f", &|_| None, &read);
            config.expect("valid").listeners
        };
        let both = list(&["0.0.0.0:80", "[::]:80"]);
        let one = list(&["[::]:80"]);
        let loopback = list(&["127.0.0.1:80", "[::]:80"]);
        let other_port = list(&["0.0.0.0:81", "[::]:80"]);
        let (v6, v6_and_v4) = (list(&["[::1]:80"]), list(&["[::1]:80", "0.0.0.0:80"]));
        for (before, now, part) in [
            (&both, &one, "keep the IPv4 address"),
            (&one, &both, "remove the IPv4 address"),
            (&one, &loopback, "remove the IPv4 address"),
            (&both, &loopback, ""),
            (&one, &other_port, ""),
            (&Vec::new(), &both, ""),
            // No wildcard.
            (&v6, &v6_and_v4, ""),
        ] {
            let open = before.iter().map(|listen| listen.address.clone());
            let said = Listener::can_stay(&open.collect::<Vec<_>>(), now).err();
            let said = said.map(|error| error.to_string()).unwrap_or_default();
            assert!(
                said.contains(part) && said.is_empty() == part.is_empty(),
                "{said}"
            );
        }
    }
}
