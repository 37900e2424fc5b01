//! The first message of a TLS client, while an order is open: whether the authority asks for the proof
//! of a name (RFC 8737). The message is looked at in the socket, and stays there for the handshake.

use std::io;

use super::Connection;
use super::states::{Peer, ReadState, Stage};
use super::transfer::retry_interrupted;
use crate::net::io::raw_stream::RawStream;
use crate::transport::Transport;
use crate::transport::hello::{HELLO_BYTES, Purpose, purpose};
use crate::transport::server::ServerTls;

impl<S: RawStream> Connection<S> {
    /// Makes an accepted TLS connection one whose first message is looked at.
    pub fn await_hello(&mut self) {
        self.stage = Stage::AwaitingHello;
    }

    /// Returns true while the first message is not known.
    pub fn is_awaiting_hello(&self) -> bool {
        self.stage == Stage::AwaitingHello
    }

    /// Returns true if the handshake proves a name.
    pub(in crate::net) fn is_proving(&self) -> bool {
        self.stage == Stage::Proving
    }

    /// Returns what the connection is for.
    #[cold]
    pub(in crate::net) fn look_at_hello(&mut self, scratch: &mut [u8]) -> Purpose {
        if self.read_state == ReadState::Drained {
            return Purpose::Unknown;
        }
        let window = scratch.get_mut(..HELLO_BYTES).unwrap_or_default();
        match retry_interrupted(|| self.socket.peek(window)) {
            // The handshake finds the same.
            Ok(0) => Purpose::Service,
            Ok(n) => match purpose(window.get(..n).unwrap_or_default()) {
                Purpose::Unknown if self.peer == Peer::Sending => {
                    // The kernel reports each further byte.
                    self.read_state = ReadState::Drained;
                    Purpose::Unknown
                }
                Purpose::Unknown => Purpose::Service,
                known => known,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.read_state = ReadState::Drained;
                Purpose::Unknown
            }
            Err(_) => Purpose::Service,
        }
    }

    /// Begins the handshake. `challenge`: with these settings, to prove a name.
    #[cold]
    pub(in crate::net) fn begin_handshake(&mut self, challenge: Option<&ServerTls>) {
        let transport = challenge.and_then(|tls| Transport::server(tls).ok());
        self.stage = match transport {
            None => Stage::Handshaking,
            Some(transport) => {
                self.transport = transport;
                Stage::Proving
            }
        };
    }
}
