//! Bodies that go from one socket to the other without being looked at.
//!
//! Where the framing of a large body stays as it is, nothing of it needs to be seen: that so many bytes went by is all that the
//! engine wants to know. [`Proxy::passage`] offers them to the loop, which may decline by reading into the `room` as ever.
//! Bytes that were taken out of one socket and are not in the other yet wait with the loop. The engine counts them as part of
//! the receiver's outbox, so back-pressure, deadlines and the order of what is sent are the same as with bytes it holds itself.
//!
//! Chunks are not offered (their framing must be read), nor are tunnels, nor what is dropped.

use super::Proxy;
use super::command::{DownstreamId, Side, UpstreamId};
use super::downstream::Phase;
use super::exchange::{Reply as ReplyState, Upload};
use super::relay::Progress;
use super::upstream::{Stage, Work};
use crate::time::Instant;

/// An offer: bytes of one side that may go to the other unseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passage {
    /// Whom they are for. Nothing else waits to be written to it.
    pub to: Side,
    /// How many at most; at least one.
    pub most: u64,
}

impl Proxy {
    /// What may go from this side to another unseen. Asking is optional, and so is taking it; whoever does follows up with
    /// `handle_passed` once the bytes are out of the one socket, and with `handle_sent` as they get into the other. Until then
    /// they are the caller's to keep, and die with the receiver's connection.
    pub fn passage(&self, side: Side) -> Option<Passage> {
        let least = self.settings.limits.passage_bytes;
        match side {
            Side::Down(id) => {
                let down = self.downs.get(id).filter(|down| down.inbox.is_empty())?;
                let Phase::Relay(exchange) = &down.phase else {
                    return None;
                };
                let Upload::Copy(transfer) = &exchange.upload else {
                    return None;
                };
                let most = transfer.passable(least)?;
                let link = exchange.link?;
                let up = self
                    .ups
                    .get(link.id)
                    .filter(|up| up.stage == Stage::Open && !up.deaf)?;
                up.outbox.is_sent().then_some(Passage {
                    to: Side::Up(link.id),
                    most,
                })
            }
            Side::Up(id) => {
                let up = self.ups.get(id).filter(|up| up.inbox.is_empty())?;
                let Work::Exchange(client) = up.work else {
                    return None;
                };
                let down = self.downs.get(client)?;
                let Phase::Relay(exchange) = &down.phase else {
                    return None;
                };
                let ReplyState::Copy { transfer, .. } = &exchange.reply else {
                    return None;
                };
                let most = transfer.passable(least)?;
                down.outbox.is_sent().then_some(Passage {
                    to: Side::Down(client),
                    most,
                })
            }
        }
    }

    /// `n` bytes of the passage from this side were taken out of its socket.
    pub fn handle_passed(&mut self, side: Side, n: usize, now: Instant) {
        match side {
            Side::Down(id) => self.upload_passed(id, n, now),
            Side::Up(id) => self.reply_passed(id, n, now),
        }
    }

    fn upload_passed(&mut self, id: DownstreamId, n: usize, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut down.phase else {
            return;
        };
        let Upload::Copy(transfer) = &mut exchange.upload else {
            return;
        };
        let Some(up) = exchange.link.and_then(|link| self.ups.get_mut(link.id)) else {
            return;
        };
        up.outbox.pass(n);
        let progress = transfer.pass(n);
        exchange.draft.bytes_in = transfer.moved();
        self.upload_moved(id, progress, now);
    }

    fn reply_passed(&mut self, up: UpstreamId, n: usize, now: Instant) {
        let Some(Work::Exchange(id)) = self.ups.get(up).map(|upstream| upstream.work) else {
            return;
        };
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut down.phase else {
            return;
        };
        let ReplyState::Copy { transfer, reusable } = &mut exchange.reply else {
            return;
        };
        let reusable = *reusable;
        down.outbox.pass(n);
        let progress = transfer.pass(n);
        exchange.draft.bytes_out = transfer.moved();
        match progress {
            Progress::Complete => self.reply_read(id, reusable, now),
            Progress::More => self.reply_moved(id, now),
        }
    }
}
