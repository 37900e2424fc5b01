//! Writer of the access log: a thread writes chunks to stdout, so that a slow disk or a stuck pipe
//! never stalls the event loop. Lines above the bound are dropped and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::warn;
use rustix::fs::FlockOperation;

use super::spawn;
use crate::buffer::total;
use crate::limits::ACCESS_LOG_BYTES;

/// Shortest time between two reports of dropped lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Pause before the next write when a non-blocking stdout takes nothing.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The writer, seen from the event loop.
pub struct AccessLogWriter {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Lines that wait for the thread.
    waiting: Vec<u8>,
    /// An empty vector with storage, for the loop to fill next.
    spare: Vec<u8>,
    /// Lines that were dropped and not reported yet.
    dropped_lines: u64,
    /// Lines that were dropped since the start, without those of the engine.
    all_dropped: u64,
    /// Error of the writer that caused the drops, if there was one.
    reason: Option<io::Error>,
    /// Time of the last report of dropped lines.
    reported: Option<Instant>,
    /// Bytes that the thread is writing; they count towards the bound.
    in_flight: usize,
    /// Number of lines in these bytes.
    lines_in_flight: u64,
    closed: bool,
}

impl State {
    /// Returns the drops to report, unless the last report is recent. A stuck writer cannot report,
    /// so the loop calls this, too.
    fn report(&mut self) -> Option<Dropped> {
        if self.reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            None
        } else {
            self.report_now()
        }
    }

    fn report_now(&mut self) -> Option<Dropped> {
        let lines = core::mem::take(&mut self.dropped_lines);
        if lines == 0 {
            return None;
        }
        self.reported = Some(Instant::now());
        Some(Dropped {
            lines,
            reason: self.reason.take(),
        })
    }
}

/// Dropped lines, to be reported to the operator.
struct Dropped {
    lines: u64,
    reason: Option<io::Error>,
}

impl Dropped {
    fn log(self) {
        let reason = self
            .reason
            .map_or("it is too slow".to_owned(), |error| error.to_string());
        warn!("access log: {} lines dropped: {reason}", self.lines);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLogWriter {
    /// Starts a writer to stdout. `is_shared`: other workers write there, too.
    ///
    /// # Errors
    /// stdout cannot be duplicated, or the thread does not start.
    pub fn stdout(is_shared: bool) -> io::Result<AccessLogWriter> {
        // A pipe takes more than PIPE_BUF bytes in pieces, between which those of other writers
        // would stand. The file of the program is a lock that all workers have.
        let lock = if is_shared {
            Some(File::open("/proc/self/exe")?)
        } else {
            None
        };
        // Uses its own descriptor: std's `Stdout` would split chunks at line ends.
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        AccessLogWriter::start(WriterThread {
            lock,
            ..WriterThread::new(out)
        })
    }

    /// Starts a writer to `writer`, which may block.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn to(writer: impl Write + Send + 'static) -> io::Result<AccessLogWriter> {
        AccessLogWriter::start(WriterThread::new(writer))
    }

    fn start(thread: WriterThread<impl Write + Send + 'static>) -> io::Result<AccessLogWriter> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let run = move || thread.run(&for_thread);
        spawn("access-log", Box::new(run))?;
        Ok(AccessLogWriter { shared })
    }

    /// Takes the lines over and leaves `lines` empty, with storage. Never blocks on the writer.
    pub fn submit(&self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        let held = total([state.in_flight, state.waiting.len()]);
        let mut dropped = None;
        if held > 0 && total([held, lines.len()]) > ACCESS_LOG_BYTES {
            let lost = count_lines(lines);
            state.dropped_lines = state.dropped_lines.saturating_add(lost);
            state.all_dropped = state.all_dropped.saturating_add(lost);
            dropped = state.report();
        } else if state.waiting.is_empty() {
            core::mem::swap(&mut state.waiting, lines);
            core::mem::swap(lines, &mut state.spare);
        } else {
            state.waiting.extend_from_slice(lines);
        }
        lines.clear();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(dropped) = dropped {
            dropped.log();
        }
    }

    /// Returns the number of lines that were dropped here since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().all_dropped
    }

