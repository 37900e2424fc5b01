//! Addresses of one target: the result of the last successful lookup, and the order in which they
//! are tried.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::balance::identity;
use crate::limits::ADDRESSES_PER_TARGET;

/// Network of the addresses that stand for unix sockets: the one that is discarded everywhere
/// (RFC 6666).
const SOCKETS: u128 = 0x0100 << 112;

/// Known addresses of a target.
pub struct Addresses {
    known: Vec<SocketAddr>,
    /// Index of the address that is tried first: the last one that accepted, or the one behind the
    /// last one that refused.
    preferred: usize,
    lookup_pending: bool,
}

/// Answer to a caller that wants to connect to any of the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Candidate {
    /// Connect to this address.
    Address(SocketAddr),
    /// The first lookup is still under way.
    Wait,
    /// All known addresses were tried, or none is known.
    None,
}

impl Addresses {
    /// Creates a target with a literal address, which is never looked up.
    pub fn fixed(address: SocketAddr) -> Addresses {
        Addresses {
            known: vec![address],
            preferred: 0,
            lookup_pending: false,
        }
    }

    /// Creates a target whose name was not looked up yet.
    pub fn unknown() -> Addresses {
        Addresses {
            known: Vec::new(),
            preferred: 0,
            lookup_pending: false,
        }
    }

    /// Records that a lookup began.
    pub fn lookup_started(&mut self) {
        self.lookup_pending = true;
    }

    /// Returns true while a lookup is under way.
    pub fn is_lookup_pending(&self) -> bool {
        self.lookup_pending
    }

    /// Records the end of a lookup. An empty answer is a failure, and a failure keeps the last good
    /// addresses.
    pub fn lookup_ended(&mut self, answer: &[SocketAddr]) {
        self.lookup_pending = false;
        self.learn(answer);
    }

    /// Takes addresses over; an empty answer changes nothing.
    pub fn learn(&mut self, answer: &[SocketAddr]) {
        if answer.is_empty() {
            return;
        }
        let preferred = self.known.get(self.preferred).copied();
        self.known.clear();
        self.known
            .extend(interleave_families(answer).take(ADDRESSES_PER_TARGET));
        self.preferred = self
            .known
            .iter()
            .position(|address| Some(*address) == preferred)
            .unwrap_or(0);
    }

    /// Returns the known addresses.
    pub fn known(&self) -> &[SocketAddr] {
        &self.known
    }

    /// Returns true if no address is known yet and a lookup is under way.
    pub fn is_awaited(&self) -> bool {
        self.known.is_empty() && self.lookup_pending
    }

    /// Returns the index at which a caller starts to try. The caller keeps it, because the
    /// preference may change meanwhile.
    pub fn start(&self) -> usize {
        self.preferred
    }

    /// Returns the address for try number `attempt` (from 0) of a caller that started at `start`.
    pub fn candidate(&self, start: usize, attempt: usize) -> Candidate {
        if self.is_awaited() {
            return Candidate::Wait;
        }
        if attempt >= self.known.len() {
            return Candidate::None;
        }
        let address = self.known.iter().cycle().skip(start).nth(attempt);
        address.copied().map_or(Candidate::None, Candidate::Address)
    }

    /// Prefers `address` from now on, because it accepted a connection.
    pub fn reached(&mut self, address: SocketAddr) {
        if let Some(index) = self.known.iter().position(|known| *known == address) {
            self.preferred = index;
        }
    }

    /// Prefers the next address if `address` was preferred, because it refused a connection.
    pub fn refused(&mut self, address: SocketAddr) {
        if self.known.get(self.preferred) == Some(&address) {
            let next = self.preferred.saturating_add(1);
            self.preferred = if next < self.known.len() { next } else { 0 };
        }
    }
}

/// Returns the address that stands for a unix socket, the same in each process. It has port 0,
/// which no target and no answer of a lookup has.
pub fn of_socket(path: &str) -> SocketAddr {
    let none = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    let bits = SOCKETS | u128::from(identity(none, path));
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), 0)
}

