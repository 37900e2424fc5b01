//! Connections without a kernel: bytes in flight, full buffers, FIN and RST, edge-triggered
//! readiness.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use tollgate::net::io::raw_stream::{RawStream, Readiness};
use tollgate::net::io::splice_pipes::Pipe;

/// Size of the receive buffer of the gateway's socket.
const RECEIVE_BUFFER: usize = 128 << 10;

/// Ways to cut one direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Fin,
    Reset,
    /// No more bytes move in this direction.
    Stall,
}

/// Position of a cut: behind the first `at` bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// True for the direction towards the gateway.
    pub inbound: bool,
    pub at: usize,
    pub how: How,
}

/// End of a connection as the gateway has left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// FIN: everything that was written can be read.
    Clean,
    Reset,
}

/// Connection between the gateway and a peer.
#[derive(Default)]
struct Link {
    /// Bytes that the peer has sent and that have not arrived.
    in_flight: VecDeque<u8>,
    fin_in_flight: bool,
    /// Number of bytes that the peer has sent, that have arrived at the gateway, and that the peer
    /// has received.
    sent: usize,
    delivered: usize,
    received: usize,
    /// Number of the peer's bytes that the gateway has spliced.
    spliced: usize,
    cut: Option<Cut>,
    /// Position behind which no request has asked for the peer's bytes.
    unasked_behind: Option<usize>,
    /// Bytes that have arrived and that the gateway has not read.
    arrived: VecDeque<u8>,
    fin_arrived: bool,
    /// True if the gateway's kernel knows that the connection is broken.
    broken: bool,
    /// True if the reset was reported to the gateway.
    reset_reported: bool,
    /// Bytes that the gateway has written and the peer has not read.
    written: VecDeque<u8>,
    /// Largest number of bytes in `written`.
    window: usize,
    /// True after a short write: the next free space is reported as an edge.
    blocked: bool,
    shut: bool,
    left: Option<Left>,
    reset_on_close: bool,
    /// True if the connection was refused.
    refused: bool,
    edges: Readiness,
    /// Number of calls until one is interrupted (EINTR).
    interrupt_in: u32,
}

/// Peer's end of a connection.
#[derive(Clone)]
pub struct End(Rc<RefCell<Link>>);

/// Gateway's end of a connection: its socket. Dropping it closes it.
pub struct Socket(Rc<RefCell<Link>>);

/// Returns a connection whose send buffer holds `window` bytes.
pub fn connection(window: usize) -> (End, Socket) {
    let link = Rc::new(RefCell::new(Link {
        window,
        ..Link::default()
    }));
    (End(Rc::clone(&link)), Socket(link))
}

impl End {
    /// Sends bytes. They arrive with [`End::arrive`].
    pub fn send(&self, bytes: &[u8]) {
        let mut link = self.0.borrow_mut();
        link.sent += bytes.len();
        if !link.broken && link.left.is_none() {
            link.in_flight.extend(bytes);
        }
    }

    /// Number of bytes that the peer has sent.
    pub fn sent(&self) -> usize {
        self.0.borrow().sent
    }

    /// Returns true if the gateway has read all that the peer has sent.
    pub fn is_read(&self) -> bool {
        let link = self.0.borrow();
        link.in_flight.is_empty() && link.arrived.is_empty()
    }

    /// Number of bytes that the peer has received.
    pub fn received(&self) -> usize {
        self.0.borrow().received
    }

    /// Number of the peer's bytes that the gateway has spliced.
    pub fn spliced(&self) -> usize {
        self.0.borrow().spliced
    }

    /// Returns a number that grows whenever a byte is sent, arrives or is received.
    pub fn progress(&self) -> usize {
        let link = self.0.borrow();
        link.sent + link.delivered + link.received
    }

    /// Returns true if the first `bytes` of the peer have reached the gateway's kernel.
    pub fn has_delivered(&self, bytes: usize) -> bool {
        self.0.borrow().delivered >= bytes
    }

    /// Records that the peer has answered everything: no request has asked for its later bytes.
    pub fn note_answered(&self) {
        let mut link = self.0.borrow_mut();
        link.unasked_behind = Some(link.sent);
    }

    /// Returns true if a stall keeps the peer from receiving more.
    pub fn is_stalled(&self) -> bool {
        let link = self.0.borrow();
        link.cut
            .is_some_and(|cut| !cut.inbound && cut.how == How::Stall && link.received >= cut.at)
    }

    /// Returns true if a reset by the cut keeps the peer from receiving more, even after the
    /// gateway has closed.
    pub fn is_cut_off(&self) -> bool {
        let link = self.0.borrow();
        link.broken
            && link
                .cut
                .is_some_and(|cut| !cut.inbound && cut.how == How::Reset)
    }

