//! The operator's log: `log` in front, `simple_logger` behind, and a thread between them.
//!
//! stderr may be a pipe that nobody reads or that is closed; simple_logger's `eprintln!` then blocks or panics. Neither may
//! reach the loop. So a record is queued, bounded, and a helper thread hands it over; what panics there is caught and costs
//! that one line. (This is why the release profile unwinds.)

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::limits::JOURNAL_LINES;

/// The thread's name; a panic in it is no news.
const THREAD: &str = "journal";

enum Entry {
    Line { level: Level, target: String, text: String },
    Flush(std::sync::mpsc::Sender<()>),
}

struct Journal {
    queue: SyncSender<Entry>,
    dropped: AtomicU64,
}

/// Starts the journal; from here on `log` writes to stderr what is at `level` or above.
///
/// # Errors
/// The thread does not start, or a logger was set before.
pub fn start(level: LevelFilter) -> io::Result<()> {
    let (queue, entries) = sync_channel(JOURNAL_LINES);
    let logger = SimpleLogger::new().with_level(level);
    silence_own_panics();
    Builder::new().name(THREAD.to_owned()).spawn(move || drain(&entries, &logger))?;
    log::set_boxed_logger(Box::new(Journal { queue, dropped: AtomicU64::new(0) })).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// Changes what is written from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Waits until what was logged is written, at most so long.
pub fn flush(patience: Duration) {
    FLUSH.with(|slot| slot.set(Some(patience)));
    log::logger().flush();
    FLUSH.with(|slot| slot.set(None));
}

thread_local! {
    /// How long the flush in progress may take; `Log::flush` has no room for it.
    static FLUSH: std::cell::Cell<Option<Duration>> = const { std::cell::Cell::new(None) };
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let missing = self.dropped.swap(0, Ordering::Relaxed);
        let mut text = record.args().to_string();
        if missing > 0 {
            text = format!("{text} ({missing} messages before this one were dropped)");
        }
        let entry = Entry::Line { level: record.level(), target: record.target().to_owned(), text };
        if let Err(TrySendError::Full(_)) = self.queue.try_send(entry) {
            self.dropped.fetch_add(missing + 1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, wait) = channel();
        if self.queue.try_send(Entry::Flush(done)).is_ok() {
            let patience = FLUSH.with(std::cell::Cell::get).unwrap_or(Duration::from_millis(100));
            // Either it was written in time or it will not be.
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn drain(entries: &Receiver<Entry>, logger: &SimpleLogger) {
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Line { level, target, text } => {
                let write = AssertUnwindSafe(|| {
                    logger.log(&Record::builder().level(level).target(&target).args(format_args!("{text}")).build());
                });
                // stderr is closed or full: the line is lost, the gateway is not.
                let _ = catch_unwind(write);
            }
            Entry::Flush(done) => drop(done.send(())),
        }
    }
}

/// The default hook would complain on the very stderr that failed.
fn silence_own_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(THREAD) {
            default(info);
        }
    }));
}
