//! Number of open connections of each client.
//!
//! A client is an address. IPv6 addresses with the same leading bits are one client. An entry
//! exists as long as its client has a connection, so the table never has more entries than there
//! are connections.

use core::net::IpAddr;
use std::collections::HashMap;

use super::rate::client_key;
use super::seeded::Seeded;

/// Counts the open connections of each client.
pub struct Accounts {
    held: HashMap<u128, u32, Seeded>,
    ipv6_prefix: u8,
    connections: usize,
}

impl Accounts {
    /// Creates an empty table. `ipv6_prefix`: leading bits of an IPv6 address that identify a
    /// client, 1 to 128. `seed` must not be known to clients.
    pub fn new(ipv6_prefix: u8, seed: u64) -> Accounts {
        Accounts {
            held: HashMap::with_hasher(Seeded::new(seed)),
            ipv6_prefix,
            connections: 0,
        }
    }

    /// Upper bound of the bytes of a table for this many connections, including the old storage
    /// during growth.
    pub const fn bytes(connections: usize) -> usize {
        let buckets = super::rate::buckets(connections);
        let bytes = buckets.saturating_mul(size_of::<(u128, u32)>().saturating_add(1));
        bytes.saturating_add(bytes / 2)
    }

    /// Counts one more connection of the client.
    pub fn add(&mut self, client: IpAddr) {
        let held = self
            .held
            .entry(client_key(client, self.ipv6_prefix))
            .or_default();
        *held = held.saturating_add(1);
        self.connections = self.connections.saturating_add(1);
    }

    /// Counts one connection less of the client.
    pub fn remove(&mut self, client: IpAddr) {
        let key = client_key(client, self.ipv6_prefix);
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&key);
        }
        self.connections = self.connections.saturating_sub(1);
    }

    /// Returns the number of open connections of a client.
    pub fn held(&self, client: IpAddr) -> usize {
        self.held
            .get(&client_key(client, self.ipv6_prefix))
            .map_or(0, |&held| held as usize)
    }

    /// Returns true if both addresses count as one client.
    pub fn is_same(&self, one: IpAddr, other: IpAddr) -> bool {
        client_key(one, self.ipv6_prefix) == client_key(other, self.ipv6_prefix)
    }

    /// Returns the number of counted connections of all clients.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Returns the number of clients that have a connection.
    pub fn clients(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_client_counts_by_its_address_or_its_network() {
        let mut accounts = Accounts::new(64, 1);
        for address in [
            "10.0.0.1",
            "::ffff:10.0.0.1",
            "10.0.0.2",
            "2001:db8::1",
            "2001:db8::ffff:1",
            "2001:db8:0:1::1",
        ] {
            accounts.add(ip(address));
        }
        for (address, held) in [
            ("10.0.0.1", 2),
            ("10.0.0.2", 1),
            ("10.0.0.3", 0),
            ("2001:db8::7", 2),
            ("2001:db8:0:1::7", 1),
        ] {
            assert_eq!(accounts.held(ip(address)), held, "{address}");
        }
        assert!(
            accounts.is_same(ip("2001:db8::1"), ip("2001:db8::2"))
                && !accounts.is_same(ip("1.1.1.1"), ip("1.1.1.2"))
        );
        assert_eq!((accounts.connections(), accounts.clients()), (6, 4));
    }

    #[test]
    fn a_client_without_a_connection_is_forgotten() {
        let mut accounts = Accounts::new(64, 1);
        for round in 0..3_u32 {
            for n in 0..1000_u32 {
                accounts.add(IpAddr::V4((n + round).into()));
            }
            for n in 0..1000_u32 {
                accounts.remove(IpAddr::V4((n + round).into()));
            }
            assert_eq!((accounts.connections(), accounts.clients()), (0, 0));
        }
        // A client without a connection cannot lose one.
        accounts.remove(ip("10.0.0.1"));
        assert_eq!(accounts.connections(), 0);
        assert!(accounts.held.capacity() <= super::super::rate::buckets(1000) / 8 * 7);
    }
}
