//! Client connections between two requests: a list through the connections themselves, oldest
//! first, so that nothing is searched for and nothing allocated.

use super::super::ids::ClientId;
use super::Clients;
use super::connection::Phase;

/// The ends of the list of idle client connections, by their slots.
#[derive(Default)]
pub(super) struct IdleClients {
    pub(super) oldest: Option<u32>,
    pub(super) newest: Option<u32>,
}

impl Clients {
    /// Returns the client connection that has been idle for the longest time.
    pub(super) fn oldest_idle(&self) -> Option<ClientId> {
        self.connections.at(self.idle.oldest?).map(|(id, _)| id)
    }

    /// Marks a connection as idle, the newest of all.
    pub(super) fn link_idle(&mut self, id: ClientId) {
        let Some(client) = self.connections.get_mut(id) else {
            return;
        };
        let older = self.idle.newest.replace(id.index());
        client.phase = Phase::Idle { older, newer: None };
        match older.and_then(|older| self.phase_at(older)) {
            Some(Phase::Idle { newer, .. }) => *newer = Some(id.index()),
            _ => self.idle.oldest = Some(id.index()),
        }
    }

    /// Takes a connection that was between these two out of the list.
    #[inline(always)]
    pub(super) fn unlink_idle(&mut self, older: Option<u32>, newer: Option<u32>) {
        match older.and_then(|slot| self.phase_at(slot)) {
            Some(Phase::Idle { newer: next, .. }) => *next = newer,
            _ => self.idle.oldest = newer,
        }
        match newer.and_then(|slot| self.phase_at(slot)) {
            Some(Phase::Idle { older: next, .. }) => *next = older,
            _ => self.idle.newest = older,
        }
    }

    fn phase_at(&mut self, slot: u32) -> Option<&mut Phase> {
        self.connections
            .at_mut(slot)
            .map(|client| &mut client.phase)
    }

    /// Returns whether the idle connections are one list, and those that are idle are all in it.
    /// Looks at every connection: for tests.
    pub(super) fn idle_list_holds(&self) -> bool {
        let all = self
            .connections
            .keys()
            .filter_map(|id| self.connections.get(id));
        let idle = all
            .filter(|client| matches!(client.phase, Phase::Idle { .. }))
            .count();
        let (mut next, mut before, mut linked) = (self.idle.oldest, None, 0_usize);
        while let Some((slot, client)) =
            next.and_then(|slot| Some((slot, self.connections.at(slot)?.1)))
        {
            let Phase::Idle { older, newer } = client.phase else {
                return false;
            };
            if older != before || linked > idle {
                return false;
            }
            linked = linked.saturating_add(1);
            (next, before) = (newer, Some(slot));
        }
        linked == idle && before == self.idle.newest
    }
}
