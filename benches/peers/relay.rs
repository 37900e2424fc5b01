//! The limit: a relay without HTTP. The same loop as tollgate's (edge-triggered, sticky bits, a short read is the last, a
//! write is tried at once), four system calls a request, and no parsing. With `--splice` the bytes do not
//! come into the process: they go through a pipe of the kernel.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::worker;

const FIRST_CONNECTION: usize = 16;
/// Bytes of one read, and of a pipe by default.
const PIECE: usize = 64 * 1024;
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

struct Relay {
    poll: Poll,
    listeners: Vec<(TcpListener, SocketAddr)>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    scratch: Vec<u8>,
    splices: bool,
}

/// Client and its own upstream connection.
struct Pair {
    ends: [End; 2],
}

struct End {
    socket: TcpStream,
    readable: bool,
    writable: bool,
    /// True if the FIN of the peer has come. A short read does not prove then that the socket is drained.
    hung_up: bool,
    /// Bytes for this end that it has not taken yet.
    backlog: Vec<u8>,
    pipe: Option<Pipe>,
}

/// Pipe of the kernel with bytes for an end.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    bytes: usize,
}

/// Arguments: `[--splice] LISTEN=TARGET`, the pair as often as needed.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let splices = arguments
        .first()
        .is_some_and(|argument| argument == "--splice");
    let arguments = &arguments[usize::from(splices)..];
    let poll = Poll::new()?;
    let mut listeners = Vec::new();
    for pair in arguments {
        let (address, target) = pair
            .split_once('=')
            .ok_or(io::Error::other("LISTEN=TARGET"))?;
        let parse = |text: &str| text.parse::<SocketAddr>().map_err(io::Error::other);
        let mut listener = worker::listen(parse(address)?)?;
        poll.registry()
            .register(&mut listener, Token(listeners.len()), Interest::READABLE)?;
        listeners.push((listener, parse(target)?));
    }
    let stop = worker::watch_parent(&poll)?;
    let scratch = vec![0; PIECE];
    let mut relay = Relay {
        poll,
        listeners,
        pairs: Vec::new(),
        free: Vec::new(),
        scratch,
        splices,
    };
    let mut events = Events::with_capacity(1024);
    loop {
        worker::wait(&mut relay.poll, &mut events, None)?;
        for event in &events {
            match event.token() {
                token if token == stop => return Ok(()),
                Token(index) if index < FIRST_CONNECTION => relay.accept(index)?,
                Token(index) => {
                    let (slot, end) = (
                        (index - FIRST_CONNECTION) / 2,
                        (index - FIRST_CONNECTION) % 2,
                    );
                    relay.note(slot, end, event);
                    relay.serve(slot);
                }
            }
        }
    }
}

impl Relay {
    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let (listener, target) = &self.listeners[listener];
            let client = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let upstream = TcpStream::connect(*target)?;
            upstream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.pairs.push(None);
                self.pairs.len() - 1
            });
            let mut pair = Pair {
                ends: [
                    End::new(client, true, self.splices)?,
                    End::new(upstream, false, self.splices)?,
                ],
            };
            for (index, end) in pair.ends.iter_mut().enumerate() {
                let token = Token(FIRST_CONNECTION + slot * 2 + index);
                self.poll.registry().register(
                    &mut end.socket,
                    token,
                    Interest::READABLE | Interest::WRITABLE,
                )?;
            }
            self.pairs[slot] = Some(pair);
        }
    }

    fn note(&mut self, slot: usize, end: usize, event: &mio::event::Event) {
        if let Some(Some(pair)) = self.pairs.get_mut(slot) {
            let end = &mut pair.ends[end];
            end.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            end.writable |= event.is_writable();
            end.hung_up |= event.is_read_closed();
        }
    }

    fn serve(&mut self, slot: usize) {
        let Some(Some(pair)) = self.pairs.get_mut(slot) else {
            return;
        };
        let [client, upstream] = &mut pair.ends;
        let outcome = carry(upstream, client, &mut self.scratch)
            .and_then(|()| carry(client, upstream, &mut self.scratch));
        if outcome.is_err() {
            self.pairs[slot] = None;
            self.free.push(slot);
        }
    }
}

impl End {
    fn new(socket: TcpStream, writable: bool, splices: bool) -> io::Result<End> {
        let pipe = if splices {
            let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
            Some(Pipe {
                read,
                write,
                bytes: 0,
            })
        } else {
            None
        };
        Ok(End {
            socket,
            readable: false,
            writable,
            hung_up: false,
            backlog: Vec::new(),
            pipe,
        })
    }

    /// Moves bytes from the pipe to the socket, as far as the socket takes them.
    fn drain(&mut self) -> io::Result<()> {
        let Some(pipe) = self.pipe.as_mut() else {
            return Ok(());
        };
        while self.writable && pipe.bytes > 0 {
            match splice(&pipe.read, None, &self.socket, None, pipe.bytes, FLAGS) {
                Ok(n) => pipe.bytes -= n,
                Err(Errno::AGAIN) => self.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes as far as the socket takes it.
    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Ok(0);
        }
        match self.socket.write(bytes) {
            Ok(n) => {
                self.writable = n == bytes.len();
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

/// Does the same as [`carry`], through the pipe.
fn carry_spliced(from: &mut End, to: &mut End) -> io::Result<()> {
    to.drain()?;
    while from.readable
        && let Some(pipe) = to.pipe.as_mut().filter(|pipe| pipe.bytes == 0)
    {
        match splice(&from.socket, None, &pipe.write, None, PIECE, FLAGS) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => pipe.bytes = n,
            Err(Errno::AGAIN) => from.readable = false,
            Err(error) => return Err(error.into()),
        }
        to.drain()?;
    }
    Ok(())
}

/// Moves bytes one way until there are no more, or until they are not taken. An end of input ends both.
fn carry(from: &mut End, to: &mut End, scratch: &mut [u8]) -> io::Result<()> {
    if to.pipe.is_some() {
        return carry_spliced(from, to);
    }
    if !to.backlog.is_empty() {
        let backlog = std::mem::take(&mut to.backlog);
        let n = to.put(&backlog)?;
        to.backlog.extend_from_slice(&backlog[n..]);
    }
    while from.readable && to.backlog.is_empty() {
        match from.socket.read(scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                from.readable = n == scratch.len() || from.hung_up;
                let taken = to.put(&scratch[..n])?;
                to.backlog.extend_from_slice(&scratch[taken..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => from.readable = false,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
