//! Health of addresses on its way from the old process of an upgrade to the new one.
//!
//! The new process may not know the addresses of a name yet. What is known of them waits until the
//! name is resolved.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use super::super::carried::{CarriedHealth, service_identity, target_identity};
use super::super::ids::ServiceId;
use super::super::rules::Rules;
use super::Upstreams;
use crate::sort::Index;
use crate::time::Instant;
use crate::upstream::group::Group;
use crate::upstream::health::Health;

/// Health of addresses that are not known yet, under the service and the number of the destination.
pub(super) type Awaited = BTreeMap<(u64, usize), Vec<AwaitedHealth>>;

/// Health of an address that is not known yet.
pub(super) struct AwaitedHealth {
    pub(super) address: SocketAddr,
    pub(super) health: Health,
    pub(super) failed_clients: Vec<u32>,
}

/// Place of a walk over the members of all services.
#[derive(Default)]
pub(in crate::proxy) struct HealthWalk {
    service: usize,
    member: usize,
    is_over: bool,
}

impl HealthWalk {
    /// Returns true if no member is left.
    pub(in crate::proxy) fn is_over(&self) -> bool {
        self.is_over
    }
}

/// Bytes of a piece that a look at a member counts for. A member that is up needs no byte, and its
/// look still takes time.
const CARRIED_LOOK_BYTES: usize = 32;

impl Upstreams {
    /// Goes on with a walk over the addresses of all services, until `room` bytes are used. Returns
    /// the health of each address that is more than "up".
    pub(in crate::proxy) fn carried_health(
        &self,
        walk: &mut HealthWalk,
        mut room: usize,
        rules: &Rules,
        now: Instant,
    ) -> Vec<CarriedHealth> {
        let mut carried = Vec::new();
        while let Some(service) = rules.services.get(walk.service) {
            let group = self.group(service.id);
            let members = group.map_or(&[][..], Group::members);
            let clients = group.map_or(&[][..], Group::failed_clients);
            for (member, clients) in members.iter().zip(clients).skip(walk.member) {
                if room == 0 {
                    return carried;
                }
                walk.member = walk.member.saturating_add(1);
                room = room.saturating_sub(CARRIED_LOOK_BYTES);
                let destination = service.destination(member.destination);
                let address = self.address_at(member.endpoint);
                if let (Some(health), Some(destination), Some(address)) =
                    (member.record(now), destination, address)
                {
                    let (service, target) = (
                        service_identity(&service.service),
                        target_identity(&destination.target),
                    );
                    let clients = match health.failures {
                        0 => &[],
                        _ => &clients[..],
                    };
                    room = room
                        .saturating_sub(service.len().saturating_add(target.len()))
                        .saturating_sub(clients.len().saturating_mul(size_of::<u32>()));
                    carried.push(CarriedHealth {
                        service,
                        target,
                        address,
                        health,
                        failed_clients: clients.to_vec(),
                    });
                }
            }
            *walk = HealthWalk {
                service: walk.service.saturating_add(1),
                ..HealthWalk::default()
            };
        }
        walk.is_over = true;
        carried
    }

    /// Takes the health over that another process knew. Returns the number of addresses that belong
    /// to a service and a target of the rules.
    pub(in crate::proxy) fn take_over(
        &mut self,
        rules: &Rules,
        carried: Vec<CarriedHealth>,
        now: Instant,
    ) -> usize {
        if carried.is_empty() {
            return 0;
        }
        let services = rules.services.iter();
        let services = services.map(|rules| service_identity(&rules.service));
        let places = Index::new(services.collect());
        let mut count = 0_usize;
        for record in carried {
            let place = places.place(&record.service);
            let Some(service) = place.and_then(|place| rules.services.get(place)) else {
                continue;
            };
            let health = Health::restored(record.health, now);
            let mut is_known = false;
            for destination in &service.destinations {
                if target_identity(&destination.target) == record.target {
                    let endpoint = self.endpoint_at(destination.id, record.address);
                    let number = destination.number;
                    is_known = true;
                    match (endpoint, self.group_mut(service.id)) {
                        (_, None) => {}
                        (Some(endpoint), Some(group)) => {
                            group.restore(endpoint, number, health, &record.failed_clients);
                        }
                        (None, Some(_)) => {
                            let key = (u64::from(service.id), number);
                            let awaited = self.awaited_health.entry(key).or_default();
                            awaited.push(AwaitedHealth {
                                address: record.address,
                                health,
                                failed_clients: record.failed_clients.clone(),
                            });
                        }
                    }
                }
            }
            count = count.saturating_add(usize::from(is_known));
        }
        count
    }

    /// Forgets the health of addresses that a name was awaited for. `service`, `number`: a
    /// destination whose name is resolved now.
    pub(super) fn forget_awaited(&mut self, service: ServiceId, number: usize) {
        self.awaited_health.remove(&(u64::from(service), number));
    }
}
