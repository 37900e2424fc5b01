//! Bytes between one connection and the engine. The loop decides when; this is what happens then, on any kind of socket.

use log::{debug, warn};

use super::connection::{Connection, Establishing, Got, Put, Wire};
use crate::proxy::Proxy;
use crate::proxy::command::{Fault, Side};
use crate::time::Instant;

/// What a pass came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Bytes both ways. None: there is nothing to do before something happens.
    pub bytes: usize,
    /// The socket takes no more for now.
    pub blocked: bool,
}

/// Goes on with a connection that is being made: TCP, then TLS. False: it is not there yet, or gone.
pub fn establish<S: Wire>(proxy: &mut Proxy, connection: &mut Connection<S>, side: Side, now: Instant) -> bool {
    if connection.is_open() {
        return true;
    }
    match (connection.establish(), side) {
        (Establishing::Pending, _) => return false,
        (Establishing::Done { .. }, Side::Up(id)) => proxy.handle_connected(id, now),
        (Establishing::Done { subject }, Side::Down(id)) => {
            proxy.handle_secured(id, subject.map(|text| text.into_bytes().into_boxed_slice()), now);
        }
        (Establishing::NotTls(bytes), Side::Down(id)) => proxy.handle_not_tls(id, &bytes, now),
        (Establishing::NotTls(_), Side::Up(_)) => return false,
        (Establishing::Failed(fault, reason), Side::Up(_)) => {
            if fault == Fault::Tls {
                warn!("TLS with an upstream failed: {reason}");
            } else {
                debug!("upstream connection: {reason}");
            }
            proxy.handle_fault(side, fault, now);
            return false;
        }
        (Establishing::Failed(fault, reason), Side::Down(_)) => {
            debug!("TLS with a client failed: {reason}");
            // The alert is out, or as far out as it will get; it must not be lost to a reset.
            connection.strip();
            proxy.handle_fault(side, fault, now);
        }
    }
    true
}

/// Reads once and writes once. Obey the engine before the connection is used again.
///
/// An upstream is read first: what came on a pooled connection before the next request went out is no answer to it.
pub fn pass<S: Wire>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    scratch: &mut [u8],
    now: Instant,
) -> Moved {
    let (read, written) = match side {
        Side::Up(_) => {
            let read = read(proxy, connection, side, scratch, now);
            (read, write(proxy, connection, side, now))
        }
        Side::Down(_) => {
            let written = write(proxy, connection, side, now);
            (read(proxy, connection, side, scratch, now), written)
        }
    };
    Moved { bytes: read.saturating_add(written.bytes), ..written }
}

/// Writes once what the engine has for this side.
fn write<S: Wire>(proxy: &mut Proxy, connection: &mut Connection<S>, side: Side, now: Instant) -> Moved {
    let (head, body) = proxy.pending(side);
    match connection.put(head, body) {
        Put::Nothing => Moved { bytes: 0, blocked: false },
        Put::Bytes { n, blocked } => {
            if n > 0 {
                proxy.handle_sent(side, n, now);
            }
            Moved { bytes: n, blocked }
        }
        Put::Closed(reason) if matches!(side, Side::Up(_)) => {
            debug!("write: {reason}");
            proxy.handle_fault(side, Fault::SendFailed, now);
            // What the peer said before it closed may still be read.
            Moved { bytes: 1, blocked: false }
        }
        Put::Closed(reason) | Put::Broken(reason) => {
            debug!("write: {reason}");
            proxy.handle_fault(side, Fault::Reset, now);
            Moved { bytes: 0, blocked: false }
        }
    }
}

/// Reads once what the engine has room for.
fn read<S: Wire>(
    proxy: &mut Proxy,
    connection: &mut Connection<S>,
    side: Side,
    scratch: &mut [u8],
    now: Instant,
) -> usize {
    if !connection.may_read() {
        return 0;
    }
    let room = proxy.room(side);
    if room.is_empty() {
        return 0;
    }
    match connection.get(scratch, room) {
        Got::Bytes(n) => {
            proxy.handle_received(side, n, now);
            return n;
        }
        Got::Nothing => proxy.handle_received(side, 0, now),
        Got::End => {
            proxy.handle_received(side, 0, now);
            proxy.handle_end(side, now);
        }
        Got::Broken(reason) => {
            debug!("read: {reason}");
            proxy.handle_received(side, 0, now);
            proxy.handle_fault(side, Fault::Reset, now);
        }
    }
    0
}

/// The peer's FIN is known, but nobody reads up to it: the engine may want to give up at once.
pub fn tell_hangup<S: Wire>(proxy: &mut Proxy, connection: &mut Connection<S>, side: Side, now: Instant) {
    if connection.take_hangup() {
        proxy.handle_hangup(side, now);
    }
}
