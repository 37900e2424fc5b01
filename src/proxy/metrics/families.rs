//! The families of the engine's part of a scrape.

use super::super::Proxy;
use super::super::ids::row_key;
use super::super::settings::{Settings, TargetHost};
use super::super::stores::stores;
use super::sums::{ServiceSum, TargetSum};
use crate::limits::ADDRESSES_PER_TARGET;
use crate::observe::access::Outcome;
use crate::observe::metrics::counters::{AuthResult, REPLIES};
use crate::observe::metrics::exposition::{Exposition, Family, Kind};
use crate::observe::metrics::histogram::{BOUNDED, Histogram};
use crate::observe::metrics::numbers::CODES;

/// Writer of the rows of a family.
pub(super) enum Rows {
    /// Once.
    Once(fn(&Proxy, &mut Exposition<'_>)),
    /// For each label, and for requests without a route: the largest number of series of a label, and
    /// the writer.
    Service(usize, fn(&ServiceSum<'_>, &mut Exposition<'_>)),
    /// For each address of each target of a label.
    Target(fn(&TargetSum) -> u64),
}

/// Family, and its rows.
pub(super) struct Part {
    pub(super) family: Family,
    pub(super) rows: Rows,
}

const fn part(name: &'static str, kind: Kind, help: &'static str, rows: Rows) -> Part {
    Part {
        family: Family { name, kind, help },
        rows,
    }
}

/// Number of series of a histogram: its buckets, the sum and the count.
const OF_HISTOGRAM: usize = BOUNDED.saturating_add(3);

/// All families, in their order.
pub(super) static PARTS: [Part; 21] = [
    part(
        "tollgate_requests_total",
        Kind::Counter,
        "Requests that have ended, by the first digit of the status; none: no status was sent.",
        Rows::Service(CODES, requests),
    ),
    part(
        "tollgate_requests_ended_total",
        Kind::Counter,
        "Requests that have ended, by their end: the words of the JSON access log.",
        Rows::Service(Outcome::ALL.len(), ended),
    ),
    part(
        "tollgate_request_duration_seconds",
        Kind::Histogram,
        "Time from the head of a request to the last byte of its response.",
        Rows::Service(OF_HISTOGRAM, |sum, out| {
            histogram(sum, &sum.counters.duration, out)
        }),
    ),
    part(
        "tollgate_upstream_duration_seconds",
        Kind::Histogram,
        "Time from sending a request to its target to the head of the response.",
        Rows::Service(OF_HISTOGRAM, |sum, out| {
            histogram(sum, &sum.counters.upstream, out)
        }),
    ),
    part(
        "tollgate_request_bytes_total",
        Kind::Counter,
        "Bytes of the bodies of requests.",
        Rows::Service(1, |sum, out| {
            out.sample(&[sum.label()], sum.counters.request_bytes)
        }),
    ),
    part(
        "tollgate_response_bytes_total",
        Kind::Counter,
        "Bytes of the bodies of responses.",
        Rows::Service(1, |sum, out| {
            out.sample(&[sum.label()], sum.counters.response_bytes)
        }),
    ),
    part(
        "tollgate_requests_in_flight",
        Kind::Gauge,
        "Requests that are being forwarded.",
        Rows::Service(1, |sum, out| out.sample(&[sum.label()], sum.in_flight)),
    ),
    part(
        "tollgate_retries_total",
        Kind::Counter,
        "Attempts beyond the first of a request.",
        Rows::Service(1, |sum, out| {
            out.sample(&[sum.label()], sum.counters.retries)
        }),
    ),
    part(
        "tollgate_rate_limited_total",
        Kind::Counter,
        "Requests that got 429.",
        Rows::Service(1, |sum, out| {
            out.sample(&[sum.label()], sum.counters.ended_as(Outcome::RateLimited));
        }),
    ),
    part(
        "tollgate_rate_limit_clients",
        Kind::Gauge,
        "Clients in the table of the rate limit; that of the top level has an empty service.",
        Rows::Service(1, |sum, out| {
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
        "tollgate_store_up",
        Kind::Gauge,
        "1 if limits share their counts through the store; 0 while it is down.",
        Rows::Once(|proxy, out| {
            for store in stores(proxy) {
                out.sample(&[("store", &store.settings.name)], u64::from(store.is_up));
            }
        }),
    ),
    part(
        "tollgate_store_duration_seconds",
        Kind::Histogram,
        "Time from sending a count to the answer of the store.",
        Rows::Once(|proxy, out| {
            for store in stores(proxy) {
                if store.duration.count() > 0 {
                    out.histogram(("store", &store.settings.name), store.duration);
                }
            }
        }),
    ),
    part(
        "tollgate_store_late_total",
        Kind::Counter,
        "Requests of exact limits that the store answered after more than 50 ms, or not at all.",
        Rows::Once(|proxy, out| {
            for store in stores(proxy).filter(|store| store.late > 0) {
                out.sample(&[("store", &store.settings.name)], store.late);
            }
        }),
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

/// Returns the largest number of series of the engine with these settings. What was never counted
/// has none.
pub fn series(settings: &Settings) -> usize {
    let labels = settings.services.iter().map(|service| service.label());
    let mut labels = labels.collect::<Vec<_>>();
    crate::sort::sort(&mut labels);
    labels.dedup();
    let labels = labels.len();
    let of_service = PARTS.iter().map(|part| match part.rows {
        Rows::Service(series, _) => series,
        Rows::Once(_) | Rows::Target(_) => 0,
    });
    let of_service = of_service.fold(0, usize::saturating_add);
    let targets = settings.services.iter().flat_map(|service| {
        let destinations = service.destinations.iter();
        let targets = destinations.filter_map(|to| settings.targets.get(to.target));
        targets.map(|target| match target.host {
            TargetHost::Address(_) | TargetHost::Unix(_) => 1,
            TargetHost::Name(_) => ADDRESSES_PER_TARGET,
        })
    });
    let addresses = targets.fold(0, usize::saturating_add);
    let of_targets = PARTS
        .iter()
        .filter(|part| matches!(part.rows, Rows::Target(_)));
    let of_providers = settings.auth.len().saturating_mul(AuthResult::ALL.len());
    let of_stores = settings
        .stores
        .len()
        .saturating_mul(OF_HISTOGRAM.saturating_add(1));
    labels
        .saturating_add(1)
        .saturating_mul(of_service)
        .saturating_add(addresses.saturating_mul(of_targets.count()))
        .saturating_add(of_providers)
        .saturating_add(of_stores)
        .saturating_add(REPLIES)
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
