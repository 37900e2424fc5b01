//! Requests that wait for a provider. The head stays where it is, in the client's inbox, and nothing more is read; when the answer
//! comes the head is taken from the start again, with the answer known.

use super::super::Proxy;
use super::super::client::Phase;
use super::super::command::ClientId;
use super::super::log_entry::AccessLogEntry;
use super::decide::AuthProgress;
use super::{LookupId, LookupResult};
use crate::observe::access::Outcome;
use crate::time::Instant;

/// What is known of a request that waits.
#[derive(Default)]
pub(in super::super) struct SuspendedRequest {
    /// What the log will say of it.
    pub(in super::super) log_entry: Box<AccessLogEntry>,
    /// What it waits for, and for which provider of its service.
    lookup: Option<(LookupId, usize)>,
    progress: AuthProgress,
}

impl SuspendedRequest {
    /// What was said of it so far.
    pub(in super::super) fn progress(&mut self) -> &mut AuthProgress {
        &mut self.progress
    }
}

impl Proxy {
    /// Lets a request wait for the answer to a question.
    pub(in super::super) fn suspend(
        &mut self,
        id: ClientId,
        mut held: Box<SuspendedRequest>,
        (lookup, position): (LookupId, usize),
        service: usize,
        now: Instant,
    ) {
        held.lookup = Some((lookup, position));
        let auth_timeout = self.auth_timeout(service);
        if let Some(client) = self.clients.get_mut(id) {
            client.phase = Phase::Suspended(held);
            self.arm_client(id, Some(auth_timeout), now);
        }
    }

    /// The answer has come.
    pub(super) fn resume(
        &mut self,
        id: ClientId,
        lookup: LookupId,
        outcome: LookupResult,
        now: Instant,
    ) {
        let Some(mut held) = self.take_suspended(id, Some(lookup)) else {
            return;
        };
        let position = held.lookup.take().map_or(0, |(_, position)| position);
        held.progress.answer = Some((position, outcome));
        self.read_suspended_head(id, held, now);
        self.mark_client_ready(id);
    }

    /// The waiting request of a connection, which starts to read a head again. `question`: only if it waits for this one.
    fn take_suspended(
        &mut self,
        id: ClientId,
        lookup: Option<LookupId>,
    ) -> Option<Box<SuspendedRequest>> {
        let client = self.clients.get_mut(id)?;
        let waits = match &client.phase {
            Phase::Suspended(held) => {
                lookup.is_none() || held.lookup.map(|(lookup_entry, _)| lookup_entry) == lookup
            }
            _ => false,
        };
        if !waits {
            return None;
        }
        match core::mem::replace(
            &mut client.phase,
            Phase::ReadHead {
                scan: Default::default(),
                begun: true,
            },
        ) {
            Phase::Suspended(held) => Some(held),
            _ => None,
        }
    }

    /// A waiting request ends here: its line is written, and its question forgotten.
    pub(in super::super) fn end_suspended(&mut self, id: ClientId, end: Outcome, now: Instant) {
        let Some(held) = self.take_suspended(id, None) else {
            return;
        };
        if let Some((lookup, _)) = held.lookup {
            let is_decided = !self.is_about_token(lookup);
            if held.progress.is_forged_so_far(is_decided) {
                self.rates.count_failure(held.log_entry.client, now);
            }
            self.leave_lookup(id, lookup, now);
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.phase = Phase::Closed;
        }
        self.record(&held.log_entry, end, now);
        self.recycle(held.log_entry);
    }

    /// Nobody answered in time (503).
    pub(in super::super) fn suspended_due(&mut self, id: ClientId, now: Instant) {
        let Some(mut held) = self.take_suspended(id, None) else {
            return;
        };
        if let Some((lookup, position)) = held.lookup.take() {
            self.leave_lookup(id, lookup, now);
            held.progress.answer = Some((position, LookupResult::Down(Outcome::UpstreamTimeout)));
        }
        self.read_suspended_head(id, held, now);
        self.mark_client_ready(id);
    }
}