    /// Arranges a cut.
    pub fn cut(&self, cut: Cut) {
        self.0.borrow_mut().cut = Some(cut);
    }

    /// Sends FIN behind the bytes that were sent.
    pub fn finish(&self) {
        self.0.borrow_mut().fin_in_flight = true;
    }

    /// Resets the connection. With `lossy`, bytes that arrived and were not read are lost. A FIN
    /// that arrived keeps them: a read that finds an end has read all bytes in front of it.
    /// tests/loopback/edges.rs checks this with the kernel.
    pub fn reset(&self, lossy: bool) {
        let mut link = self.0.borrow_mut();
        link.in_flight.clear();
        if lossy && !link.fin_arrived {
            link.arrived.clear();
        }
        link.record_reset();
    }

    /// Lets up to `most` bytes arrive, and the FIN behind the last one.
    pub fn arrive(&self, most: usize) -> usize {
        let mut link = self.0.borrow_mut();
        if link.broken {
            return 0;
        }
        if link.left.is_some() {
            // The kernel answers bytes for a closed socket with RST.
            let lost = link.in_flight.len();
            link.in_flight.clear();
            if lost > 0 {
                link.left = Some(Left::Reset);
            }
            return 0;
        }
        let room = RECEIVE_BUFFER - link.arrived.len().min(RECEIVE_BUFFER);
        let cut = link.cut.filter(|cut| cut.inbound);
        let until_cut = cut.map_or(usize::MAX, |cut| cut.at - link.delivered.min(cut.at));
        let n = link.in_flight.len().min(most).min(room).min(until_cut);
        let bytes: Vec<u8> = link.in_flight.drain(..n).collect();
        link.arrived.extend(bytes);
        link.delivered += n;
        if cut.is_some_and(|cut| cut.at == link.delivered) {
            link.edges.readable |= n > 0;
            link.apply_cut();
            return n;
        }
        link.edges.readable |= n > 0;
        if link.in_flight.is_empty() && link.fin_in_flight && !link.fin_arrived {
            link.fin_arrived = true;
            link.edges.readable = true;
            link.edges.read_closed = true;
        }
        n
    }

    /// Reads up to `most` bytes that the gateway has written.
    pub fn receive(&self, most: usize) -> Vec<u8> {
        let mut link = self.0.borrow_mut();
        // The peer still receives after it has sent FIN.
        let ended = |cut: &Cut| cut.how == How::Fin && link.received >= cut.at && link.fin_arrived;
        let cut = link.cut.filter(|cut| !cut.inbound && !ended(cut));
        let until_cut = cut.map_or(usize::MAX, |cut| cut.at - link.received.min(cut.at));
        let n = link.written.len().min(most).min(until_cut);
        let bytes = link.written.drain(..n).collect();
        link.received += n;
        link.make_room();
        if cut.is_some_and(|cut| cut.at == link.received) {
            link.apply_cut();
        }
        bytes
    }

    /// Discards the bytes that were written and not read: an RST overtakes them.
    pub fn discard_written(&self) {
        self.0.borrow_mut().written.clear();
    }

    pub fn unread(&self) -> usize {
        self.0.borrow().written.len()
    }

    /// Returns true if the gateway has ended its direction or closed the connection.
    pub fn is_ended(&self) -> bool {
        let link = self.0.borrow();
        link.shut || link.left.is_some()
    }

    pub fn left(&self) -> Option<Left> {
        self.0.borrow().left
    }

    /// Completes the connection attempt. The gateway's socket reports the result.
    pub fn finish_connecting(&self, made: bool) {
        let mut link = self.0.borrow_mut();
        link.refused = !made;
        link.edges.writable = true;
        link.edges.failed |= !made;
        link.edges.read_closed |= !made;
    }

    /// Reports readiness without a change (F3).
    pub fn report(&self, readiness: Readiness) {
        let mut link = self.0.borrow_mut();
        link.edges.readable |= readiness.readable;
        // A full buffer is never reported as writable.
        link.edges.writable |= readiness.writable && link.written.len() < link.window;
    }

    /// Interrupts the call with this number.
    pub fn interrupt_in(&self, calls: u32) {
        self.0.borrow_mut().interrupt_in = calls;
    }

    /// Takes the readiness that the kernel reports for the gateway's socket.
    pub fn take_edges(&self) -> Option<Readiness> {
        let mut link = self.0.borrow_mut();
        if link.left.is_some() {
            return None;
        }
        let edges = std::mem::take(&mut link.edges);
        let any =
            edges.readable || edges.writable || edges.read_closed || edges.failed || edges.reset;
        any.then_some(edges)
    }
}

impl Link {
    fn make_room(&mut self) {
        if self.blocked && self.written.len() < self.window {
            self.blocked = false;
            self.edges.writable = true;
        }
    }

