//! A connection of the event loop: a socket, its transport (plain or TLS), and its readiness.
//!
//! Sockets are registered edge-triggered: the kernel reports each change once. `ReadState` and
//! `WriteState` keep what was reported until a system call finds the socket drained or full. A
//! pump that stops early leaves them set, so no report is lost when the engine does not want to
//! read.
//!
//! ```text
//! stage:   AwaitingHeader ──header known──> SkippingHeader ──all of it read──> Handshaking, or Open
//!          Connecting ──writable──> Handshaking ──TLS done, or plain──> Open
//!              └──error──> ConnectFailed
//! read:    Drained  <──event / WouldBlock, short read──>  Readable
//! write:   Blocked  <──event / WouldBlock, short write──>  Writable
//! peer:    Sending ──FIN──> Fin ──RST──> Reset     (the engine is told of each once)
//! ```
//!
//! `states.rs` has the states, `transfer.rs` reads and writes, `announcement.rs` reads headers of the PROXY protocol. Out of scope: which bytes move and when (`pump.rs`), registration with the poll (the loop).

mod announcement;
mod hello;
mod states;
mod transfer;

use std::io;

use self::states::{EndOfStream, Fin, Peer, ReadSize, ReadState, Stage, Watch, WriteState};
pub(super) use self::transfer::{ReadResult, WriteResult};
use super::budget::Budget;
use super::dial::is_no_route;
use super::raw_stream::{RawStream, Readiness};
use crate::http::proxy_header::{Announced, HeaderFault};
use crate::observe::access::TlsVersion;
use crate::proxy::command::Fault;
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;
use crate::transport::{Handshake, TlsFacts, Transport, TransportFault};

/// A socket of the event loop, with its transport and its state.
pub struct Connection<S: RawStream> {
    socket: S,
    transport: Transport,
    generation: u32,
    /// Serial number of the listener that accepted it; 0: none did.
    pub(in crate::net) listener: u32,
    stage: Stage,
    read_state: ReadState,
    read_size: ReadSize,
    write_state: WriteState,
    watch: Watch,
    fin: Fin,
    peer: Peer,
    end_of_stream: EndOfStream,
    /// Bytes for this connection wait in a pipe.
    pub(super) has_spliced: bool,
    /// The connection stands in the run queue.
    pub(super) is_queued: bool,
    budget: Budget,
}

/// End or failure of the peer that the engine was not told of yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hangup {
    Fin,
    Reset,
}

/// Result of one step of connecting.
pub(super) enum EstablishResult {
    /// The connection is open. `subject` is the subject of the peer's certificate, if it has one.
    Done {
        subject: Option<String>,
    },
    Pending,
    Failed(Fault, String),
    /// The certificate of a client was refused, or it showed none although one is required.
    Uncertified(String),
    /// A client of a TLS listener speaks plain HTTP. The bytes are the first that it sent.
    NotTls(Vec<u8>),
    /// The header of the PROXY protocol was understood: continue.
    Announced(Announced),
    /// The connection does not begin with that header. `None`: the peer closed it before the first
    /// byte.
    Unannounced(Option<HeaderFault>),
    /// The header was read, and the connection is a plain one: it is open.
    Open,
    /// The handshake has proved a name: the connection ends.
    Proved,
}

impl<S: RawStream> Connection<S> {
    /// Makes an open connection of an accepted client.
    pub fn client(socket: S, generation: u32) -> Connection<S> {
        Connection::new(socket, Transport::Plain, generation, Stage::Open)
    }

    /// Makes a connection of an accepted client that begins with a TLS handshake.
    ///
    /// # Errors
    /// rustls rejects the settings of the listener.
    pub fn secure_client(socket: S, generation: u32, tls: &ServerTls) -> io::Result<Connection<S>> {
        let transport =
            Transport::server(tls).map_err(|fault| io::Error::other(fault.to_string()))?;
        Ok(Connection::new(
            socket,
            transport,
            generation,
            Stage::Handshaking,
        ))
    }

    /// Returns the version of TLS that was negotiated.
    pub fn tls_version(&self) -> Option<TlsVersion> {
        self.transport.tls_facts().map(|facts| facts.version)
    }