    /// Counts lines that the engine dropped for lack of room.
    pub fn count_dropped(&self, lines: u64) {
        if lines > 0 {
            let mut state = self.shared.lock();
            state.dropped_lines = state.dropped_lines.saturating_add(lines);
        }
    }

    /// Waits until all lines are written, at most for `timeout`, and reports the lines that were
    /// not. Lines of a write in progress count as not written.
    pub fn close(self, timeout: Duration) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.changed.notify_all();
        let begun = Instant::now();
        while !state.waiting.is_empty() || state.in_flight > 0 {
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let left = count_lines(&state.waiting).saturating_add(state.lines_in_flight);
                state.dropped_lines = state.dropped_lines.saturating_add(left);
                break;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let dropped = state.report_now();
        drop(state);
        if let Some(dropped) = dropped {
            dropped.log();
        }
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    // Counts pieces whose count fits a byte, so that the compiler can use vector instructions.
    let ends = |piece: &[u8]| {
        piece.iter().fold(0_u8, |ends, &byte| {
            ends.wrapping_add(u8::from(byte == b'\n'))
        })
    };
    lines.chunks(usize::from(u8::MAX)).fold(0, |count, piece| {
        count.saturating_add(u64::from(ends(piece)))
    })
}

/// The writer, on its thread.
struct WriterThread<W> {
    out: W,
    /// Lock that is held during each write, where several processes write.
    lock: Option<File>,
    /// The last write ended inside a line: the next chunk begins with a line end, so that two lines never run together.
    inside_line: bool,
    /// Lines that could not be written, until the next chunk is fetched.
    dropped: u64,
    reason: Option<io::Error>,
}

impl<W: Write> WriterThread<W> {
    fn new(out: W) -> WriterThread<W> {
        WriterThread {
            out,
            lock: None,
            inside_line: false,
            dropped: 0,
            reason: None,
        }
    }

    fn run(mut self, shared: &Shared) {
        let mut chunk = Vec::new();
        while self.fetch(&mut chunk, shared) {
            // A lock that fails is no reason to lose the lines.
            self.turn(FlockOperation::LockExclusive);
            self.write(&chunk);
            self.turn(FlockOperation::Unlock);
            chunk.clear();
        }
    }

    /// Takes or ends the turn among the workers of a supervisor.
    fn turn(&self, operation: FlockOperation) {
        if let Some(lock) = &self.lock {
            let _ = rustix::fs::flock(lock, operation);
        }
    }

    /// Accounts for the last chunk and waits for the next. Returns `false` if the log is closed.
    fn fetch(&mut self, chunk: &mut Vec<u8>, shared: &Shared) -> bool {
        let mut state = shared.lock();
        (state.in_flight, state.lines_in_flight) = (0, 0);
        let lost = core::mem::take(&mut self.dropped);
        state.dropped_lines = state.dropped_lines.saturating_add(lost);
        state.all_dropped = state.all_dropped.saturating_add(lost);
        state.reason = self.reason.take().or(state.reason.take());
        if let Some(dropped) = state.report() {
            dropped.log();
        }
        if state.spare.capacity() == 0 {
            core::mem::swap(&mut state.spare, chunk);
        }
        shared.changed.notify_all();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state = shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        core::mem::swap(chunk, &mut state.waiting);
        (state.in_flight, state.lines_in_flight) = (chunk.len(), count_lines(chunk));
        true
    }

