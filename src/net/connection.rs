//! One socket with its pipe and its sticky bits.
//!
//! The bits hold what the kernel said and was not used up yet (edge-triggered: it says it once). Stopping early leaves them
//! set, so nothing is lost when the engine does not want to read.

use std::io::{self, Read, Write};

use super::pipes::{Load, Pipe, Pipes};
use crate::buffer::total;
use crate::limits::{BYTES_PER_TURN, PASSES_PER_TURN};
use crate::proxy::command::{Fault, Side};
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;
use crate::transport::{Handshake, Received, Transport, TransportFault};

/// What a connection needs of its socket; the tests have one without a kernel.
pub trait Wire: Read + Write {
    /// What bytes wait in that pass it unseen.
    type Pipe: Pipe;

    /// Moves up to `most` bytes that arrived into an empty pipe. None: the peer has ended its direction. Fewer than `most`
    /// prove nothing: a pipe is full when its slots are, and how much is in one depends on the sender.
    ///
    /// # Errors
    /// As of `read`; `InvalidInput`: it cannot be done with this socket.
    fn fill(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// Sends up to `most` bytes that wait in a pipe. Only `WouldBlock` says that there is no room for more.
    ///
    /// # Errors
    /// As of `write`; `InvalidInput`: it cannot be done with this socket.
    fn empty(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// Ends our direction (FIN).
    ///
    /// # Errors
    /// The socket is gone already.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Makes closing it a reset.
    fn reset_on_close(&self);

    /// What went wrong with it since it was last asked, such as a connection that was refused.
    ///
    /// # Errors
    /// It cannot even say that.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

/// What the kernel says of a socket, each time something changes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Readiness {
    /// There is something to read, an end or an error included.
    pub readable: bool,
    /// It takes bytes.
    pub writable: bool,
    /// The peer's FIN has come.
    pub read_closed: bool,
    /// Something went wrong with it.
    pub failed: bool,
    /// The connection is dead: the peer has reset it, or the kernel has given it up. Bytes that came before may wait in it.
    pub reset: bool,
}

/// A socket the loop watches.
pub struct Connection<S: Wire> {
    socket: S,
    transport: Transport,
    generation: u32,
    stage: Stage,
    readable: bool,
    writable: bool,
    /// The peer's FIN was reported: a short read is no proof that the socket is drained.
    hung_up: bool,
    /// The engine knows of the FIN.
    hangup_told: bool,
    /// The kernel reported an error on the socket.
    errored: bool,
    /// The connection is dead, whether or not somebody reads from it.
    reset: bool,
    /// The engine knows of the reset.
    reset_told: bool,
    /// A write was told of the reset: the kernel says so once, and a read now finds an end as if a FIN had come.
    severed: bool,
    /// Whether the kernel says so when it takes bytes again; clients are watched for reading alone until a write is short.
    pub watches_writable: bool,
    /// Our direction ends as soon as the last ciphertext is out.
    closing: bool,
    /// The last read was large: what follows may be worth a pipe.
    pub(super) is_bulky: bool,
    /// Bytes for it wait in a pipe.
    pub(super) is_loaded: bool,
    /// Whether it stands in a queue of the loop.
    pub(super) queued: bool,
    /// What is left of its share of the turn, and which turn that is.
    share: Share,
}

/// What a connection may still move in a turn of the loop before the others get theirs.
#[derive(Clone, Copy)]
struct Share {
    turn: u32,
    bytes: u32,
    passes: u8,
}

impl Share {
    const WHOLE: Share = Share {
        turn: 0,
        bytes: BYTES_PER_TURN as u32,
        passes: PASSES_PER_TURN,
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// TCP is connecting.
    Connecting,
    /// TLS is shaking hands.
    Securing,
    Open,
}

/// How far making a connection has come.
pub(super) enum Establishing {
    /// It carries bytes; whom the peer's certificate is for, where it showed one.
    Done {
        subject: Option<String>,
    },
    Pending,
    Failed(Fault, String),
    /// A client on a TLS listener speaks plain HTTP, and these are its first bytes.
    NotTls(Vec<u8>),
}

/// What reading came to.
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    End,
    Broken(String),
    /// It cannot be done this way; only where bytes pass unseen.
    Unfit,
}

/// What writing came to.
pub(super) enum Put {
    Nothing,
    /// So many bytes were taken; `blocked`: the socket takes no more for now.
    Bytes {
        n: usize,
        blocked: bool,
    },
    /// The peer takes no more; what it said before it closed may still wait in the socket.
    Closed(String),
    /// The connection is of no more use.
    Broken(String),
}

impl<S: Wire> Connection<S> {
    /// An accepted client: open, and writable until a write says otherwise.
    pub fn client(socket: S, generation: u32) -> Connection<S> {
        Connection::new(socket, Transport::Plain, generation, Stage::Open, true)
    }

    /// An accepted client that is to shake hands before anything else.
    ///
    /// # Errors
    /// rustls refuses the listener's settings.
    pub fn secure_client(socket: S, generation: u32, tls: &ServerTls) -> io::Result<Connection<S>> {
        let transport =
            Transport::server(tls).map_err(|fault| io::Error::other(fault.to_string()))?;
        Ok(Connection::new(
            socket,
            transport,
            generation,
            Stage::Securing,
            true,
        ))
    }

    /// A connection that is being made, of TLS where the target is.
    ///
    /// # Errors
    /// rustls refuses the target's settings.
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
            false,
        ))
    }

    /// Which of its slot's owners it belongs to.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    fn new(
        socket: S,
        transport: Transport,
        generation: u32,
        stage: Stage,
        writable: bool,
    ) -> Connection<S> {
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
            reset: false,
            reset_told: false,
            severed: false,
            watches_writable: false,
            closing: false,
            is_bulky: false,
            is_loaded: false,
            queued: false,
            share: Share::WHOLE,
        }
    }

    /// Whether anything is left of its share of this turn.
    pub(super) fn has_share(&mut self, turn: u32) -> bool {
        if self.share.turn != turn {
            self.share = Share {
                turn,
                ..Share::WHOLE
            };
        }
        self.share.bytes > 0 && self.share.passes > 0
    }

    /// Counts bytes that it moved in this turn.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.share.bytes = self
            .share
            .bytes
            .saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.share.passes = self.share.passes.saturating_sub(u8::from(bytes > 0));
    }

    /// The socket, to be registered.
    pub fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Keeps what the kernel said.
    pub fn note(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable || readiness.read_closed || readiness.failed;
        self.writable |= readiness.writable;
        self.hung_up |= readiness.read_closed;
        self.errored |= readiness.failed;
        self.reset |= readiness.reset;
    }

    /// The peer's FIN or RST is known and the engine was not told.
    pub(super) fn has_hung_up(&self) -> bool {
        (self.hung_up && !self.hangup_told) || (self.reset && !self.reset_told)
    }

    /// The peer's FIN is known and the engine was not told; it is told now.
    pub(super) fn take_hangup(&mut self) -> bool {
        self.hung_up && !core::mem::replace(&mut self.hangup_told, true)
    }

    /// The same for a reset.
    pub(super) fn take_reset(&mut self) -> bool {
        self.reset && !core::mem::replace(&mut self.reset_told, true)
    }

    /// What an end that was read is: behind a reset that a write was told of, it is none.
    fn ended(&self) -> Got {
        if self.severed {
            Got::Broken("the connection was reset".to_owned())
        } else {
            Got::End
        }
    }

    /// Whether it can carry bytes.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Goes on connecting.
    pub(super) fn establish(&mut self, scratch: &mut [u8]) -> Establishing {
        if self.stage == Stage::Connecting {
            if self.errored {
                let reason = self
                    .socket
                    .take_error()
                    .ok()
                    .flatten()
                    .map_or("closed".to_owned(), |error| error.to_string());
                return Establishing::Failed(Fault::Refused, reason);
            }
            if !self.writable {
                return Establishing::Pending;
            }
            self.stage = Stage::Securing;
        }
        match self.transport.handshake(&mut self.socket, scratch) {
            Ok(Handshake::Done) => match self.transport.subject() {
                Ok(subject) => {
                    self.stage = Stage::Open;
                    Establishing::Done { subject }
                }
                Err(fault) => Establishing::Failed(Fault::Tls, fault.to_string()),
            },
            Ok(Handshake::Pending) => {
                // What is left of a flight goes out when the socket takes it.
                self.writable &= !self.transport.wants_write();
                Establishing::Pending
            }
            Err(TransportFault::NotTls(bytes)) => {
                self.strip();
                Establishing::NotTls(bytes)
            }
            Err(fault) => Establishing::Failed(Fault::Tls, fault.to_string()),
        }
    }

    /// Goes on without TLS: what is said from here on is plain, what is heard is nobody's.
    pub(super) fn strip(&mut self) {
        self.transport = Transport::Plain;
        self.stage = Stage::Open;
    }

    /// Whether its handshake waits for the socket to take more.
    pub(super) fn is_stuck(&self) -> bool {
        self.stage == Stage::Securing && self.transport.wants_write()
    }

    /// Whether a read is worth its call.
    pub(super) fn may_read(&self) -> bool {
        self.readable || self.transport.has_plaintext()
    }

    /// Whether a write is worth its call.
    pub(super) fn may_write(&self) -> bool {
        self.writable
    }

    /// Whether it may be read, or can take more of what waits in a pipe for it.
    pub(super) fn has_more(&self) -> bool {
        self.may_read() || (self.is_loaded && self.writable)
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
            // It stays readable: there may be more, for this turn or the next.
            Received::NoPlaintext => Got::Nothing,
            Received::End => {
                self.readable = false;
                // With TLS the end is a close_notify, which nobody forges.
                if self.is_plain() {
                    self.ended()
                } else {
                    Got::End
                }
            }
            Received::Fault(fault) => {
                self.readable = false;
                Got::Broken(fault.to_string())
            }
        }
    }

    /// Bytes that went over its socket since this was last asked, where they are others than those of the message.
    pub(super) fn take_ciphertext(&mut self) -> usize {
        self.transport.take_ciphertext()
    }

    /// Whether the bytes of its socket are the bytes of the message.
    pub(super) fn is_plain(&self) -> bool {
        self.transport.is_plain()
    }

    /// Moves what arrived into an empty pipe, unseen.
    pub(super) fn get_unseen(&mut self, load: &mut Load<S::Pipe>, most: usize) -> Got {
        match uninterrupted(|| self.socket.fill(&mut load.pipe, most)) {
            Ok(0) => {
                self.readable = false;
                self.ended()
            }
            Ok(n) => {
                load.bytes = n;
                Got::Bytes(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Got::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Got::Unfit,
            Err(error) => {
                self.readable = false;
                Got::Broken(error.to_string())
            }
        }
    }

    /// Writes what waits in the pipe, which is let go when it is empty or can be emptied no more.
    pub(super) fn put_unseen(&mut self, side: Side, pipes: &mut Pipes<S::Pipe>) -> Put {
        let Some(load) = pipes.kept(side).filter(|_| self.writable) else {
            return Put::Nothing;
        };
        let put = match uninterrupted(|| self.socket.empty(&mut load.pipe, load.bytes)) {
            Ok(n) => {
                load.bytes = load.bytes.saturating_sub(n);
                Put::Bytes { n, blocked: false }
            }
            Err(error) => self.not_put(&error),
        };
        self.is_loaded = load.bytes > 0 && matches!(put, Put::Bytes { .. });
        if !self.is_loaded {
            pipes.let_go(side);
        }
        put
    }

    /// Writes both parts in one call where it can.
    pub(super) fn put(&mut self, scratch: &mut [u8], head: &[u8], body: &[u8]) -> Put {
        let offered = total([head.len(), body.len()]);
        if !self.writable || (offered == 0 && !self.transport.wants_write()) {
            return Put::Nothing;
        }
        match self.transport.write(&mut self.socket, scratch, head, body) {
            Ok(n) => {
                let blocked = n < offered || self.transport.wants_write();
                self.writable = !blocked;
                if self.closing && !blocked {
                    self.end_direction();
                }
                Put::Bytes { n, blocked }
            }
            Err(error) => self.not_put(&error),
        }
    }

    fn not_put(&mut self, error: &io::Error) -> Put {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.writable = false;
                Put::Bytes {
                    n: 0,
                    blocked: true,
                }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.readable = true;
                // Behind a FIN the kernel says EPIPE, and then the end is in order.
                self.severed |= error.kind() == io::ErrorKind::ConnectionReset;
                Put::Closed(error.to_string())
            }
            // The kernel's own trouble (ENOBUFS): a peer that knows of nothing would be waited for in vain.
            _ => Put::Broken(error.to_string()),
        }
    }

    /// Ends our direction, behind what the pipe still holds.
    pub fn shut(&mut self) {
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
    pub fn close(mut self, abort: bool) {
        if abort {
            self.socket.reset_on_close();
        } else {
            self.transport.close_notify(&mut self.socket);
        }
    }
}

