//! Requests of the gateway's own: to see whether a target is well, to fetch a key set, to ask an
//! identity provider.
//!
//! A subrequest goes to a row of the settings' targets and so has its pool, its names and its TLS
//! settings; it is relayed to no client. Its requester gets one answer, later: what was found, or
//! why nothing was. Never from within [`Subrequests::start`] itself, so that the requester has
//! noted that it waits.
//!
//! ```text
//! start --> (Resolving --> Dialing -->) head (1xx skipped) --> body, collected up to its limit --> done
//!                                       `-- a pooled connection was dead: once more on a fresh one
//! ```

pub(super) mod memory;
mod response;
mod spec;
#[cfg(test)]
mod tests;

use self::response::Body;
pub(super) use self::spec::{Expects, OwnedField, Requester, SubResponse, SubrequestSpec};
use super::command::Fault;
use super::context::{Context, TimerKey};
use super::ids::{OfSubrequest, ServiceId, SubrequestId, UpstreamId};
use super::outbox::Outbox;
use super::reason::{Failure, Reason};
use super::upstream::{Dialed, Dialing, Owner, Search, Upstreams};
use crate::http::persistence::head_authenticates_connection;
use crate::observe::access::Outcome;
use crate::slab::Slab;
use crate::time::Duration;
use crate::wheel::{Timer, Wheel};

/// A request of the gateway's own that is under way.
pub(super) struct Subrequest {
    requester: Requester,
    dialing: Dialing,
    expects: Expects,
    keep: Option<Duration>,
    replayed: bool,
    /// Number of 1xx heads that came.
    interim: u32,
    response: Option<Body>,
    /// Failure that the requester is told of when the timer fires.
    pending_error: Option<Failure>,
    timer: Timer,
}

/// All requests of the gateway's own.
pub(super) struct Subrequests {
    slab: Slab<Subrequest, OfSubrequest>,
}

/// The end of a subrequest: whom to tell what.
pub(super) type Done = (Requester, Result<SubResponse, Failure>);

impl Subrequests {
    /// Bytes of one of them in its table.
    pub(super) const SLOT_BYTES: usize = Slab::<Subrequest, OfSubrequest>::SLOT_BYTES;

    /// Creates a table without subrequests.
    pub(super) fn new() -> Subrequests {
        Subrequests { slab: Slab::new() }
    }

    /// Sends a request off. `None`: as many are under way as may be. The one errand is not counted.
    pub(super) fn start(
        &mut self,
        spec: SubrequestSpec,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<SubrequestId> {
        let is_counted = spec.requester != Requester::Errand;
        if is_counted && self.len() >= ctx.rules.bounds.subrequests {
            return None;
        }
        // What authenticates a connection as a whole would count for the requests behind it, too.
        let may_keep = !head_authenticates_connection(&spec.request);
        let keep = spec.keep.filter(|_| may_keep);
        let id = self.slab.insert(Subrequest {
            requester: spec.requester,
            dialing: Dialing::new(spec.target, spec.address),
            expects: spec.expects,
            keep,
            replayed: false,
            interim: 0,
            response: None,
            pending_error: None,
            timer: Timer::default(),
        });
        let mut head = ctx.buffers.lend(spec.request.len());
        let _ = head.push(&spec.request);
        let subrequest = self.slab.get_mut(id)?;
        let key = TimerKey::Subrequest(id);
        ctx.arm(&mut subrequest.timer, key, Some(spec.within));
        let may_reuse = keep.is_some() && spec.address.is_none();
        let mut search = subrequest.search(id);
        let outbox = Outbox::retain_head(head);
        let dialed = upstreams.connect_subrequest(&mut search, may_reuse, outbox, ctx);
        subrequest.note_dialed(id, dialed, ctx);
        Some(id)
    }

    /// Sends the health checks of a service that are due.
    pub(super) fn send_checks(
        &mut self,
        service: ServiceId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) {
        while let Some(due) = upstreams.due_check(service, ctx) {
            let checked = due.checked;
            if self.start(due.into(), upstreams, ctx).is_none() {
                upstreams.postpone_check(checked, ctx);
            }
        }
        upstreams.arm_checks(service, ctx);
    }

    /// Returns the timer of a subrequest.
    pub(super) fn timer(&mut self, id: SubrequestId) -> Option<&mut Timer> {
        self.slab
            .get_mut(id)
            .map(|subrequest| &mut subrequest.timer)
    }

    /// Returns what the upstream part must know to connect a subrequest.
    pub(super) fn search(&mut self, id: SubrequestId) -> Option<Search<'_>> {
        self.slab
            .get_mut(id)
            .map(|subrequest| subrequest.search(id))
    }

