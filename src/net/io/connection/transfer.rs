//! Reading and writing of one connection: through its transport, or spliced through a pipe.

use std::io;

use super::Connection;
use super::states::{EndOfStream, Fin, Peer, ReadState, WriteState};
use crate::buffer::total;
use crate::net::io::raw_stream::RawStream;
use crate::net::io::splice_pipes::{FilledPipe, Pipes};
use crate::proxy::command::{Fault, Side};
use crate::transport::{Received, TransportFault};

/// Result of a read.
pub(crate) enum ReadResult {
    Bytes(usize),
    WouldBlock,
    End,
    Broken(Fault, String),
    /// The socket cannot be spliced.
    CannotSplice,
}

/// Result of a write.
pub(crate) enum WriteResult {
    /// There was nothing to write, or the socket is full.
    Nothing,
    /// `n` bytes were written; `blocked`: the socket takes no more for now.
    Bytes { n: usize, blocked: bool },
    /// The peer takes no more bytes. Bytes that it sent before may still wait in the socket.
    Closed(String),
    /// The connection has failed.
    Broken(String),
}

impl<S: RawStream> Connection<S> {
    // --- reading ---

    /// Reads into `room`.
    pub(crate) fn read(&mut self, scratch: &mut [u8], room: &mut [u8]) -> ReadResult {
        match self.transport.read(&mut self.socket, scratch, room) {
            Received::Bytes { n, drained } => {
                // After a FIN a short read does not mean that the socket is drained: the end itself
                // must still be read.
                if drained && self.peer == Peer::Sending {
                    self.read_state = ReadState::Drained;
                }
                ReadResult::Bytes(n)
            }
            Received::Blocked => {
                self.read_state = ReadState::Drained;
                ReadResult::WouldBlock
            }
            // The state stays: more ciphertext may wait, for this iteration or the next.
            Received::NoPlaintext => ReadResult::WouldBlock,
            Received::End => {
                self.read_state = ReadState::Drained;
                // The end of TLS is a close_notify, which is authenticated.
                if self.is_plain() {
                    self.end_of_stream()
                } else {
                    ReadResult::End
                }
            }
            Received::Fault(fault) => {
                self.read_state = ReadState::Drained;
                let kind = match fault {
                    TransportFault::Truncated => Fault::Truncated,
                    _ => Fault::Reset,
                };
                ReadResult::Broken(kind, fault.to_string())
            }
        }
    }

    /// Returns and resets the number of ciphertext bytes that were read and written; 0 without TLS.
    pub(crate) fn take_ciphertext(&mut self) -> usize {
        self.transport.take_ciphertext()
    }

    /// Moves received bytes into an empty pipe.
    pub(crate) fn splice_in(&mut self, pipe: &mut FilledPipe<S::Pipe>, most: usize) -> ReadResult {
        match retry_interrupted(|| self.socket.splice_to_pipe(&mut pipe.pipe, most)) {
            Ok(0) => {
                self.read_state = ReadState::Drained;
                self.end_of_stream()
            }
            Ok(n) => {
                pipe.bytes = n;
                ReadResult::Bytes(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.read_state = ReadState::Drained;
                ReadResult::WouldBlock
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => ReadResult::CannotSplice,
            Err(error) => {
                self.read_state = ReadState::Drained;
                ReadResult::Broken(Fault::Reset, error.to_string())
            }
        }
    }

    fn end_of_stream(&self) -> ReadResult {
        match self.end_of_stream {
            EndOfStream::Clean => ReadResult::End,
            EndOfStream::Reset => {
                ReadResult::Broken(Fault::Reset, "the connection was reset".to_owned())
            }
        }
    }

    // --- writing ---

    /// Writes the bytes that wait in the pipe of this side. The pipe is released when it is empty,
    /// and closed when its bytes cannot be sent.
    pub(crate) fn splice_out(&mut self, side: Side, pipes: &mut Pipes<S::Pipe>) -> WriteResult {
        let is_writable = self.may_write();
        let Some(pipe) = pipes.attached(side).filter(|_| is_writable) else {
            return WriteResult::Nothing;
        };
        let result =
            match retry_interrupted(|| self.socket.splice_from_pipe(&mut pipe.pipe, pipe.bytes)) {
                Ok(n) => {
                    pipe.bytes = pipe.bytes.saturating_sub(n);
                    WriteResult::Bytes { n, blocked: false }
                }
                Err(error) => self.classify_write_error(&error),
            };
        self.has_spliced = pipe.bytes > 0 && matches!(result, WriteResult::Bytes { .. });
        if !self.has_spliced {
            pipes.detach(side);
        }
        result
    }

    /// Writes head and body, in one call where the transport can.
    pub(crate) fn write(&mut self, scratch: &mut [u8], head: &[u8], body: &[u8]) -> WriteResult {
        let offered = total([head.len(), body.len()]);
        if !self.may_write() || (offered == 0 && !self.transport.wants_write()) {
            return WriteResult::Nothing;
        }
        match self.transport.write(&mut self.socket, scratch, head, body) {
            Ok(n) => {
                let blocked = n < offered || self.transport.wants_write();
                if blocked {
                    self.write_state = WriteState::Blocked;
                } else if self.fin == Fin::AfterCiphertext {
                    self.send_fin();
                }
                WriteResult::Bytes { n, blocked }
            }
            Err(error) => self.classify_write_error(&error),
        }
    }

    fn classify_write_error(&mut self, error: &io::Error) -> WriteResult {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.write_state = WriteState::Blocked;
                WriteResult::Bytes {
                    n: 0,
                    blocked: true,
                }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.read_state = ReadState::Readable;
                // EPIPE comes after a FIN, whose end of stream is clean.
                if error.kind() == io::ErrorKind::ConnectionReset {
                    self.end_of_stream = EndOfStream::Reset;
                }
                WriteResult::Closed(error.to_string())
            }
            // An error of this machine (ENOBUFS): the peer does not know of it and would wait.
            _ => WriteResult::Broken(error.to_string()),
        }
    }
}

/// Repeats a call as long as a signal interrupts it.
pub(super) fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::io::splice_pipes::KernelPipe;
    use crate::net::io::splice_pipes::Pipe as _;
    use std::io::{Read, Write};

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

    /// The kernel reports a reset once. If a write gets the report, the next read finds no bytes, as after a FIN.
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
