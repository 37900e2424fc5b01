//! Rules of single services about who is served, when, and how long a body may be.
//!
//! The lists of a service narrow what the top level admits: a client needs both. Both are judged
//! before authentication, so that nobody is asked for a request that is refused anyway.

use std::sync::Arc;

use super::forward::{Peer, PeerSet};
use crate::buffer::total;

/// Rules of one service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gate {
    /// `allow`: clients that the service serves; empty for all.
    pub allow: PeerSet,
    /// `deny`: clients that the service refuses, even if `allow` contains them.
    pub deny: PeerSet,
    /// `maintenance`.
    pub maintenance: OwnMaintenance,
    /// `limits.bodyBytes`.
    pub body: BodyLimit,
}

/// `maintenance` of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum OwnMaintenance {
    /// Value of the top level.
    #[default]
    Inherited,
    /// The service is open, also while the top level is not.
    Off,
    /// The service is closed.
    On(Maintenance),
}

/// `limits.bodyBytes` of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BodyLimit {
    /// Value of the top level.
    #[default]
    Inherited,
    /// No limit.
    Off,
    /// Upper bound of a body's bytes.
    Own(u64),
}

/// `maintenance`: requests are answered 503.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maintenance {
    /// Clients that are served all the same.
    pub allow: PeerSet,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
}

/// Reason why a service does not serve a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The lists of the service deny the client.
    Denied,
    /// The service is in maintenance; the value are the seconds for `Retry-After`.
    Maintenance(Option<u32>),
}

/// Rules of all services.
pub struct Gates {
    /// Rules of each service, in the order of the settings.
    services: Vec<Option<Arc<Gate>>>,
    /// `maintenance` of the top level.
    maintenance: Option<Arc<Maintenance>>,
    /// `limits.bodyBytes` of the top level.
    body_bytes: Option<u64>,
}

impl BodyLimit {
    /// Returns the bound of a body's bytes; `None`: no limit.
    pub fn or(self, top: Option<u64>) -> Option<u64> {
        match self {
            BodyLimit::Inherited => top,
            BodyLimit::Off => None,
            BodyLimit::Own(bytes) => Some(bytes),
        }
    }
}

impl Gate {
    /// Returns an upper bound of the bytes of its lists.
    pub fn bytes(&self) -> usize {
        let own = match &self.maintenance {
            OwnMaintenance::On(maintenance) => maintenance.allow.bytes(),
            OwnMaintenance::Inherited | OwnMaintenance::Off => 0,
        };
        total([
            size_of::<Gate>(),
            self.allow.bytes(),
            self.deny.bytes(),
            own,
        ])
    }
}

impl Gates {
    /// Compiles the rules of the services. `None`: no service differs from the top level, which is
    /// not in maintenance.
    pub fn new<'a>(
        services: impl Iterator<Item = Option<&'a Arc<Gate>>>,
        maintenance: Option<&Arc<Maintenance>>,
        body_bytes: Option<u64>,
    ) -> Option<Box<Gates>> {
        let services = services.map(Option::<&Arc<Gate>>::cloned);
        let services = services.collect::<Vec<_>>();
        let is_needed = maintenance.is_some() || services.iter().any(Option::is_some);
        is_needed.then(|| {
            Box::new(Gates {
                services,
                maintenance: maintenance.cloned(),
                body_bytes,
            })
        })
    }

    /// Returns why the service with this index does not serve a client. Requests without a service
    /// follow the top level.
    #[inline(never)]
    pub fn closed(&self, service: Option<usize>, client: Peer) -> Option<Closed> {
        let gate = service.and_then(|service| self.gate(service));
        let mut own = &OwnMaintenance::Inherited;
        if let Some(gate) = gate {
            let is_allowed = gate.allow.is_empty() || gate.allow.contains(client);
            if !is_allowed || gate.deny.contains(client) {
                return Some(Closed::Denied);
            }
            own = &gate.maintenance;
        }
        let maintenance = match own {
            OwnMaintenance::Inherited => self.maintenance.as_deref()?,
            OwnMaintenance::Off => return None,
            OwnMaintenance::On(maintenance) => maintenance,
        };
        let is_served = maintenance.allow.contains(client);
        (!is_served).then_some(Closed::Maintenance(maintenance.retry_after))
    }

    /// Returns the bound of a body's bytes for the service with this index; `None`: no limit.
    #[inline(never)]
    pub fn body_bytes(&self, service: usize) -> Option<u64> {
        let own = self.gate(service).map(|gate| gate.body);
        own.unwrap_or_default().or(self.body_bytes)
    }

    fn gate(&self, service: usize) -> Option<&Gate> {
        self.services.get(service)?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::forward::Network;
    use super::*;

    fn peers(text: &str) -> PeerSet {
        let networks = text.split_whitespace().filter(|text| *text != "unix");
        let network = |text: &str| Network {
            address: text.parse().expect("an address"),
            prefix: 32,
        };
        PeerSet {
            networks: networks.map(network).collect(),
            unix: text.contains("unix"),
        }
    }

    #[test]
    fn services_are_closed_one_by_one() {
        let maintenance = |allow: &str, retry_after| Maintenance {
            allow: peers(allow),
            retry_after,
        };
        let gate = |allow: &str, deny: &str, maintenance| {
            Some(Arc::new(Gate {
                allow: peers(allow),
                deny: peers(deny),
                maintenance,
                body: BodyLimit::Own(7),
            }))
        };
        let services = [
            None,
            gate("1.1.1.1", "", OwnMaintenance::Off),
            gate("", "1.1.1.1 unix", OwnMaintenance::Inherited),
            gate("", "", OwnMaintenance::On(maintenance("2.2.2.2", Some(9)))),
        ];
        let top = Some(Arc::new(maintenance("1.1.1.1", None)));
        let gates = |top: &Option<Arc<Maintenance>>| {
            Gates::new(services.iter().map(Option::as_ref), top.as_ref(), Some(5)).expect("rules")
        };
        let (open, closed) = (gates(&None), gates(&top));
        let (ended, soon) = (Closed::Maintenance(None), Closed::Maintenance(Some(9)));
        let denied = Some(Closed::Denied);
        let rows = [
            // Service, client, without and with maintenance of the top level.
            (None, "1.1.1.1", None, None),
            (None, "3.3.3.3", None, Some(ended)),
            (Some(0), "3.3.3.3", None, Some(ended)),
            (Some(0), "1.1.1.1", None, None),
            (Some(1), "1.1.1.1", None, None),
            (Some(1), "3.3.3.3", denied, denied),
            (Some(1), "unix", denied, denied),
            (Some(2), "1.1.1.1", denied, denied),
            (Some(2), "unix", denied, denied),
            (Some(2), "3.3.3.3", None, Some(ended)),
            (Some(3), "2.2.2.2", None, None),
            (Some(3), "1.1.1.1", Some(soon), Some(soon)),
            (Some(9), "3.3.3.3", None, Some(ended)),
        ];
        for (service, client, without, with) in rows {
            let peer = client.parse().map_or(Peer::Unix, Peer::Ip);
            assert_eq!(open.closed(service, peer), without, "{service:?} {client}");
            assert_eq!(closed.closed(service, peer), with, "{service:?} {client}");
        }
        assert_eq!((open.body_bytes(0), open.body_bytes(1)), (Some(5), Some(7)));
        assert!(Gates::new([None, None].into_iter(), None, Some(5)).is_none());
        assert_eq!(BodyLimit::Off.or(Some(5)), None);
    }
}