    /// Makes a connection to an upstream whose socket is connecting; `tls`: for an https target.
    ///
    /// # Errors
    /// rustls rejects the settings of the target.
    pub fn upstream(
        socket: S,
        generation: u32,
        tls: Option<&ClientTls>,
    ) -> io::Result<Connection<S>> {
        let transport = match tls {
            None => Transport::Plain,
            Some(tls) => {
                Transport::client(tls).map_err(|fault| io::Error::other(fault.to_string()))?
            }
        };
        Ok(Connection::new(
            socket,
            transport,
            generation,
            Stage::Connecting,
        ))
    }

    fn new(socket: S, transport: Transport, generation: u32, stage: Stage) -> Connection<S> {
        Connection {
            socket,
            transport,
            generation,
            listener: 0,
            stage,
            read_state: ReadState::Drained,
            read_size: ReadSize::Small,
            // An accepted socket has an empty send buffer; a connecting one reports when it is done.
            write_state: if stage == Stage::Connecting {
                WriteState::Blocked
            } else {
                WriteState::Writable
            },
            watch: Watch::Reading,
            fin: Fin::Unscheduled,
            peer: Peer::Sending,
            end_of_stream: EndOfStream::Clean,
            has_spliced: false,
            is_queued: false,
            budget: Budget::default(),
        }
    }

    // --- identity and budget ---

    /// Returns the generation of the connection's slot; it tells successive owners apart.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns the socket, to register it or to ask for its peer.
    pub fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Returns `true` if the connection may move more bytes in this iteration.
    pub(super) fn has_budget(&mut self, iteration: u32) -> bool {
        self.budget.is_left(iteration)
    }

