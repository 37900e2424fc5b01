//! A step of moving bytes between a connection and the engine.
//!
//! Works on any [`RawStream`], so the simulation runs the same code. Out of scope: how often a
//! connection is pumped, and the engine's commands, which run after each step (`event_loop.rs`).

use log::debug;

use super::connection::{Connection, EstablishResult, Hangup, ReadResult, WriteResult};
use super::raw_stream::RawStream;
use super::sockets::{OtherSide, Sockets};
use crate::limits::READ_BYTES;
use crate::net::messages::mid_sentence;
use crate::proxy::Proxy;
use crate::proxy::announcements;
use crate::proxy::challenges;
use crate::proxy::command::{Fault, Side};
use crate::proxy::sealed;
use crate::time::Instant;

/// Progress of one pump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pumped {
    /// Bytes moved in both directions. 0: nothing is to be done before an event comes or the engine
    /// marks the side ready.
    pub bytes: usize,
    /// The connection should be pumped again at once: a read or a write of spliced bytes may
    /// succeed.
    pub again: bool,
    /// The socket is full for the first time: register it for writable events.
    pub watch: bool,
    /// A FIN or reset is known and the engine was not told: call [`report_hangup`].
    pub hung_up: bool,
}

/// Result of [`pump_once`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PumpResult {
    /// A read and a write were tried.
    Pumped(Pumped),
    /// The budget of this iteration is used up.
    OutOfBudget,
    /// The connection is not open: call [`establish`].
    NotOpen,
    /// The connection is closed.
    Gone,
}

/// Result of [`establish`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Established {
    /// The connection carries bytes. Otherwise it is still connecting, or has failed.
    pub open: bool,
    /// The socket is full for the first time: register it for writable events.
    pub watch: bool,
}

/// Continues to connect: TCP first, then TLS.
pub fn establish<S: RawStream>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    scratch: &mut [u8],
    now: Instant,
) -> Established {
    let open = continue_establishing(proxy, connection, side, scratch, now);
    let watch = connection.is_handshake_blocked() && connection.watch_for_writing();
    Established { open, watch }
}

fn continue_establishing<S: RawStream>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    scratch: &mut [u8],
    now: Instant,
) -> bool {
    let result = match (connection.establish(scratch), side) {
        (EstablishResult::Announced(announced), Side::Client(id)) => {
            if !announcements::announced(proxy, id, announced, now) {
                return false;
            }
            connection.establish(scratch)
        }
        (result, _) => result,
    };
    match (result, side) {
        (EstablishResult::Pending | EstablishResult::Announced(_), _) => return false,
        (EstablishResult::Open, _) => {}
        (EstablishResult::Unannounced(fault), Side::Client(id)) => {
            announcements::unannounced(proxy, id, fault, now);
            return false;
        }
        (EstablishResult::Proved, Side::Client(id)) => {
            challenges::close(proxy, id, now);
            return false;
        }
        (EstablishResult::Unannounced(_) | EstablishResult::Proved, Side::Upstream(_)) => {
            return false;
        }
        (EstablishResult::Done { .. }, Side::Upstream(id)) => proxy.handle_connected(id, now),
        (EstablishResult::Done { subject }, Side::Client(id)) => {
            proxy.note_entrance(id, None, connection.tls_version());
            proxy.handle_secured(
                id,
                subject.map(|text| text.into_bytes().into_boxed_slice()),
                now,
            );
        }
        (EstablishResult::NotTls(bytes), Side::Client(id)) => {
            if !challenges::answer_plain(proxy, id, &bytes, now) {
                proxy.handle_not_tls(id, &bytes, now);
            }
        }
        (EstablishResult::NotTls(_), Side::Upstream(_)) => return false,
        (EstablishResult::Failed(fault, reason), Side::Upstream(_)) => {
            // Debug level only: the engine reports the failure where a request fails for it.
            debug!("upstream connection: {reason}");
            proxy.handle_fault(side, fault, Some(mid_sentence(reason)), now);
            return false;
        }
        (EstablishResult::Uncertified(reason), _) => {
            connection.downgrade_to_plain();
            proxy.handle_fault(side, Fault::Tls, Some(mid_sentence(reason)), now);
        }
        (EstablishResult::Failed(fault, reason), Side::Client(_)) => {
            debug!("TLS with a client failed: {reason}");
            // The alert was sent as far as possible. The connection stays until the client closes
            // it, because a reset could destroy the alert.
            connection.downgrade_to_plain();
            proxy.handle_fault(side, fault, None, now);
        }
    }
    true
}

