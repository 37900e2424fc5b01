//! Connections without a kernel: bytes in flight, buffers that fill up, FIN and RST, edges.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use tollgate::net::io::raw_stream::{RawStream, Readiness};
use tollgate::net::io::splice_pipes::Pipe;

/// Bytes the gateway's kernel holds for it.
const RECEIVE_BUFFER: usize = 128 << 10;

/// How a direction of a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Fin,
    Reset,
    /// Nothing more moves in it.
    Stall,
}

/// Where a connection is cut: behind so many bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Towards the gateway.
    pub inbound: bool,
    pub at: usize,
    pub how: How,
}

/// How the gateway left a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// FIN: all it wrote can be read.
    Clean,
    /// RST.
    Reset,
}

/// One connection between the gateway and a peer.
#[derive(Default)]
struct Link {
    /// Said by the peer, on its way.
    in_flight: VecDeque<u8>,
    fin_in_flight: bool,
    /// Bytes the peer has said, bytes of them that arrived, and bytes the peer has heard.
    said: usize,
    delivered: usize,
    heard: usize,
    /// Bytes of the peer's that the gateway passed on unseen.
    passed: usize,
    cut: Option<Cut>,
    /// Whatever the peer says behind so many bytes, nobody has asked for it.
    unasked_behind: Option<usize>,
    /// Arrived, for the gateway to read.
    arrived: VecDeque<u8>,
    fin_arrived: bool,
    /// The connection is broken, as the gateway's kernel knows it.
    broken: bool,
    /// The breach was reported.
    told: bool,
    /// Written by the gateway, for the peer to read.
    written: VecDeque<u8>,
    /// How much of that fits.
    window: usize,
    /// A write was short: the next room is an edge.
    blocked: bool,
    shut: bool,
    left: Option<Left>,
    reset_on_close: bool,
    /// Nobody listens there.
    refused: bool,
    edges: Readiness,
    /// Calls until one is interrupted (EINTR).
    interrupt_in: u32,
}

/// The peer's end.
#[derive(Clone)]
pub struct End(Rc<RefCell<Link>>);

/// The gateway's end: its socket. Dropping it closes it.
pub struct Socket(Rc<RefCell<Link>>);

/// A connection whose send buffer holds `window` bytes.
pub fn connection(window: usize) -> (End, Socket) {
    let link = Rc::new(RefCell::new(Link {
        window,
        ..Link::default()
    }));
    (End(Rc::clone(&link)), Socket(link))
}

impl End {
    /// Sends; what was sent arrives when [`End::arrive`] says so.
    pub fn say(&self, bytes: &[u8]) {
        let mut link = self.0.borrow_mut();
        link.said += bytes.len();
        if !link.broken && link.left.is_none() {
            link.in_flight.extend(bytes);
        }
    }

    /// Bytes said so far.
    pub fn said(&self) -> usize {
        self.0.borrow().said
    }

    /// Bytes heard so far.
    pub fn heard(&self) -> usize {
        self.0.borrow().heard
    }

    /// Bytes of it that the gateway passed on unseen.
    pub fn passed(&self) -> usize {
        self.0.borrow().passed
    }

    /// A number that grows whenever a byte is said, arrives or is heard.
    pub fn progress(&self) -> usize {
        let link = self.0.borrow();
        link.said + link.delivered + link.heard
    }

    /// Whether the gateway's kernel got the first `bytes` that were said.
    pub fn has_delivered(&self, bytes: usize) -> bool {
        self.0.borrow().delivered >= bytes
    }

    /// The peer has answered everything: what it says from here on, nobody has asked for.
    pub fn have_answered(&self) {
        let mut link = self.0.borrow_mut();
        link.unasked_behind = Some(link.said);
    }

    /// A cut keeps the peer from hearing anything more.
    pub fn is_stalled(&self) -> bool {
        let link = self.0.borrow();
        link.cut
            .is_some_and(|cut| !cut.inbound && cut.how == How::Stall && link.heard >= cut.at)
    }

    /// Its own reset keeps the peer from hearing anything more, even where the gateway has left already.
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

    /// Ends its direction behind what was sent.
    pub fn finish(&self) {
        self.0.borrow_mut().fin_in_flight = true;
    }

    /// Breaks the connection. `lossy`: bytes that arrived and were not read are lost. A FIN that
    /// arrived keeps them: a read that finds an end has read all bytes in front of it, which
    /// tests/loopback/edges.rs asks the kernel.
    pub fn reset(&self, lossy: bool) {
        let mut link = self.0.borrow_mut();
        link.in_flight.clear();
        if lossy && !link.fin_arrived {
            link.arrived.clear();
        }
        link.break_down();
    }

