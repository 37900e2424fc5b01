//! The header of the PROXY protocol at the start of a client connection.
//!
//! The header is looked at in the socket and taken out of it once its length is known. The bytes
//! behind it stay there for TLS or HTTP, and a connection needs no storage for a header that comes in
//! pieces.

use std::io;

use super::states::{Peer, ReadState, Stage};
use super::transfer::retry_interrupted;
use super::{Connection, EstablishResult};
use crate::http::proxy_header::{HeaderFault, WINDOW, parse};
use crate::net::io::raw_stream::RawStream;

impl<S: RawStream> Connection<S> {
    /// Makes an accepted connection one that begins with a header.
    pub fn await_header(&mut self) {
        self.stage = Stage::AwaitingHeader;
    }

    /// Returns true while the header is not complete.
    pub fn is_awaiting_header(&self) -> bool {
        matches!(self.stage, Stage::AwaitingHeader | Stage::SkippingHeader(_))
    }

    /// Reads the header as far as it has come. Behind it the connection is established as any other.
    pub(super) fn establish_announced(&mut self, scratch: &mut [u8]) -> EstablishResult {
        match self.stage {
            Stage::SkippingHeader(left) => self.skip_header(left, scratch),
            _ => self.look_at_header(scratch),
        }
    }

    fn look_at_header(&mut self, scratch: &mut [u8]) -> EstablishResult {
        if self.read_state == ReadState::Drained {
            return EstablishResult::Pending;
        }
        let window = scratch.get_mut(..WINDOW).unwrap_or_default();
        let seen = match retry_interrupted(|| self.socket.peek(window)) {
            Ok(n) => window.get(..n).unwrap_or_default(),
            Err(error) => return self.header_pending(&error),
        };
        if seen.is_empty() {
            return EstablishResult::Unannounced(None);
        }
        match parse(seen) {
            Ok(Some((announced, length))) => {
                // The bound of a header fits.
                let length = u16::try_from(length).unwrap_or(u16::MAX);
                self.stage = Stage::SkippingHeader(length);
                EstablishResult::Announced(announced)
            }
            Ok(None) if self.peer != Peer::Sending => {
                EstablishResult::Unannounced(Some(HeaderFault::Cut))
            }
            Ok(None) => {
                // The kernel reports each further byte.
                self.read_state = ReadState::Drained;
                EstablishResult::Pending
            }
            Err(fault) => EstablishResult::Unannounced(Some(fault)),
        }
    }

    fn skip_header(&mut self, mut left: u16, scratch: &mut [u8]) -> EstablishResult {
        while left > 0 {
            let room = scratch.get_mut(..usize::from(left)).unwrap_or_default();
            match retry_interrupted(|| self.socket.read(room)) {
                Ok(0) => return EstablishResult::Unannounced(Some(HeaderFault::Cut)),
                Ok(n) => {
                    left = left.saturating_sub(u16::try_from(n).unwrap_or(u16::MAX));
                    self.stage = Stage::SkippingHeader(left);
                }
                Err(error) => return self.header_pending(&error),
            }
        }
        if self.transport.is_plain() {
            self.stage = Stage::Open;
            return EstablishResult::Open;
        }
        self.stage = Stage::Handshaking;
        self.establish_transport(scratch)
    }

    fn header_pending(&mut self, error: &io::Error) -> EstablishResult {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.read_state = ReadState::Drained;
                EstablishResult::Pending
            }
            _ => EstablishResult::Unannounced(None),
        }
    }
}
