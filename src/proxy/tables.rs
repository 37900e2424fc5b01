//! Tables of the state: services, targets, providers and the last failures, for `/state.json` and
//! the status page.
//!
//! Long tables are written in pieces, as in `metrics.rs`.

use core::cmp::Reverse;

use super::Proxy;
use super::ids::row_key;
use super::metrics::{InFlight, Piece, in_flight};
use super::reason::Reason;
use super::recent::RecentFailure;
use super::rules::ServiceRules;
use super::settings::Condition;
use super::stores::stores;
use super::upstream::EndpointView;
use crate::limits::SCRAPE_PIECE_BYTES;
use crate::observe::access::Outcome;
use crate::observe::date::DateCache;
use crate::observe::metrics::counters::AuthResult;
use crate::observe::report::{Cell, Rows};
use crate::sort::sort_by;
use crate::time::Instant;
use crate::upstream::health::Availability;

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// Addresses of targets that are not up.
    Troubles,
    /// Addresses of targets that are up.
    Usable,
    /// Addresses of all targets.
    Targets,
    /// Services.
    Services,
    /// Auth providers.
    Providers,
    /// Stores of counts.
    Stores,
    /// The last failures, the newest first.
    Recent,
}

/// Writer of tables.
pub struct Tables {
    edition: u64,
    /// Services in the order of the tables, as indices of the rules.
    order: Vec<u32>,
    in_flight: Vec<InFlight>,
    dates: DateCache,
    /// Place of the next service.
    next: usize,
    /// Addresses of that service that are written already.
    written: usize,
}

impl Tables {
    /// Begins to write. On a page, which is read from the top, slow services come first.
    pub fn new(proxy: &Proxy, is_page: bool) -> Tables {
        let services = &proxy.ctx.rules.services;
        let mut order = services
            .iter()
            .enumerate()
            .map(|(index, rules)| (slowness(proxy, rules), index as u32))
            .collect::<Vec<_>>();
        if is_page {
            sort_by(&mut order, |left, right| {
                (Reverse(left.0), left.1).cmp(&(Reverse(right.0), right.1))
            });
        }
        Tables {
            edition: proxy.ctx.rules.state.edition,
            order: order.into_iter().map(|(_, index)| index).collect(),
            in_flight: in_flight(proxy),
            dates: DateCache::new(),
            next: 0,
            written: 0,
        }
    }

    /// Returns the number of rows of a table; of targets, the number of their names, which is less
    /// where names have several addresses.
    pub fn len(proxy: &Proxy, table: Table) -> usize {
        let rules = &proxy.ctx.rules;
        match table {
            Table::Providers => rules.settings.auth.len(),
            Table::Stores => rules.settings.stores.len(),
            Table::Recent => proxy.ctx.recent.newest().count(),
            Table::Services => rules.services.len(),
            Table::Troubles => 0,
            Table::Usable | Table::Targets => {
                let services = rules.services.iter();
                services.map(|service| service.destinations.len()).sum()
            }
        }
    }

    /// Appends rows of a table until the piece is full. [`Piece::Last`]: the table is whole, and
    /// the next one may begin.
    pub fn write(
        &mut self,
        proxy: &Proxy,
        table: Table,
        (rows, out): (&mut Rows, &mut Vec<u8>),
    ) -> Piece {
        if self.edition != proxy.ctx.rules.state.edition {
            return Piece::Stale;
        }
        match table {
            Table::Providers => write_providers(proxy, (rows, out)),
            Table::Stores => self.write_stores(proxy, (rows, out)),
            Table::Recent => {
                for failure in proxy.ctx.recent.newest() {
                    self.write_failure(proxy, failure, (rows, out));
                }
            }
            Table::Troubles | Table::Usable | Table::Targets | Table::Services => {
                while let Some(index) = self.order.get(self.next) {
                    let rules = proxy.ctx.rules.services.get(*index as usize);
                    if !rows.is_full()
                        && let Some(rules) = rules
                        && !self.write_service(proxy, table, rules, (rows, out))
                    {
                        return Piece::More;
                    }
                    self.next = self.next.saturating_add(1);
                    self.written = 0;
                }
            }
        }
        (self.next, self.written) = (0, 0);
        Piece::Last
    }

