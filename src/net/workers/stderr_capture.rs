//! stderr for `simple_logger`, whose `eprintln!` panics if stderr is closed or its disk is full.
//!
//! A panic would end the process. So descriptor 2 is a pipe with room enough while a line is made;
//! the line is then written to the real stderr, whose failure loses that line only. At all other
//! times descriptor 2 is the real stderr: std's own messages (no memory, stack overflow) reach it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;

use rustix::io::ioctl_fionbio;
use rustix::pipe::PIPE_BUF;
use rustix::stdio::dup2_stderr;

use crate::limits::LOG_LINE_BYTES;

// The smallest pipe (a user with many pipes gets no larger ones) has room for a line with its level
// and target.
const _: () = assert!(LOG_LINE_BYTES.saturating_add(512) <= PIPE_BUF);

/// Redirection of descriptor 2 through a pipe. One thread uses it, and no other writes there
/// meanwhile.
pub(super) struct StderrCapture<W> {
    /// Duplicate of the real stderr.
    real: File,
    write_end: PipeWriter,
    read_end: PipeReader,
    /// Destination of the lines.
    out: W,
    line: Vec<u8>,
}

/// Duplicates the real stderr.
pub(super) fn duplicate_stderr() -> io::Result<File> {
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

impl<W: Write> StderrCapture<W> {
    /// Creates a capture that writes to `out`.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(out: W) -> io::Result<StderrCapture<W>> {
        let (read_end, write_end) = pipe()?;
        // A read returns `WouldBlock` once all is read.
        ioctl_fionbio(&read_end, true)?;
        Ok(StderrCapture {
            real: duplicate_stderr()?,
            write_end,
            read_end,
            out,
            line: Vec::new(),
        })
    }

    /// Captures what `write` prints to stderr, and writes it after `start`. A line that cannot be
    /// written is lost.
    pub(super) fn capture_line(&mut self, start: &[u8], write: impl FnOnce()) {
        if dup2_stderr(&self.write_end).is_err() {
            return;
        }
        write();
        // Fails only for a descriptor that is not open.
        let _ = dup2_stderr(&self.real);
        self.line.clear();
        self.line.extend_from_slice(start);
        // Ends with `WouldBlock`; the bytes read before stay.
        let _ = self.read_end.read_to_end(&mut self.line);
        if self.line.len() == start.len() {
            return;
        }
        // A closed or full stderr loses the line.
        let _ = self.out.write_all(&self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writer that fails for certain lines.
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

    /// Tests everything in one function, because the process has only one descriptor 2.
    #[test]
    fn a_line_that_cannot_be_written_is_the_only_one_lost() {
        let mut capture = StderrCapture::new(Paper::default()).unwrap();
        let long = format!("{}\n", "x".repeat(PIPE_BUF - 1));
        for line in ["one\n", "full disk\n", "", &long, "two\n"] {
            // Panics on failure, as `eprintln!` does. (The test's own output is captured
            // elsewhere.)
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