    fn write(&mut self, chunk: &[u8]) {
        let mended = if self.inside_line {
            self.put(b"\n")
        } else {
            Ok(())
        };
        if let Err((_, error)) = mended {
            self.reason = Some(error);
            self.dropped = self.dropped.saturating_add(count_lines(chunk));
            return;
        }
        self.inside_line = false;
        if let Err((written, error)) = self.put(chunk) {
            let (done, left) = chunk.split_at_checked(written).unwrap_or((chunk, &[]));
            self.inside_line = done.last().is_some_and(|&byte| byte != b'\n');
            self.reason = Some(error);
            self.dropped = self.dropped.saturating_add(count_lines(left));
        }
    }

    /// Writes all bytes. An error has the number of bytes that were written before it.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let offered = bytes.len();
        while !bytes.is_empty() {
            let written = offered.saturating_sub(bytes.len());
            match self.out.write(bytes) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The parent made stdout non-blocking. This thread can wait; the loop drops lines
                // meanwhile.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(RETRY_AFTER),
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writer that the test controls: each write needs a permit, which may be an error.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<Door>, Condvar)>);

    #[derive(Default)]
    struct Door {
        written: Vec<u8>,
        permits: Vec<io::Result<usize>>,
        open: bool,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (lock, changed) = &*self.0;
            let mut state = lock.lock().unwrap();
            while state.permits.is_empty() && !state.open {
                state = changed.wait(state).unwrap();
            }
            let n = if state.permits.is_empty() {
                bytes.len()
            } else {
                state.permits.remove(0)?.min(bytes.len())
            };
            state.written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Gate {
        fn permit(&self, result: io::Result<usize>) {
            self.0.0.lock().unwrap().permits.push(result);
            self.0.1.notify_all();
        }

        fn open(&self) {
            self.0.0.lock().unwrap().open = true;
            self.0.1.notify_all();
        }

        fn written(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
        }
    }

    fn submit(sink: &AccessLogWriter, text: &str) {
        let mut lines = text.as_bytes().to_vec();
        sink.submit(&mut lines);
        assert!(lines.is_empty());
    }

