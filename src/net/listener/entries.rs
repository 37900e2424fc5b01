//! Sockets for the entries of a configuration, beside those that the gateway has already.

use std::io;

use super::Listener;
use crate::config::{ListenAddress, Port};

impl Listener {
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
