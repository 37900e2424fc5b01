//! Names and the health of their addresses on the way from the old process of an upgrade to the new one.
//!
//! The addresses of a name come first, so that their health finds them.

use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::super::carried::{CarriedHealth, CarriedName, service_identity, target_identity};
use super::super::context::Context;
use super::super::rules::Rules;
use super::Upstreams;
use crate::sort::Index;
use crate::time::Instant;
use crate::upstream::group::Group;
use crate::upstream::health::Health;

/// Place of a walk over the members of all services.
#[derive(Default)]
pub(in crate::proxy) struct HealthWalk {
    service: usize,
    member: usize,
}

/// Bytes of a piece that a look at a member counts for. A member that is up needs no byte, and its
/// look still takes time.
const CARRIED_LOOK_BYTES: usize = 32;

impl Upstreams {
    /// Returns the addresses of the names of targets from the one at `place` on, until `room` bytes
    /// are used, and moves `place` behind them.
    pub(in crate::proxy) fn carried_names(
        &self,
        place: &mut usize,
        room: &mut usize,
        rules: &Rules,
    ) -> Vec<CarriedName> {
        let mut carried = Vec::new();
        let targets = rules.settings.targets.iter().zip(&rules.state.targets);
        for (target, id) in targets.skip(*place) {
            if *room == 0 {
                break;
            }
            *place = place.saturating_add(1);
            *room = room.saturating_sub(CARRIED_LOOK_BYTES);
            let known = self.answer_for(*id);
            if !known.is_empty() {
                let target = target_identity(target);
                let bytes = known.len().saturating_mul(size_of::<IpAddr>());
                *room = room.saturating_sub(target.len().saturating_add(bytes));
                let addresses = known.iter().map(SocketAddr::ip).collect();
                carried.push(CarriedName { target, addresses });
            }
        }
        carried
    }

    /// Takes over the addresses that another process knew. Returns the number of names.
    pub(in crate::proxy) fn take_over_names(
        &mut self,
        carried: &[CarriedName],
        ctx: &mut Context,
    ) -> usize {
        let rules = Rc::clone(&ctx.rules);
        let targets = &rules.settings.targets;
        let places = Index::new(targets.iter().map(target_identity).collect());
        let mut count = 0_usize;
        for name in carried {
            let place = places.place(&name.target);
            let target = place.and_then(|place| Some((targets.get(place)?, place)));
            let Some((target, place)) = target else {
                continue;
            };
            let addresses = name.addresses.iter();
            let addresses = addresses.map(|ip| SocketAddr::new(*ip, target.port));
            if let Some(id) = rules.state.targets.get(place)
                && self.restore_addresses(*id, &addresses.collect::<Vec<_>>(), ctx)
            {
                count = count.saturating_add(1);
            }
        }
        count
    }

    /// Goes on with a walk over the addresses of all services, until `room` bytes are used. Returns
    /// the health of each address that is more than "up".
    pub(in crate::proxy) fn carried_health(
        &self,
        walk: &mut HealthWalk,
        room: &mut usize,
        rules: &Rules,
        now: Instant,
    ) -> Vec<CarriedHealth> {
        let mut carried = Vec::new();
        while let Some(service) = rules.services.get(walk.service) {
            let group = self.group(service.id);
            let members = group.map_or(&[][..], Group::members);
            let clients = group.map_or(&[][..], Group::failed_clients);
            for (member, clients) in members.iter().zip(clients).skip(walk.member) {
                if *room == 0 {
                    return carried;
                }
                walk.member = walk.member.saturating_add(1);
                *room = room.saturating_sub(CARRIED_LOOK_BYTES);
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
                    *room = room
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
                    if let (Some(endpoint), Some(group)) = (endpoint, self.group_mut(service.id)) {
                        group.restore(endpoint, number, health, &record.failed_clients);
                    }
                }
            }
            count = count.saturating_add(usize::from(is_known));
        }
        count
    }
}
