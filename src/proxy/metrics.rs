//! The engine's part of a scrape: services, targets, providers and the gateway's own replies.
//!
//! A scrape of many services is written in pieces, so that it never holds up the event loop. All
//! lines of one service stand in one piece, and so are of one moment. Services with one route are
//! one row: the route is the label.

use std::collections::BTreeMap;

use super::Proxy;
use super::ids::row_key;
use super::rules::{Rules, ServiceRules};
use super::settings::{ServiceRateLimit, Settings, TargetHost};
use crate::limits::{ADDRESSES_PER_TARGET, SCRAPE_PIECE_BYTES};
use crate::observe::access::Outcome;
use crate::observe::metrics::counters::{AuthResult, CODES, ServiceCounters, TargetCounters};
use crate::observe::metrics::exposition::{Exposition, Family, Format, Kind, Label};
use crate::observe::metrics::histogram::{BOUNDED, Histogram};
use crate::sort::sort_by;
use crate::upstream::health::Availability;

/// A scrape that is being written.
pub struct Scrape {
    format: Format,
    /// Edition of the rules that it shows.
    edition: u64,
    /// Services by their routes, as indices of the rules.
    order: Vec<u32>,
    /// Requests in flight of each service, by its slot.
    in_flight: Vec<InFlight>,
    family: usize,
    /// Place in `order` of the next row; `None`: that of requests without a route.
    next: Option<usize>,
    /// Samples of the next row that are written already.
    written: usize,
}

/// Requests in flight of one service.
#[derive(Clone, Copy, Default)]
pub(super) struct InFlight {
    /// All of them.
    pub(super) requests: u64,
    /// Those that have an upstream connection.
    pub(super) at_target: u64,
}

/// Result of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// More follows.
    More,
    /// All is written.
    Last,
    /// The configuration has changed since the scrape began: it cannot be continued.
    Stale,
}

/// Numbers of all services with one route.
struct ServiceSum<'a> {
    route: &'a str,
    counters: ServiceCounters,
    in_flight: u64,
    rate_clients: Option<u64>,
}

/// Numbers of one address of one target of the services with one route.
struct TargetSum {
    is_up: bool,
    counters: TargetCounters,
    in_flight: u64,
    idle: u64,
}

