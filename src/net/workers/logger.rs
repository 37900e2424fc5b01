//! The operator's log: `log` in front, `simple_logger` behind, and a thread between them.
//!
//! stderr may be closed, or a pipe without a reader; simple_logger's `eprintln!` then panics or
//! blocks. Neither may reach the event loop. So records go through a bounded queue to a thread,
//! which writes them in a way that cannot panic (`stderr_capture.rs`): a line that cannot be
//! written is the only one lost.
//!
//! A panic on any thread ends the process. Its message is written after all earlier lines.

use std::fs::File;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record, error};
use simple_logger::SimpleLogger;

use super::queue::{Receiver, Refused, Sender, bounded, unbounded};
use super::spawn;
use super::stderr_capture::{StderrCapture, duplicate_stderr};
use crate::config::LogLevel;
use crate::limits::{LOG_LINE_BYTES, LOG_QUEUE_LINES};
use crate::observe::date::DateCache;
use crate::time::UnixTime;

/// Name of the thread.
const THREAD: &str = "logger";
/// Longest time that a panic waits for its message to be written.
const PANIC_TIMEOUT: Duration = Duration::from_secs(1);

enum Entry {
    Line {
        level: Level,
        target: String,
        text: String,
        at: SystemTime,
    },
    Flush(Sender<()>),
}

struct Logger {
    queue: Sender<Entry>,
    dropped: AtomicU64,
}

/// Beginning of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LinePrefix {
    /// Time of the message: RFC 3339 in UTC, with milliseconds.
    Time,
    /// Priority such as `<4>` (sd-daemon(3)): the journal of systemd adds the time.
    Priority,
}

impl LinePrefix {
    /// Chooses by `$JOURNAL_STREAM`, which is set if stderr goes to the journal of systemd
    /// (systemd.exec(5)).
    fn from_environment() -> LinePrefix {
        if std::env::var_os("JOURNAL_STREAM").is_some() {
            LinePrefix::Priority
        } else {
            LinePrefix::Time
        }
    }

    fn write(self, level: Level, at: SystemTime, dates: &mut DateCache, out: &mut Vec<u8>) {
        match self {
            LinePrefix::Time => {
                let millis = at
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_millis();
                let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                out.extend_from_slice(dates.rfc3339(UnixTime::from_millis(millis)));
                out.extend_from_slice(format!(".{:03}Z ", millis % 1000).as_bytes());
            }
            LinePrefix::Priority => out.extend_from_slice(match level {
                Level::Error => b"<3>",
                Level::Warn => b"<4>",
                Level::Info => b"<6>",
                Level::Debug | Level::Trace => b"<7>",
            }),
        }
    }
}

/// Starts the logger. From then on `log` writes messages of `level` or above to stderr.
///
/// # Errors
/// The thread does not start, no descriptor is left, or a logger was set before.
pub fn start(level: LevelFilter) -> io::Result<()> {
    let (queue, entries) = bounded(LOG_QUEUE_LINES);
    // `log::max_level` decides, so that it can change at run time.
    let sink = SimpleLogger::new().with_level(LevelFilter::Trace);
    let (mut capture, last_resort) = (
        StderrCapture::new(duplicate_stderr()?)?,
        duplicate_stderr()?,
    );
    let start = LinePrefix::from_environment();
    let run = move || {
        drain(&entries, &sink, start, |start, write| {
            capture.capture_line(start, write)
        })
    };
    spawn(THREAD, Box::new(run))?;
    std::panic::set_hook(Box::new(move |info| log_panic(info, &last_resort)));
    log::set_boxed_logger(Box::new(Logger {
        queue,
        dropped: AtomicU64::new(0),
    }))
    .map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// Returns the filter that lets messages of this severity and above through.
pub fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}

/// Changes the level from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Waits until all earlier messages are written, at most for `timeout`.
pub fn flush(timeout: Duration) {
    FLUSH.with(|slot| slot.set(Some(timeout)));
    log::logger().flush();
    FLUSH.with(|slot| slot.set(None));
}

