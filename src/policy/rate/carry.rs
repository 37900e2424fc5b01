//! Windows on their way to another process.

use super::{RateTable, Used, Window};
use crate::limits::UPGRADE_TIMEOUT;
use crate::policy::meter::Algorithm;
use crate::slab::Key;
use crate::time::{Duration, Instant};

/// Running window of one client, as another process takes it over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowRecord {
    /// Key of the client in its table.
    pub client: u128,
    /// Requests that were counted; see [`Used`].
    pub passed: u32,
    /// Weight of the window before; see [`Used`].
    pub previous: u32,
    /// Time until the client is forgotten: until the window ends, and as long as it is remembered
    /// then.
    pub left: Duration,
}

/// Place of a walk over the windows of a table, from the oldest to the newest. Other work may change
/// the table on the way.
#[derive(Clone, Copy)]
pub struct Walk {
    next: Option<Key<Window>>,
    /// End of the last window that was visited.
    from: Instant,
    /// End of the last window of the walk; `None`: the walk is over.
    last: Option<Instant>,
}

impl Walk {
    /// Returns true if no window is left.
    pub fn is_over(&self) -> bool {
        self.last.is_none()
    }
}

impl RateTable {
    /// Begins a walk over the windows. Windows that start later are not part of it, so that it has
    /// an end. Each request moves a client of buckets to the newest, so that the walk goes on to
    /// those of the next seconds.
    pub fn walk(&self) -> Walk {
        let more = match self.limit.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => Duration::ZERO,
            Algorithm::Bucket { .. } => UPGRADE_TIMEOUT,
        };
        let newest = self.newest.and_then(|key| self.windows.get(key));
        Walk {
            next: self.oldest,
            from: Instant::ZERO,
            last: newest.map(|window| window.end.after(more)),
        }
    }

    /// Goes on with a walk by at most `max` windows. Returns those that are remembered at `now`, the
    /// oldest first.
    pub fn records(&self, walk: &mut Walk, max: usize, now: Instant) -> Vec<WindowRecord> {
        let mut records = Vec::new();
        for _ in 0..max {
            let window = walk.next.and_then(|key| {
                let window = self.windows.get(key);
                // The window is gone. Those before it are gone, too, or were visited.
                window.or_else(|| self.windows.get(self.oldest?))
            });
            let Some(window) = window.filter(|window| walk.last >= Some(window.end)) else {
                walk.last = None;
                break;
            };
            let gone = window.end.after(self.linger);
            if gone > now && window.end >= walk.from {
                let used = self.limit.meter().carried(window.used(), now);
                records.push(WindowRecord {
                    client: window.client,
                    passed: used.passed,
                    previous: used.previous,
                    left: used.end.after(self.linger).since(now),
                });
            }
            walk.from = walk.from.max(window.end);
            walk.next = window.newer;
        }
        records
    }

    /// Returns the longest time until a client is forgotten.
    pub fn longest(&self) -> Duration {
        match self.limit.algorithm {
            Algorithm::Fixed => self.limit.window,
            Algorithm::Sliding => Instant::ZERO
                .after(self.limit.window)
                .after(self.linger)
                .since(Instant::ZERO),
            Algorithm::Bucket { .. } => self.linger,
        }
    }

    /// Takes a window over. Windows come in order, the oldest first. Returns false for a window that
    /// does not fit: it is over, longer than the limit's, out of order, or its client has one.
    pub fn restore(&mut self, record: WindowRecord, now: Instant) -> bool {
        let is_bucket = matches!(self.limit.algorithm, Algorithm::Bucket { .. });
        // A window that ended before the clock of this process began is taken as one that ended then.
        let gone = now.after(record.left).as_millis();
        let end = Instant::from_millis(gone.saturating_sub(self.linger.as_millis()));
        let newest = self.newest.and_then(|key| self.windows.get(key));
        let known = self.index.get(&record.client).copied();
        let fits = record.left > Duration::ZERO
            && record.left <= self.longest()
            && newest.is_none_or(|newest| newest.end <= end)
            && (is_bucket || known.is_none());
        if fits {
            if let Some(known) = known {
                self.forget(known);
            }
            self.insert(
                record.client,
                Used {
                    passed: record.passed,
                    previous: record.previous,
                    end,
                },
            );
        }
        fits
    }
}
