//! Export of the state at an upgrade, in the old process, and its import in the new one.

use super::Proxy;
use super::carried::{CarriedState, Taken};
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
    /// Place of the next target.
    target: usize,
    health: HealthWalk,
    /// Place of the next provider.
    provider: usize,
    is_over: bool,
}

impl Export {
    /// Begins the export of what there is now.
    pub fn begin(proxy: &Proxy, now: Instant) -> Export {
        Export {
            begun: now,
            tables: proxy.limiter.walks(&proxy.ctx.rules),
            target: 0,
            health: HealthWalk::default(),
            provider: 0,
            is_over: false,
        }
    }

    /// Returns the next piece, which may be empty; `None`: there is no more.
    pub fn next(&mut self, proxy: &Proxy) -> Option<CarriedState> {
        if self.is_over {
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
        let (rules, upstreams) = (&proxy.ctx.rules, &proxy.upstreams);
        let (target, walk) = (&mut self.target, &mut self.health);
        state.names = upstreams.carried_names(target, &mut room, rules);
        if room > 0 {
            state.health = upstreams.carried_health(walk, &mut room, rules, self.begun);
        }
        while room > 0 {
            let Some(keys) = proxy.auth.carried_keys(&mut self.provider, rules) else {
                self.is_over = true;
                break;
            };
            room = room.saturating_sub(keys.set.bytes().len());
            state.keys.push(keys);
        }
        Some(state)
    }
}

/// Takes the state of another process over, at the start of this one. Returns the numbers of what
/// was taken over.
pub fn import(proxy: &mut Proxy, state: CarriedState, now: Instant) -> Taken {
    proxy.ctx.now = now;
    let names = proxy
        .upstreams
        .take_over_names(&state.names, &mut proxy.ctx);
    let rules = &proxy.ctx.rules;
    let tables = (state.client_seed, state.tables);
    Taken {
        windows: proxy.limiter.take_over(rules, tables, now),
        names,
        health: proxy.upstreams.take_over(rules, state.health, now),
        keys: proxy.auth.take_over(&state.keys),
    }
}