    /// Returns true if all rows of the service are written.
    fn write_service(
        &mut self,
        proxy: &Proxy,
        table: Table,
        rules: &ServiceRules,
        (rows, out): (&mut Rows, &mut Vec<u8>),
    ) -> bool {
        if table == Table::Services {
            if out.len() >= SCRAPE_PIECE_BYTES {
                return false;
            }
            self.write_service_row(proxy, rules, (rows, out));
            return true;
        }
        let flying = self.in_flight.get(rules.id.index() as usize);
        let flying = flying.map_or(0, |count| count.at_target);
        let views = proxy.upstreams.view(rules, proxy.ctx.now);
        for view in views.iter().skip(self.written) {
            if out.len() >= SCRAPE_PIECE_BYTES {
                return false;
            }
            let is_up = view.is_up();
            let is_shown = match table {
                Table::Troubles => !is_up,
                Table::Usable => is_up,
                _ => true,
            };
            if is_shown {
                let line = (&mut *rows, &mut *out);
                self.write_target(proxy, (&rules.label, view), flying, line);
            }
            self.written = self.written.saturating_add(1);
        }
        true
    }

    fn write_service_row(
        &self,
        proxy: &Proxy,
        rules: &ServiceRules,
        (rows, out): (&mut Rows, &mut Vec<u8>),
    ) {
        let key = row_key(rules.id);
        let counters = proxy.ctx.counters.service(Some(key));
        let (recent, seconds) = proxy.ctx.counters.recent(key, proxy.ctx.now);
        let [none, _, ok, moved, refused, failed] = counters.codes;
        let flying = self.in_flight.get(rules.id.index() as usize);
        let joined = |names: &[String]| (!names.is_empty()).then(|| names.join(" "));
        let (hosts, methods) = (joined(&rules.service.hosts), joined(&rules.service.methods));
        let conditions = rules.service.conditions.iter();
        let conditions = conditions.map(Condition::text).collect::<Vec<_>>();
        let conditions = (!conditions.is_empty()).then(|| conditions.join(", "));
        let rate = recent.count().saturating_mul(10).div_ceil(seconds.max(1));
        let cells = [
            ("service", Cell::Text(&rules.label)),
            ("hosts", hosts.as_deref().into()),
            ("methods", methods.as_deref().into()),
            ("match", conditions.as_deref().into()),
            ("rate", Cell::Tenths(rate)),
            ("p50", recent.quantile(50).into()),
            ("p95", recent.quantile(95).into()),
            ("p99", recent.quantile(99).into()),
            ("requests", Cell::Number(counters.duration.count())),
            ("2xx", Cell::Number(ok)),
            ("3xx", Cell::Number(moved)),
            ("4xx", Cell::Number(refused)),
            ("5xx", Cell::Number(failed)),
            ("noStatus", Cell::Number(none)),
            (
                "inFlight",
                Cell::Number(flying.map_or(0, |count| count.requests)),
            ),
            (
                "limited",
                Cell::Number(counters.ended_as(Outcome::RateLimited)),
            ),
            ("retries", Cell::Number(counters.retries)),
        ];
        rows.row(&cells, out);
    }