/// Reads once and writes once. Run the engine's commands before the connection is used again.
///
/// An upstream is read first: bytes that came on a pooled connection before the next request was
/// sent are no response to it.
pub fn pump_once<S: RawStream>(
    proxy: &mut Proxy,
    sockets: &mut Sockets<S>,
    (side, iteration): (Side, u32),
    scratch: &mut [u8],
    now: Instant,
) -> PumpResult {
    let Some((connection, other_side)) = sockets.with_other_side(side) else {
        return PumpResult::Gone;
    };
    if !connection.is_open() {
        return PumpResult::NotOpen;
    }
    if !connection.has_budget(iteration) {
        return PumpResult::OutOfBudget;
    }
    let mut pump = Pump {
        proxy,
        connection,
        other_side,
        side,
        scratch,
        now,
    };
    let (read, (written, blocked)) = match side {
        Side::Upstream(_) => {
            let read = pump.read();
            (read, pump.write())
        }
        Side::Client(_) => {
            let written = pump.write();
            (pump.read(), written)
        }
    };
    // The cost of a TLS record does not depend on its plaintext: empty records and key updates
    // count, too.
    let bytes = read
        .saturating_add(written)
        .max(connection.take_ciphertext());
    connection.spend(bytes);
    // TLS may have more to read or write after every call.
    let again = bytes > 0 && (!connection.is_plain() || connection.has_more());
    let watch = blocked && connection.watch_for_writing();
    PumpResult::Pumped(Pumped {
        bytes,
        again,
        watch,
        hung_up: connection.has_unreported_hangup(),
    })
}

/// Returns `true` if a pump could move bytes now. Many sides that the engine marks ready are already
/// done, or wait for the socket. `has_pending`: the engine has bytes for the side.
pub fn can_progress<S: RawStream>(connection: &Connection<S>, has_pending: bool) -> bool {
    !connection.is_open()
        || connection.has_more()
        || !connection.is_plain()
        || (connection.may_write() && has_pending)
}

/// Arguments of one pump. Half of its calls find nothing to do: `read` and `write` test for that
/// inline, and call the rest out of line.
struct Pump<'a, S: RawStream> {
    proxy: &'a mut Proxy,
    connection: &'a mut Connection<S>,
    other_side: OtherSide<'a, S>,
    side: Side,
    scratch: &'a mut [u8],
    now: Instant,
}

