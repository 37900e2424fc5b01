//! Bodies that go from one socket to the other without being read (splice, zero-copy).
//!
//! The framing of a large body often stays as it is. Then the engine needs only the number of
//! bytes. A [`SpliceOffer`] tells the loop, which may decline by reading into the `room` instead.
//! Bytes that were taken out of one socket and are not in the other yet are with the loop, in a
//! pipe. The engine counts them as part of the receiver's outbox, so back-pressure, deadlines and
//! the order of what is sent are the same as with bytes it holds itself.
//!
//! Chunks are not offered (their framing must be read), nor are tunnels, nor what is dropped.

use super::super::command::Side;
use super::super::ids::UpstreamId;
use super::super::transfer::Progress;
use super::super::upstream::Stage;
use super::relay::Relay;
use super::{ExchangeStep, Response, Upload};

/// An offer: bytes of one side that may go to the other unread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpliceOffer {
    /// Receiver. Nothing else waits to be written to it.
    pub to: Side,
    /// Most bytes; at least one.
    pub most: u64,
}

impl Relay<'_> {
    /// Returns what may go from the client to the upstream.
    pub(in crate::proxy) fn splice_from_client(&self, least: u64) -> Option<SpliceOffer> {
        let Upload::Copy(transfer) = &self.exchange.upload else {
            return None;
        };
        if !self.client.inbox.is_empty() {
            return None;
        }
        let most = transfer.spliceable(least)?;
        let id = self.upstream_id()?;
        let upstream = self.upstreams.get(id)?;
        let takes =
            upstream.stage == Stage::Open && !upstream.write_failed && upstream.outbox.is_sent();
        let to = Side::Upstream(id);
        takes.then_some(SpliceOffer { to, most })
    }

    /// Returns what may go from the upstream to the client.
    pub(in crate::proxy) fn splice_from_upstream(
        &self,
        up: UpstreamId,
        least: u64,
    ) -> Option<SpliceOffer> {
        let Response::Copy { transfer, .. } = &self.exchange.response else {
            return None;
        };
        if !self.upstreams.get(up)?.inbox.is_empty() {
            return None;
        }
        let most = transfer.spliceable(least)?;
        let to = Side::Client(self.exchange.client);
        let takes = self.client.outbox.is_sent();
        takes.then_some(SpliceOffer { to, most })
    }

    /// Notes `n` bytes that were taken out of the client's socket.
    pub(in crate::proxy) fn request_spliced(&mut self, n: usize) -> ExchangeStep {
        let Upload::Copy(transfer) = &mut self.exchange.upload else {
            return ExchangeStep::Wait;
        };
        let Some(up) = self.exchange.attempts.upstream_id() else {
            return ExchangeStep::Wait;
        };
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return ExchangeStep::Wait;
        };
        upstream.outbox.spliced(n);
        let progress = transfer.spliced(n);
        self.exchange.log_entry.numbers.bytes_in = transfer.moved();
        self.request_moved(progress)
    }

    /// Notes `n` bytes that were taken out of the upstream's socket.
    pub(in crate::proxy) fn response_spliced(&mut self, n: usize) -> ExchangeStep {
        let Response::Copy { transfer, reusable } = &mut self.exchange.response else {
            return ExchangeStep::Wait;
        };
        let reusable = *reusable;
        self.client.outbox.spliced(n);
        let progress = transfer.spliced(n);
        self.exchange.log_entry.numbers.bytes_out = transfer.moved();
        match progress {
            Progress::Complete => self.response_read(reusable),
            Progress::More => {
                self.response_moved();
                ExchangeStep::Wait
            }
        }
    }
}
