//! One socket with its pipe and its sticky bits.
//!
//! The bits hold what the kernel said and was not used up yet (edge-triggered: it says it once). Stopping early leaves them
//! set, so nothing is lost when the engine does not want to read.

use std::io::{self, Read, Write};

use super::splice_pipes::{FilledPipe, Pipe, Pipes};
use crate::buffer::total;
use crate::limits::{BYTES_PER_ITERATION, PUMPS_PER_ITERATION};
use crate::proxy::command::{Fault, Side};
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;
use crate::transport::{Handshake, Received, Transport, TransportFault};

/// What a connection needs of its socket; the tests have one without a kernel.
pub trait RawStream: Read + Write {
    /// What bytes wait in that pass it unseen.
    type Pipe: Pipe;

    /// Moves up to `most` bytes that arrived into an empty pipe. None: the peer has ended its direction. Fewer than `most`
    /// prove nothing: a pipe is full when its slots are, and how much is in one depends on the sender.
    ///
    /// # Errors
    /// As of `read`; `InvalidInput`: it cannot be done with this socket.
    fn splice_to_pipe(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// Sends up to `most` bytes that wait in a pipe. Only `WouldBlock` says that there is no room for more.
    ///
    /// # Errors
    /// As of `write`; `InvalidInput`: it cannot be done with this socket.
    fn splice_from_pipe(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

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
pub struct Connection<S: RawStream> {
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
    pub(in crate::net) large_reads: bool,
    /// Bytes for it wait in a pipe.
    pub(in crate::net) has_spliced: bool,
    /// Whether it stands in a queue of the loop.
    pub(in crate::net) queued: bool,
    /// What is left of its share of the iteration, and which iteration that is.
    budget: Budget,
}

/// What a connection may still move in an iteration of the loop before the others get theirs.
#[derive(Clone, Copy)]
struct Budget {
    iteration: u32,
    bytes: u32,
    pumps: u8,
}

impl Budget {
    const FULL: Budget = Budget {
        iteration: 0,
        bytes: BYTES_PER_ITERATION as u32,
        pumps: PUMPS_PER_ITERATION,
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// TCP is connecting.
    Connecting,
    /// TLS is shaking hands.
    Handshaking,
    Open,
}

/// How far making a connection has come.
pub(in crate::net) enum EstablishResult {
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
pub(in crate::net) enum ReadResult {
    Bytes(usize),
    Nothing,
    End,
    Broken(String),
    /// It cannot be done this way; only where bytes pass unseen.
    Unfit,
}

/// What writing came to.
pub(in crate::net) enum WriteResult {
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

impl<S: RawStream> Connection<S> {
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
            Stage::Handshaking,
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
    pub(in crate::net) fn generation(&self) -> u32 {
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
            large_reads: false,
            has_spliced: false,
            queued: false,
            budget: Budget::FULL,
        }
    }

    /// Whether anything is left of its share of this iteration.
    pub(in crate::net) fn has_budget(&mut self, iteration: u32) -> bool {
        if self.budget.iteration != iteration {
            self.budget = Budget {
                iteration,
                ..Budget::FULL
            };
        }
        self.budget.bytes > 0 && self.budget.pumps > 0
    }

    /// Counts bytes that it moved in this iteration.
    pub(in crate::net) fn spend(&mut self, bytes: usize) {
        self.budget.bytes = self
            .budget
            .bytes
            .saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.budget.pumps = self.budget.pumps.saturating_sub(u8::from(bytes > 0));
    }

    /// The socket, to be registered.
    pub fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Keeps what the kernel said.
    pub fn record_readiness(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable || readiness.read_closed || readiness.failed;
        self.writable |= readiness.writable;
        self.hung_up |= readiness.read_closed;
        self.errored |= readiness.failed;
        self.reset |= readiness.reset;
    }

    /// The peer's FIN or RST is known and the engine was not told.
    pub(in crate::net) fn has_unreported_hangup(&self) -> bool {
        (self.hung_up && !self.hangup_told) || (self.reset && !self.reset_told)
    }

    /// The peer's FIN is known and the engine was not told; it is told now.
    pub(in crate::net) fn take_hangup(&mut self) -> bool {
        self.hung_up && !core::mem::replace(&mut self.hangup_told, true)
    }

    /// The same for a reset.
    pub(in crate::net) fn take_reset(&mut self) -> bool {
        self.reset && !core::mem::replace(&mut self.reset_told, true)
    }

    /// What an end that was read is: behind a reset that a write was told of, it is none.
    fn end_of_stream(&self) -> ReadResult {
        if self.severed {
            ReadResult::Broken("the connection was reset".to_owned())
        } else {
            ReadResult::End
        }
    }

    /// Whether it can carry bytes.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Goes on connecting.
    pub(in crate::net) fn establish(&mut self, scratch: &mut [u8]) -> EstablishResult {
        if self.stage == Stage::Connecting {
            if self.errored {
                let reason = self
                    .socket
                    .take_error()
                    .ok()
                    .flatten()
                    .map_or("closed".to_owned(), |error| error.to_string());
                return EstablishResult::Failed(Fault::Refused, reason);
            }
            if !self.writable {
                return EstablishResult::Pending;
            }
            self.stage = Stage::Handshaking;
        }
        match self.transport.handshake(&mut self.socket, scratch) {
            Ok(Handshake::Done) => match self.transport.subject() {
                Ok(subject) => {
                    self.stage = Stage::Open;
                    EstablishResult::Done { subject }
                }
                Err(fault) => EstablishResult::Failed(Fault::Tls, fault.to_string()),
            },
            Ok(Handshake::Pending) => {
                // What is left of a flight goes out when the socket takes it.
                self.writable &= !self.transport.wants_write();
                EstablishResult::Pending
            }
            Err(TransportFault::NotTls(bytes)) => {
                self.downgrade_to_plain();
                EstablishResult::NotTls(bytes)
            }
            Err(fault) => EstablishResult::Failed(Fault::Tls, fault.to_string()),
        }
    }

    /// Goes on without TLS: what is said from here on is plain, what is heard is nobody's.
    pub(in crate::net) fn downgrade_to_plain(&mut self) {
        self.transport = Transport::Plain;
        self.stage = Stage::Open;
    }

    /// Whether its handshake waits for the socket to take more.
    pub(in crate::net) fn is_handshake_blocked(&self) -> bool {
        self.stage == Stage::Handshaking && self.transport.wants_write()
    }

    /// Whether a read is worth its call.
    pub(in crate::net) fn may_read(&self) -> bool {
        self.readable || self.transport.has_plaintext()
    }

    /// Whether a write is worth its call.
    pub(in crate::net) fn may_write(&self) -> bool {
        self.writable
    }

    /// Whether it may be read, or can take more of what waits in a pipe for it.
    pub(in crate::net) fn has_more(&self) -> bool {
        self.may_read() || (self.has_spliced && self.writable)
    }

    /// Reads into `room`.
    pub(in crate::net) fn read(&mut self, scratch: &mut [u8], room: &mut [u8]) -> ReadResult {
        match self.transport.read(&mut self.socket, scratch, room) {
            Received::Bytes { n, drained } => {
                // Behind a FIN a short read proves nothing: the end itself must still be read.
                if drained && !self.hung_up {
                    self.readable = false;
                }
                ReadResult::Bytes(n)
            }
            Received::Blocked => {
                self.readable = false;
                ReadResult::Nothing
            }
            // It stays readable: there may be more, for this iteration or the next.
            Received::NoPlaintext => ReadResult::Nothing,
            Received::End => {
                self.readable = false;
                // With TLS the end is a close_notify, which nobody forges.
                if self.is_plain() {
                    self.end_of_stream()
                } else {
                    ReadResult::End
                }
            }
            Received::Fault(fault) => {
                self.readable = false;
                ReadResult::Broken(fault.to_string())
            }
        }
    }

    /// Bytes that went over its socket since this was last asked, where they are others than those of the message.
    pub(in crate::net) fn take_ciphertext(&mut self) -> usize {
        self.transport.take_ciphertext()
    }

    /// Whether the bytes of its socket are the bytes of the message.
    pub(in crate::net) fn is_plain(&self) -> bool {
        self.transport.is_plain()
    }

    /// Moves what arrived into an empty pipe, unseen.
    pub(in crate::net) fn splice_in(
        &mut self,
        load: &mut FilledPipe<S::Pipe>,
        most: usize,
    ) -> ReadResult {
        match uninterrupted(|| self.socket.splice_to_pipe(&mut load.pipe, most)) {
            Ok(0) => {
                self.readable = false;
                self.end_of_stream()
            }
            Ok(n) => {
                load.bytes = n;
                ReadResult::Bytes(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                ReadResult::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => ReadResult::Unfit,
            Err(error) => {
                self.readable = false;
                ReadResult::Broken(error.to_string())
            }
        }
    }

    /// Writes what waits in the pipe, which is let go when it is empty or can be emptied no more.
    pub(in crate::net) fn splice_out(
        &mut self,
        side: Side,
        pipes: &mut Pipes<S::Pipe>,
    ) -> WriteResult {
        let Some(load) = pipes.attached(side).filter(|_| self.writable) else {
            return WriteResult::Nothing;
        };
        let put = match uninterrupted(|| self.socket.splice_from_pipe(&mut load.pipe, load.bytes)) {
            Ok(n) => {
                load.bytes = load.bytes.saturating_sub(n);
                WriteResult::Bytes { n, blocked: false }
            }
            Err(error) => self.classify_write_error(&error),
        };
        self.has_spliced = load.bytes > 0 && matches!(put, WriteResult::Bytes { .. });
        if !self.has_spliced {
            pipes.detach(side);
        }
        put
    }

    /// Writes both parts in one call where it can.
    pub(in crate::net) fn write(
        &mut self,
        scratch: &mut [u8],
        head: &[u8],
        body: &[u8],
    ) -> WriteResult {
        let offered = total([head.len(), body.len()]);
        if !self.writable || (offered == 0 && !self.transport.wants_write()) {
            return WriteResult::Nothing;
        }
        match self.transport.write(&mut self.socket, scratch, head, body) {
            Ok(n) => {
                let blocked = n < offered || self.transport.wants_write();
                self.writable = !blocked;
                if self.closing && !blocked {
                    self.end_direction();
                }
                WriteResult::Bytes { n, blocked }
            }
            Err(error) => self.classify_write_error(&error),
        }
    }

    fn classify_write_error(&mut self, error: &io::Error) -> WriteResult {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.writable = false;
                WriteResult::Bytes {
                    n: 0,
                    blocked: true,
                }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.readable = true;
                // Behind a FIN the kernel says EPIPE, and then the end is in order.
                self.severed |= error.kind() == io::ErrorKind::ConnectionReset;
                WriteResult::Closed(error.to_string())
            }
            // The kernel's own trouble (ENOBUFS): a peer that knows of nothing would be waited for in vain.
            _ => WriteResult::Broken(error.to_string()),
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
    use super::super::splice_pipes::KernelPipe;
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

    impl RawStream for Failing {
        type Pipe = KernelPipe;

        fn splice_to_pipe(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn splice_from_pipe(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
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

    /// Two sides that wake each other are served again and again in one iteration: each has one share of it all the same.
    #[test]
    fn a_share_is_of_a_turn_however_often_it_is_served() {
        let mut connection = Connection::client(Failing(io::ErrorKind::WouldBlock), 0);
        for iteration in 1..4 {
            for _ in 0..2 {
                assert!(connection.has_budget(iteration));
                connection.spend(BYTES_PER_ITERATION / 2);
            }
            assert!(
                !connection.has_budget(iteration),
                "all its bytes were moved"
            );
        }
        for pass in 0..PUMPS_PER_ITERATION {
            assert!(connection.has_budget(4), "pass {pass}");
            connection.spend(0);
            connection.spend(1);
        }
        assert!(!connection.has_budget(4), "so often, however little it was");
        assert!(connection.has_budget(5));
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
        impl RawStream for Ended {
            type Pipe = KernelPipe;
            fn splice_to_pipe(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
                Ok(0)
            }
            fn splice_from_pipe(&mut self, _: &mut KernelPipe, _: usize) -> io::Result<usize> {
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
                connection.write(&mut [], b"head", b""),
                WriteResult::Closed(_)
            ));
            let got = connection.read(&mut [], &mut [0; 8]);
            assert_eq!(matches!(got, ReadResult::End), in_order, "{kind}");
            let mut load = FilledPipe {
                pipe: KernelPipe::open().expect("a descriptor is left"),
                bytes: 0,
            };
            assert_eq!(
                matches!(connection.splice_in(&mut load, 8), ReadResult::End),
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
            let put = connection.write(&mut [], b"head", b"");
            assert!(
                matches!(put, WriteResult::Closed(_)) == closed
                    && matches!(put, WriteResult::Broken(_)) != closed,
                "{kind}"
            );
            assert_eq!(connection.may_read(), closed, "{kind}");
        }
    }
}