thread_local! {
    /// Timeout of the flush in progress; `Log::flush` has no argument for it.
    static FLUSH: std::cell::Cell<Option<Duration>> = const { std::cell::Cell::new(None) };
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let missing = self.dropped.swap(0, Ordering::Relaxed);
        let mut text = one_line(&record.args().to_string());
        if missing > 0 {
            text = format!("{text} ({missing} messages before this one were dropped)");
        }
        let at = SystemTime::now();
        let entry = Entry::Line {
            level: record.level(),
            target: record.target().to_owned(),
            text,
            at,
        };
        if let Err(Refused::Full(_)) = self.queue.send(entry) {
            self.dropped
                .fetch_add(missing.saturating_add(1), Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let timeout = FLUSH
            .with(std::cell::Cell::get)
            .unwrap_or(Duration::from_millis(100));
        let begun = Instant::now();
        let (done, wait) = unbounded();
        let mut entry = Entry::Flush(done);
        // A full queue must be waited for, too.
        while let Err(Refused::Full(back)) = self.queue.send(entry) {
            if begun.elapsed() >= timeout {
                return;
            }
            entry = back;
            sleep(Duration::from_millis(1));
        }
        // The result does not matter: the lines are written, or the time is over.
        let _ = wait.receive(Some(timeout.saturating_sub(begun.elapsed())));
    }
}

/// Makes text one line without control characters: text of a peer, such as a name in a certificate,
/// must neither forge lines nor control a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LOG_LINE_BYTES));
    for c in text.chars() {
        if line.len() >= LOG_LINE_BYTES {
            line.push_str("...");
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    line
}

/// Writes the queued records. `write_line` gets the prefix of a line, and a function that writes
/// the rest to `sink`.
fn drain(
    entries: &Receiver<Entry>,
    sink: &impl Log,
    start: LinePrefix,
    mut write_line: impl FnMut(&[u8], &dyn Fn()),
) {
    let (mut dates, mut prefix) = (DateCache::new(), Vec::new());
    while let Ok(entry) = entries.receive(None) {
        match entry {
            Entry::Line {
                level,
                target,
                text,
                at,
            } => {
                prefix.clear();
                start.write(level, at, &mut dates, &mut prefix);
                write_line(&prefix, &|| {
                    sink.log(
                        &Record::builder()
                            .level(level)
                            .target(&target)
                            .args(format_args!("{text}"))
                            .build(),
                    );
                });
            }
            Entry::Flush(done) => drop(done.send(())),
        }
    }
}

/// Logs a panic. The process ends when this returns; a stuck stderr delays that by at most a
/// second.
fn log_panic(info: &PanicHookInfo<'_>, mut last_resort: &File) {
    let thread = std::thread::current();
    let text = format!("thread '{}' {info}", thread.name().unwrap_or("?")).replace(":\n", ": ");
    if thread.name() == Some(THREAD) {
        // The thread that writes lines has panicked itself.
        let _ = last_resort.write_all(format!("{text}\n").as_bytes());
    } else {
        error!("{text}");
        flush(PANIC_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::thread::Builder;

    /// Logger that keeps its lines.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<String>>>);

    impl Log for Paper {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(format!(
                "{} [{}] {}",
                record.level(),
                record.target(),
                record.args()
            ));
        }

        fn flush(&self) {}
    }

    fn logger(lines: usize) -> (Logger, Receiver<Entry>) {
        log::set_max_level(LevelFilter::Info);
        let (queue, entries) = bounded(lines);
        (
            Logger {
                queue,
                dropped: AtomicU64::new(0),
            },
            entries,
        )
    }

    fn say(logger: &Logger, level: Level, text: &str) {
        logger.log(
            &Record::builder()
                .level(level)
                .target("tollgate::net")
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn start_thread(entries: Receiver<Entry>) -> Paper {
        let paper = Paper::default();
        let sink = paper.clone();
        Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || drain(&entries, &sink, LinePrefix::Priority, |_, write| write()))
            .unwrap();
        paper
    }

    /// Returns what a child process writes to stderr that runs `act` with a running logger.
    fn in_a_process(test: &str, act: impl FnOnce()) -> Option<String> {
        const ACTOR: &str = "TOLLGATE_JOURNAL_TEST";
        if std::env::var_os(ACTOR).is_some() {
            start(LevelFilter::Info).unwrap();
            act();
            return None;
        }
        let test = format!("net::workers::logger::tests::{test}");
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command
            .args(["--exact", "--nocapture", &test])
            .env(ACTOR, "1")
            .env_remove("JOURNAL_STREAM")
            .output()
            .unwrap();
        Some(String::from_utf8(output.stderr).unwrap())
    }

    /// Returns lines without their times, such as `2026-11-28T19:00:01.123Z`.
    fn without_times(text: &str) -> String {
        let behind = |line: &str| {
            let (time, rest) = line.split_once(' ').expect("a time");
            let shape: String = time
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
            format!("{rest}\n")
        };
        text.lines().map(behind).collect()
    }

    #[test]
    fn a_line_begins_with_its_time_or_its_priority() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_892_401_023);
        for (start, level, expected) in [
            (LinePrefix::Time, Level::Warn, "2026-11-28T19:00:01.023Z "),
            (LinePrefix::Priority, Level::Error, "<3>"),
            (LinePrefix::Priority, Level::Warn, "<4>"),
            (LinePrefix::Priority, Level::Info, "<6>"),
            (LinePrefix::Priority, Level::Debug, "<7>"),
        ] {
            let mut out = Vec::new();
            start.write(level, at, &mut DateCache::new(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn lines_reach_stderr_through_simple_logger() {
        let long = "x".repeat(2 * LOG_LINE_BYTES);
        let act = || {
            log::info!(target: "tollgate::net", "one");
            log::debug!("not asked for");
            log::warn!(target: "tollgate::net", "{long}");
            flush(Duration::from_secs(20));
        };
        let Some(text) = in_a_process("lines_reach_stderr_through_simple_logger", act) else {
            return;
        };
        let cut = "x".repeat(LOG_LINE_BYTES);
        assert_eq!(
            without_times(&text),
            format!("INFO  [tollgate::net] one\nWARN  [tollgate::net] {cut}...\n")
        );
    }

    #[test]
    fn a_panic_is_told_behind_what_was_logged() {
        let act = || {
            let panics = || {
                log::info!("before");
                panic!("as told");
            };
            let _ = Builder::new()
                .name("helper".to_owned())
                .spawn(panics)
                .unwrap()
                .join();
        };
        let Some(text) = in_a_process("a_panic_is_told_behind_what_was_logged", act) else {
            return;
        };
        let text = without_times(&text);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("] before"), "{text}");
        assert!(
            lines[1].starts_with(
                "ERROR [tollgate::net::workers::logger] thread 'helper' panicked at src/"
            ),
            "{text}"
        );
        assert!(
            lines[1].ends_with(": as told") && lines.len() == 2,
            "{text}"
        );
    }

    #[test]
    fn a_panic_of_the_logger_itself_is_told() {
        let act = || {
            let _ = Builder::new()
                .name(THREAD.to_owned())
                .spawn(|| panic!("as told"))
                .unwrap()
                .join();
        };
        let Some(text) = in_a_process("a_panic_of_the_logger_itself_is_told", act) else {
            return;
        };
        assert!(
            text.starts_with("thread 'logger' panicked at src/") && text.ends_with(": as told\n"),
            "{text}"
        );
    }

    #[test]
    fn a_full_queue_drops_counts_and_does_not_block() {
        let (logger, entries) = logger(2);
        for text in ["one", "two", "three", "four"] {
            say(&logger, Level::Warn, text);
        }
        let paper = start_thread(entries);
        logger.flush();
        say(&logger, Level::Warn, "five");
        say(&logger, Level::Warn, "six");
        logger.flush();
        let lines = paper.0.lock().unwrap().join("\n");
        assert_eq!(
            lines.replace("WARN [tollgate::net] ", ""),
            "one\ntwo\nfive (2 messages before this one were dropped)\nsix"
        );
    }

    #[test]
    fn a_stuck_stderr_does_not_hold_up_the_exit() {
        let (logger, _entries) = logger(1);
        say(&logger, Level::Info, "never written");
        let start = Instant::now();
        logger.flush();
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_is_switched_off_is_not_formatted() {
        struct Costly;
        impl std::fmt::Display for Costly {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                panic!("formatted");
            }
        }
        let (logger, entries) = logger(1);
        logger.log(
            &Record::builder()
                .level(Level::Debug)
                .args(format_args!("{Costly}"))
                .build(),
        );
        assert!(entries.poll().is_none());
    }

    #[test]
    fn a_message_is_one_line() {
        let long = one_line(&"\u{9b}".repeat(LOG_LINE_BYTES));
        assert!(
            long.len() < LOG_LINE_BYTES + 16 && long.ends_with("..."),
            "{} bytes",
            long.len()
        );
        assert_eq!(
            one_line("a\nERROR b\u{1b}[2Jc \u{e4}\u{9b}"),
            "a\\nERROR b\\u{1b}[2Jc \u{e4}\\u{9b}"
        );
    }
}
