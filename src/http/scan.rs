//! Scan of a head that is incomplete, and the bounds of a head.

use crate::cost;
use crate::limits::{FIELDS_DEFAULT, HEAD_BYTES_DEFAULT, REQUEST_LINE_BYTES_DEFAULT};

/// Bounds of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, with its blank line and an ignored CRLF before it: the room that a
    /// reader needs.
    pub head_bytes: usize,
    /// Bytes of the start line without its CRLF.
    pub request_line_bytes: usize,
    /// Number of fields, at most [`FIELDS_MAX`](crate::limits::FIELDS_MAX).
    pub fields: usize,
}

impl HeadLimits {
    /// Bounds of a gateway whose configuration has none.
    pub const DEFAULT: HeadLimits = HeadLimits {
        head_bytes: HEAD_BYTES_DEFAULT,
        request_line_bytes: REQUEST_LINE_BYTES_DEFAULT,
        fields: FIELDS_DEFAULT,
    };
}

/// Position up to which an incomplete head was scanned, so that a head that arrives byte by byte is
/// scanned once.
#[derive(Clone, Copy, Default, Debug)]
pub struct HeadScan {
    pub(super) seen: u32,
    line_start: u32,
    start_line_seen: bool,
}

/// Reason why a scan stops.
pub(super) enum ScanFault {
    BareLineEnd,
    StartLineTooLong,
    TooLarge,
}

impl HeadScan {
    /// Scans the new bytes. Returns true if the blank line has arrived.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<bool, ScanFault> {
        let seen = self.seen as usize;
        cost::count(bytes.len().saturating_sub(seen));
        let mut after_cr = bytes.get(..seen).unwrap_or_default().ends_with(b"\r");
        for (at, &byte) in bytes.iter().enumerate().skip(seen) {
            if after_cr != (byte == b'\n') {
                return Err(ScanFault::BareLineEnd);
            }
            after_cr = byte == b'\r';
            if byte == b'\n' {
                // The CR before `at` is no part of the line.
                let length = at
                    .saturating_sub(self.line_start as usize)
                    .saturating_sub(1);
                if !self.start_line_seen && length > limits.request_line_bytes {
                    return Err(ScanFault::StartLineTooLong);
                }
                if length == 0 && self.start_line_seen {
                    return Ok(true);
                }
                self.start_line_seen = true;
                self.line_start = (at as u32).saturating_add(1);
            }
        }
        self.seen = bytes.len() as u32;
        let unfinished = bytes
            .len()
            .saturating_sub(self.line_start as usize)
            .saturating_sub(usize::from(after_cr));
        if !self.start_line_seen && unfinished > limits.request_line_bytes {
            return Err(ScanFault::StartLineTooLong);
        }
        if bytes.len() >= limits.head_bytes {
            Err(ScanFault::TooLarge)
        } else {
            Ok(false)
        }
    }
}