/// Returns true if an address stands for a unix socket.
pub fn is_socket(address: SocketAddr) -> bool {
    let network = match address.ip() {
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
        IpAddr::V4(_) => 0,
    };
    address.port() == 0 && network == SOCKETS
}

/// Orders addresses so that the two families alternate, each in its own order (RFC 8305 4). The
/// family of the first address starts.
fn interleave_families(answer: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> {
    let first_is_v4 = answer.first().is_some_and(SocketAddr::is_ipv4);
    let mut first = answer
        .iter()
        .filter(move |address| address.is_ipv4() == first_is_v4);
    let mut other = answer
        .iter()
        .filter(move |address| address.is_ipv4() != first_is_v4);
    core::iter::from_fn(move || Some([first.next(), other.next()]))
        .take(answer.len())
        .flatten()
        .flatten()
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_addresses_of_their_own() {
        let one = of_socket("/run/a.sock");
        assert_eq!(one, of_socket("/run/a.sock"));
        assert_ne!(one, of_socket("/run/b.sock"));
        assert!(is_socket(one));
        for other in ["[100::1]:80", "[101::1]:0", "[::]:0", "0.0.0.0:0"] {
            assert!(!is_socket(other.parse().expect(other)), "{other}");
        }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn a_name_is_waited_for_once_and_then_known() {
        let mut addresses = Addresses::unknown();
        addresses.lookup_started();
        assert_eq!(addresses.candidate(addresses.start(), 0), Candidate::Wait);
        addresses.lookup_ended(&[]);
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::None,
            "the lookup failed: nobody waits"
        );
        addresses.lookup_started();
        addresses.lookup_ended(&[address(1), address(2)]);
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::Address(address(1))
        );
        assert_eq!(
            addresses.candidate(addresses.start(), 1),
            Candidate::Address(address(2))
        );
        assert_eq!(addresses.candidate(addresses.start(), 2), Candidate::None);
    }

    #[test]
    fn families_take_turns() {
        let v6 = |last: u16| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 80));
        for (answer, expected) in [
            (
                vec![v6(1), v6(2), address(1), address(2)],
                vec![v6(1), address(1), v6(2), address(2)],
            ),
            (
                vec![address(1), address(2), address(3), v6(1)],
                vec![address(1), v6(1), address(2), address(3)],
            ),
            (vec![address(2), address(1)], vec![address(2), address(1)]),
        ] {
            let mut addresses = Addresses::unknown();
            addresses.lookup_ended(&answer);
            assert_eq!(addresses.known(), expected);
        }
    }

    #[test]
    fn the_one_that_was_reached_is_tried_first() {
        let mut addresses = Addresses::unknown();
        addresses.lookup_ended(&[address(1), address(2), address(3)]);
        addresses.reached(address(3));
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::Address(address(3))
        );
        addresses.reached(address(9));
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::Address(address(3))
        );
    }

    #[test]
    fn a_failed_lookup_keeps_the_last_good_answer() {
        let mut addresses = Addresses::unknown();
        addresses.lookup_started();
        addresses.lookup_ended(&[address(1)]);
        addresses.lookup_started();
        addresses.lookup_ended(&[]);
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::Address(address(1))
        );
    }

    #[test]
    fn the_one_that_refused_is_tried_last_and_a_new_answer_does_not_change_that() {
        let mut addresses = Addresses::unknown();
        addresses.lookup_started();
        addresses.lookup_ended(&[address(1), address(2)]);
        addresses.refused(address(1));
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::Address(address(2))
        );
        assert_eq!(
            addresses.candidate(addresses.start(), 1),
            Candidate::Address(address(1))
        );
        addresses.lookup_ended(&[address(3), address(1), address(2)]);
        assert_eq!(
            addresses.candidate(addresses.start(), 0),
            Candidate::Address(address(2))
        );
    }
}