    /// Lets up to `most` bytes arrive, and the end behind the last.
    pub fn arrive(&self, most: usize) -> usize {
        let mut link = self.0.borrow_mut();
        if link.broken {
            return 0;
        }
        if link.left.is_some() {
            // Bytes for a closed socket: the kernel answers with RST.
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
            link.be_cut();
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

    /// Reads up to `most` bytes that the gateway wrote.
    pub fn hear(&self, most: usize) -> Vec<u8> {
        let mut link = self.0.borrow_mut();
        // Behind a FIN the peer still listens.
        let ended = |cut: &Cut| cut.how == How::Fin && link.heard >= cut.at && link.fin_arrived;
        let cut = link.cut.filter(|cut| !cut.inbound && !ended(cut));
        let until_cut = cut.map_or(usize::MAX, |cut| cut.at - link.heard.min(cut.at));
        let n = link.written.len().min(most).min(until_cut);
        let bytes = link.written.drain(..n).collect();
        link.heard += n;
        link.make_room();
        if cut.is_some_and(|cut| cut.at == link.heard) {
            link.be_cut();
        }
        bytes
    }

    /// What was written and not read is lost (an RST overtakes it).
    pub fn lose(&self) {
        self.0.borrow_mut().written.clear();
    }

    pub fn unheard(&self) -> usize {
        self.0.borrow().written.len()
    }

    /// The gateway ended its direction, or the whole connection.
    pub fn is_ended(&self) -> bool {
        let link = self.0.borrow();
        link.shut || link.left.is_some()
    }

    pub fn left(&self) -> Option<Left> {
        self.0.borrow().left
    }

    /// The connection is made, or refused: the gateway's socket says so.
    pub fn settle(&self, made: bool) {
        let mut link = self.0.borrow_mut();
        link.refused = !made;
        link.edges.writable = true;
        link.edges.failed |= !made;
        link.edges.read_closed |= !made;
    }

    /// The kernel reports what is not news (F3).
    pub fn report(&self, readiness: Readiness) {
        let mut link = self.0.borrow_mut();
        link.edges.readable |= readiness.readable;
        // A full buffer is never reported as writable.
        link.edges.writable |= readiness.writable && link.written.len() < link.window;
    }

    /// The call after so many is interrupted.
    pub fn interrupt_in(&self, calls: u32) {
        self.0.borrow_mut().interrupt_in = calls;
    }

    /// What the kernel has to say of the gateway's socket.
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

    /// The cut comes. Whatever the peer says from here on is lost.
    fn be_cut(&mut self) {
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
            How::Reset if !self.broken => self.break_down(),
            How::Fin | How::Reset | How::Stall => {}
        }
    }

    fn break_down(&mut self) {
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
            // As much as there is room for: only then does a short read mean what it means of the kernel.
            let n = room.len().min(link.arrived.len());
            for (to, byte) in room.iter_mut().zip(link.arrived.drain(..n)) {
                *to = byte;
            }
            return Ok(n);
        }
        // Behind a FIN the end is what is read, whatever came after it.
        if link.broken && !link.fin_arrived && !std::mem::replace(&mut link.told, true) {
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
        assert!(!link.shut, "a write behind the end of our direction");
        if link.is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // The reset is told once, to a read or to a write; a read that comes after it finds an end.
        if link.broken && !link.fin_arrived && !std::mem::replace(&mut link.told, true) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if link.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // Only the first write can know: what comes later may be an answer for all the gateway can tell.
        let unasked = link
            .unasked_behind
            .take()
            .is_some_and(|answered| link.delivered > answered);
        assert!(
            !unasked,
            "I3: a request for a connection with bytes that nobody asked for"
        );
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

/// What passes unseen waits here.
pub struct Tube(VecDeque<u8>);

impl Pipe for Tube {
    fn open() -> io::Result<Tube> {
        Ok(Tube(VecDeque::new()))
    }
}

impl RawStream for Socket {
    type Pipe = Tube;

    /// Half of what arrived, as if it had come in small segments: fewer than asked for proves nothing.
    fn splice_to_pipe(&mut self, pipe: &mut Tube, most: usize) -> io::Result<usize> {
        assert!(
            pipe.0.is_empty(),
            "I1: a pipe that holds somebody's bytes already"
        );
        let arrived = self.0.borrow().arrived.len();
        let mut bytes = vec![0; most.min(arrived.div_ceil(2).max(1))];
        let n = self.read(&mut bytes)?;
        pipe.0.extend(&bytes[..n]);
        self.0.borrow_mut().passed += n;
        Ok(n)
    }

    /// A short write is no edge to wait for; only one that would block is.
    fn splice_from_pipe(&mut self, pipe: &mut Tube, most: usize) -> io::Result<usize> {
        assert_eq!(pipe.0.len(), most, "I1: all that waits is sent");
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
        // Closing with bytes unread is a reset, too: the kernel's way to say that they were not.
        let reset = link.reset_on_close || !link.arrived.is_empty() || link.broken;
        link.left = Some(if reset { Left::Reset } else { Left::Clean });
    }
}
