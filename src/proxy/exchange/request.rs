//! The request's body, from the client to the upstream. A small one is gathered before a connection
//! is taken.

use super::super::outbox::Outbox;
use super::super::reason::{Failure, Reason};
use super::super::transfer::Progress;
use super::super::upstream::{NoEndpoint, Selection};
use super::pace::Pace;
use super::relay::Relay;
use super::traits::WaitsFor;
use super::{ExchangeStep, Upload};
use crate::buffer::BufferPool;
use crate::http::framing::RequestBody;
use crate::observe::access::Outcome;

/// A small body that is being read, and the head that goes out before it.
pub(in crate::proxy) struct Gathering {
    /// Destination of the request.
    selection: Selection,
    /// The head for the upstream, and what came of the body.
    outbox: Outbox,
    /// Bytes that are still to come; at least one.
    left: usize,
}

impl Gathering {
    /// Gives the storage back.
    pub(super) fn clear(&mut self, buffers: &mut BufferPool) {
        self.outbox.clear(buffers);
    }
}

impl Relay<'_> {
    /// Begins: connects the exchange to `selection`, or gathers its request's body before. `outbox`
    /// holds the head for the upstream, `came` bytes came behind the client's.
    #[inline]
    pub(in crate::proxy) fn begin(
        &mut self,
        selection: Selection,
        outbox: Outbox,
        body: &RequestBody,
        came: usize,
    ) -> ExchangeStep {
        let bytes = match body {
            RequestBody::Empty => 0,
            RequestBody::Sized(bytes) => *bytes,
            RequestBody::Chunked => u64::MAX,
        };
        // The usual case: all of it is here.
        if bytes <= came as u64 {
            return self.connect(selection, outbox);
        }
        if bytes <= self.exchange.rules.common.gathered_bytes {
            self.begin_gathering(selection, outbox, bytes);
            return ExchangeStep::Wait;
        }
        let now = self.ctx.now;
        self.exchange.pace = Pace::of(body, &self.service().timeouts, now);
        self.connect(selection, outbox)
    }

    #[cold]
    fn begin_gathering(&mut self, selection: Selection, outbox: Outbox, bytes: u64) {
        let left = usize::try_from(bytes).unwrap_or(usize::MAX);
        let body = self.service().timeouts.body;
        let head = self.exchange.rules.common.head_timeout;
        self.exchange.upload = Upload::Gather(Box::new(Gathering {
            selection,
            outbox,
            left,
        }));
        self.exchange.waits_for = WaitsFor::RequestBody;
        self.arm_for([head, body].into_iter().flatten().min());
    }

    /// Moves bytes of the client towards the upstream.
    pub(in crate::proxy) fn on_client_bytes(&mut self) -> ExchangeStep {
        if self.exchange.is_tunnel() {
            return self.tunnel_to_upstream();
        }
        let transfer = match &mut self.exchange.upload {
            Upload::Copy(transfer) => transfer,
            Upload::Gather(_) => return self.gather(),
            Upload::NotStarted | Upload::Done | Upload::Abandoned => return ExchangeStep::Wait,
        };
        let Some(up) = self.exchange.attempts.upstream_id() else {
            return ExchangeStep::Wait;
        };
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return ExchangeStep::Wait;
        };
        let before = transfer.moved();
        let (inbox, buffers) = (&mut self.client.inbox, &mut self.ctx.buffers);
        let step = transfer.step(inbox, &mut upstream.outbox, buffers);
        let moved = transfer.moved();
        self.exchange.log_entry.numbers.bytes_in = moved;
        if let Some(pace) = &mut self.exchange.pace
            && !self.client.inbox.is_empty()
        {
            pace.hold_up();
        }
        let limit = self.exchange.rules.body_bytes;
        if limit.is_some_and(|limit| moved > limit) {
            let failure = Failure::new(Outcome::OverLimit, Reason::BodyTooLong);
            return ExchangeStep::RefuseBody(failure);
        }
        match step {
            Ok(Progress::More) if moved == before => ExchangeStep::Wait,
            Ok(progress) => self.request_moved(progress),
            Err(error) => ExchangeStep::RefuseBody(Failure::request_body(error)),
        }
    }

    /// Notes bytes of the request that are on their way up. Once it is all of them, a
    /// client that is already gone is noticed.
    pub(super) fn request_moved(&mut self, progress: Progress) -> ExchangeStep {
        let is_complete = progress == Progress::Complete;
        if is_complete {
            self.exchange.upload = Upload::Done;
            self.exchange.pace = None;
        }
        self.mark_upstream_ready();
        if is_complete && self.client.ended && !self.exchange.rules.common.half_close {
            return self.cancel();
        }
        ExchangeStep::Wait
    }

    /// Takes what came of a body that is read whole first; connects when that is all of it.
    fn gather(&mut self) -> ExchangeStep {
        let Upload::Gather(gathering) = &mut self.exchange.upload else {
            return ExchangeStep::Wait;
        };
        let (inbox, buffers) = (&mut self.client.inbox, &mut self.ctx.buffers);
        let n = gathering.outbox.gather(inbox, gathering.left, buffers);
        gathering.left = gathering.left.saturating_sub(n);
        let entry = &mut self.exchange.log_entry;
        entry.numbers.bytes_in = entry.numbers.bytes_in.saturating_add(n as u64);
        if gathering.left > 0 {
            return ExchangeStep::Wait;
        }
        if self.client.ended && !self.exchange.rules.common.half_close {
            return self.cancel();
        }
        let gathered = core::mem::replace(&mut self.exchange.upload, Upload::Done);
        match gathered {
            Upload::Gather(gathered) => ExchangeStep::Connect(gathered),
            _ => ExchangeStep::Wait,
        }
    }

    /// Connects the exchange once all of its request's body was gathered.
    pub(in crate::proxy) fn connect_gathered(&mut self, gathered: Gathering) -> ExchangeStep {
        let mut outbox = gathered.outbox;
        let step = match self.renew_selection(gathered.selection) {
            Ok(selection) if self.readdress(selection, &mut outbox) => {
                return self.connect(selection, outbox);
            }
            Ok(_) => ExchangeStep::Fail(Failure::new(Outcome::OverLimit, Reason::HeadOutgrown)),
            Err(no_endpoint) => ExchangeStep::Refuse(no_endpoint),
        };
        outbox.clear(&mut self.ctx.buffers);
        step
    }

    /// Chooses again where the endpoint went out of use or is full, or its address went away, while
    /// the body came.
    /// An endpoint that is still up stays: a connection that is kept for this client alone may lead
    /// to it.
    ///
    /// # Errors
    /// No endpoint takes the request.
    fn renew_selection(&mut self, selection: Selection) -> Result<Selection, NoEndpoint> {
        let rules = &self.exchange.rules;
        if self.upstreams.is_up(rules, selection) {
            return Ok(selection);
        }
        let private = self.client.has_private.then_some(self.exchange.client);
        let client = self.exchange.log_entry.numbers.client;
        self.upstreams.choose(rules, client, private, self.ctx)
    }

    /// Notes bytes that were written to the upstream.
    pub(in crate::proxy) fn on_upstream_sent(&mut self) -> ExchangeStep {
        if self.exchange.is_tunnel() {
            return self.tunnel_sent();
        }
        // Progress of the request keeps the upstream's clock from running out.
        if self.exchange.awaits_head() {
            self.arm(WaitsFor::Response);
        } else {
            self.arm(WaitsFor::Progress);
        }
        if !matches!(self.exchange.upload, Upload::Copy(_)) {
            return ExchangeStep::Wait;
        }
        let step = self.on_client_bytes();
        self.mark_client_ready();
        step
    }

    /// Drops what came of a body that was to be read whole first.
    #[inline(always)]
    pub(in crate::proxy) fn drop_gathered(&mut self) {
        if let Upload::Gather(gathering) = &mut self.exchange.upload {
            gathering.clear(&mut self.ctx.buffers);
        }
        self.exchange.pace = None;
    }
}
