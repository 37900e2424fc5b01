//! Endpoints of the service with several targets: their health as the gateway reports it, and the
//! check that a request may be at an endpoint.
//!
//! The gateway chooses an endpoint between the sending of a request and its arrival. Therefore only
//! a state that held during this whole time counts here.

use std::collections::HashMap;
use std::net::SocketAddr;

use tollgate::time::Instant;
use tollgate::upstream::health::Change;

use super::link::End;

/// Arrival of a request's head at an endpoint.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub id: u64,
    /// Number of its client.
    pub principal: u64,
    /// Time at which its first bytes left its client.
    pub sent: Instant,
    /// True if the request has reached no upstream before.
    pub is_first: bool,
    pub address: SocketAddr,
}

/// Connection that a client has authenticated. It counts for no other client.
struct Kept {
    principal: u64,
    address: SocketAddr,
    end: End,
    /// Last time at which the gateway held the connection.
    held_at: Instant,
}

/// Endpoints of the one service that has several.
#[derive(Default)]
pub struct Endpoints {
    all: Vec<SocketAddr>,
    /// State and time since when an endpoint is out of use, as the gateway has reported it.
    out: HashMap<SocketAddr, (Change, Instant)>,
    /// Last time at which an endpoint came back into use.
    back: HashMap<SocketAddr, Instant>,
    /// Last time at which an endpoint may have lost a request before its head was read.
    disturbed: HashMap<SocketAddr, Instant>,
    kept: Vec<Kept>,
    /// True if every connection is made when it is requested. Then the first endpoint of a request
    /// is the one where it arrives first.
    connects: bool,
}

impl Endpoints {
    pub fn new(all: Vec<SocketAddr>, connects: bool) -> Endpoints {
        Endpoints {
            all,
            connects,
            ..Endpoints::default()
        }
    }

    /// Records a change of health that the gateway has reported.
    pub fn health_changed(&mut self, address: SocketAddr, change: Change, now: Instant) {
        match change {
            Change::WentDown | Change::Ejected | Change::EjectedAgain => {
                self.out.insert(address, (change, now));
            }
            Change::CameUp | Change::Returned => {
                self.out.remove(&address);
                self.back.insert(address, now);
            }
            Change::StillDown | Change::Recovered => {}
        }
    }

    /// Forgets the state of endpoints that a reload has removed. An endpoint that a later reload
    /// adds again counts as up.
    pub fn keep(&mut self, is_there: impl Fn(&SocketAddr) -> bool) {
        self.out.retain(|address, _| is_there(address));
    }

    /// Records that bytes which the gateway has written to an endpoint may be lost: the connection
    /// was reset, or is not read any more.
    pub fn note_disturbance(&mut self, address: SocketAddr, now: Instant) {
        self.disturbed.insert(address, now);
    }

    /// Records a jump of the clock: the waits of all requests end at once.
    pub fn jumped(&mut self, now: Instant) {
        self.disturbed
            .extend(self.all.iter().map(|address| (*address, now)));
    }

    /// Records that a client has authenticated a connection.
    pub fn signed_in(&mut self, principal: u64, address: SocketAddr, end: &End, now: Instant) {
        self.kept.push(Kept {
            principal,
            address,
            end: end.clone(),
            held_at: now,
        });
    }

    /// Records which connections the gateway still holds.
    pub fn note_held(&mut self, now: Instant) {
        for kept in &mut self.kept {
            if kept.end.left().is_none() {
                kept.held_at = now;
            }
        }
    }

    /// Checks that no request goes to an endpoint whose health checks failed before it was sent. An
    /// ejected endpoint is used only if no other untried endpoint is up. An authenticated
    /// connection is used until the health checks fail.
    pub fn check_choice(&self, arrival: Arrival) {
        let (id, address) = (arrival.id, arrival.address);
        if let Some(how) = self.wrong(arrival) {
            panic!("request {id} is at {address}, which is {how}");
        }
    }

