//! Reload of the configuration while the gateway runs: all of it, or nothing.
//!
//! ```text
//!          SIGHUP, POST /reload, watch                    bound, and swapped
//! Idle ──────────────────────────────> Reading ──read──> Applying ──────────> Idle
//!   ^                                    │ │               │  ^
//!   └─────── an error: nothing has ──────┘ └── once more   │  │ too many editions live:
//!            changed                           if asked    v  │ again after RELOAD_RETRY
//!                                                         Waiting
//! ```
//!
//! | file | duty |
//! |---|---|
//! | `loaded` | a configuration with its certificates |
//! | `reader` | the thread that reads the file |
//! | `watch` | changes of the file |
//! | `apply` | sockets, TLS settings and helper threads of a new configuration |
//!
//! Out of scope: what of the engine's state survives (`proxy/editions.rs`).

mod apply;
mod loaded;
mod reader;
mod watch;

use std::cell::OnceCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use log::{error, info, warn};
use mio::Waker;

pub(super) use self::apply::{Bound, Swap, apply, bind, set_listeners};
pub use self::loaded::Loaded;
pub(super) use self::reader::Candidate;
use self::reader::{ConfigReader, ReadResult};
pub use self::reader::{ConfigSource, ReadConfig};
pub(super) use self::watch::look_every;
use super::admin::ConfigFacts;
use super::memory;
use crate::config::Config;
use crate::config::changes::Summary;
use crate::limits::{EDITIONS_MAX, RELOAD_RETRY};
use crate::time::{Instant, UnixTime};

/// Configuration of the moment, and the reload that is under way.
pub(super) struct Reload {
    state: State,
    /// File of the configuration; `None`: there is none, or the thread has it.
    source: Option<ConfigSource>,
    reader: Option<ConfigReader>,
    /// Files that a supervisor has accepted, and the thread has not read yet.
    accepted: Option<OwnedFd>,
    waker: Arc<Waker>,
    /// Configuration of the moment.
    current: Arc<Config>,
    /// Time at which it was read.
    read_at: UnixTime,
    /// Path of its file; empty: it has none.
    path: String,
    /// Reloads since the start, those that failed included.
    reloads: u64,
    /// Lines about the last reload, if it failed.
    errors: Option<String>,
    /// Bound of the memory with the configuration of the moment, once somebody asked.
    memory_bound: OnceCell<usize>,
}

enum State {
    Idle,
    /// The thread reads the file. `again`: a reload was asked for since it began.
    Reading {
        again: bool,
    },
    /// The configuration waits until fewer editions of the rules live.
    Waiting {
        new: Box<New>,
        due: Instant,
    },
}

/// A configuration that was read and whose sockets are bound.
pub(super) struct New {
    pub(super) candidate: Candidate,
    pub(super) bound: Bound,
    /// The operator knows that it waits.
    pub(super) waits: bool,
}

/// Work of the loop for a reload.
pub(super) enum ReloadStep {
    /// Nothing yet.
    Wait,
    /// Bind, and swap: the file was read.
    Apply(Box<Candidate>),
    /// Swap: the sockets are bound already.
    Swap(Box<New>),
    /// The reload failed: lines for the operator.
    Failed(Vec<String>),
}

