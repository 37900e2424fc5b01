//! Supervisor of several workers: the same program, which starts itself once for each core.
//!
//! ```text
//!               listening sockets, connections to ask on and for counts (SCM_RIGHTS)
//! supervisor ───────────────────────────────────────────────────────> worker 1 .. N: event loop
//!    │  admin listener, signals, service manager                       │ its socket of each port
//!    └ keeps one socket for each worker and port <── a new worker has the queue of the one before
//! ```
//!
//! A worker is the gateway as it is without `workers`, with other edges: its listening sockets come
//! from here, its admin listener is a link to here, and signals are not for it.
//!
//! | file | duty |
//! |---|---|
//! | `worker` | a process and the link to it |
//! | `sockets` | listening sockets |
//! | `questions` | one question to all workers |
//! | `starts`, `restarts` | starts and ends of workers; pauses before a start |
//! | `reload`, `upgrade` | a new configuration; a new binary |
//! | `counts` | counts of the rate limits that the workers share |
//! | `clients` | what clients of the admin listener ask for |
//! | `answers`, `metrics`, `state` | answers of several workers as one |

mod answers;
mod clients;
mod counts;
mod metrics;
mod questions;
mod reload;
mod restarts;
mod sockets;
mod starts;
mod state;
mod upgrade;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use log::info;
use mio::event::Event;
use mio::{Events, Poll, Token};

use self::counts::SharedCounts;
use self::metrics::Ended;
use self::questions::Questions;
use self::reload::Candidate;
use self::sockets::Sockets;
use self::worker::Worker;
use super::admin::{CurrentLogLevel, Front, Part};
use super::certificates::store::Store;
use super::clock::Clock;
use super::config_files::ConfigFiles;
use super::inherited::Inherited;
use super::notify::{Environment, Notifier};
use super::reload::{ConfigSource, Loaded, look_every};
use super::shutdown::{Overdue, Shutdown, Stopped};
use super::signals::{Children, Request, Signals};
use super::upgrade::Upgrader;
use super::{RunError, Setup, seed, worker_count};
use crate::config::Config;
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_LISTENERS_MAX, WORKER_PULSE, WORKERS_MAX};
use crate::time::{Duration, Instant, UnixTime};

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CHILDREN: Token = Token(2);
const LINKS: usize = 3;
const COUNTS: usize = LINKS + WORKERS_MAX;
const FRONT: usize = COUNTS + WORKERS_MAX;
const QUESTIONS: usize = FRONT + ADMIN_LISTENERS_MAX + ADMIN_CONNECTIONS;

/// Time within which all workers must answer before the service manager misses a sign of life.
const SILENCE: Duration = Duration::from_secs(10);

/// Purpose of a question to the workers.
enum Kind {
    /// Client of the admin listener in this slot.
    Client(usize, Part),
    /// Configuration that the workers are to take.
    Reload(Box<Candidate>),
    /// Sign of life.
    Pulse,
    /// An order, whose answer does not matter.
    Order,
}

/// Supervisor.
struct Supervisor {
    poll: Poll,
    waker: Arc<mio::Waker>,
    signals: Signals,
    children: Children,
    clock: Clock,
    source: ConfigSource,
    config: Arc<Config>,
    /// Files of the configuration, for each worker that starts.
    files: OwnedFd,
    /// Time of the next look at the files.
    look_at: Instant,
    read_at: UnixTime,
    reloads: u64,
    /// Lines about the last reload, if it failed.
    errors: Option<String>,
    sockets: Sockets,
    workers: Vec<Worker>,
    counts: SharedCounts,
    questions: Questions<Kind>,
    front: Front,
    notifier: Notifier,
    level: CurrentLogLevel,
    upgrader: Upgrader,
    shutdown: Shutdown,
    /// Old process of an upgrade, until the workers serve.
    inherited: Option<Inherited>,
    ended: Ended,
    /// Reload that is under way, and the client that waits for it.
    reloading: Option<Option<usize>>,
    /// A reload was asked for since the one that is under way began.
    reloads_again: bool,
    /// Clients that wait for the upgrade that is under way.
    upgrading: Vec<usize>,
    /// Time of the next question for a sign of life, and the time of the last.
    pulse: (Instant, Instant),
    /// Reason why the supervisor gives up.
    failure: Option<String>,
}