    /// Number of subrequests under way.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Leaves one reminder for each timer of this part.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for id in self.slab.keys().collect::<Vec<_>>() {
            if let Some(subrequest) = self.slab.get_mut(id) {
                timers.renew(&mut subrequest.timer, TimerKey::Subrequest(id));
            }
        }
    }

    /// Gives a subrequest up whose answer is not needed any more.
    pub(super) fn cancel(
        &mut self,
        id: SubrequestId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) {
        let subrequest = self.slab.remove(id);
        if let Some(upstream) = subrequest.and_then(|subrequest| subrequest.dialing.upstream) {
            upstreams.close(upstream.id, ctx);
        }
    }

    /// Gives all subrequests up; the requesters are not told.
    pub(super) fn cancel_all(&mut self, upstreams: &mut Upstreams, ctx: &mut Context) {
        for id in self.slab.keys().collect::<Vec<_>>() {
            self.cancel(id, upstreams, ctx);
        }
    }

    // --- the connection ---

    /// Goes on once the name that a subrequest waited for is known, or known to have no address.
    pub(super) fn on_name_resolved(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) {
        if let Some(subrequest) = self.slab.get_mut(id) {
            let dialed = upstreams.name_resolved(up, &mut subrequest.search(id), ctx);
            subrequest.note_dialed(id, dialed, ctx);
        }
    }

    /// Goes on after the connection was not made: the next address is tried, where there is one.
    pub(super) fn on_refused(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let subrequest = self.slab.get_mut(id)?;
        let outcome = fault.outcome();
        match upstreams.redial(up, &mut subrequest.search(id), fault, ctx) {
            Some(dialed) => {
                subrequest.note_dialed(id, dialed, ctx);
                None
            }
            None => self.finish(id, Err(Failure { outcome, reason }), upstreams, ctx),
        }
    }

    /// Goes on after the open connection broke, or took no more: what it sent before is still read.
    pub(super) fn on_fault(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        if fault == Fault::SendFailed
            && let Some(upstream) = upstreams.get_mut(up)
        {
            upstream.write_failed = true;
            upstreams.mark_ready(up, ctx);
            return None;
        }
        let outcome = fault.outcome();
        self.lost(id, up, Failure { outcome, reason }, upstreams, ctx)
    }

    /// Sends the request once more on a fresh connection: a pooled one may have died unnoticed.
    fn lost(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        failure: Failure,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let subrequest = self.slab.get_mut(id)?;
        let upstream = upstreams.get_mut(up)?;
        let was_reused = subrequest.dialing.upstream.is_some_and(|used| used.reused);
        if !was_reused
            || subrequest.replayed
            || subrequest.response.is_some()
            || !upstream.outbox.can_rewind()
        {
            return self.finish(id, Err(failure), upstreams, ctx);
        }
        subrequest.replayed = true;
        subrequest.interim = 0;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        outbox.rewind();
        upstreams.close(up, ctx);
        let mut search = subrequest.search(id);
        let dialed = upstreams.connect_subrequest(&mut search, false, outbox, ctx);
        subrequest.note_dialed(id, dialed, ctx);
        None
    }

    // --- the end ---

    /// Acts on the deadline: the time for the answer is over, or the requester is told of a
    /// failure.
    pub(super) fn on_deadline(
        &mut self,
        id: SubrequestId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let subrequest = self.slab.get_mut(id)?;
        let late = || Failure::new(Outcome::UpstreamTimeout, Reason::AnswerTimeout);
        let failure = subrequest.pending_error.take().unwrap_or_else(late);
        if let Some(upstream) = subrequest.dialing.upstream {
            // Where it waited in vain for a connection, the next one does not begin.
            upstreams.note_address(upstream.id, false);
        }
        self.finish(id, Err(failure), upstreams, ctx)
    }

    fn finish(
        &mut self,
        id: SubrequestId,
        answer: Result<SubResponse, Failure>,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let subrequest = self.slab.remove(id)?;
        if let Some(upstream) = subrequest.dialing.upstream {
            upstreams.close(upstream.id, ctx);
        }
        Some((subrequest.requester, answer))
    }
}

impl Subrequest {
    fn search(&mut self, id: SubrequestId) -> Search<'_> {
        Search::Own {
            owner: Owner::Subrequest(id),
            dialing: &mut self.dialing,
        }
    }

    /// Fails later, by the timer, where the name has no address: not before the call that found out
    /// has returned.
    fn note_dialed(&mut self, id: SubrequestId, dialed: Dialed, ctx: &mut Context) {
        if dialed == Dialed::NoAddress {
            self.pending_error = Some(Failure::no_address());
            let key = TimerKey::Subrequest(id);
            ctx.timers.arm(&mut self.timer, key, ctx.now);
        }
    }
}