    /// Returns the state of an endpoint that the request should not have been sent to.
    fn wrong(&self, arrival: Arrival) -> Option<&'static str> {
        match self.out_before(arrival.address, arrival.sent)? {
            Change::WentDown => Some("down"),
            _ => self.has_better(arrival).then_some("put aside"),
        }
    }

    /// Returns the state of an endpoint that has been out of use since before a time.
    fn out_before(&self, address: SocketAddr, time: Instant) -> Option<Change> {
        let (how, since) = self.out.get(&address)?;
        (*since < time).then_some(*how)
    }

    /// Returns true if another endpoint could have been chosen for a request at an ejected
    /// endpoint.
    fn has_better(&self, arrival: Arrival) -> bool {
        let sent = arrival.sent;
        let is_kept = self.kept.iter().any(|kept| {
            (kept.principal, kept.address) == (arrival.principal, arrival.address)
                && kept.held_at >= sent
        });
        let is_before = |time: Option<&Instant>| time.is_none_or(|time| *time < sent);
        let was_up = |other: &SocketAddr| {
            !self.out.contains_key(other)
                && is_before(self.back.get(other))
                && is_before(self.disturbed.get(other))
        };
        arrival.is_first && self.connects && !is_kept && self.all.iter().any(was_up)
    }
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    /// Returns two endpoints. Endpoint 2 was ejected at 50 ms.
    fn endpoints() -> Endpoints {
        let mut endpoints = Endpoints::new(vec![address(1), address(2)], true);
        endpoints.health_changed(address(2), Change::Ejected, at(50));
        endpoints
    }

    /// Returns a request of client 1 that was sent at 100 ms and is at endpoint 2.
    fn arrival() -> Arrival {
        Arrival {
            id: 7,
            principal: 1,
            sent: at(100),
            is_first: true,
            address: address(2),
        }
    }

    #[test]
    fn no_request_is_at_an_ejected_endpoint_while_another_is_up() {
        let mut endpoints = endpoints();
        assert_eq!(endpoints.wrong(arrival()), Some("put aside"));
        let early = Arrival {
            sent: at(50),
            ..arrival()
        };
        assert_eq!(endpoints.wrong(early), None, "it was sent before");
        let again = Arrival {
            is_first: false,
            ..arrival()
        };
        assert_eq!(endpoints.wrong(again), None, "it was tried at the other");
        endpoints.health_changed(address(2), Change::Returned, at(120));
        assert_eq!(endpoints.wrong(arrival()), None);
        endpoints.health_changed(address(2), Change::WentDown, at(60));
        for wrong in [again, arrival()] {
            assert_eq!(endpoints.wrong(wrong), Some("down"));
        }
    }

    /// At the time of the choice no other endpoint was up.
    #[test]
    fn an_endpoint_that_came_back_after_the_request_was_not_available() {
        for (millis, wrong) in [(99, Some("put aside")), (100, None), (110, None)] {
            let mut endpoints = endpoints();
            endpoints.health_changed(address(1), Change::WentDown, at(40));
            assert_eq!(endpoints.wrong(arrival()), None);
            endpoints.health_changed(address(1), Change::CameUp, at(millis));
            assert_eq!(endpoints.wrong(arrival()), wrong, "{millis} ms");
        }
    }

    /// The first try failed before an upstream read the head.
    #[test]
    fn a_request_may_have_been_lost_on_its_way_to_another_endpoint() {
        for (millis, wrong) in [(99, Some("put aside")), (100, None), (110, None)] {
            let (mut reset, mut late) = (endpoints(), endpoints());
            reset.note_disturbance(address(1), at(millis));
            late.jumped(at(millis));
            assert_eq!(reset.wrong(arrival()), wrong, "{millis} ms");
            assert_eq!(late.wrong(arrival()), wrong, "{millis} ms");
        }
    }

    /// Found with SEED=1009194 at 7fec965.
    #[test]
    fn an_endpoint_that_a_reload_removed_begins_as_one_that_is_up() {
        let mut endpoints = endpoints();
        endpoints.health_changed(address(2), Change::WentDown, at(60));
        endpoints.keep(|one| [address(1), address(2)].contains(one));
        assert_eq!(endpoints.wrong(arrival()), Some("down"));
        endpoints.keep(|one| *one == address(1));
        assert_eq!(endpoints.wrong(arrival()), None);
    }

    /// Found with SEED=186242 at d4bfe23.
    #[test]
    fn a_client_keeps_its_authenticated_endpoint_until_checks_fail() {
        let mut endpoints = endpoints();
        let (end, socket) = link::connection(1);
        endpoints.signed_in(1, address(2), &end, at(30));
        endpoints.note_held(at(100));
        assert_eq!(endpoints.wrong(arrival()), None);
        let of_another = Arrival {
            principal: 2,
            ..arrival()
        };
        assert_eq!(endpoints.wrong(of_another), Some("put aside"));
        drop(socket);
        endpoints.note_held(at(101));
        assert_eq!(endpoints.wrong(arrival()), None, "it was there when sent");
        let later = Arrival {
            sent: at(101),
            ..arrival()
        };
        assert_eq!(endpoints.wrong(later), Some("put aside"));
        endpoints.health_changed(address(2), Change::WentDown, at(60));
        assert_eq!(endpoints.wrong(arrival()), Some("down"));
    }
}
