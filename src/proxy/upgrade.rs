//! Export of the state at an upgrade, in the old process, and its import in the new one.

use super::Proxy;
use super::carried::CarriedState;
use super::limiter::TableWalk;
use super::upstream::HealthWalk;
use crate::limits::{CARRIED_PIECE_BYTES, CARRIED_WINDOW_BYTES};
use crate::time::Instant;

/// Export of the state, in pieces. The gateway serves between two pieces: clients decide how many
/// windows there are, and all of them at once would hold up the others.
///
/// A request that is counted after the piece of its client does not go along.
pub struct Export {
    /// Time that all pieces count from, so that windows keep their order.
    begun: Instant,
    tables: Vec<TableWalk>,
    health: HealthWalk,
}

impl Export {
    /// Begins the export of what there is now.
    pub fn begin(proxy: &Proxy, now: Instant) -> Export {
        Export {
            begun: now,
            tables: proxy.limiter.walks(&proxy.ctx.rules),
            health: HealthWalk::default(),
        }
    }

    /// Returns the next piece, which may be empty; `None`: there is no more.
    pub fn next(&mut self, proxy: &Proxy) -> Option<CarriedState> {
        if self.tables.is_empty() && self.health.is_over() {
            return None;
        }
        let mut state = CarriedState::default();
        if !self.tables.is_empty() {
            state.client_seed = proxy.limiter.client_seed();
        }
        let mut room = CARRIED_PIECE_BYTES;
        while let Some(walk) = self.tables.last_mut() {
            let max = room.checked_div(CARRIED_WINDOW_BYTES).unwrap_or(0);
            if max == 0 {
                return Some(state);
            }
            let table = proxy.limiter.carried(walk, max, self.begun);
            let windows = table.windows.len().saturating_mul(CARRIED_WINDOW_BYTES);
            room = room.saturating_sub(windows.saturating_add(table.owner.len()));
            if !table.windows.is_empty() {
                state.tables.push(table);
            }
            if !walk.is_over() {
                return Some(state);
            }
            self.tables.pop();
        }
        let (health, rules) = (&mut self.health, &proxy.ctx.rules);
        state.health = proxy
            .upstreams
            .carried_health(health, room, rules, self.begun);
        Some(state)
    }
}

/// Takes the state of another process over, at the start of this one. Returns the number of windows,
/// and of addresses whose health was taken over.
pub fn import(proxy: &mut Proxy, state: CarriedState, now: Instant) -> (usize, usize) {
    proxy.ctx.now = now;
    let rules = &proxy.ctx.rules;
    let tables = (state.client_seed, state.tables);
    let windows = proxy.limiter.take_over(rules, tables, now);
    let health = proxy.upstreams.take_over(rules, state.health, now);
    (windows, health)
}
