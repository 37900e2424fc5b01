//! A connection to the admin listener.
//!
//! ```text
//! Head ──request──> Writing ──written──> Head
//!   │                 ^  └──no other request may come──> Closing ──> gone
//!   └──reload, upgrade──> Waiting ──its end──┘
//! ```
//!
//! A connection does one read and answers one request at a time, so that no client can hold up the
//! event loop. Each phase has a deadline.

use std::io::{self, Read, Write};

use super::AdminCommand;
use super::facts::GatewayState;
use super::paths::{Answer, answer};
use super::request::{Access, Received, receive};
use super::response::{Framing, Response};
use super::stream::{Document, Stream};
use super::wall::Wall;
use crate::http::head::{FieldTable, HeadScan, Version};
use crate::limits::{
    ADMIN_BODY_BYTES, ADMIN_HEAD_BYTES, ADMIN_RELOAD_TIMEOUT, ADMIN_TIMEOUT, LINGER_IDLE,
};
use crate::net::io::raw_stream::{RawStream, Readiness};
use crate::net::io::socket::Socket;
use crate::proxy::metrics::Piece;
use crate::time::Instant;

/// Bytes of one read.
const READ_BYTES: usize = 4 << 10;

/// Most bytes that wait to be parsed: a head, and the body before it.
pub(super) const INBOX_BYTES: usize = ADMIN_HEAD_BYTES + ADMIN_BODY_BYTES + READ_BYTES;

/// A connection.
pub(super) struct Connection {
    socket: Socket,
    pub(super) access: Access,
    /// Slot of the listener that accepted it.
    pub(super) listener: usize,
    phase: Phase,
    ready: Ready,
    inbox: Vec<u8>,
    scan: HeadScan,
    /// Bytes of a body that are still to be discarded.
    body: usize,
    outbox: Vec<u8>,
    /// Bytes of `outbox` that are written.
    sent: usize,
    /// Document that is being written, and its framing.
    stream: Option<Box<(Stream, Framing)>>,
    after: After,
    requests: u64,
    pub(super) deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A head is awaited, or a part of it is here.
    Head,
    /// The end of a command is awaited: a reload or an upgrade.
    Waiting {
        command: Option<AdminCommand>,
        is_head: bool,
    },
    /// A response is being written.
    Writing,
    /// The response is written; what the client still sends is discarded, so that no reset
    /// overtakes the response.
    Closing,
}

/// Continuation after a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// The next request.
    Head,
    /// The end of the connection.
    Close,
}

/// Work that may be possible.
#[derive(Clone, Copy)]
struct Ready {
    read: bool,
    write: bool,
    /// Bytes in the inbox were not looked at yet.
    parse: bool,
}

/// Result of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// More may be possible at once.
    Again,
    /// An event or the deadline comes next.
    Wait,
    /// The connection is over.
    Gone,
}

/// Values that all connections use.
pub(super) struct Shared<'a> {
    pub(super) table: &'a mut FieldTable,
    pub(super) hosts: &'a [String],
    pub(super) wall: &'a mut Wall,
    pub(super) now: Instant,
}

impl Connection {
    pub(super) fn new(socket: Socket, access: Access, listener: usize, now: Instant) -> Connection {
        Connection {
            socket,
            access,
            listener,
            phase: Phase::Head,
            // The request may be here already.
            ready: Ready {
                read: true,
                write: true,
                parse: false,
            },
            inbox: Vec::new(),
            scan: HeadScan::default(),
            body: 0,
            outbox: Vec::new(),
            sent: 0,
            stream: None,
            after: After::Head,
            requests: 0,
            deadline: now.after(ADMIN_TIMEOUT),
        }
    }

    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Records what the kernel reports.
    pub(super) fn record_readiness(&mut self, readiness: Readiness) {
        self.ready.read |= readiness.readable || readiness.read_closed || readiness.failed;
        self.ready.write |= readiness.writable || readiness.failed;
    }

