//! How many connections each client has open.
//!
//! A client is an address; an IPv6 address counts by its leading bits. An entry lives as long as the client has a connection,
//! so the table has never more entries than there are connections.

use core::net::IpAddr;
use std::collections::HashMap;

use super::rate::{Seeded, client_key};

/// The open connections of each client.
pub struct Accounts {
    held: HashMap<u128, u32, Seeded>,
    ipv6_prefix: u8,
    connections: usize,
}

impl Accounts {
    /// An empty table. `ipv6_prefix`: leading bits of an IPv6 address that count, 1 to 128. `seed` must not be known to clients.
    pub fn new(ipv6_prefix: u8, seed: u64) -> Accounts {
        Accounts {
            held: HashMap::with_hasher(Seeded::new(seed)),
            ipv6_prefix,
            connections: 0,
        }
    }

    /// The most bytes a table for so many connections takes, its old storage while it grows included.
    pub const fn bytes(connections: usize) -> usize {
        let buckets = super::rate::buckets(connections);
        let bytes = buckets.saturating_mul(size_of::<(u128, u32)>().saturating_add(1));
        bytes.saturating_add(bytes / 2)
    }

    /// A client has one more connection.
    pub fn add(&mut self, client: IpAddr) {
        let held = self
            .held
            .entry(client_key(client, self.ipv6_prefix))
            .or_default();
        *held = held.saturating_add(1);
        self.connections = self.connections.saturating_add(1);
    }

    /// A client has one connection less.
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

    /// Connections that a client has open.
    pub fn held(&self, client: IpAddr) -> usize {
        self.held
            .get(&client_key(client, self.ipv6_prefix))
            .map_or(0, |&held| held as usize)
    }

    /// Whether two addresses are one client.
    pub fn is_same(&self, one: IpAddr, other: IpAddr) -> bool {
        client_key(one, self.ipv6_prefix) == client_key(other, self.ipv6_prefix)
    }

    /// Connections that are counted, of all clients together.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Clients with a connection.
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
        // One that has none cannot lose one.
        accounts.remove(ip("10.0.0.1"));
        assert_eq!(accounts.connections(), 0);
        assert!(accounts.held.capacity() <= super::super::rate::buckets(1000) / 8 * 7);
    }
}
