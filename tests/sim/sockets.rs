//! Unix sockets of targets: their files, the processes that listen there, and the queues of
//! connections that are not accepted yet (F23).
//!
//! A connection to a unix socket is made or refused at once. What the gateway writes to one in the
//! queue stays there until the process accepts it, even when the gateway has left by then.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tollgate::upstream::addresses::of_socket;

use super::rng::Rng;

/// State of a unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A process accepts the connections of the queue.
    Served,
    /// A process listens and accepts nothing, so that the queue becomes full.
    Stuck,
    /// The file was removed. The process goes on with the connections that it has.
    Missing,
    /// The process has ended, and the file is still there.
    Abandoned,
    /// The file belongs to another user.
    Forbidden,
}

/// A unix socket.
#[derive(Clone, Copy)]
struct UnixSocket {
    state: State,
    /// Connections that are not accepted.
    queued: usize,
}

/// All unix sockets of a world, by the addresses that stand for them.
#[derive(Default)]
pub struct UnixSockets {
    all: BTreeMap<SocketAddr, UnixSocket>,
    /// Most connections that are not accepted.
    pub queue: usize,
    /// Connections that were refused.
    pub refused: usize,
}

impl UnixSockets {
    /// Adds the socket of a target, which a process serves.
    pub fn add(&mut self, path: &str) {
        let socket = UnixSocket {
            state: State::Served,
            queued: 0,
        };
        self.all.insert(of_socket(path), socket);
    }

    /// Returns true if the address stands for a socket.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.all.contains_key(&address)
    }

    /// Puts a connection into the queue.
    ///
    /// # Errors
    /// The error of connect().
    pub fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        let socket = self.all.get_mut(&address).expect("a socket of the world");
        let error = match socket.state {
            State::Served | State::Stuck if socket.queued < self.queue => {
                socket.queued += 1;
                return Ok(());
            }
            State::Served | State::Stuck => 11,
            State::Missing => 2,
            State::Abandoned => 111,
            State::Forbidden => 13,
        };
        self.refused += 1;
        Err(io::Error::from_raw_os_error(error))
    }

    /// Returns true if the process accepts connections of the queue.
    pub fn accepts(&self, address: SocketAddr) -> bool {
        let socket = self.all.get(&address);
        socket.is_none_or(|socket| socket.state != State::Stuck)
    }

    /// Takes a connection out of the queue.
    pub fn leave_queue(&mut self, address: SocketAddr) {
        if let Some(socket) = self.all.get_mut(&address) {
            socket.queued -= 1;
        }
    }

    /// Lets one socket fail, or come back. Returns its address if its process has ended: all its
    /// connections are reset.
    pub fn change(&mut self, rng: &mut Rng) -> Option<SocketAddr> {
        if self.all.is_empty() {
            return None;
        }
        let place = rng.below(self.all.len());
        let (address, socket) = self.all.iter_mut().nth(place)?;
        socket.state = match socket.state {
            State::Served => rng.pick(&[
                State::Stuck,
                State::Missing,
                State::Abandoned,
                State::Forbidden,
            ]),
            _ => State::Served,
        };
        (socket.state == State::Abandoned).then_some(*address)
    }
}