    #[test]
    fn lines_arrive_in_order_and_close_waits_for_them() {
        let gate = Gate::default();
        let sink = AccessLogWriter::to(gate.clone()).unwrap();
        submit(&sink, "one\n");
        submit(&sink, "two\n");
        gate.open();
        submit(&sink, "three\n");
        sink.close(Duration::from_secs(10));
        assert_eq!(gate.written(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_stuck_writer_costs_bounded_memory_and_no_time() {
        let gate = Gate::default();
        let sink = AccessLogWriter::to(gate.clone()).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        // Pretends a recent report, so that the count stays visible.
        sink.shared.lock().reported = Some(Instant::now());
        submit(&sink, &line);
        while sink.shared.lock().in_flight == 0 {
            std::thread::yield_now();
        }
        for _ in 1..5_000 {
            submit(&sink, &line);
        }
        let (held, dropped) = {
            let state = sink.shared.lock();
            (state.waiting.len() + state.in_flight, state.dropped_lines)
        };
        assert!(held <= ACCESS_LOG_BYTES, "{held}");
        assert_eq!(
            held as u64 / 1000 + dropped,
            5_000,
            "each line is held or counted"
        );
        gate.open();
        sink.close(Duration::from_secs(10));
        let written = gate.written();
        assert!(written.len() <= ACCESS_LOG_BYTES);
        assert!(written.lines().all(|line| line.len() == 999));
    }

    #[test]
    fn lines_are_reported_while_the_writer_is_stuck_and_the_rest_at_the_end() {
        let sink = AccessLogWriter::to(Gate::default()).unwrap();
        let shared = Arc::clone(&sink.shared);
        let chunk = "line\n".repeat(ACCESS_LOG_BYTES / 5);
        submit(&sink, &chunk);
        assert!(shared.lock().reported.is_none());
        submit(&sink, &chunk);
        assert!(shared.lock().reported.is_some() && shared.lock().dropped_lines == 0);
        submit(&sink, "one\ntwo\n");
        assert_eq!(
            shared.lock().dropped_lines,
            2,
            "soon after, they are only counted"
        );
        sink.close(Duration::ZERO);
        assert_eq!(shared.lock().dropped_lines, 0);
    }

    #[test]
    fn every_line_is_written_or_reported_when_it_closes() {
        let gate = Gate::default();
        for _ in 0..3 {
            gate.permit(Err(io::ErrorKind::StorageFull.into()));
        }
        let sink = AccessLogWriter::to(gate.clone()).unwrap();
        let shared = Arc::clone(&sink.shared);
        for _ in 0..3 {
            submit(&sink, "lost\n");
            while shared.lock().in_flight > 0 || !shared.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
        }
        assert_eq!(
            shared.lock().dropped_lines,
            2,
            "the first was reported at once"
        );
        gate.open();
        submit(&sink, "kept\n");
        sink.close(Duration::from_secs(10));
        assert_eq!(
            (gate.written().as_str(), shared.lock().dropped_lines),
            ("kept\n", 0)
        );
    }

    #[test]
    fn after_an_error_lines_never_run_together() {
        let gate = Gate::default();
        let mut writer = WriterThread::new(gate.clone());
        gate.permit(Ok(6));
        gate.permit(Err(io::ErrorKind::StorageFull.into()));
        writer.write(b"one\ntwo\nthree\n");
        assert_eq!((gate.written().as_str(), writer.dropped), ("one\ntw", 2));
        gate.permit(Err(io::ErrorKind::StorageFull.into()));
        writer.write(b"four\n");
        assert_eq!(writer.dropped, 3);
        assert_eq!(
            writer.reason.take().map(|error| error.kind()),
            Some(io::ErrorKind::StorageFull)
        );
        gate.open();
        writer.write(b"five\n");
        assert_eq!(gate.written(), "one\ntw\nfive\n");
    }

    #[test]
    fn a_failure_at_a_line_end_costs_no_empty_line() {
        let gate = Gate::default();
        let mut writer = WriterThread::new(gate.clone());
        gate.permit(Ok(4));
        gate.permit(Err(io::ErrorKind::BrokenPipe.into()));
        writer.write(b"one\ntwo\n");
        gate.open();
        writer.write(b"three\n");
        assert_eq!(
            (gate.written().as_str(), writer.dropped),
            ("one\nthree\n", 1)
        );
    }

    #[test]
    fn a_non_blocking_stdout_is_waited_for() {
        let gate = Gate::default();
        let mut writer = WriterThread::new(gate.clone());
        gate.permit(Err(io::ErrorKind::WouldBlock.into()));
        gate.permit(Ok(2));
        gate.permit(Err(io::ErrorKind::WouldBlock.into()));
        gate.open();
        writer.write(b"one\ntwo\n");
        assert_eq!((gate.written().as_str(), writer.dropped), ("one\ntwo\n", 0));
    }

    #[test]
    fn close_does_not_wait_for_a_stuck_writer() {
        let sink = AccessLogWriter::to(Gate::default()).unwrap();
        submit(&sink, "one\n");
        let start = Instant::now();
        sink.close(Duration::from_millis(50));
        assert!((50..5_000).contains(&start.elapsed().as_millis()));
    }

    #[test]
    fn storage_circulates() {
        let gate = Gate::default();
        gate.open();
        let sink = AccessLogWriter::to(gate.clone()).unwrap();
        let mut lines = Vec::with_capacity(100);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            lines.extend_from_slice(b"a line\n");
            seen.insert(lines.as_ptr() as usize);
            sink.submit(&mut lines);
            while {
                let state = sink.shared.lock();
                !state.waiting.is_empty() || state.in_flight > 0
            } {
                std::thread::yield_now();
            }
        }
        assert!(
            seen.len() <= 4,
            "{} pieces of storage for 200 chunks",
            seen.len()
        );
        assert_eq!(gate.written().len(), 200 * 7);
    }
}
