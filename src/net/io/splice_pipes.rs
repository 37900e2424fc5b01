//! Pipes of the kernel, through which bytes move from one socket to another without a copy to the
//! process (splice(2)).
//!
//! A pipe is attached to a side while bytes for that side wait in it. Once it is empty it serves any
//! side again. A pipe whose side closes before it is empty is closed, so that the bytes of one
//! exchange can never come out in another.
//!
//! The number of pipes is bounded; each takes two descriptors. Bytes are copied if no pipe is left.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::proxy::command::Side;

/// Buffer outside the process that bytes wait in between two sockets.
pub trait Pipe: Sized {
    /// Opens an empty pipe.
    ///
    /// # Errors
    /// No descriptor is left, or the kernel allows no more.
    fn open() -> io::Result<Self>;
}

/// Pipe of the kernel. It holds 64 KB, or as many segments as it has slots.
pub struct KernelPipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe for KernelPipe {
    fn open() -> io::Result<KernelPipe> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        Ok(KernelPipe { read, write })
    }
}

/// Flags of each call: move pages instead of copying where the kernel can, and never block.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl KernelPipe {
    pub(crate) fn fill_from(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        Ok(splice(socket, None, &self.write, None, most, FLAGS)?)
    }

    pub(crate) fn empty_into(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, socket, None, most, FLAGS)?)
    }
}

/// A pipe and the number of bytes in it.
pub(crate) struct FilledPipe<P> {
    pub(crate) pipe: P,
    pub(crate) bytes: usize,
}

/// All pipes of the event loop.
pub struct Pipes<P> {
    idle: Vec<P>,
    /// Pipes with bytes, and the sides these are for. A list is enough: there are few.
    filled: Vec<(Side, FilledPipe<P>)>,
    most: usize,
    /// Smallest read, in bytes, after which splicing pays.
    min_splice_read: usize,
}

impl<P: Pipe> Pipes<P> {
    /// Creates no pipe yet, and at most `most` later. Splicing pays after a read of `min_splice_read`
    /// bytes.
    pub fn new(most: usize, min_splice_read: usize) -> Pipes<P> {
        Pipes {
            idle: Vec::new(),
            filled: Vec::new(),
            most,
            min_splice_read,
        }
    }

    /// Returns the number of pipes with bytes.
    pub fn filled_count(&self) -> usize {
        self.filled.len()
    }

    pub(crate) fn min_splice_read(&self) -> usize {
        self.min_splice_read
    }

    /// Returns an empty pipe: the one that was used last, or a new one.
    pub(crate) fn acquire(&mut self) -> Option<FilledPipe<P>> {
        if let Some(pipe) = self.idle.pop() {
            return Some(FilledPipe { pipe, bytes: 0 });
        }
        if self.filled.len() >= self.most {
            return None;
        }
        match P::open() {
            Ok(pipe) => Some(FilledPipe { pipe, bytes: 0 }),
            Err(error) => {
                log::debug!("no pipe: {error}");
                None
            }
        }
    }

    /// Takes a pipe back. An empty one is kept for reuse, another is closed.
    pub(crate) fn release(&mut self, pipe: FilledPipe<P>) {
        if pipe.bytes == 0 {
            self.idle.push(pipe.pipe);
        }
    }

    /// Keeps a pipe with bytes for this side.
    pub(crate) fn attach(&mut self, side: Side, pipe: FilledPipe<P>) {
        self.filled.push((side, pipe));
    }

    /// Returns the pipe with bytes for this side.
    pub(crate) fn attached(&mut self, side: Side) -> Option<&mut FilledPipe<P>> {
        self.filled
            .iter_mut()
            .find(|(owner, _)| *owner == side)
            .map(|(_, pipe)| pipe)
    }

    /// Takes back the pipe of a side that needs no more of it.
    pub(crate) fn detach(&mut self, side: Side) {
        if let Some(at) = self.filled.iter().position(|(owner, _)| *owner == side) {
            let (_, pipe) = self.filled.swap_remove(at);
            self.release(pipe);
        }
    }

    /// Stops splicing: the kernel cannot splice these sockets.
    pub(crate) fn disable(&mut self) {
        self.most = 0;
        self.close_idle();
    }

    /// Closes the idle pipes. Returns `false` if there were none.
    pub(crate) fn close_idle(&mut self) -> bool {
        !core::mem::take(&mut self.idle).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("an option");
        (ours, theirs)
    }

    #[test]
    fn bytes_pass_through() {
        let ((from, mut sender), (to, mut receiver)) = (pair(), pair());
        let mut pipe = KernelPipe::open().expect("a pipe");
        assert_eq!(
            pipe.fill_from(&from, 10).expect_err("nothing said").kind(),
            io::ErrorKind::WouldBlock
        );
        sender.write_all(b"hello there").expect("sent");
        assert_eq!(pipe.fill_from(&from, 5).expect("said"), 5);
        assert_eq!(pipe.empty_into(&to, 5).expect("there is room"), 5);
        let mut heard = [0; 5];
        receiver.read_exact(&mut heard).expect("received");
        assert_eq!(&heard, b"hello");
        drop(sender);
        assert_eq!(pipe.fill_from(&from, 100).expect("the rest"), 6);
        assert_eq!(pipe.empty_into(&to, 6).expect("there is room"), 6);
        assert_eq!(pipe.fill_from(&from, 100).expect("the end"), 0);
        drop(receiver);
        sender = pair().1;
        drop(sender);
        let (other, mut writer) = pair();
        writer.write_all(b"late").expect("sent");
        assert_eq!(pipe.fill_from(&other, 4).expect("said"), 4);
        assert_eq!(
            pipe.empty_into(&to, 4).expect_err("nobody reads").kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn only_an_empty_pipe_serves_again() {
        let mut pipes = Pipes::<KernelPipe>::new(2, 1);
        let [one, two] = [1, 2].map(|slot| Side::Client(Key::from_parts(slot, 0)));
        for side in [one, two] {
            let pipe = pipes.acquire().expect("a pipe");
            pipes.attach(side, pipe);
        }
        assert!(pipes.acquire().is_none(), "no more than there may be");
        pipes.attached(two).expect("kept").bytes = 1;
        pipes.detach(one);
        pipes.detach(two);
        assert_eq!(
            (pipes.filled_count(), pipes.idle.len()),
            (0, 1),
            "the one with a byte in it is closed"
        );
        assert!(pipes.close_idle() && !pipes.close_idle());
        assert!(pipes.acquire().is_some());
        pipes.disable();
        assert!(pipes.acquire().is_none());
    }
}
