//! Pipes of the kernel's, through which bytes go from one socket to another without coming into the process (splice(2)).
//!
//! A pipe is in use only while bytes wait in it for one receiver, under whose name it stands here. Emptied it serves the next
//! one; a pipe whose receiver ends before it is empty is closed, so that nobody's bytes can come out at somebody else's end.
//!
//! There is a bounded number of them, two descriptors each. Where none is left, or the kernel has none, bytes are copied.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::proxy::command::Side;

/// Something that bytes can wait in, unseen, between two sockets.
pub trait Pipe: Sized {
    /// A new one.
    ///
    /// # Errors
    /// No descriptor is left, or the kernel allows no more.
    fn open() -> io::Result<Self>;
}

/// A pipe of the kernel's. It holds 64 KB, or as many segments as it has slots.
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

/// Pages change hands where the kernel can do that; nothing is waited for.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl KernelPipe {
    pub(in crate::net) fn fill_from(
        &mut self,
        socket: impl AsFd,
        most: usize,
    ) -> io::Result<usize> {
        Ok(splice(socket, None, &self.write, None, most, FLAGS)?)
    }

    pub(in crate::net) fn empty_into(
        &mut self,
        socket: impl AsFd,
        most: usize,
    ) -> io::Result<usize> {
        Ok(splice(&self.read, None, socket, None, most, FLAGS)?)
    }
}

/// A pipe and how many bytes are in it.
pub(in crate::net) struct FilledPipe<P> {
    pub(in crate::net) pipe: P,
    pub(in crate::net) bytes: usize,
}

/// The pipes there are.
pub struct Pipes<P> {
    idle: Vec<P>,
    /// Those with bytes in them, and whom they are for. There are few, and few connections have one.
    filled: Vec<(Side, FilledPipe<P>)>,
    most: usize,
    /// The smallest read that shows a sender min_splice_read a pipe.
    min_splice_read: usize,
}

impl<P: Pipe> Pipes<P> {
    /// At most `most` at once, for senders of which a read gets `min_splice_read` bytes.
    pub fn new(most: usize, min_splice_read: usize) -> Pipes<P> {
        Pipes {
            idle: Vec::new(),
            filled: Vec::new(),
            most,
            min_splice_read,
        }
    }

    /// Pipes that have bytes in them now.
    pub fn filled_count(&self) -> usize {
        self.filled.len()
    }

    pub(in crate::net) fn min_splice_read(&self) -> usize {
        self.min_splice_read
    }

    /// An empty pipe, the one that was used last.
    pub(in crate::net) fn acquire(&mut self) -> Option<FilledPipe<P>> {
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

    /// Takes one back, for the next borrower when it is empty.
    pub(in crate::net) fn release(&mut self, pipe: FilledPipe<P>) {
        if pipe.bytes == 0 {
            self.idle.push(pipe.pipe);
        }
    }

    /// Keeps what waits for this side.
    pub(in crate::net) fn attach(&mut self, side: Side, pipe: FilledPipe<P>) {
        self.filled.push((side, pipe));
    }

    /// What waits for this side.
    pub(in crate::net) fn attached(&mut self, side: Side) -> Option<&mut FilledPipe<P>> {
        self.filled
            .iter_mut()
            .find(|(owner, _)| *owner == side)
            .map(|(_, pipe)| pipe)
    }

    /// Nothing more of it is wanted.
    pub(in crate::net) fn detach(&mut self, side: Side) {
        if let Some(at) = self.filled.iter().position(|(owner, _)| *owner == side) {
            let (_, pipe) = self.filled.swap_remove(at);
            self.release(pipe);
        }
    }

    /// The kernel cannot do it with these sockets: everything is copied from here on.
    pub(in crate::net) fn disable(&mut self) {
        self.most = 0;
        self.close_idle();
    }

    /// Closes those that nobody uses; false: there were none.
    pub(in crate::net) fn close_idle(&mut self) -> bool {
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
