//! Counts by any algorithm, and under any key.

use super::{RateTable, Used, Window};
use crate::policy::meter::Full;
use crate::policy::rate_fields::Quota;
use crate::slab::Key;
use crate::time::Instant;

impl RateTable {
    /// Checks if a request of a client with this key would be counted, by the limit's algorithm.
    /// Counts nothing.
    ///
    /// # Errors
    /// The limit is reached.
    #[cold]
    pub fn judge(&self, client: u128, now: Instant) -> Result<(), Full> {
        let used = self.used(client).map(|(_, used)| used);
        self.limit.meter().count(used, now).map(|_| ())
    }

    /// Counts a request of a client with this key, by the limit's algorithm. Returns what the client
    /// has left.
    ///
    /// # Errors
    /// The limit is reached.
    #[cold]
    pub fn count_key(&mut self, client: u128, now: Instant) -> Result<Quota, Full> {
        let known = self.used(client);
        let (used, quota) = self.limit.meter().count(known.map(|(_, used)| used), now)?;
        match known {
            Some((key, before)) if before.end == used.end => self.set_used(key, used),
            // What the store does not know yet belongs to the place of the window.
            Some((key, _)) if self.has_marked_keys() => {
                self.unlink(key);
                self.set_used(key, used);
                self.append(key);
                self.watch_oldest();
            }
            Some((key, _)) => {
                self.forget(key);
                self.insert(client, used);
            }
            None => self.insert(client, used),
        }
        Ok(quota)
    }

    /// Takes back what a request of a client was counted for. A window that began since then is one
    /// request too low.
    #[cold]
    pub fn give_back(&mut self, client: u128) {
        if let Some((key, used)) = self.used(client) {
            self.set_used(key, self.limit.meter().give_back(used));
        }
    }

    fn used(&self, client: u128) -> Option<(Key<Window>, Used)> {
        let key = *self.index.get(&client)?;
        Some((key, self.windows.get(key)?.used()))
    }

    pub(super) fn set_used(&mut self, key: Key<Window>, used: Used) {
        if let Some(window) = self.windows.get_mut(key) {
            let Used {
                passed,
                previous,
                end,
            } = used;
            (window.passed, window.previous, window.end) = (passed, previous, end);
        }
    }
}
