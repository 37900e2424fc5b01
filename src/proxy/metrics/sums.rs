//! Numbers of the services with one label, and of their targets.

use std::rc::Rc;

use super::super::Proxy;
use super::super::ids::{TargetId, row_key};
use super::super::rules::{Rules, ServiceRules};
use super::super::settings::{ServiceRateLimit, Target};
use crate::observe::metrics::exposition::Label;
use crate::observe::metrics::numbers::{ServiceCounters, TargetCounters};
use crate::sort::sort_by;

/// Requests in flight of one service.
#[derive(Clone, Copy, Default)]
pub(in crate::proxy) struct InFlight {
    /// All of them.
    pub(in crate::proxy) requests: u64,
    /// Requests that have a connection to the first target.
    pub(in crate::proxy) at_target: u64,
    /// The first target; `None`: the service has none.
    target: Option<TargetId>,
}

/// Numbers of all services with one label.
pub(in crate::proxy) struct ServiceSum<'a> {
    pub(in crate::proxy) label: &'a str,
    pub(in crate::proxy) counters: ServiceCounters,
    pub(in crate::proxy) in_flight: u64,
    pub(in crate::proxy) rate_clients: Option<u64>,
}

/// Numbers of one address of one target of the services with one label.
pub(in crate::proxy) struct TargetSum {
    pub(in crate::proxy) target: Rc<Target>,
    pub(in crate::proxy) address: String,
    pub(in crate::proxy) is_up: bool,
    pub(in crate::proxy) counters: TargetCounters,
    pub(in crate::proxy) in_flight: u64,
    pub(in crate::proxy) idle: u64,
}

impl ServiceSum<'_> {
    pub(in crate::proxy) fn label(&self) -> Label<'_> {
        ("service", self.label)
    }
}

/// Returns the services by their labels.
pub(in crate::proxy) fn by_label(rules: &Rules) -> Vec<u32> {
    let mut order = (0..rules.services.len() as u32).collect::<Vec<_>>();
    let label = |index: u32| service_at(rules, index).map(|service| &*service.label);
    sort_by(&mut order, |left, right| label(*left).cmp(&label(*right)));
    order
}

pub(in crate::proxy) fn service_at(rules: &Rules, index: u32) -> Option<&ServiceRules> {
    rules.services.get(index as usize).map(|service| &**service)
}

/// Returns the services from `start` on that have the same label.
pub(in crate::proxy) fn run_at<'a>(rules: &Rules, order: &'a [u32], start: usize) -> &'a [u32] {
    let rest = order.get(start..).unwrap_or_default();
    let label = |index: &u32| service_at(rules, *index).map(|service| &*service.label);
    let first = rest.first().map(label);
    let len = rest.iter().take_while(|index| Some(label(index)) == first);
    rest.get(..len.count()).unwrap_or_default()
}

/// Counts the requests in flight of each service, by its slot.
pub(in crate::proxy) fn in_flight(proxy: &Proxy) -> Vec<InFlight> {
    let slots = proxy.ctx.rules.services.iter();
    let slots = slots.map(|service| service.id.index() as usize).max();
    let mut counts = vec![InFlight::default(); slots.map_or(0, |slot| slot.saturating_add(1))];
    for service in &proxy.ctx.rules.services {
        if let Some(count) = counts.get_mut(service.id.index() as usize) {
            count.target = service.destinations.first().map(|first| first.id);
        }
    }
    for exchange in proxy.exchanges.values() {
        if let Some(count) = counts.get_mut(exchange.rules.id.index() as usize) {
            count.requests = count.requests.saturating_add(1);
            let up = exchange.attempts.upstream;
            let target = up.and_then(|up| Some(proxy.upstreams.get(up.id)?.target));
            let is_there = u64::from(target.is_some() && target == count.target);
            count.at_target = count.at_target.saturating_add(is_there);
        }
    }
    counts
}

/// Returns the numbers of requests without a route.
pub(in crate::proxy) fn without_route(proxy: &Proxy) -> ServiceSum<'static> {
    ServiceSum {
        label: "",
        counters: proxy.ctx.counters.service(None),
        in_flight: 0,
        rate_clients: proxy.limiter.clients(&proxy.ctx.rules.state.rate),
    }
}

/// Returns the numbers of the services in `run`, which have one label.
pub(in crate::proxy) fn service_sum<'a>(
    proxy: &'a Proxy,
    in_flight: &[InFlight],
    run: &[u32],
) -> Option<ServiceSum<'a>> {
    let rules = &proxy.ctx.rules;
    let mut sum = ServiceSum {
        label: &service_at(rules, *run.first()?)?.label,
        counters: ServiceCounters::default(),
        in_flight: 0,
        rate_clients: None,
    };
    for service in run.iter().filter_map(|index| service_at(rules, *index)) {
        let counters = proxy.ctx.counters.service(Some(row_key(service.id)));
        sum.counters.merge(&counters);
        let flying = in_flight.get(service.id.index() as usize);
        let flying = flying.map_or(0, |count| count.requests);
        sum.in_flight = sum.in_flight.saturating_add(flying);
        if matches!(service.service.rate_limit, ServiceRateLimit::Own(_)) {
            let clients = proxy.limiter.clients(&service.rate).unwrap_or(0);
            let others = sum.rate_clients.unwrap_or(0);
            sum.rate_clients = Some(others.saturating_add(clients));
        }
    }
    Some(sum)
}

/// Returns the numbers of the targets of the services in `run`, by authority and address.
pub(in crate::proxy) fn target_sums(
    proxy: &Proxy,
    in_flight: &[InFlight],
    run: &[u32],
) -> Vec<TargetSum> {
    let mut found = Vec::new();
    let rules = &proxy.ctx.rules;
    for service in run.iter().filter_map(|index| service_at(rules, *index)) {
        let of_service = in_flight.get(service.id.index() as usize);
        let at_target = of_service.map_or(0, |count| count.at_target);
        let views = proxy.upstreams.view(service, proxy.ctx.now).into_iter();
        found.extend(views.map(|view| {
            TargetSum {
                address: view
                    .address
                    .map_or(String::new(), |it| view.target.address_text(it)),
                is_up: view.is_up(),
                target: view.target,
                counters: view.counters,
                in_flight: view.in_flight.unwrap_or(at_target),
                idle: view.idle,
            }
        }));
    }
    sort_by(&mut found, |one, other| one.key().cmp(&other.key()));
    found.dedup_by(|one, sum| {
        let is_same = one.key() == sum.key();
        if is_same {
            sum.is_up &= one.is_up;
            sum.counters.merge(&one.counters);
            sum.in_flight = sum.in_flight.saturating_add(one.in_flight);
        }
        is_same
    });
    found
}

impl TargetSum {
    fn key(&self) -> (&str, &str) {
        (self.target.name(), &self.address)
    }
}
