//! Flushes of the access log: lines go from the engine to the writer's thread after a delay, so that
//! many lines share one write, or once there are many.

use super::workers::access_log::AccessLogWriter;
use crate::limits::{ACCESS_LOG_FLUSH_AFTER, ACCESS_LOG_FLUSH_BYTES};
use crate::proxy::Proxy;
use crate::time::Instant;

/// The access log, seen from the event loop.
pub(super) struct AccessLog {
    writer: AccessLogWriter,
    /// Time at which waiting lines are written.
    flush_at: Option<Instant>,
    /// Lines that the engine dropped.
    dropped: u64,
}

impl AccessLog {
    pub(super) fn new(writer: AccessLogWriter) -> AccessLog {
        AccessLog {
            writer,
            flush_at: None,
            dropped: 0,
        }
    }

    /// Returns the time of the next flush, if lines wait.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Hands the waiting lines to the writer if they are due.
    pub(super) fn flush_if_due(&mut self, proxy: &mut Proxy, now: Instant) {
        let waiting = proxy.access_lines().len();
        if waiting == 0 {
            return;
        }
        match self.flush_at {
            None => self.flush_at = Some(now.after(ACCESS_LOG_FLUSH_AFTER)),
            Some(at) if at <= now => self.flush(proxy),
            Some(_) => {}
        }
        if waiting >= ACCESS_LOG_FLUSH_BYTES {
            self.flush(proxy);
        }
    }

    /// Hands the waiting lines to the writer.
    pub(super) fn flush(&mut self, proxy: &mut Proxy) {
        self.flush_at = None;
        self.writer.submit(proxy.access_lines());
        let dropped = proxy.take_dropped_lines();
        self.dropped = self.dropped.saturating_add(dropped);
        self.writer.count_dropped(dropped);
    }

    /// Returns the number of lines that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.saturating_add(self.writer.dropped())
    }

    /// Returns the writer, to be closed at the very end.
    pub(super) fn into_writer(self) -> AccessLogWriter {
        self.writer
    }
}