/// Writer of the rows of a family.
enum Rows {
    /// Once.
    Once(fn(&Proxy, &mut Exposition<'_>)),
    /// For each route, and for requests without one.
    Service(fn(&ServiceSum<'_>, &mut Exposition<'_>)),
    /// For each address of each target of a route.
    Target(fn(&TargetSum) -> u64),
}

struct Part {
    family: Family,
    rows: Rows,
}

const fn part(name: &'static str, kind: Kind, help: &'static str, rows: Rows) -> Part {
    Part {
        family: Family { name, kind, help },
        rows,
    }
}

/// All families, in their order.
static PARTS: [Part; 18] = [
    part(
        "tollgate_requests_total",
        Kind::Counter,
        "Requests that have ended, by the first digit of the status; none: no status was sent.",
        Rows::Service(requests),
    ),
    part(
        "tollgate_requests_ended_total",
        Kind::Counter,
        "Requests that have ended, by their end: the words of the JSON access log.",
        Rows::Service(ended),
    ),
    part(
        "tollgate_request_duration_seconds",
        Kind::Histogram,
        "Time from the head of a request to the last byte of its response.",
        Rows::Service(|sum, out| histogram(sum, &sum.counters.duration, out)),
    ),
    part(
        "tollgate_upstream_duration_seconds",
        Kind::Histogram,
        "Time from sending a request to its target to the head of the response.",
        Rows::Service(|sum, out| histogram(sum, &sum.counters.upstream, out)),
    ),
    part(
        "tollgate_request_bytes_total",
        Kind::Counter,
        "Bytes of the bodies of requests.",
        Rows::Service(|sum, out| out.sample(&[sum.label()], sum.counters.request_bytes)),
    ),
    part(
        "tollgate_response_bytes_total",
        Kind::Counter,
        "Bytes of the bodies of responses.",
        Rows::Service(|sum, out| out.sample(&[sum.label()], sum.counters.response_bytes)),
    ),
    part(
        "tollgate_requests_in_flight",
        Kind::Gauge,
        "Requests that are being forwarded.",
        Rows::Service(|sum, out| out.sample(&[sum.label()], sum.in_flight)),
    ),
    part(
        "tollgate_retries_total",
        Kind::Counter,
        "Attempts beyond the first of a request.",
        Rows::Service(|sum, out| out.sample(&[sum.label()], sum.counters.retries)),
    ),
    part(
        "tollgate_rate_limited_total",
        Kind::Counter,
        "Requests that got 429.",
        Rows::Service(|sum, out| {
            out.sample(&[sum.label()], sum.counters.ended_as(Outcome::RateLimited));
        }),
    ),
    part(
        "tollgate_rate_limit_clients",
        Kind::Gauge,
        "Clients in the table of the rate limit; that of the top level has an empty service.",
        Rows::Service(|sum, out| {
            if let Some(clients) = sum.rate_clients {
                out.sample(&[sum.label()], clients);
            }
        }),
    ),
    part(
        "tollgate_replies_total",
        Kind::Counter,
        "Replies of the gateway's own, by status.",
        Rows::Once(|proxy, out| {
            for (code, count) in proxy.ctx.counters.replies() {
                if count > 0 {
                    out.sample(&[("code", code)], count);
                }
            }
        }),
    ),
    part(
        "tollgate_auth_total",
        Kind::Counter,
        "Decisions of the auth providers.",
        Rows::Once(auth),
    ),
    part(
        "tollgate_target_up",
        Kind::Gauge,
        "1 if requests may go to the address; 0 if it is down, or put aside after failures.",
        Rows::Target(|sum| u64::from(sum.is_up)),
    ),
    part(
        "tollgate_target_requests_total",
        Kind::Counter,
        "Requests that were sent to the address, each attempt by itself.",
        Rows::Target(|sum| sum.counters.requests),
    ),
    part(
        "tollgate_target_in_flight",
        Kind::Gauge,
        "Requests that the address has not answered yet.",
        Rows::Target(|sum| sum.in_flight),
    ),
    part(
        "tollgate_target_idle_connections",
        Kind::Gauge,
        "Idle connections to the address, of all services.",
        Rows::Target(|sum| sum.idle),
    ),
    part(
        "tollgate_target_connects_total",
        Kind::Counter,
        "Connections to the address that were made for requests.",
        Rows::Target(|sum| sum.counters.connects),
    ),
    part(
        "tollgate_target_check_failures_total",
        Kind::Counter,
        "Health checks of the address that failed.",
        Rows::Target(|sum| sum.counters.check_failures),
    ),
];

impl ServiceSum<'_> {
    fn label(&self) -> Label<'_> {
        ("service", self.route)
    }
}

const CODE_WORDS: [&str; CODES] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn requests(sum: &ServiceSum<'_>, out: &mut Exposition<'_>) {
    for (index, (code, count)) in CODE_WORDS.iter().zip(sum.counters.codes).enumerate() {
        // A series that begins with its first failure would hide that failure from `rate()`.
        if count > 0 || index > 1 {
            out.sample(&[sum.label(), ("code", code)], count);
        }
    }
}

fn ended(sum: &ServiceSum<'_>, out: &mut Exposition<'_>) {
    for (outcome, count) in Outcome::ALL.iter().zip(sum.counters.ended) {
        if count > 0 || *outcome == Outcome::Ok {
            out.sample(&[sum.label(), ("end", outcome.as_str())], count);
        }
    }
}

/// Writes a histogram. A service without a duration has none.
fn histogram(sum: &ServiceSum<'_>, histogram: &Histogram, out: &mut Exposition<'_>) {
    if histogram.count() > 0 {
        out.histogram(sum.label(), histogram);
    }
}

fn auth(proxy: &Proxy, out: &mut Exposition<'_>) {
    let rules = &proxy.ctx.rules;
    for (provider, id) in rules.settings.auth.iter().zip(&rules.state.providers) {
        let counts = proxy.ctx.counters.provider(row_key(*id));
        for (result, count) in AuthResult::ALL.iter().zip(counts) {
            let labels = [
                ("provider", provider.name.as_str()),
                ("result", result.as_str()),
            ];
            out.sample(&labels, count);
        }
    }
}

impl Scrape {
    /// Begins a scrape.
    pub fn new(proxy: &Proxy, format: Format) -> Scrape {
        let rules = &proxy.ctx.rules;
        Scrape {
            format,
            edition: rules.state.edition,
            order: by_route(rules),
            in_flight: in_flight(proxy),
            family: 0,
            next: None,
            written: 0,
        }
    }

