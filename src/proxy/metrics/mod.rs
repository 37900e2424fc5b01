//! The engine's part of a scrape: services, targets, providers and the gateway's own replies.
//!
//! A scrape of many services is written in pieces, so that it never holds up the event loop. All
//! lines of one service stand in one piece, and so are of one moment. Services with one label are
//! one row.

mod families;
mod sums;

pub use self::families::series;
use self::families::{PARTS, Rows};
pub(super) use self::sums::{InFlight, in_flight};
use self::sums::{ServiceSum, TargetSum, by_label, run_at, service_at, service_sum, target_sums};
use super::Proxy;
use super::memory::grown;
use super::settings::Settings;
use crate::buffer::total;
use crate::limits::SCRAPE_PIECE_BYTES;
use crate::observe::metrics::exposition::{Exposition, Format};

/// A scrape that is being written.
pub struct Scrape {
    format: Format,
    /// Edition of the rules that it shows.
    edition: u64,
    /// Services by their labels, as indices of the rules.
    order: Vec<u32>,
    /// Requests in flight of each service, by its slot.
    in_flight: Vec<InFlight>,
    family: usize,
    /// Place in `order` of the next row; `None`: that of requests without a route.
    next: Option<usize>,
    /// Samples of the next row that are written already.
    written: usize,
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

impl Scrape {
    /// Returns the bytes that a scrape holds with these settings.
    pub fn bytes(settings: &Settings) -> usize {
        // The tables of the state are sorted in pairs before.
        let each = total([
            size_of::<(u64, u32)>(),
            size_of::<u32>(),
            size_of::<InFlight>(),
        ]);
        grown(settings.services.len(), each)
    }

    /// Begins a scrape.
    pub fn new(proxy: &Proxy, format: Format) -> Scrape {
        let rules = &proxy.ctx.rules;
        Scrape {
            format,
            edition: rules.state.edition,
            order: by_label(rules),
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
                Rows::Service(_, write) => self.write_services(proxy, write, &mut out),
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
            write(&sums::without_route(proxy), out);
        }
        self.for_labels(proxy, out, |scrape, run, out| {
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
        self.for_labels(proxy, out, |scrape, run, out| {
            let rules = &proxy.ctx.rules;
            let first = run.first().and_then(|index| service_at(rules, *index));
            let label = first.map_or("", |service| &*service.label);
            let sums = target_sums(proxy, &scrape.in_flight, run);
            for sum in sums.iter().skip(scrape.written) {
                if out.written() >= SCRAPE_PIECE_BYTES {
                    return false;
                }
                let labels = [
                    ("service", label),
                    ("target", sum.target.name()),
                    ("address", sum.address.as_str()),
                ];
                out.sample(&labels, value(sum));
                scrape.written = scrape.written.saturating_add(1);
            }
            true
        })
    }

    /// Goes on with the services of the next labels, until the piece is full. `write` returns true
    /// when it has written all of a label. Returns true at the end.
    fn for_labels(
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
