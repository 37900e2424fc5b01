//! Bytes between one connection and the engine. The loop decides when; this is what happens then, on any kind of socket.

use log::debug;

use super::super::messages::mid_sentence;
use super::connection::{Connection, EstablishResult, RawStream, ReadResult, WriteResult};
use super::sockets::{OtherSide, Sockets};
use crate::limits::READ_BYTES;
use crate::proxy::Proxy;
use crate::proxy::command::{Fault, Side};
use crate::time::Instant;

/// What a pass came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pumped {
    /// Bytes both ways. None: there is nothing to do before something happens, or the engine asks for attention.
    pub bytes: usize,
    /// There is more to do here at once, whatever the engine says: bytes to read, or a pipe to empty.
    pub again: bool,
    /// The socket takes no more, for the first time: ask to be told when it does.
    pub watch: bool,
    /// The peer's FIN or RST is known and the engine was not told: see [`report_hangup`].
    pub hung_up: bool,
}

/// Whether a connection could move anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PumpResult {
    /// It could try.
    Pumped(Pumped),
    /// Its share of this iteration is used up.
    OutOfBudget,
    /// It is not open: go on with [`establish`].
    NotOpen,
    /// It is closed.
    Gone,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Established {
    /// It carries bytes. Otherwise it is not there yet, or gone.
    pub open: bool,
    /// The kernel is to say from now on when the socket takes bytes.
    pub watch: bool,
}

/// Goes on with a connection that is not open: TCP, then TLS.
pub fn establish<S: RawStream>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    scratch: &mut [u8],
    now: Instant,
) -> Established {
    let open = continue_establishing(proxy, connection, side, scratch, now);
    let watch = connection.is_handshake_blocked()
        && !core::mem::replace(&mut connection.watches_writable, true);
    Established { open, watch }
}

fn continue_establishing<S: RawStream>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    scratch: &mut [u8],
    now: Instant,
) -> bool {
    match (connection.establish(scratch), side) {
        (EstablishResult::Pending, _) => return false,
        (EstablishResult::Done { .. }, Side::Upstream(id)) => proxy.handle_connected(id, now),
        (EstablishResult::Done { subject }, Side::Client(id)) => {
            proxy.handle_secured(
                id,
                subject.map(|text| text.into_bytes().into_boxed_slice()),
                now,
            );
        }
        (EstablishResult::NotTls(bytes), Side::Client(id)) => proxy.handle_not_tls(id, &bytes, now),
        (EstablishResult::NotTls(_), Side::Upstream(_)) => return false,
        (EstablishResult::Failed(fault, reason), Side::Upstream(_)) => {
            // The engine tells of it where a request fails; a check, or a try that was not the last, is less.
            debug!("upstream connection: {reason}");
            proxy.handle_explained_fault(side, fault, mid_sentence(reason), now);
            return false;
        }
        (EstablishResult::Failed(fault, reason), Side::Client(_)) => {
            debug!("TLS with a client failed: {reason}");
            // The alert is out, or as far out as it will get; it must not be lost to a reset.
            connection.downgrade_to_plain();
            proxy.handle_fault(side, fault, now);
        }
    }
    true
}

/// Reads once and writes once. Obey the engine before the connection is used again.
///
/// An upstream is read first: what came on a pooled connection before the next request went out is no answer to it.
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
    // What a record costs does not depend on what it says: empty ones and changes of keys are bytes of the share, too.
    let bytes = read
        .saturating_add(written)
        .max(connection.take_ciphertext());
    connection.spend(bytes);
    // TLS may have more to say after every call.
    let again = bytes > 0 && (!connection.is_plain() || connection.has_more());
    let watch = blocked && !core::mem::replace(&mut connection.watches_writable, true);
    PumpResult::Pumped(Pumped {
        bytes,
        again,
        watch,
        hung_up: connection.has_unreported_hangup(),
    })
}

/// Whether a pass could move anything now. What the engine wants attended to, the loop often knows to be done already, or to have
/// to wait for the socket.
pub fn can_progress<S: RawStream>(proxy: &Proxy, connection: &Connection<S>, side: Side) -> bool {
    !connection.is_open()
        || connection.has_more()
        || !connection.is_plain()
        || (connection.may_write() && proxy.has_pending(side))
}

