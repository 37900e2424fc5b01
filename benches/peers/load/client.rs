//! Client connection, plain or TLS: sends the request, reads the answer, and says whether it was the right one.

use std::io;
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Registry, Token};
use rustls::Connection;

use crate::message::{self, Body, Parsed};
use crate::stream::Stream;

pub struct Client {
    stream: Stream,
    /// Bytes of the request that were sent; `None`: no request is under way.
    sent: Option<usize>,
    readable: bool,
    writable: bool,
    /// True if the connection had an answer.
    used: bool,
    reply: Reply,
    /// Incomplete head.
    partial: Vec<u8>,
}

enum Reply {
    Head,
    Body { body: Body, status: u16, bytes: u64 },
}

/// Result of a step of a client.
pub enum Progress {
    Waiting,
    /// Complete and right answer.
    Done,
    Failed(String),
}

impl Client {
    /// Connects, and waits for the connection. The handshake of a TLS session goes with the first request.
    pub fn connect(
        address: SocketAddr,
        session: Option<Connection>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Client> {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        let mut stream = Stream::new(TcpStream::from_std(socket), session)?;
        stream.register(registry, token)?;
        let (sent, partial, reply) = (None, Vec::new(), Reply::Head);
        Ok(Client {
            stream,
            sent,
            readable: false,
            writable: true,
            used: false,
            reply,
            partial,
        })
    }

    pub fn note(&mut self, event: &Event) {
        self.stream.note(event);
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
    }

    pub fn is_busy(&self) -> bool {
        self.sent.is_some()
    }

    pub fn is_used(&self) -> bool {
        self.used
    }

    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Begins a request; `advance` goes on with it.
    pub fn begin(&mut self) {
        self.sent = Some(0);
        self.reply = Reply::Head;
    }

    /// Sends and receives as far as it is possible now.
    pub fn advance(&mut self, request: &[u8], expect: u64, scratch: &mut [u8]) -> Progress {
        let outcome = self
            .send(request)
            .and_then(|()| self.receive(request.len(), expect, scratch));
        match outcome {
            Ok(true) => {
                self.sent = None;
                self.used = true;
                Progress::Done
            }
            Ok(false) => Progress::Waiting,
            Err(reason) => Progress::Failed(reason),
        }
    }

    fn send(&mut self, request: &[u8]) -> Result<(), String> {
        if self.writable
            && let Err(error) = self.stream.flush()
        {
            self.writable = false;
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(format!("send: {error}"));
            }
        }
        while let Some(sent) = self.sent
            && sent < request.len()
            && self.writable
        {
            match self.stream.write(&request[sent..]) {
                Ok(n) => {
                    self.sent = Some(sent + n);
                    // A TLS session takes a bounded part at a time; a socket that takes less than all is full.
                    self.writable = sent + n == request.len() || self.stream.is_tls();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(format!("send: {error}")),
            }
        }
        Ok(())
    }

    /// Reads. Returns true if the answer is complete.
    fn receive(&mut self, request: usize, expect: u64, scratch: &mut [u8]) -> Result<bool, String> {
        while self.readable {
            match self.stream.read(scratch) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(n) => {
                    if self.take(&scratch[..n], request, expect)? {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) => return Err(format!("receive: {error}")),
            }
        }
        Ok(false)
    }

    fn take(&mut self, bytes: &[u8], request: usize, expect: u64) -> Result<bool, String> {
        let sent = self.sent.ok_or("bytes nobody asked for")?;
        let joined;
        let mut rest = bytes;
        if matches!(self.reply, Reply::Head) {
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(bytes);
                joined = std::mem::take(&mut self.partial);
                rest = &joined;
            }
            match message::response(rest) {
                Parsed::Partial => {
                    self.partial = rest.to_vec();
                    return Ok(false);
                }
                Parsed::Broken(reason) => return Err(reason.to_owned()),
                Parsed::Whole(start, length) => {
                    self.reply = Reply::Body {
                        body: start.body,
                        status: start.status,
                        bytes: 0,
                    };
                    rest = &rest[length..];
                }
            }
        }
        let Reply::Body {
            body,
            status,
            bytes,
        } = &mut self.reply
        else {
            return Ok(false);
        };
        let (used, data) = body.take(rest)?;
        *bytes += data;
        if used != rest.len() {
            return Err("bytes behind the answer".to_owned());
        }
        if !body.is_done() {
            return Ok(false);
        }
        match (*status, *bytes) {
            (200, bytes) if bytes == expect && sent == request => Ok(true),
            (200, bytes) if bytes == expect => {
                Err("answered before the request was sent".to_owned())
            }
            (200, bytes) => Err(format!("{bytes} bytes of body, not {expect}")),
            (status, _) => Err(format!("status {status}")),
        }
    }
}