impl Reload {
    /// Returns the configuration of the moment.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current)
    }

    /// Begins with the configuration that the gateway starts with. `source`: its file, if it has
    /// one. With `watch` the thread that looks for changes is started.
    ///
    /// # Errors
    /// The thread does not start.
    pub(super) fn new(
        current: Arc<Config>,
        source: Option<ConfigSource>,
        read_at: UnixTime,
        waker: Arc<Waker>,
    ) -> io::Result<Reload> {
        let path = source.as_ref().map(|source| &source.path);
        let path = path.map_or(String::new(), |path| path.display().to_string());
        let mut reload = Reload {
            state: State::Idle,
            path,
            reloads: 0,
            errors: None,
            memory_bound: OnceCell::new(),
            source,
            reader: None,
            accepted: None,
            waker,
            current,
            read_at,
        };
        if look_every(&reload.current).is_some() {
            reload.start_reader()?;
        }
        Ok(reload)
    }

    fn start_reader(&mut self) -> io::Result<()> {
        if let Some(source) = self.source.take() {
            let waker = Arc::clone(&self.waker);
            let reader = ConfigReader::start(source, Arc::clone(&self.current), waker)?;
            self.reader = Some(reader);
        }
        Ok(())
    }

    /// Begins to read the file. `accepted`: what a supervisor has accepted, in place of the disk.
    /// Returns why that cannot be.
    pub(super) fn begin(&mut self, accepted: Option<OwnedFd>) -> Result<(), Vec<String>> {
        self.accepted = accepted.or(self.accepted.take());
        if let State::Reading { again } = &mut self.state {
            *again = true;
            return Ok(());
        }
        self.start_reader().map_err(|error| {
            vec![format!(
                "no thread can be started to read the file: {error}"
            )]
        })?;
        let Some(reader) = &self.reader else {
            let why = "this configuration has no file to read again";
            return Err(vec![why.to_owned()]);
        };
        reader.read(self.accepted.take());
        // What waited for earlier requests is older than the file.
        self.state = State::Reading { again: false };
        Ok(())
    }

    /// Ends the thread that looks at the file: another process reads it.
    pub(super) fn end_watch(&mut self) {
        self.reader = None;
    }

    /// Returns whether the file is being read, or a configuration waits to be used.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Returns the time at which [`step`](Self::step) has work without an event.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { due, .. } => Some(due),
            State::Idle | State::Reading { .. } => None,
        }
    }

    /// Returns what to do now: the file was read, or it is time to try again.
    pub(super) fn step(&mut self, now: Instant) -> ReloadStep {
        if let Some(result) = self.reader.as_ref().and_then(ConfigReader::poll) {
            return self.was_read(result);
        }
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Waiting { new, due } if due <= now => ReloadStep::Swap(new),
            other => {
                self.state = other;
                ReloadStep::Wait
            }
        }
    }

    fn was_read(&mut self, result: ReadResult) -> ReloadStep {
        if let State::Reading { again: true } = self.state {
            // The file may have changed while it was read.
            self.state = State::Idle;
            if self.begin(None).is_ok() {
                return ReloadStep::Wait;
            }
        }
        self.state = State::Idle;
        match result {
            Ok(candidate) => ReloadStep::Apply(candidate),
            Err(errors) => ReloadStep::Failed(errors),
        }
    }

    /// Returns what operators see of the configuration.
    pub(super) fn facts(&self) -> ConfigFacts {
        ConfigFacts {
            path: self.path.clone(),
            read_at: self.read_at,
            reloads: self.reloads,
            errors: self.errors.clone(),
        }
    }

    /// Returns the bound of the memory with the configuration of the moment.
    pub(super) fn memory_bound(&self) -> usize {
        *self
            .memory_bound
            .get_or_init(|| memory::bound(&self.current).bytes)
    }

    /// Keeps a configuration for a while: too many editions of the rules live.
    pub(super) fn wait(&mut self, mut new: Box<New>, now: Instant) {
        if !core::mem::replace(&mut new.waits, true) {
            warn!(
                "the reload waits: requests that began with {EDITIONS_MAX} configurations have no response yet"
            );
        }
        let due = now.after(RELOAD_RETRY);
        self.state = State::Waiting { new, due };
    }

    /// Makes a configuration the one of the moment. Returns the summary for the operator.
    /// `connections`: connections to the targets that stay.
    pub(super) fn finish(
        &mut self,
        (config, summary, read_at): (Arc<Config>, Summary, UnixTime),
        connections: usize,
    ) -> String {
        self.current = config;
        self.memory_bound = OnceCell::new();
        self.reloads = self.reloads.saturating_add(1);
        self.errors = None;
        if let Some(reader) = &self.reader {
            reader.use_current(Arc::clone(&self.current));
        }
        self.read_at = read_at;
        if look_every(&self.current).is_some()
            && let Err(error) = self.start_reader()
        {
            warn!("no thread can be started to watch the file: {error}");
        }
        let summary = summary.line(connections);
        // The supervisor says it for all workers.
        if !self.current.is_worker() {
            info!("{summary}");
        }
        summary
    }

    /// Logs why a reload failed. Returns the same lines.
    pub(super) fn fail(&mut self, mut errors: Vec<String>) -> String {
        for line in &errors {
            error!("{line}");
        }
        self.reloads = self.reloads.saturating_add(1);
        self.errors = Some(errors.join("\n"));
        let at = time_of_day(self.read_at);
        let stays = format!("the running configuration is still the one of {at}");
        error!("{stays}");
        errors.push(stays);
        errors.join("\n")
    }
}

/// Writes a time of day: `12:03:07`, in UTC.
pub(super) fn time_of_day(time: UnixTime) -> String {
    let seconds = time.as_millis() / 1000 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}
