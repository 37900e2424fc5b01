//! The origin behind every gateway: one thread, edge-triggered, plain and TLS listeners. It reads each request to its end and
//! sends the answer that the last segment of the path names.

mod answers;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustls::{Connection as Session, ServerConfig, ServerConnection};

use self::answers::Answers;
use crate::message::{self, Body, Parsed};
use crate::stream::{self, Stream};
use crate::worker;

pub use self::answers::{JSON_BYTES, added_fields};

/// Time that `delay` waits before it answers: long enough to count memory meanwhile.
pub const DELAY: Duration = Duration::from_secs(4);

const FIRST_CONNECTION: usize = 16;

/// Settings of a listener's connections.
#[derive(Clone)]
struct Kind {
    /// True if the answers have the fields that a gateway adds.
    fat: bool,
    tls: Option<Arc<ServerConfig>>,
}

struct Connection {
    stream: Stream,
    fat: bool,
    stage: Stage,
    /// Incomplete head.
    partial: Vec<u8>,
}

enum Stage {
    Head,
    /// A body is read; this is the answer to it.
    Body(Body, usize),
    Answer {
        index: usize,
        sent: usize,
    },
    Held(usize),
}

struct Origin {
    poll: Poll,
    listeners: Vec<(TcpListener, Kind)>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: Answers,
    /// Connections whose answer is held back, with the time that it goes out.
    held: VecDeque<(Instant, usize)>,
    scratch: Vec<u8>,
    /// Upper bound of the bytes of one write.
    piece: usize,
}

/// `plain=PORT fat=PORT tls=PORT cert=FILE key=FILE piece=BYTES`, each if needed.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let value = |key: &str| {
        arguments
            .iter()
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    };
    let file = |key: &str| {
        value(key)
            .map(Path::new)
            .ok_or_else(|| io::Error::other(format!("tls needs {key}=")))
    };
    let poll = Poll::new()?;
    let mut listeners = Vec::new();
    for (key, fat) in [("plain", false), ("fat", true), ("tls", false)] {
        let Some(port) = value(key) else { continue };
        let port = port.parse().map_err(|_| io::Error::other("no port"))?;
        let mut listener = worker::listen(SocketAddr::from(([127, 0, 0, 1], port)))?;
        poll.registry()
            .register(&mut listener, Token(listeners.len()), Interest::READABLE)?;
        let tls = if key == "tls" {
            Some(stream::server(file("cert")?, file("key")?)?)
        } else {
            None
        };
        listeners.push((listener, Kind { fat, tls }));
    }
    let stop = worker::watch_parent(&poll)?;
    let mut origin = Origin {
        poll,
        listeners,
        connections: Vec::new(),
        free: Vec::new(),
        answers: Answers::new(),
        held: VecDeque::new(),
        scratch: vec![0; 256 * 1024],
        piece: value("piece")
            .map_or(Ok(usize::MAX), str::parse)
            .map_err(|_| io::Error::other("no piece"))?,
    };
    let mut events = Events::with_capacity(1024);
    loop {
        let patience = origin
            .held
            .front()
            .map(|(at, _)| at.saturating_duration_since(Instant::now()));
        worker::wait(&mut origin.poll, &mut events, patience)?;
        for event in &events {
            match event.token() {
                token if token == stop => return Ok(()),
                Token(index) if index < FIRST_CONNECTION => origin.accept(index)?,
                Token(index) => {
                    let slot = index - FIRST_CONNECTION;
                    if let Some(Some(connection)) = origin.connections.get_mut(slot) {
                        connection.stream.note(event);
                    }
                    origin.serve(slot);
                }
            }
        }
        origin.release();
    }
}

impl Origin {
    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let (listener, kind) = &self.listeners[listener];
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let session = match &kind.tls {
                Some(config) => {
                    Some(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?)
                }
                None => None,
            };
            let mut stream = Stream::new(socket, session.map(Session::Server))?;
            stream.register(self.poll.registry(), Token(slot + FIRST_CONNECTION))?;
            self.connections[slot] = Some(Connection {
                stream,
                fat: kind.fat,
                stage: Stage::Head,
                partial: Vec::new(),
            });
        }
    }

    /// Reads, answers, reads, until the socket has no more or takes no more. A connection that fails is closed.
    fn serve(&mut self, slot: usize) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return;
        };
        let outcome = loop {
            match connection.advance(&self.answers, self.piece, &mut self.scratch) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Stage::Held(index) = connection.stage {
            // Once: the stage that follows is an answer that has not begun.
            connection.stage = Stage::Answer {
                index,
                sent: usize::MAX,
            };
            self.held.push_back((Instant::now() + DELAY, slot));
        }
        if outcome.is_err() {
            self.connections[slot] = None;
            self.held.retain(|(_, other)| *other != slot);
            self.free.push(slot);
        }
    }

    fn release(&mut self) {
        while let Some((at, slot)) = self.held.front().copied()
            && at <= Instant::now()
        {
            self.held.pop_front();
            if let Some(Some(connection)) = self.connections.get_mut(slot)
                && let Stage::Answer { sent, .. } = &mut connection.stage
            {
                *sent = 0;
                self.serve(slot);
            }
        }
    }
}

impl Connection {
    /// Makes one step. Returns false if the next step needs an event.
    fn advance(&mut self, answers: &Answers, piece: usize, scratch: &mut [u8]) -> io::Result<bool> {
        self.stream.flush()?;
        match &mut self.stage {
            Stage::Held(_) => Ok(false),
            // The answer is held back; the end of the connection is still noticed.
            Stage::Answer {
                sent: usize::MAX, ..
            } => match self.stream.read(scratch)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Err(io::Error::other("bytes behind a request")),
            },
            Stage::Answer { index, sent } => {
                let bytes = answers.bytes(*index, self.fat);
                let end = sent.saturating_add(piece).min(bytes.len());
                *sent += self.stream.write(&bytes[*sent..end])?;
                if *sent == bytes.len() {
                    self.stage = Stage::Head;
                }
                Ok(true)
            }
            Stage::Head | Stage::Body(..) => {
                let n = self.stream.read(scratch)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.received(&scratch[..n], answers)?;
                Ok(!matches!(self.stage, Stage::Held(_)))
            }
        }
    }

    fn received(&mut self, bytes: &[u8], answers: &Answers) -> io::Result<()> {
        let mut rest = bytes;
        let joined;
        if matches!(self.stage, Stage::Head) {
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(bytes);
                joined = std::mem::take(&mut self.partial);
                rest = &joined;
            }
            match message::request(rest) {
                Parsed::Partial => {
                    self.partial = rest.to_vec();
                    return Ok(());
                }
                Parsed::Broken(reason) => return Err(io::Error::other(reason)),
                Parsed::Whole(start, length) => {
                    let (from, to) = start.last_segment;
                    self.stage = Stage::Body(start.body, answers.find(&rest[from..to]));
                    rest = &rest[length..];
                }
            }
        }
        let Stage::Body(body, index) = &mut self.stage else {
            return Ok(());
        };
        let (used, _) = body.take(rest).map_err(io::Error::other)?;
        if used != rest.len() {
            return Err(io::Error::other("bytes behind a request"));
        }
        if body.is_done() {
            let index = *index;
            self.stage = if answers.is_delayed(index) {
                Stage::Held(index)
            } else {
                Stage::Answer { index, sent: 0 }
            };
        }
        Ok(())
    }
}
