//! One socket with its pipe and its sticky bits, and the tables the loop keeps them in.
//!
//! The bits hold what the kernel said and was not used up yet (edge-triggered: it says it once). Stopping early leaves them
//! set, so nothing is lost when the engine does not want to read.

use std::io;

use mio::event::Event;
use mio::{Interest, Registry, Token};

use super::listener::Socket;
use crate::proxy::command::Fault;
use crate::transport::tls::ClientTls;
use crate::transport::{Handshake, Received, Transport};

/// A socket the loop watches.
pub(super) struct Connection {
    socket: Socket,
    transport: Transport,
    generation: u32,
    stage: Stage,
    readable: bool,
    writable: bool,
    /// The peer's FIN was reported: a short read is no proof that the socket is drained.
    pub(super) hung_up: bool,
    /// The engine knows of the FIN.
    pub(super) hangup_told: bool,
    /// The kernel reported an error on the socket.
    errored: bool,
    /// Whether the registration includes writability.
    pub(super) watches_writable: bool,
    /// Our direction ends as soon as the last ciphertext is out.
    closing: bool,
    /// Whether it stands in a queue of the loop.
    pub(super) queued: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// TCP is connecting.
    Connecting,
    /// TLS is shaking hands.
    Securing,
    Open,
}

/// What reading came to.
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    End,
    Broken(String),
}

/// What writing came to.
pub(super) enum Put {
    Nothing,
    /// So many bytes were taken; `blocked`: the socket takes no more for now.
    Bytes {
        n: usize,
        blocked: bool,
    },
    Failed(String),
}

impl Connection {
    /// An accepted client: open, and writable until a write says otherwise.
    pub(super) fn client(socket: Socket, generation: u32) -> Connection {
        Connection::new(socket, Transport::Plain, generation, Stage::Open, true)
    }

    /// A connection that is being made.
    pub(super) fn upstream(socket: Socket, generation: u32, tls: Option<&ClientTls>) -> io::Result<Connection> {
        let transport = match tls {
            None => Transport::Plain,
            Some(tls) => Transport::client(tls).map_err(|fault| io::Error::other(fault.to_string()))?,
        };
        Ok(Connection::new(socket, transport, generation, Stage::Connecting, false))
    }

    fn new(socket: Socket, transport: Transport, generation: u32, stage: Stage, writable: bool) -> Connection {
        Connection {
            socket,
            transport,
            generation,
            stage,
            readable: false,
            writable,
            hung_up: false,
            hangup_told: false,
            errored: false,
            watches_writable: false,
            closing: false,
            queued: false,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        registry.register(&mut self.socket, token, interest)
    }

    /// Asks to be told when the socket takes bytes again; once in a connection's life.
    pub(super) fn watch_writable(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.watches_writable = true;
        registry.reregister(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Keeps what the kernel said.
    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
        self.hung_up |= event.is_read_closed();
        self.errored |= event.is_error() || (event.is_write_closed() && event.is_read_closed());
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Goes on connecting: true when the connection can carry bytes.
    pub(super) fn establish(&mut self) -> Result<bool, (Fault, String)> {
        if self.stage == Stage::Connecting {
            if self.errored {
                let reason =
                    self.socket.take_error().ok().flatten().map_or("closed".to_owned(), |error| error.to_string());
                return Err((Fault::Refused, reason));
            }
            if !self.writable {
                return Ok(false);
            }
            self.stage = Stage::Securing;
        }
        match self.transport.handshake(&mut self.socket) {
            Ok(Handshake::Done) => {
                self.stage = Stage::Open;
                Ok(true)
            }
            Ok(Handshake::Pending) => Ok(false),
            Err(fault) => Err((Fault::Tls, fault.to_string())),
        }
    }

    /// Whether a read is worth its call.
    pub(super) fn may_read(&self) -> bool {
        self.readable || self.transport.has_plaintext()
    }

    /// Reads into `room`.
    pub(super) fn get(&mut self, scratch: &mut [u8], room: &mut [u8]) -> Got {
        match self.transport.read(&mut self.socket, scratch, room) {
            Received::Bytes { n, drained } => {
                // Behind a FIN a short read proves nothing: the end itself must still be read.
                if drained && !self.hung_up {
                    self.readable = false;
                }
                Got::Bytes(n)
            }
            Received::Blocked => {
                self.readable = false;
                Got::Nothing
            }
            Received::End => {
                self.readable = false;
                Got::End
            }
            Received::Fault(fault) => {
                self.readable = false;
                Got::Broken(fault.to_string())
            }
        }
    }

    /// Writes both parts in one call where it can.
    pub(super) fn put(&mut self, head: &[u8], body: &[u8]) -> Put {
        let offered = head.len() + body.len();
        if !self.writable || (offered == 0 && !self.transport.wants_write()) {
            return Put::Nothing;
        }
        match self.transport.write(&mut self.socket, head, body) {
            Ok(n) => {
                let blocked = n < offered || self.transport.wants_write();
                self.writable = !blocked;
                if self.closing && !blocked {
                    self.end_direction();
                }
                Put::Bytes { n, blocked }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Put::Bytes { n: 0, blocked: true }
            }
            Err(error) => {
                // What the peer said before it closed may still wait in the socket.
                self.readable = true;
                Put::Failed(error.to_string())
            }
        }
    }

    /// Ends our direction, behind what the pipe still holds.
    pub(super) fn shut(&mut self) {
        self.transport.close_notify(&mut self.socket);
        if self.transport.wants_write() {
            self.closing = true;
        } else {
            self.end_direction();
        }
    }

    fn end_direction(&mut self) {
        self.closing = false;
        if let Err(error) = self.socket.shutdown_write() {
            log::debug!("shutdown: {error}");
        }
    }

    /// Closes the socket; with `abort` by a reset, so that nobody takes what was sent for complete.
    pub(super) fn close(mut self, abort: bool) {
        if abort {
            self.socket.reset_on_close();
        } else {
            self.transport.close_notify(&mut self.socket);
        }
    }
}

/// Connections under the slots of the engine's slab; the generation tells a slot's owners apart.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
}

impl Connections {
    pub(super) fn put(&mut self, index: u32, connection: Connection) {
        let index = index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(connection);
        }
    }

    pub(super) fn get(&mut self, index: u32, generation: u32) -> Option<&mut Connection> {
        self.slots.get_mut(index as usize)?.as_mut().filter(|connection| connection.generation == generation)
    }

    pub(super) fn take(&mut self, index: u32, generation: u32) -> Option<Connection> {
        self.get(index, generation)?;
        self.slots.get_mut(index as usize)?.take()
    }

    /// The generation of the connection in a slot.
    pub(super) fn generation(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize)?.as_ref().map(|connection| connection.generation)
    }
}