    /// Subtracts moved bytes from the budget of this iteration.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.budget.spend(bytes);
    }

    // --- readiness ---

    /// Records an event of the kernel.
    pub fn record_readiness(&mut self, readiness: Readiness) {
        if readiness.readable || readiness.read_closed || readiness.failed {
            self.read_state = ReadState::Readable;
        }
        if readiness.writable {
            self.write_state = WriteState::Writable;
        }
        if readiness.failed && self.stage == Stage::Connecting {
            self.stage = Stage::ConnectFailed;
        }
        if readiness.reset {
            self.peer = self.peer.max(Peer::Reset);
        } else if readiness.read_closed {
            self.peer = self.peer.max(Peer::Fin);
        }
    }

    /// Returns `true` if a FIN or reset is known and the engine was not told of it.
    pub(super) fn has_unreported_hangup(&self) -> bool {
        matches!(self.peer, Peer::Fin | Peer::Reset)
    }

    /// Returns the FIN or reset that the engine is to be told of; each is returned once.
    pub(super) fn take_hangup(&mut self) -> Option<Hangup> {
        match self.peer {
            Peer::Fin => {
                self.peer = Peer::FinReported;
                Some(Hangup::Fin)
            }
            Peer::Reset => {
                self.peer = Peer::ResetReported;
                Some(Hangup::Reset)
            }
            Peer::Sending | Peer::FinReported | Peer::ResetReported => None,
        }
    }

    /// Returns `true` if the socket is registered for writable events.
    pub fn is_watched_for_writing(&self) -> bool {
        self.watch == Watch::Both
    }

    /// Records that the socket is registered for writable events. Returns `true` if it was not so
    /// before.
    pub fn watch_for_writing(&mut self) -> bool {
        core::mem::replace(&mut self.watch, Watch::Both) == Watch::Reading
    }

    /// Returns `true` if the connection carries application bytes.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Returns `true` if the bytes on the socket are the bytes of the messages.
    pub fn is_plain(&self) -> bool {
        self.transport.is_plain()
    }

    /// Returns `true` if a read may return something.
    pub(super) fn may_read(&self) -> bool {
        self.read_state == ReadState::Readable || self.transport.has_plaintext()
    }

    /// Returns `true` if the socket may take bytes.
    pub(super) fn may_write(&self) -> bool {
        self.write_state == WriteState::Writable
    }

    /// Returns `true` if a read, or a write of spliced bytes, may succeed.
    pub(super) fn has_more(&self) -> bool {
        self.may_read() || (self.has_spliced && self.may_write())
    }

    /// Returns `true` if the last read was large enough for the next to be spliced.
    pub(super) fn has_large_reads(&self) -> bool {
        self.read_size == ReadSize::Large
    }

    /// Keeps whether the last read was large.
    pub(super) fn record_read_size(&mut self, is_large: bool) {
        self.read_size = if is_large {
            ReadSize::Large
        } else {
            ReadSize::Small
        };
    }

    // --- connecting ---

    /// Continues to connect: TCP first, then TLS.
    pub(super) fn establish(&mut self, scratch: &mut [u8]) -> EstablishResult {
        if matches!(self.stage, Stage::AwaitingHeader | Stage::SkippingHeader(_)) {
            return self.establish_announced(scratch);
        }
        self.establish_transport(scratch)
    }

    fn establish_transport(&mut self, scratch: &mut [u8]) -> EstablishResult {
        if self.stage == Stage::ConnectFailed {
            let error = self.socket.take_error().ok().flatten();
            let fault = if error.as_ref().is_some_and(is_no_route) {
                Fault::NoRoute
            } else {
                Fault::Refused
            };
            let reason = error.map_or("closed".to_owned(), |error| error.to_string());
            return EstablishResult::Failed(fault, reason);
        }
        if self.stage == Stage::Connecting {
            if !self.may_write() {
                return EstablishResult::Pending;
            }
            self.stage = Stage::Handshaking;
        }
        match self.transport.handshake(&mut self.socket, scratch) {
            Ok(Handshake::Done) if self.stage == Stage::Proving => EstablishResult::Proved,
            Ok(Handshake::Done) => match self.transport.subject() {
                Ok(subject) => {
                    self.stage = Stage::Open;
                    EstablishResult::Done { subject }
                }
                Err(fault) => EstablishResult::Uncertified(fault.to_string()),
            },
            Ok(Handshake::Pending) => {
                // The rest of a flight goes out when the socket takes bytes again.
                if self.transport.wants_write() {
                    self.write_state = WriteState::Blocked;
                }
                EstablishResult::Pending
            }
            Err(TransportFault::NotTls(bytes)) => {
                self.downgrade_to_plain();
                EstablishResult::NotTls(bytes)
            }
            Err(TransportFault::Certificate(reason)) => EstablishResult::Uncertified(reason),
            Err(fault) => EstablishResult::Failed(Fault::Tls, fault.to_string()),
        }
    }

    /// Downgrades to plaintext, to send an error; input is discarded.
    pub(super) fn downgrade_to_plain(&mut self) {
        self.transport = Transport::Plain;
        self.stage = Stage::Open;
    }

    /// Returns the facts of its TLS handshake, if it is done.
    pub(in crate::net) fn tls_facts(&self) -> Option<TlsFacts> {
        self.transport.tls_facts()
    }

    /// Returns `true` if the handshake waits for a full socket.
    pub(super) fn is_handshake_blocked(&self) -> bool {
        matches!(self.stage, Stage::Handshaking | Stage::Proving) && self.transport.wants_write()
    }

    // --- closing ---

    /// Ends the gateway's direction, after the ciphertext that still waits.
    pub fn shut(&mut self) {
        self.transport.close_notify(&mut self.socket);
        if self.transport.wants_write() {
            self.fin = Fin::AfterCiphertext;
        } else {
            self.send_fin();
        }
    }

    fn send_fin(&mut self) {
        self.fin = Fin::Unscheduled;
        if let Err(error) = self.socket.shutdown_write() {
            log::debug!("shutdown: {error}");
        }
    }

    /// Closes the socket. `abort` sends a reset, so that the peer cannot take a cut message for a
    /// complete one.
    pub fn close(mut self, abort: bool) {
        if abort {
            self.socket.reset_on_close();
        } else if !self.is_awaiting_header() {
            self.transport.close_notify(&mut self.socket);
        }
    }
}
