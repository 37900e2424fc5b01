//! Bodies that go from one socket to the other without being looked at.
//!
//! Where the framing of a large body stays as it is, nothing of it needs to be seen: that so many bytes went by is all that the
//! engine wants to know. [`Proxy::splice_offer`] offers them to the loop, which may decline by reading into the `room` as ever.
//! Bytes that were taken out of one socket and are not in the other yet wait with the loop. The engine counts them as part of
//! the receiver's outbox, so back-pressure, deadlines and the order of what is sent are the same as with bytes it holds itself.
//!
//! Chunks are not offered (their framing must be read), nor are tunnels, nor what is dropped.

use super::Proxy;
use super::client::Phase;
use super::command::{ClientId, Side, UpstreamId};
use super::exchange::{Reply as ReplyState, Upload};
use super::relay::Progress;
use super::upstream::{Owner, Stage};
use crate::time::Instant;

/// An offer: bytes of one side that may go to the other unseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpliceOffer {
    /// Whom they are for. Nothing else waits to be written to it.
    pub to: Side,
    /// How many at most; at least one.
    pub most: u64,
}

impl Proxy {
    /// What may go from this side to another unseen. Asking is optional, and so is taking it; whoever does follows up with
    /// `handle_spliced` once the bytes are out of the one socket, and with `handle_sent` as they get into the other. Until then
    /// they are the caller's to keep, and die with the receiver's connection.
    pub fn splice_offer(&self, side: Side) -> Option<SpliceOffer> {
        let least = self.settings.limits.splice_min_bytes;
        match side {
            Side::Client(id) => {
                let client = self
                    .clients
                    .get(id)
                    .filter(|client| client.inbox.is_empty())?;
                let Phase::Relay(exchange) = &client.phase else {
                    return None;
                };
                let Upload::Copy(transfer) = &exchange.upload else {
                    return None;
                };
                let most = transfer.spliceable(least)?;
                let link = exchange.link?;
                let up = self
                    .upstreams
                    .get(link.id)
                    .filter(|up| up.stage == Stage::Open && !up.write_failed)?;
                up.outbox.is_sent().then_some(SpliceOffer {
                    to: Side::Upstream(link.id),
                    most,
                })
            }
            Side::Upstream(id) => {
                let up = self.upstreams.get(id).filter(|up| up.inbox.is_empty())?;
                let Owner::Exchange(client_id) = up.owner else {
                    return None;
                };
                let client = self.clients.get(client_id)?;
                let Phase::Relay(exchange) = &client.phase else {
                    return None;
                };
                let ReplyState::Copy { transfer, .. } = &exchange.reply else {
                    return None;
                };
                let most = transfer.spliceable(least)?;
                client.outbox.is_sent().then_some(SpliceOffer {
                    to: Side::Client(client_id),
                    most,
                })
            }
        }
    }

    /// `n` bytes of the passage from this side were taken out of its socket.
    pub fn handle_spliced(&mut self, side: Side, n: usize, now: Instant) {
        match side {
            Side::Client(id) => self.request_spliced(id, n, now),
            Side::Upstream(id) => self.response_spliced(id, n, now),
        }
    }

    fn request_spliced(&mut self, id: ClientId, n: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return;
        };
        let Upload::Copy(transfer) = &mut exchange.upload else {
            return;
        };
        let Some(up) = exchange
            .link
            .and_then(|link| self.upstreams.get_mut(link.id))
        else {
            return;
        };
        up.outbox.spliced(n);
        let progress = transfer.spliced(n);
        exchange.log_entry.bytes_in = transfer.moved();
        self.upload_moved(id, progress, now);
    }

    fn response_spliced(&mut self, up: UpstreamId, n: usize, now: Instant) {
        let Some(Owner::Exchange(id)) = self.upstreams.get(up).map(|upstream| upstream.owner)
        else {
            return;
        };
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return;
        };
        let ReplyState::Copy { transfer, reusable } = &mut exchange.reply else {
            return;
        };
        let reusable = *reusable;
        client.outbox.spliced(n);
        let progress = transfer.spliced(n);
        exchange.log_entry.bytes_out = transfer.moved();
        match progress {
            Progress::Complete => self.reply_read(id, reusable, now),
            Progress::More => self.reply_moved(id, now),
        }
    }
}