    /// Returns the format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends a piece of about [`SCRAPE_PIECE_BYTES`] to `out`, which is empty or holds what comes
    /// first.
    pub fn write(&mut self, proxy: &Proxy, out: &mut Vec<u8>) -> Piece {
        if self.edition != proxy.ctx.rules.state.edition {
            return Piece::Stale;
        }
        let mut out = Exposition::new(self.format, out);
        while let Some(part) = PARTS.get(self.family) {
            if out.written() >= SCRAPE_PIECE_BYTES {
                return Piece::More;
            }
            out.family(&part.family, self.next.is_none());
            let is_over = match part.rows {
                Rows::Once(write) => {
                    write(proxy, &mut out);
                    true
                }
                Rows::Service(write) => self.write_services(proxy, write, &mut out),
                Rows::Target(value) => self.write_targets(proxy, value, &mut out),
            };
            if is_over {
                self.family = self.family.saturating_add(1);
                self.next = None;
            }
        }
        out.end();
        Piece::Last
    }

    fn write_services(
        &mut self,
        proxy: &Proxy,
        write: fn(&ServiceSum<'_>, &mut Exposition<'_>),
        out: &mut Exposition<'_>,
    ) -> bool {
        if self.next.is_none() {
            write(&without_route(proxy), out);
        }
        self.for_routes(proxy, out, |scrape, run, out| {
            if let Some(sum) = service_sum(proxy, &scrape.in_flight, run) {
                write(&sum, out);
            }
            true
        })
    }

    fn write_targets(
        &mut self,
        proxy: &Proxy,
        value: fn(&TargetSum) -> u64,
        out: &mut Exposition<'_>,
    ) -> bool {
        self.for_routes(proxy, out, |scrape, run, out| {
            let rules = &proxy.ctx.rules;
            let route = run.first().and_then(|index| service_at(rules, *index));
            let route = route.map_or("", |service| &*service.route);
            let sums = target_sums(proxy, &scrape.in_flight, run);
            for ((target, address), sum) in sums.iter().skip(scrape.written) {
                if out.written() >= SCRAPE_PIECE_BYTES {
                    return false;
                }
                let labels = [
                    ("service", route),
                    ("target", target.as_str()),
                    ("address", address.as_str()),
                ];
                out.sample(&labels, value(sum));
                scrape.written = scrape.written.saturating_add(1);
            }
            true
        })
    }

    /// Goes on with the services of the next routes, until the piece is full. `write` returns true
    /// when it has written all of a route. Returns true at the end.
    fn for_routes(
        &mut self,
        proxy: &Proxy,
        out: &mut Exposition<'_>,
        mut write: impl FnMut(&mut Scrape, &[u32], &mut Exposition<'_>) -> bool,
    ) -> bool {
        let mut start = self.next.unwrap_or(0);
        while start < self.order.len() {
            if out.written() >= SCRAPE_PIECE_BYTES {
                self.next = Some(start);
                return false;
            }
            let order = core::mem::take(&mut self.order);
            let run = run_at(&proxy.ctx.rules, &order, start);
            let is_whole = write(self, run, out);
            let len = run.len().max(1);
            self.order = order;
            if is_whole {
                start = start.saturating_add(len);
                self.written = 0;
            }
        }
        true
    }
}

/// Returns the services by their routes.
fn by_route(rules: &Rules) -> Vec<u32> {
    let mut order = (0..rules.services.len() as u32).collect::<Vec<_>>();
    let route = |index: u32| service_at(rules, index).map(|service| &*service.route);
    sort_by(&mut order, |left, right| route(*left).cmp(&route(*right)));
    order
}

fn service_at(rules: &Rules, index: u32) -> Option<&ServiceRules> {
    rules.services.get(index as usize).map(|service| &**service)
}

/// Returns the services from `start` on that have the same route.
fn run_at<'a>(rules: &Rules, order: &'a [u32], start: usize) -> &'a [u32] {
    let rest = order.get(start..).unwrap_or_default();
    let route = |index: &u32| service_at(rules, *index).map(|service| &*service.route);
    let first = rest.first().map(route);
    let len = rest.iter().take_while(|index| Some(route(index)) == first);
    rest.get(..len.count()).unwrap_or_default()
}