impl<S: RawStream> Pump<'_, S> {
    /// Writes once what is pending for this side. Returns the number of bytes, and `true` if the
    /// socket is full.
    #[inline(always)]
    fn write(&mut self) -> (usize, bool) {
        let connection = &*self.connection;
        let waits =
            self.proxy.has_pending(self.side) || connection.has_spliced || !connection.is_plain();
        if waits && connection.may_write() {
            self.write_out()
        } else {
            (0, false)
        }
    }

    #[inline(never)]
    fn write_out(&mut self) -> (usize, bool) {
        let Pump {
            proxy,
            connection,
            other_side,
            side,
            scratch,
            now,
        } = self;
        let (head, body) = proxy.pending(*side);
        let result = if connection.has_spliced && head.is_empty() && body.is_empty() {
            connection.splice_out(*side, other_side.pipes)
        } else {
            connection.write(scratch, head, body)
        };
        match result {
            WriteResult::Nothing => (0, false),
            WriteResult::Bytes { n, blocked } => {
                if n > 0 {
                    proxy.handle_sent(*side, n, *now);
                } else if !connection.is_plain() {
                    sealed::held(proxy, *side);
                }
                (n, blocked)
            }
            WriteResult::Closed(reason) if matches!(side, Side::Upstream(_)) => {
                debug!("write: {reason}");
                proxy.handle_fault(*side, Fault::SendFailed, Some(mid_sentence(reason)), *now);
                // Counts as progress: bytes that the upstream sent before it closed may be read.
                (1, false)
            }
            WriteResult::Closed(reason) | WriteResult::Broken(reason) => {
                debug!("write: {reason}");
                proxy.handle_fault(*side, Fault::Reset, Some(mid_sentence(reason)), *now);
                (0, false)
            }
        }
    }

    /// Reads once into the engine's window, or splices. Returns the number of bytes.
    #[inline(always)]
    fn read(&mut self) -> usize {
        if self.connection.may_read() {
            self.read_in()
        } else {
            0
        }
    }

    #[inline(never)]
    fn read_in(&mut self) -> usize {
        if self.connection.has_large_reads()
            && let Some(n) = self.splice()
        {
            return n;
        }
        let Pump {
            proxy,
            connection,
            other_side,
            side,
            scratch,
            now,
        } = self;
        let room = proxy.room(*side);
        if room.is_empty() {
            return 0;
        }
        match connection.read(scratch, room) {
            ReadResult::Bytes(n) => {
                connection.record_read_size(n >= other_side.pipes.min_splice_read());
                proxy.handle_received(*side, n, *now);
                return n;
            }
            ReadResult::WouldBlock | ReadResult::CannotSplice => {
                proxy.handle_received(*side, 0, *now)
            }
            ReadResult::End => {
                proxy.handle_received(*side, 0, *now);
                proxy.handle_end(*side, *now);
            }
            ReadResult::Broken(fault, reason) => {
                debug!("read: {reason}");
                proxy.handle_received(*side, 0, *now);
                proxy.handle_fault(*side, fault, Some(mid_sentence(reason)), *now);
            }
        }
        0
    }

    /// Moves received bytes into a pipe for the other side, if the engine offers that. Returns
    /// `None` if the bytes are to be read instead.
    fn splice(&mut self) -> Option<usize> {
        let Pump {
            proxy,
            connection,
            other_side,
            side,
            now,
            ..
        } = self;
        let offer = proxy.splice_offer(*side)?;
        let is_open = other_side
            .get(offer.to)
            .is_some_and(|other| other.is_open() && other.is_plain());
        if !is_open || !connection.is_plain() {
            return None;
        }
        let most = usize::try_from(offer.most)
            .unwrap_or(usize::MAX)
            .min(READ_BYTES);
        let mut pipe = other_side.pipes.acquire()?;
        let result = connection.splice_in(&mut pipe, most);
        match (&result, other_side.get(offer.to)) {
            (ReadResult::Bytes(_), Some(other)) => {
                other.has_spliced = true;
                other_side.pipes.attach(offer.to, pipe);
            }
            _ => other_side.pipes.release(pipe),
        }
        match result {
            ReadResult::Bytes(n) => {
                connection.record_read_size(n >= other_side.pipes.min_splice_read());
                proxy.handle_spliced(*side, n, *now);
                return Some(n);
            }
            ReadResult::WouldBlock => {}
            ReadResult::End => proxy.handle_end(*side, *now),
            ReadResult::Broken(fault, reason) => {
                debug!("read: {reason}");
                proxy.handle_fault(*side, fault, Some(mid_sentence(reason)), *now);
            }
            ReadResult::CannotSplice => {
                debug!("the kernel cannot splice these sockets: bodies are copied");
                other_side.pipes.disable();
                return None;
            }
        }
        Some(0)
    }
}

/// Tells the engine of a FIN or reset that is known before the bytes in front of it are read: the
/// engine may give up at once. Returns `false` if there is nothing to tell.
pub fn report_hangup<S: RawStream>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    now: Instant,
) -> bool {
    match connection.take_hangup() {
        Some(Hangup::Reset) => proxy.handle_fault(side, Fault::SendFailed, None, now),
        Some(Hangup::Fin) => proxy.handle_hangup(side, now),
        None => return false,
    }
    true
}
