//! stderr for `simple_logger`, whose `eprintln!` panics where stderr takes nothing: a pipe that was closed, a full disk.
//!
//! A panic ends the process. So while a line is made, descriptor 2 is a pipe of our own that always has room for it, and
//! what came is then written to the real stderr, whose failure costs that line and nothing else. At all other times
//! descriptor 2 is the real one: what std says before it ends the process (no memory, a stack overflow) is seen.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;

use rustix::io::ioctl_fionbio;
use rustix::pipe::PIPE_BUF;
use rustix::stdio::dup2_stderr;

use crate::limits::LOG_LINE_BYTES;

// The smallest pipe there is (a user who has many gets no larger ones) takes a line, with its level, its target and what was dropped.
const _: () = assert!(LOG_LINE_BYTES.saturating_add(512) <= PIPE_BUF);

/// Descriptor 2, taken by way of a pipe. One thread uses it, and nobody else writes there meanwhile.
pub(super) struct StderrCapture<W> {
    /// What descriptor 2 is otherwise.
    real: File,
    write_end: PipeWriter,
    read_end: PipeReader,
    /// Where lines go in the end.
    out: W,
    line: Vec<u8>,
}

/// The real stderr, on a descriptor of our own.
pub(super) fn duplicate_stderr() -> io::Result<File> {
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

impl<W: Write> StderrCapture<W> {
    /// What is written to stderr through it goes to `out`.
    ///
    /// # Errors
    /// There are no descriptors.
    pub(super) fn new(out: W) -> io::Result<StderrCapture<W>> {
        let (read_end, write_end) = pipe()?;
        // Who reads knows that it has all when there is no more.
        ioctl_fionbio(&read_end, true)?;
        Ok(StderrCapture {
            real: duplicate_stderr()?,
            write_end,
            read_end,
            out,
            line: Vec::new(),
        })
    }

    /// Has one line written, behind `start`. When it cannot be, it is lost.
    pub(super) fn capture_line(&mut self, start: &[u8], write: impl FnOnce()) {
        if dup2_stderr(&self.write_end).is_err() {
            return;
        }
        write();
        // It fails for nothing but a descriptor that is not open.
        let _ = dup2_stderr(&self.real);
        self.line.clear();
        self.line.extend_from_slice(start);
        // It ends with WouldBlock; what was read before stays.
        let _ = self.read_end.read_to_end(&mut self.line);
        if self.line.len() == start.len() {
            return;
        }
        // stderr is closed or full: the line is lost, the gateway is not.
        let _ = self.out.write_all(&self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when told to.
    #[derive(Default)]
    struct Paper(Vec<String>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            if text.contains("full disk") {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.push(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One test, because descriptor 2 is the process's.
    #[test]
    fn a_line_that_cannot_be_written_is_the_only_one_lost() {
        let mut capture = StderrCapture::new(Paper::default()).unwrap();
        let long = format!("{}\n", "x".repeat(PIPE_BUF - 1));
        for line in ["one\n", "full disk\n", "", &long, "two\n"] {
            // As `eprintln!` would: a failure is a panic. (The test's own is captured and goes nowhere near the descriptor.)
            capture.capture_line(b"", || io::stderr().write_all(line.as_bytes()).unwrap());
        }
        assert!(
            (&capture.read_end)
                .read(&mut [0])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        );
        assert_eq!(capture.out.0, ["one\n", &long, "two\n"]);
        capture.capture_line(b"start ", || io::stderr().write_all(b"three\n").unwrap());
        capture.capture_line(b"start ", || ());
        assert_eq!(
            capture.out.0.last().map(String::as_str),
            Some("start three\n")
        );
    }
}