/// Counts the requests in flight of each service, by its slot.
pub(super) fn in_flight(proxy: &Proxy) -> Vec<InFlight> {
    let slots = proxy.ctx.rules.services.iter();
    let slots = slots.map(|service| service.id.index() as usize).max();
    let mut counts = vec![InFlight::default(); slots.map_or(0, |slot| slot.saturating_add(1))];
    for exchange in proxy.exchanges.values() {
        if let Some(count) = counts.get_mut(exchange.rules.id.index() as usize) {
            count.requests = count.requests.saturating_add(1);
            let has_connection = u64::from(exchange.attempts.upstream.is_some());
            count.at_target = count.at_target.saturating_add(has_connection);
        }
    }
    counts
}

/// Returns the numbers of requests without a route.
fn without_route(proxy: &Proxy) -> ServiceSum<'static> {
    ServiceSum {
        route: "",
        counters: proxy.ctx.counters.service(None),
        in_flight: 0,
        rate_clients: proxy.limiter.clients(proxy.ctx.rules.state.rate_table),
    }
}

/// Returns the numbers of the services in `run`, which have one route.
fn service_sum<'a>(
    proxy: &'a Proxy,
    in_flight: &[InFlight],
    run: &[u32],
) -> Option<ServiceSum<'a>> {
    let rules = &proxy.ctx.rules;
    let mut sum = ServiceSum {
        route: &service_at(rules, *run.first()?)?.route,
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
            let clients = proxy.limiter.clients(service.rate_table).unwrap_or(0);
            let others = sum.rate_clients.unwrap_or(0);
            sum.rate_clients = Some(others.saturating_add(clients));
        }
    }
    Some(sum)
}

/// Returns the numbers of the targets of the services in `run`, by authority and address.
fn target_sums(
    proxy: &Proxy,
    in_flight: &[InFlight],
    run: &[u32],
) -> BTreeMap<(String, String), TargetSum> {
    let mut sums = BTreeMap::<_, TargetSum>::new();
    let rules = &proxy.ctx.rules;
    for service in run.iter().filter_map(|index| service_at(rules, *index)) {
        let of_service = in_flight.get(service.id.index() as usize);
        let at_target = of_service.map_or(0, |count| count.at_target);
        for view in proxy.upstreams.view(service) {
            let address = view.address.map_or(String::new(), |it| it.to_string());
            let sum = sums
                .entry((view.target.authority.clone(), address))
                .or_insert(TargetSum {
                    is_up: true,
                    counters: TargetCounters::default(),
                    in_flight: 0,
                    idle: view.idle,
                });
            sum.is_up &= view.availability == Availability::Up;
            sum.counters.merge(&view.counters);
            let flying = view.in_flight.unwrap_or(at_target);
            sum.in_flight = sum.in_flight.saturating_add(flying);
        }
    }
    sums
}

/// Returns the largest number of series of the engine with these settings. What was never counted
/// has none.
pub fn series(settings: &Settings) -> usize {
    let routes = settings.services.iter().map(|service| &*service.route);
    let routes = routes.collect::<std::collections::BTreeSet<_>>().len();
    let of_histogram = BOUNDED.saturating_add(3);
    let of_service = [CODES, Outcome::ALL.len(), of_histogram, of_histogram, 6];
    let of_service = of_service.into_iter().fold(0, usize::saturating_add);
    let targets = settings.services.iter().flat_map(|service| {
        let destinations = service.destinations.iter();
        let targets = destinations.filter_map(|to| settings.targets.get(to.target));
        targets.map(|target| match target.host {
            TargetHost::Address(_) => 1,
            TargetHost::Name(_) => ADDRESSES_PER_TARGET,
        })
    });
    let addresses = targets.fold(0, usize::saturating_add);
    let of_targets = PARTS
        .iter()
        .filter(|part| matches!(part.rows, Rows::Target(_)));
    let of_providers = settings.auth.len().saturating_mul(AuthResult::ALL.len());
    routes
        .saturating_add(1)
        .saturating_mul(of_service)
        .saturating_add(addresses.saturating_mul(of_targets.count()))
        .saturating_add(of_providers)
        .saturating_add(crate::observe::metrics::counters::REPLIES)
}

#[cfg(test)]
mod tests {
    use crate::observe::metrics::counters::Counters;
    use crate::policy::reply::Reply;

    #[test]
    fn each_reply_of_the_gateway_has_a_series() {
        let mut counters = Counters::default();
        for reply in Reply::ALL {
            counters.count_reply(reply.status());
        }
        let others = counters.replies().find(|(code, _)| *code == "other");
        assert_eq!(others, Some(("other", 0)));
    }
}