    fn write_target(
        &mut self,
        proxy: &Proxy,
        (label, view): (&str, &EndpointView<'_>),
        flying: u64,
        (rows, out): (&mut Rows, &mut Vec<u8>),
    ) {
        let address = view
            .address
            .map(|address| view.target.address_text(address));
        let state = match (view.availability, &address) {
            (Availability::Down, None) => "no address",
            (Availability::Up, None) => "unknown",
            (Availability::Up, Some(_)) if view.is_failing => "failing",
            (Availability::Down, Some(_)) => "down",
            (Availability::Ejected, Some(_) | None) => "put aside",
            (Availability::Up, Some(_)) => "up",
        };
        let since = view.note.and_then(|note| note.at);
        let since = since.map(|at| self.time(proxy, at));
        let why = view.note.as_ref().map(|note| note.why());
        let counters = &view.counters;
        let reused = counters.requests.saturating_sub(counters.connects);
        let reuse = reused.saturating_mul(100).checked_div(counters.requests);
        let cells = [
            ("service", Cell::Text(label)),
            ("target", Cell::Text(view.target.name())),
            ("address", address.as_deref().into()),
            ("state", Cell::Text(state)),
            ("since", since.as_deref().into()),
            ("why", why.as_deref().filter(|why| !why.is_empty()).into()),
            ("requests", Cell::Number(counters.requests)),
            ("busy", Cell::Number(view.in_flight.unwrap_or(flying))),
            ("idle", Cell::Number(view.idle)),
            ("reuse", reuse.into()),
            ("checkFailures", Cell::Number(counters.check_failures)),
        ];
        rows.row(&cells, out);
    }

    fn write_failure(
        &mut self,
        proxy: &Proxy,
        failure: &RecentFailure,
        (rows, out): (&mut Rows, &mut Vec<u8>),
    ) {
        let time = self.time(proxy, failure.at);
        let client = failure.client.map(|client| client.to_string());
        let target = failure.target.as_ref();
        let cells = [
            ("time", Cell::Text(&time)),
            ("service", failure.service.as_deref().into()),
            ("target", target.map(|target| target.name()).into()),
            ("client", client.as_deref().into()),
            ("request", Cell::Text(&failure.request)),
            ("status", failure.status.map(u64::from).into()),
            ("end", Cell::Text(failure.outcome.as_str())),
            (
                "reason",
                failure.reason.as_deref().map(Reason::as_str).into(),
            ),
            ("id", failure.id.as_deref().into()),
        ];
        rows.row(&cells, out);
    }

    fn write_stores(&mut self, proxy: &Proxy, (rows, out): (&mut Rows, &mut Vec<u8>)) {
        let targets = &proxy.ctx.rules.settings.targets;
        for store in stores(proxy) {
            let state = match (store.is_up, store.since) {
                (true, _) => "up",
                (false, Some(_)) => "down",
                (false, None) => "unknown",
            };
            let since = store.since.map(|since| self.time(proxy, since));
            let cells = [
                ("store", Cell::Text(&store.settings.name)),
                ("url", Cell::Text(&store.settings.url(targets))),
                ("state", Cell::Text(state)),
                ("since", since.as_deref().into()),
                ("lastError", store.why.into()),
                ("counts", Cell::Number(store.duration.count())),
            ];
            rows.row(&cells, out);
        }
    }

    /// Returns a time of day, in UTC.
    fn time(&mut self, proxy: &Proxy, at: Instant) -> String {
        let wall = proxy.ctx.access_log.wall(at);
        let text = String::from_utf8_lossy(self.dates.rfc3339(wall));
        format!("{text}Z")
    }
}

fn write_providers(proxy: &Proxy, (rows, out): (&mut Rows, &mut Vec<u8>)) {
    let rules = &proxy.ctx.rules;
    for (provider, id) in rules.settings.auth.iter().zip(&rules.state.providers) {
        let counts = proxy.ctx.counters.provider(row_key(*id));
        let results = AuthResult::ALL.iter().zip(counts);
        let results = results.map(|(result, count)| (result.as_str(), Cell::Number(count)));
        let names = [
            ("provider", Cell::Text(&provider.name)),
            ("type", Cell::Text(provider.kind.name())),
        ];
        let cells = names.into_iter().chain(results).collect::<Vec<_>>();
        rows.row(&cells, out);
    }
}

/// Returns the time in milliseconds that one request in a hundred exceeds.
fn slowness(proxy: &Proxy, rules: &ServiceRules) -> u64 {
    let counters = &proxy.ctx.counters;
    let (recent, _) = counters.recent(row_key(rules.id), proxy.ctx.now);
    recent.quantile(99).unwrap_or(0)
}