/// What a pass works with. Half of its calls find nothing to do, so each asks that first and is in place; what moves bytes is not.
struct Pump<'a, S: RawStream> {
    proxy: &'a mut Proxy,
    connection: &'a mut Connection<S>,
    other_side: OtherSide<'a, S>,
    side: Side,
    scratch: &'a mut [u8],
    now: Instant,
}

impl<S: RawStream> Pump<'_, S> {
    /// Writes once what there is for this side: bytes, and whether it takes no more.
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
        let written = if connection.has_spliced && head.is_empty() && body.is_empty() {
            connection.splice_out(*side, other_side.pipes)
        } else {
            connection.write(scratch, head, body)
        };
        match written {
            WriteResult::Nothing => (0, false),
            WriteResult::Bytes { n, blocked } => {
                if n > 0 {
                    proxy.handle_sent(*side, n, *now);
                }
                (n, blocked)
            }
            WriteResult::Closed(reason) if matches!(side, Side::Upstream(_)) => {
                debug!("write: {reason}");
                proxy.handle_explained_fault(*side, Fault::SendFailed, mid_sentence(reason), *now);
                // What the peer said before it closed may still be read.
                (1, false)
            }
            WriteResult::Closed(reason) | WriteResult::Broken(reason) => {
                debug!("write: {reason}");
                proxy.handle_explained_fault(*side, Fault::Reset, mid_sentence(reason), *now);
                (0, false)
            }
        }
    }

    /// Reads once what the engine has room for, or lets it pass unseen.
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
        if self.connection.large_reads
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
                connection.large_reads = n >= other_side.pipes.min_splice_read();
                proxy.handle_received(*side, n, *now);
                return n;
            }
            ReadResult::Nothing | ReadResult::Unfit => proxy.handle_received(*side, 0, *now),
            ReadResult::End => {
                proxy.handle_received(*side, 0, *now);
                proxy.handle_end(*side, *now);
            }
            ReadResult::Broken(reason) => {
                debug!("read: {reason}");
                proxy.handle_received(*side, 0, *now);
                proxy.handle_explained_fault(*side, Fault::Reset, mid_sentence(reason), *now);
            }
        }
        0
    }

    /// Moves bytes into a pipe for the other side, where the engine need not see them. `None`: they are to be read.
    fn splice(&mut self) -> Option<usize> {
        let Pump {
            proxy,
            connection,
            other_side,
            side,
            now,
            ..
        } = self;
        let passage = proxy.splice_offer(*side)?;
        let open = other_side
            .get(passage.to)
            .is_some_and(|other| other.is_open() && other.is_plain());
        if !open || !connection.is_plain() {
            return None;
        }
        let most = usize::try_from(passage.most)
            .unwrap_or(usize::MAX)
            .min(READ_BYTES);
        let mut pipe = other_side.pipes.acquire()?;
        let result = connection.splice_in(&mut pipe, most);
        match (&result, other_side.get(passage.to)) {
            (ReadResult::Bytes(_), Some(other)) => {
                other.has_spliced = true;
                other_side.pipes.attach(passage.to, pipe);
            }
            _ => other_side.pipes.release(pipe),
        }
        match result {
            ReadResult::Bytes(n) => {
                connection.large_reads = n >= other_side.pipes.min_splice_read();
                proxy.handle_spliced(*side, n, *now);
                return Some(n);
            }
            ReadResult::Nothing => {}
            ReadResult::End => proxy.handle_end(*side, *now),
            ReadResult::Broken(reason) => {
                debug!("read: {reason}");
                proxy.handle_explained_fault(*side, Fault::Reset, mid_sentence(reason), *now);
            }
            ReadResult::Unfit => {
                debug!("the kernel cannot splice these sockets: bodies are copied");
                other_side.pipes.disable();
                return None;
            }
        }
        Some(0)
    }
}

/// The peer's FIN or RST is known, but nobody reads up to it: the engine may want to give up at once. False: there is nothing
/// to tell.
pub fn report_hangup<S: RawStream>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    now: Instant,
) -> bool {
    if connection.take_reset() {
        proxy.handle_reset(side, now);
        return true;
    }
    let told = connection.take_hangup();
    if told {
        proxy.handle_hangup(side, now);
    }
    told
}
