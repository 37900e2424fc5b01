//! The wire between both ends, which an attacker changes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// Direction of the wire.
pub(super) struct Line {
    pub(super) bytes: VecDeque<u8>,
    /// Most bytes that one call moves.
    pub(super) piece: usize,
    /// Bytes that still fit.
    pub(super) room: usize,
    /// The stream ends behind these bytes.
    pub(super) cut: bool,
    /// The bytes were changed.
    pub(super) modified: bool,
    /// Number of bytes that were read and written.
    pub(super) moved: u64,
}

impl Line {
    pub(super) fn new() -> Line {
        Line {
            bytes: VecDeque::new(),
            piece: usize::MAX,
            room: usize::MAX,
            cut: false,
            modified: false,
            moved: 0,
        }
    }
}

/// Socket of one end.
pub(super) struct Socket<'w> {
    pub(super) incoming: &'w mut Line,
    pub(super) outgoing: &'w mut Line,
}

impl Read for Socket<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let line = &mut self.incoming;
        if line.bytes.is_empty() && !line.cut {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = room.len().min(line.piece);
        // `VecDeque::read` returns only the part before the wrap.
        line.bytes.make_contiguous();
        let n = line.bytes.read(room.get_mut(..most).unwrap_or_default())?;
        line.moved += n as u64;
        Ok(n)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = &mut self.outgoing;
        let n = bytes.len().min(line.piece).min(line.room);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        line.room -= n;
        line.moved += n as u64;
        // Bytes behind a cut are lost.
        if !line.cut {
            line.bytes.extend(bytes.get(..n).unwrap_or_default());
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