    /// Returns `true` if a turn may do something.
    pub(super) fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Head => self.ready.read || self.ready.parse,
            Phase::Waiting { .. } => false,
            Phase::Writing => self.ready.write,
            Phase::Closing => self.ready.read,
        }
    }

    /// Returns `true` if the connection was used, and no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Head && self.requests > 0 && self.inbox.is_empty()
    }

    /// Returns `true` if the client has not got all of an answer, or may send its only request.
    pub(super) fn is_awaited(&self) -> bool {
        self.phase != Phase::Closing && !self.is_idle()
    }

    /// Returns `true` if the client waits for the end of this command.
    pub(super) fn waits_for(&self, awaited: AdminCommand) -> bool {
        matches!(self.phase, Phase::Waiting { command: Some(command), .. } if command == awaited)
    }

    /// Returns `true` if the client waits for the end of a command.
    pub(super) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    /// Returns the bytes of its buffers.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.inbox.capacity().saturating_add(self.outbox.capacity())
    }

    /// Lets no further request come: the listener of this connection is closed.
    pub(super) fn finish(&mut self) {
        self.after = After::Close;
        self.ready.read = true;
    }

    /// Does one read, or answers one request, or writes a part of a response.
    pub(super) fn turn(
        &mut self,
        state: &GatewayState<'_>,
        shared: &mut Shared<'_>,
    ) -> (Turn, Option<AdminCommand>) {
        let result = match self.phase {
            Phase::Head if self.ready.parse => return self.parse(state, shared),
            Phase::Head if self.is_idle() && self.after == After::Close => Ok(Turn::Gone),
            Phase::Head => self.read(shared.now),
            Phase::Waiting { .. } => Ok(Turn::Wait),
            Phase::Writing => self.write(state, shared.now),
            Phase::Closing => self.discard(),
        };
        let turn = match result {
            Ok(turn) => turn,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match self.phase {
                    Phase::Writing => self.ready.write = false,
                    _ => self.ready.read = false,
                }
                Turn::Wait
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Turn::Again,
            Err(_) => Turn::Gone,
        };
        (turn, None)
    }

    /// Handles the end of the time of a phase.
    pub(super) fn expire(&mut self, shared: &mut Shared<'_>) -> Turn {
        if !self.waits() {
            return Turn::Gone;
        }
        let message = if self.waits_for(AdminCommand::Upgrade) {
            "the upgrade has not ended yet, and goes on; its result is in the log"
        } else {
            "the reload has not ended yet, and goes on; its result is in the log"
        };
        self.respond(&Response::error(504, message), shared);
        Turn::Again
    }

    /// Gives a client that waits the result of a command.
    pub(super) fn respond(&mut self, response: &Response, shared: &mut Shared<'_>) {
        let is_head = matches!(self.phase, Phase::Waiting { is_head: true, .. });
        let keeps_alive = self.after == After::Head;
        let date = shared.wall.date();
        response.write(is_head, keeps_alive, date, &mut self.outbox);
        self.phase = Phase::Writing;
        self.deadline = shared.now.after(ADMIN_TIMEOUT);
    }

    fn read(&mut self, now: Instant) -> io::Result<Turn> {
        let mut room = [0; READ_BYTES];
        let bytes = self.socket.read(&mut room)?;
        if bytes == 0 {
            return Ok(Turn::Gone);
        }
        let received = room.get(..bytes).unwrap_or_default();
        let discarded = self.body.min(bytes);
        self.body = self.body.saturating_sub(discarded);
        let rest = received.get(discarded..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Turn::Again);
        }
        if self.inbox.is_empty() {
            self.deadline = now.after(ADMIN_TIMEOUT);
        }
        self.inbox.extend_from_slice(rest);
        self.ready.parse = true;
        Ok(Turn::Again)
    }

    fn parse(
        &mut self,
        state: &GatewayState<'_>,
        shared: &mut Shared<'_>,
    ) -> (Turn, Option<AdminCommand>) {
        self.ready.parse = false;
        let received = receive(
            &self.inbox,
            &mut self.scan,
            shared.table,
            self.access,
            shared.hosts,
        );
        let (answer, (is_head, version), used) = match received {
            Received::Incomplete => return (Turn::Again, None),
            Received::Refused(response) => {
                self.after = After::Close;
                let kind = (false, Version::Http11);
                (Answer::from(response), kind, self.inbox.len())
            }
            Received::Request {
                request,
                head,
                body,
                keeps_alive,
            } => {
                if !keeps_alive {
                    self.after = After::Close;
                }
                self.body = body;
                let kind = (request.method == b"HEAD", request.version);
                (answer(&request, self.access, state), kind, head)
            }
        };
        self.take(used);
        self.requests = self.requests.saturating_add(1);
        self.phase = Phase::Waiting {
            command: answer.command,
            is_head,
        };
        self.deadline = shared.now.after(ADMIN_RELOAD_TIMEOUT);
        if let Some(response) = &answer.response {
            self.respond(response, shared);
        }
        if let Some(document) = answer.document {
            self.begin_document((document, is_head, version), state, shared);
        }
        (Turn::Again, answer.command)
    }

    /// Begins a document. One that is a single piece has its length.
    fn begin_document(
        &mut self,
        (document, is_head, version): (Document, bool, Version),
        state: &GatewayState<'_>,
        shared: &mut Shared<'_>,
    ) {
        let mut stream = document.open(state);
        let mut body = Vec::new();
        let piece = stream.write(state, &mut body);
        let framing = match (piece, version) {
            (Piece::Last, _) => Framing::Length(body.len()),
            (Piece::More | Piece::Stale, Version::Http11) => Framing::Chunked,
            (Piece::More | Piece::Stale, Version::Http10) => {
                self.after = After::Close;
                Framing::Close
            }
        };
        let keeps_alive = self.after == After::Head;
        let response = Response::document(document.kind(), document.policy());
        response.write_head(framing, keeps_alive, shared.wall.date(), &mut self.outbox);
        if !is_head {
            framing.append(&body, &mut self.outbox);
            if piece != Piece::Last {
                self.stream = Some(Box::new((stream, framing)));
            }
        }
        self.phase = Phase::Writing;
        self.deadline = shared.now.after(ADMIN_TIMEOUT);
    }

    /// Removes a head, and what is here of the body behind it.
    fn take(&mut self, head: usize) {
        let rest = self.inbox.len().saturating_sub(head);
        let discarded = self.body.min(rest);
        self.body = self.body.saturating_sub(discarded);
        let used = head.saturating_add(discarded).min(self.inbox.len());
        self.inbox.drain(..used);
        self.scan = HeadScan::default();
    }

    fn write(&mut self, state: &GatewayState<'_>, now: Instant) -> io::Result<Turn> {
        let rest = self.outbox.get(self.sent..).unwrap_or_default();
        let bytes = self.socket.write(rest)?;
        self.sent = self.sent.saturating_add(bytes);
        if self.sent < self.outbox.len() {
            return Ok(Turn::Again);
        }
        // Storage for a large response is not kept.
        self.outbox = Vec::new();
        self.sent = 0;
        self.deadline = now.after(ADMIN_TIMEOUT);
        if let Some(mut stream) = self.stream.take() {
            let (document, framing) = &mut *stream;
            let mut body = Vec::new();
            let piece = document.write(state, &mut body);
            framing.append(&body, &mut self.outbox);
            match piece {
                // Without its end the client knows that the document is not whole.
                Piece::Stale => return Ok(Turn::Gone),
                Piece::Last => framing.end(&mut self.outbox),
                Piece::More => self.stream = Some(stream),
            }
            if !self.outbox.is_empty() {
                return Ok(Turn::Again);
            }
        }
        match self.after {
            After::Head => {
                self.phase = Phase::Head;
                self.ready.parse = !self.inbox.is_empty();
            }
            After::Close => {
                self.phase = Phase::Closing;
                self.deadline = now.after(LINGER_IDLE);
                self.socket.shutdown_write()?;
                self.ready.read = true;
            }
        }
        Ok(Turn::Again)
    }

    fn discard(&mut self) -> io::Result<Turn> {
        let bytes = self.socket.read(&mut [0; READ_BYTES])?;
        Ok(if bytes == 0 { Turn::Gone } else { Turn::Again })
    }
}
