//! Endpoints of the service that has several: what the gateway has said of their health, and whether a request may be at one.

use std::collections::HashMap;
use std::net::SocketAddr;

use tollgate::time::Instant;
use tollgate::upstream::health::Change;

/// A request whose head has reached an endpoint.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub id: u64,
    /// When its first bytes left its client.
    pub sent: Instant,
    /// It has reached no upstream before.
    pub is_first: bool,
    pub address: SocketAddr,
}

/// The endpoints of the one service that has several.
#[derive(Default)]
pub struct Endpoints {
    all: Vec<SocketAddr>,
    /// Since when each is out of use, as the gateway has reported it.
    out: HashMap<SocketAddr, (Change, Instant)>,
    /// Connections are made when they are asked for: a request is tried where it is first sent, and nowhere before.
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

    /// The gateway says how an endpoint is.
    pub fn told(&mut self, address: SocketAddr, change: Change, now: Instant) {
        match change {
            Change::WentDown | Change::Ejected | Change::EjectedAgain => {
                self.out.insert(address, (change, now));
            }
            Change::CameUp | Change::Returned => {
                self.out.remove(&address);
            }
            Change::Recovered => {}
        }
    }

    /// No request goes to an endpoint whose checks failed before it was sent; nor to one that was put aside then, while another
    /// is up that it was not tried at.
    pub fn check_choice(&self, arrival: Arrival) {
        let Arrival {
            id,
            sent,
            is_first,
            address,
        } = arrival;
        if !self.all.contains(&address) {
            return;
        }
        let since = |address: &SocketAddr| {
            self.out
                .get(address)
                .filter(|(_, since)| *since < sent)
                .map(|(how, _)| *how)
        };
        let out = since(&address);
        assert_ne!(
            out,
            Some(Change::WentDown),
            "request {id} is at {address}, which is down"
        );
        let others_up = self.all.iter().any(|other| !self.out.contains_key(other));
        assert!(
            out.is_none() || !others_up || !is_first || !self.connects,
            "request {id} is at {address}, which is put aside"
        );
    }
}