/// Supervises `config.workers` workers until a signal ends them. `files`: those that the configuration
/// was read from.
///
/// # Errors
/// A listener cannot be bound, no worker starts, or the kernel has no descriptor left.
pub fn run(setup: Setup, files: ConfigFiles) -> Result<Stopped, RunError> {
    let mut supervisor = Supervisor::new(setup, &files)?;
    drop(files);
    let stopped = supervisor.run().map_err(RunError::Io)?;
    match supervisor.failure {
        Some(reason) => Err(RunError::Bind(reason)),
        None => Ok(stopped),
    }
}

impl Supervisor {
    fn new(setup: Setup, files: &ConfigFiles) -> Result<Supervisor, RunError> {
        let Setup {
            loaded: Loaded {
                config, read_at, ..
            },
            source,
            mut inherited,
            program,
        } = setup;
        // A worker gets the folder when it starts. Another gateway that has it is told of now.
        if let Some(acme) = config
            .acme
            .as_ref()
            .filter(|_| !inherited.has_predecessor())
        {
            Store::open(&acme.state).map_err(RunError::Store)?;
        }
        let explain = |error: io::Error| RunError::Bind(error.to_string());
        let count = worker_count(&config);
        let mut sockets = Sockets::default();
        let bound = sockets
            .bind(&config, count, &mut inherited)
            .map_err(explain)?;
        sockets.set(bound, &config);
        let mut front = Front::new(FRONT);
        let bound = front.bind(&config.admin, &mut inherited).map_err(explain)?;
        inherited.refuse_rest().map_err(RunError::Bind)?;
        let source = source.ok_or_else(|| RunError::Bind("workers need a file".to_owned()))?;
        let poll = Poll::new().map_err(RunError::Io)?;
        front.set(&config.admin, bound, poll.registry(), Instant::ZERO);
        let clock = Clock::new();
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(Worker::due(Instant::ZERO));
        }
        let registry = poll.registry();
        Ok(Supervisor {
            waker: Arc::new(mio::Waker::new(registry, WAKER).map_err(RunError::Io)?),
            signals: Signals::register(registry, SIGNALS).map_err(RunError::Io)?,
            children: Children::register(registry, CHILDREN).map_err(RunError::Io)?,
            poll,
            read_at,
            clock,
            look_at: Instant::ZERO,
            source,
            files: files.to_memory().map_err(RunError::Io)?,
            reloads: 0,
            errors: None,
            sockets,
            workers,
            counts: SharedCounts::new(config.shared_clients(), seed() as u64, COUNTS),
            questions: Questions::new(QUESTIONS),
            front,
            notifier: Notifier::new(&Environment::of_process()),
            level: CurrentLogLevel::new(config.log_level),
            upgrader: Upgrader::new(program),
            shutdown: Shutdown::new(config.settings.timeouts.shutdown),
            inherited: Some(inherited),
            ended: Ended::new(),
            reloading: None,
            reloads_again: false,
            upgrading: Vec::new(),
            pulse: (Instant::ZERO, Instant::ZERO),
            failure: None,
            config,
        })
    }

    fn run(&mut self) -> io::Result<Stopped> {
        let mut events = Events::with_capacity(256);
        loop {
            let now = self.clock.now();
            let timeout = self.due().map(|due| {
                core::time::Duration::from_millis(due.since(now).as_millis().min(3_600_000))
            });
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = self.clock.now();
            for event in &events {
                self.handle(event, now);
            }
            while let Some(answered) = self.questions.expire(now) {
                self.answered(answered, now);
            }
            self.front.expire(now);
            self.level.expire(now);
            self.start_workers(now);
            self.look(now);
            self.tend(now);
            if let Some(stopped) = self.stopped(now) {
                return Ok(stopped);
            }
        }
    }

    /// Returns the time at which there is work without an event.
    fn due(&self) -> Option<Instant> {
        let starts = self.workers.iter().filter_map(|worker| worker.start_at);
        let pulse = self.notifier.is_open().then_some(self.pulse.0);
        let others = [
            look_every(&self.config).map(|_| self.look_at),
            self.questions.due(),
            self.front.due(),
            self.level.due(),
            self.shutdown.deadline().map(|at| at.after(SLACK)),
            self.notifier.due(),
            pulse,
        ];
        starts.chain(others.into_iter().flatten()).min()
    }

    fn handle(&mut self, event: &Event, now: Instant) {
        match event.token() {
            WAKER => self.step_upgrade(now),
            SIGNALS => {
                for request in self.signals.pending() {
                    match request {
                        Request::Stop(name) => self.stop(name, now),
                        Request::Reload => self.begin_reload(None, now),
                        Request::Reopen => {
                            info!(
                                "SIGUSR1: the logs go to stdout and stderr, there is no file to reopen"
                            );
                        }
                        Request::Upgrade => self.begin_upgrade(None, now),
                    }
                }
            }
            CHILDREN => {
                self.children.clear();
                self.reap(now);
            }
            Token(place @ LINKS..COUNTS) => {
                let index = place.saturating_sub(LINKS);
                let worker = self.workers.get_mut(index);
                if worker.is_some_and(Worker::hear) {
                    self.worker_is_ready(index, now);
                }
            }
            Token(place @ COUNTS..FRONT) => self.count(place.saturating_sub(COUNTS), now),
            Token(FRONT..QUESTIONS) => {
                let wall = self.clock.wall();
                let wish = self.front.handle(event, self.poll.registry(), now, wall);
                if let Some((slot, wish)) = wish {
                    self.fulfil(slot, wish, now);
                }
            }
            token => {
                if let Some(answered) = self.questions.handle(token) {
                    self.answered(answered, now);
                }
            }
        }
    }

    // --- service manager, and the end ---

    fn tend(&mut self, now: Instant) {
        if !self.notifier.is_open() {
            return;
        }
        if self.pulse.0 <= now {
            self.pulse.0 = now.after(WORKER_PULSE);
            self.ask(Kind::Pulse, "GET /live HTTP/1.1\r\n", now);
        }
        // A worker that does not answer is one that does not serve.
        if now.since(self.pulse.1) < SILENCE || self.inherited.is_some() {
            self.notifier.tend_supervisor(now);
        }
    }

    fn stop(&mut self, name: &str, now: Instant) {
        if self.shutdown.signal(name, now) {
            self.upgrader.cancel();
            self.notifier.stopping();
            self.sockets.close(false);
            self.order_end("POST /stop HTTP/1.1\r\n", now);
        }
    }

    /// Has all workers finish what is in flight: by `POST /stop`, or, where the workers of another
    /// supervisor have the sockets, by `POST /upgrade`.
    fn order_end(&mut self, order: &str, now: Instant) {
        for worker in &mut self.workers {
            worker.start_at = None;
            if !worker.is_ready {
                worker.kill();
            }
        }
        self.ask(Kind::Order, order, now);
    }

    /// Returns how the supervisor ends, if it does.
    fn stopped(&mut self, now: Instant) -> Option<Stopped> {
        let is_over = self.shutdown.overdue(SLACK, now) == Overdue::All;
        if self.shutdown.stopped() == Some(Stopped::Now) || is_over || self.failure.is_some() {
            self.workers.iter_mut().for_each(Worker::kill);
        }
        if self.failure.is_some() {
            return Some(Stopped::Clean);
        }
        let running = self.workers.iter().filter(|worker| worker.pid().is_some());
        let rest = running
            .count()
            .saturating_add(usize::from(self.front.is_busy()));
        self.shutdown.finish_if_drained(rest);
        self.shutdown.stopped()
    }
}

/// Time that workers have beyond the grace time of a stop.
const SLACK: Duration = Duration::from_secs(2);