/// A call that a signal interrupts is made again.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipes::KernelPipe;
    use super::*;

    /// A socket on which every write fails.
    struct Failing(io::ErrorKind);

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Wire for Failing {
        type Pipe = KernelPipe;

        fn fill(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn empty(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn shutdown_write(&self) -> io::Result<()> {
            Ok(())
        }

        fn reset_on_close(&self) {}

        fn take_error(&self) -> io::Result<Option<io::Error>> {
            Ok(None)
        }
    }

    /// Two sides that wake each other are served again and again in one turn: each has one share of it all the same.
    #[test]
    fn a_share_is_of_a_turn_however_often_it_is_served() {
        let mut connection = Connection::client(Failing(io::ErrorKind::WouldBlock), 0);
        for turn in 1..4 {
            for _ in 0..2 {
                assert!(connection.has_share(turn));
                connection.spend(BYTES_PER_TURN / 2);
            }
            assert!(!connection.has_share(turn), "all its bytes were moved");
        }
        for pass in 0..PASSES_PER_TURN {
            assert!(connection.has_share(4), "pass {pass}");
            connection.spend(0);
            connection.spend(1);
        }
        assert!(!connection.has_share(4), "so often, however little it was");
        assert!(connection.has_share(5));
    }

    /// The kernel tells of a reset once. A read that comes after a write that was told finds no bytes, as behind a FIN.
    #[test]
    fn behind_a_reset_that_a_write_was_told_of_nothing_ends_in_order() {
        struct Ended(io::ErrorKind);
        impl Read for Ended {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        impl Write for Ended {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Wire for Ended {
            type Pipe = KernelPipe;
            fn fill(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
                Ok(0)
            }
            fn empty(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn shutdown_write(&self) -> io::Result<()> {
                Ok(())
            }
            fn reset_on_close(&self) {}
            fn take_error(&self) -> io::Result<Option<io::Error>> {
                Ok(None)
            }
        }
        for (kind, in_order) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::ConnectionReset, false),
        ] {
            let mut connection = Connection::client(Ended(kind), 0);
            assert!(matches!(
                connection.put(&mut [], b"head", b""),
                Put::Closed(_)
            ));
            let got = connection.get(&mut [], &mut [0; 8]);
            assert_eq!(matches!(got, Got::End), in_order, "{kind}");
            let mut load = Load {
                pipe: KernelPipe::open().expect("a descriptor is left"),
                bytes: 0,
            };
            assert_eq!(
                matches!(connection.get_unseen(&mut load, 8), Got::End),
                in_order,
                "{kind}, unseen"
            );
        }
    }

    #[test]
    fn only_behind_a_close_is_there_more_to_read() {
        for (kind, closed) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::ConnectionReset, true),
            (io::ErrorKind::OutOfMemory, false),
            (io::ErrorKind::TimedOut, false),
        ] {
            let mut connection = Connection::client(Failing(kind), 0);
            let put = connection.put(&mut [], b"head", b"");
            assert!(
                matches!(put, Put::Closed(_)) == closed && matches!(put, Put::Broken(_)) != closed,
                "{kind}"
            );
            assert_eq!(connection.may_read(), closed, "{kind}");
        }
    }
}