    /// Applies the cut. Later bytes of the peer are lost.
    fn apply_cut(&mut self) {
        let Some(cut) = self.cut else { return };
        if cut.inbound || cut.how != How::Stall {
            self.in_flight.clear();
        }
        match cut.how {
            How::Fin if !self.fin_arrived => {
                self.fin_arrived = true;
                self.edges.readable = true;
                self.edges.read_closed = true;
            }
            How::Reset if !self.broken => self.record_reset(),
            How::Fin | How::Reset | How::Stall => {}
        }
    }

    fn record_reset(&mut self) {
        self.broken = true;
        self.edges = Readiness {
            readable: true,
            writable: true,
            read_closed: true,
            failed: true,
            reset: true,
        };
    }

    fn is_interrupted(&mut self) -> bool {
        match self.interrupt_in {
            0 => false,
            1 => {
                self.interrupt_in = 0;
                true
            }
            _ => {
                self.interrupt_in -= 1;
                false
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut link = self.0.borrow_mut();
        if link.is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !link.arrived.is_empty() {
            // A read returns as much as fits. With the kernel, too, a short read means that no more
            // is there.
            let n = room.len().min(link.arrived.len());
            for (to, byte) in room.iter_mut().zip(link.arrived.drain(..n)) {
                *to = byte;
            }
            return Ok(n);
        }
        // Behind a FIN a read returns the end of the stream, even if the connection was reset
        // later.
        if link.broken && !link.fin_arrived && !std::mem::replace(&mut link.reset_reported, true) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if link.broken || link.fin_arrived {
            Ok(0)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut link = self.0.borrow_mut();
        assert!(!link.shut, "a write after the end of the direction");
        if link.is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // The reset is reported once, to a read or a write. A later read finds the end of the
        // stream.
        if link.broken && !link.fin_arrived && !std::mem::replace(&mut link.reset_reported, true) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if link.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // Only the first write is checked: bytes that come later may be an answer as far as the
        // gateway can tell.
        let unasked = link
            .unasked_behind
            .take()
            .is_some_and(|answered| link.delivered > answered);
        assert!(!unasked, "I3: a request on a connection with unasked bytes");
        let n = bytes
            .len()
            .min(link.window.saturating_sub(link.written.len()));
        link.blocked |= n < bytes.len();
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        link.written.extend(&bytes[..n]);
        Ok(n)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write(&all)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Memory in place of a kernel pipe, for bytes that are spliced.
pub struct MemoryPipe(VecDeque<u8>);

impl Pipe for MemoryPipe {
    fn open() -> io::Result<MemoryPipe> {
        Ok(MemoryPipe(VecDeque::new()))
    }
}

impl RawStream for Socket {
    type Pipe = MemoryPipe;

    fn peek(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.0.borrow().arrived.is_empty() {
            return self.read(room);
        }
        let mut link = self.0.borrow_mut();
        if link.is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let seen = room.iter_mut().zip(&link.arrived);
        Ok(seen.map(|(to, byte)| *to = *byte).count())
    }

    /// Moves half of what arrived, like small segments do: a short splice does not mean that no
    /// more is there.
    fn splice_to_pipe(&mut self, pipe: &mut MemoryPipe, most: usize) -> io::Result<usize> {
        assert!(pipe.0.is_empty(), "I1: a pipe that already holds bytes");
        let arrived = self.0.borrow().arrived.len();
        let mut bytes = vec![0; most.min(arrived.div_ceil(2).max(1))];
        let n = self.read(&mut bytes)?;
        pipe.0.extend(&bytes[..n]);
        self.0.borrow_mut().spliced += n;
        Ok(n)
    }

    /// Writes to the peer. A short splice does not arm an edge, only one that would block does.
    fn splice_from_pipe(&mut self, pipe: &mut MemoryPipe, most: usize) -> io::Result<usize> {
        assert_eq!(
            pipe.0.len(),
            most,
            "I1: a splice must send all bytes of the pipe"
        );
        let bytes: Vec<u8> = pipe.0.iter().copied().collect();
        let n = self.write(&bytes)?;
        self.0.borrow_mut().blocked = false;
        pipe.0.drain(..n);
        Ok(n)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let mut link = self.0.borrow_mut();
        link.shut = true;
        if link.broken {
            Err(io::ErrorKind::NotConnected.into())
        } else {
            Ok(())
        }
    }

    fn reset_on_close(&self) {
        self.0.borrow_mut().reset_on_close = true;
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self
            .0
            .borrow()
            .refused
            .then(|| io::ErrorKind::ConnectionRefused.into()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut link = self.0.borrow_mut();
        // Closing a socket with unread bytes sends a reset.
        let reset = link.reset_on_close || !link.arrived.is_empty() || link.broken;
        link.left = Some(if reset { Left::Reset } else { Left::Clean });
    }
}
