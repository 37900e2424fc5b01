//! The event loop: waits, moves bytes between sockets and the engine, and runs the engine's
//! commands. It makes no decisions.
//!
//! ```text
//! run:        wait (poll) ──> iteration ──> wait ...  until a signal ends it
//! iteration:  clock ──> events ──> deadlines ──> accept ──> serve sides ──> access log ──> stop?
//! ```
//!
//! Sockets are registered edge-triggered: each connection keeps what the kernel reported. A read
//! that returns less than there was room for has drained the socket, so no call is made only to get
//! `WouldBlock`. Clients are registered for reading alone until their first short write. The events
//! of upstreams are recorded before those of clients.
//!
//! Out of scope: the life of a listener (`acceptor.rs`), of a stop (`shutdown.rs`), of a connection
//! (`io/`), and the commands (`commands.rs`).

use std::io;
use std::sync::Arc;

use log::{info, warn};
use mio::event::Event;
use mio::{Events, Poll, Token};

use super::acceptor::{AcceptResult, Acceptor};
use super::access_log::AccessLog;
use super::admin::{Admin, AdminCommand, AdminListener, GatewayState, Progress};
use super::clock::Clock;
use super::commands::Executor;
use super::io::pump::{self, PumpResult};
use super::io::run_queue::RunQueue;
use super::io::socket::readiness;
use super::io::sockets::Sockets;
use super::io::splice_pipes::Pipes;
use super::listener::Listener;
use super::messages::Messages;
use super::notify::Notifier;
use super::shutdown::Shutdown;
pub use super::shutdown::Stopped;
use super::signals::{Request, Signals};
use super::slow_iterations::{Phase, SlowIterations};
use super::token::{ADMIN, CONNECTIONS, SIGNALS, WAKER, connection_of, is_upstream};
use super::workers::access_log::AccessLogWriter;
use super::workers::certificate_watcher::{CertificateWatcher, WatchedListener};
use super::workers::dns::Resolver;
use super::workers::verifier::{Kinds, Verifier};
use crate::config::{AdminAccess, LogLevel};
use crate::limits::{ACCEPTS_PER_ITERATION, SCRATCH_BYTES, SPLICE_MIN_READ};
use crate::proxy::Proxy;
use crate::proxy::command::{ListenerKind, Side};
use crate::proxy::overview::{is_service_up, overview};
use crate::time::{Duration, Instant};
use crate::transport::client::ClientTls;

/// Longest wait. The poll counts milliseconds in 32 bits; one wake-up an hour costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Arguments of [`EventLoop::new`].
pub struct Parts {
    /// The engine, before its first command was polled.
    pub proxy: Proxy,
    /// Names for messages, and the targets.
    pub messages: Messages,
    /// Kinds of credentials that helper threads verify.
    pub verifies: Kinds,
    /// TLS settings of the targets, by index.
    pub tls: Vec<Option<ClientTls>>,
    /// Bound listeners, and their kinds.
    pub listeners: Vec<(Listener, ListenerKind)>,
    /// Bound sockets of the admin listener.
    pub admin: Vec<AdminListener>,
    /// Access to the admin listener.
    pub admin_access: AdminAccess,
    /// Log level of the configuration.
    pub log_level: LogLevel,
    /// Certificates of the TLS listeners.
    pub certificates: Vec<WatchedListener>,
    /// Largest number of pipes at once.
    pub pipes: usize,
    /// Writer of the access log.
    pub access: AccessLogWriter,
    /// Grace time for exchanges in flight when the gateway stops; `None`: as long as they take.
    pub shutdown: Option<Duration>,
    /// Messages to the service manager.
    pub notifier: Notifier,
}

/// The event loop.
pub struct EventLoop {
    executor: Executor,
    run_queue: RunQueue,
    slow_iterations: SlowIterations,
    scratch: Box<[u8]>,
    clock: Clock,
    certificates: Option<CertificateWatcher>,
    signals: Signals,
    shutdown: Shutdown,
    admin: Admin,
    /// SIGUSR1 was answered with an explanation, which is given once.
    is_reopen_explained: bool,
    access_log: AccessLog,
    notifier: Notifier,
    next_second: Instant,
}

impl EventLoop {
    /// Registers everything with a new poll, and starts the helper threads.
    ///
    /// # Errors
    /// The kernel has no epoll instance or descriptor left, or a helper thread does not start.
    pub fn new(parts: Parts) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let mut acceptor = Acceptor::register(parts.listeners, poll.registry())?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        for watched in &parts.certificates {
            acceptor.set_tls(watched.listener, watched.tls.clone());
        }
        let admin = Admin::register(
            parts.admin,
            &parts.admin_access,
            parts.log_level,
            poll.registry(),
        )?;
        let signals = Signals::register(poll.registry(), SIGNALS)?;
        let verifier = Verifier::new(parts.verifies, &waker)?;
        let resolver = Resolver::new(Arc::clone(&waker));
        let certificates = (!parts.certificates.is_empty())
            .then(|| CertificateWatcher::watch(parts.certificates, waker))
            .transpose()?;
        Ok(EventLoop {
            executor: Executor {
                poll,
                proxy: parts.proxy,
                sockets: Sockets::new(Pipes::new(parts.pipes, SPLICE_MIN_READ)),
                acceptor,
                messages: parts.messages,
                resolver,
                verifier,
                tls: parts.tls,
            },
            run_queue: RunQueue::default(),
            slow_iterations: SlowIterations::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            clock: Clock::new(),
            certificates,
            signals,
            shutdown: Shutdown::new(parts.shutdown),
            admin,
            is_reopen_explained: false,
            access_log: AccessLog::new(parts.access),
            notifier: parts.notifier,
            next_second: Instant::ZERO,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// The poll fails, which the kernel does only when something is very wrong.
    pub fn run(&mut self) -> io::Result<Stopped> {
        let mut events = Events::with_capacity(1024);
        let now = self.clock.now();
        self.tick(now);
        self.executor.run_commands(now);
        self.notifier.ready();
        loop {
            let now = self.clock.now();
            let sockets = &mut self.executor.sockets;
            if let Some(line) = self
                .slow_iterations
                .end(now, |side| sockets.get(side)?.socket().peer())
            {
                warn!("{line}");
            }
            let timeout = self.poll_timeout(now);
            match self.executor.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let now = self.clock.now();
            self.iteration(&events, now);
            if let Some(stopped) = self.shutdown.stopped() {
                self.access_log.flush(&mut self.executor.proxy);
                return Ok(stopped);
            }
            if events.iter().count() == events.capacity() {
                events = Events::with_capacity(events.capacity().saturating_mul(2));
            }
        }
    }

    /// Returns the access log, to be closed at the very end.
    pub fn into_access(self) -> AccessLogWriter {
        self.access_log.into_writer()
    }

    fn iteration(&mut self, events: &Events, now: Instant) {
        self.slow_iterations.begin(now);
        self.run_queue.begin();
        if now >= self.next_second {
            self.tick(now);
        }
        self.record_events(events, now);
        self.slow_iterations.phase_done(Phase::Events);
        let proxy = &mut self.executor.proxy;
        if proxy.poll_timeout().is_some_and(|due| due <= now) {
            proxy.handle_timeout(now);
            self.executor.run_commands(now);
        }
        self.slow_iterations.phase_done(Phase::Deadlines);
        self.accept(now);
        if self.admin.due().is_some_and(|due| due <= now) {
            self.serve_admin(now);
        }
        self.slow_iterations.phase_done(Phase::Accepting);
        while let Some(side) = {
            let Executor { proxy, sockets, .. } = &mut self.executor;
            self.run_queue.next(proxy, sockets)
        } {
            self.serve(side, now);
        }
        self.access_log.flush_if_due(&mut self.executor.proxy, now);
        let proxy = &self.executor.proxy;
        self.notifier.tend(now, || overview(proxy));
        self.slow_iterations.phase_done(Phase::Logging);
        self.stop_if_done(now);
    }

    // --- waiting ---

    /// Returns the longest time that the poll may wait; `None`: until an event.
    fn poll_timeout(&self, now: Instant) -> Option<std::time::Duration> {
        let Executor {
            proxy, acceptor, ..
        } = &self.executor;
        if self.run_queue.is_busy() || proxy.has_ready() || acceptor.is_ready() {
            return Some(std::time::Duration::ZERO);
        }
        let mut first = proxy.poll_timeout();
        for due in [
            self.access_log.flush_at(),
            self.shutdown.deadline(),
            acceptor.resumes_at(),
            self.notifier.due(),
            self.admin.due(),
        ] {
            if due.is_some_and(|due| first.is_none_or(|first| due < first)) {
                first = due;
            }
        }
        first.map(|due| {
            std::time::Duration::from_millis(due.since(now).min(LONGEST_WAIT).as_millis())
        })
    }

    /// Tells the engine the time of day, once a second: it may have been set.
    fn tick(&mut self, now: Instant) {
        self.executor.proxy.handle_clock(now, self.clock.wall());
        self.next_second = now.after(Duration::from_secs(1));
    }

    // --- events ---

    fn record_events(&mut self, events: &Events, now: Instant) {
        for event in events {
            if event.token().0 >= CONNECTIONS && is_upstream(event.token()) {
                self.record_event(event);
            }
        }
        for event in events {
            match event.token() {
                WAKER => {
                    self.executor.take_worker_results(now);
                    self.take_certificates();
                }
                SIGNALS => self.handle_signals(now),
                token @ Token(..ADMIN) => self.executor.acceptor.record_event(token),
                Token(..CONNECTIONS) => self.admin.record_event(event),
                token if !is_upstream(token) => self.record_event(event),
                _ => {}
            }
        }
    }

    fn record_event(&mut self, event: &Event) {
        let Some((side, connection)) = connection_of(event.token(), &mut self.executor.sockets)
        else {
            return;
        };
        connection.record_readiness(readiness(event));
        self.run_queue.enqueue(side, connection);
    }

    /// Makes new connections use the certificates that were read again.
    #[cold]
    fn take_certificates(&mut self) {
        let Some(watcher) = &self.certificates else {
            return;
        };
        while let Some((listener, tls)) = watcher.poll() {
            self.executor.acceptor.reload_tls(listener, tls);
        }
    }

    #[cold]
    fn handle_signals(&mut self, now: Instant) {
        for request in self.signals.pending() {
            match request {
                Request::Stop(name) => self.stop(name, now),
                Request::Reload => match &self.certificates {
                    Some(watcher) => watcher.reload_all(),
                    None => info!(
                        "SIGHUP: there are no certificates to read again; a new configuration needs a restart"
                    ),
                },
                Request::Reopen if core::mem::replace(&mut self.is_reopen_explained, true) => {}
                Request::Reopen => {
                    info!("SIGUSR1: the logs go to stdout and stderr, there is no file to reopen");
                }
                Request::Unused => info!("SIGUSR2 is ignored; to stop, send SIGTERM"),
            }
        }
    }

    /// Begins to stop. `name`: what asked for it.
    fn stop(&mut self, name: &str, now: Instant) {
        if self.shutdown.signal(name, now) {
            self.notifier.stopping();
            self.executor.acceptor.close();
            self.executor.proxy.handle_shutdown();
            self.executor.run_commands(now);
        }
    }

    /// Serves the clients of the admin listener, which is open until the end of a stop.
    #[cold]
    fn serve_admin(&mut self, now: Instant) {
        let Executor { proxy, poll, .. } = &self.executor;
        let state = GatewayState {
            is_up: &|route| is_service_up(proxy, route),
            progress: if self.shutdown.is_stopping() {
                Progress::Stopping
            } else {
                Progress::Running
            },
        };
        let wall = self.clock.wall();
        let commands = self.admin.serve(&state, poll.registry(), now, wall);
        for command in commands {
            match command {
                AdminCommand::Stop => self.stop("POST /stop", now),
                AdminCommand::Reload => self.begin_reload(now),
                // The admin listener changes it itself.
                AdminCommand::LogLevel { .. } => {}
            }
        }
    }

    /// Reads the configuration again.
    fn begin_reload(&mut self, now: Instant) {
        let result = Err("reload is not built yet".to_owned());
        self.admin.reload_finished(&result, now);
    }

    fn stop_if_done(&mut self, now: Instant) {
        let proxy = &mut self.executor.proxy;
        let is_overdue = self.shutdown.deadline().is_some_and(|at| at <= now);
        if is_overdue && proxy.holdings().clients > 0 {
            warn!(
                "{} connections are cut: the grace time is over",
                proxy.holdings().clients
            );
            proxy.handle_abort(now);
            self.executor.run_commands(now);
        }
        self.shutdown
            .finish_if_drained(self.executor.proxy.holdings().clients);
    }

    #[inline(never)]
    fn accept(&mut self, now: Instant) {
        for index in 0..self.executor.acceptor.len() {
            for _ in 0..ACCEPTS_PER_ITERATION {
                let Executor {
                    acceptor, proxy, ..
                } = &mut self.executor;
                match acceptor.accept(index, || proxy.is_full(), now) {
                    AcceptResult::Client(accepted, kind, tls) => {
                        self.executor
                            .register_client(accepted, kind, tls.as_ref(), now);
                    }
                    AcceptResult::Exhausted(error) => {
                        self.executor.pause_accepting(index, &error, now);
                    }
                    AcceptResult::Lost => {}
                    AcceptResult::Nothing => break,
                }
            }
        }
    }

    // --- moving bytes ---

    /// Pumps a connection until it makes no progress, or its budget is used up.
    fn serve(&mut self, side: Side, now: Instant) {
        let hung_up = loop {
            let Executor { proxy, sockets, .. } = &mut self.executor;
            let at = (side, self.run_queue.current());
            let result = pump::pump_once(proxy, sockets, at, &mut self.scratch, now);
            let pumped = match result {
                PumpResult::Pumped(pumped) => pumped,
                PumpResult::NotOpen if self.slow_iterations.is_handshake_time_spent() => {
                    return self.run_queue.defer(side, &mut self.executor.sockets);
                }
                PumpResult::NotOpen if self.establish(side, now) => continue,
                PumpResult::NotOpen | PumpResult::Gone => return,
                PumpResult::OutOfBudget => {
                    return self.run_queue.defer(side, &mut self.executor.sockets);
                }
            };
            let peer = || self.executor.sockets.get(side)?.socket().peer();
            self.slow_iterations.pumped(side, pumped.bytes, peer);
            if pumped.watch {
                self.executor.watch_writable(side);
            }
            self.executor.run_commands(now);
            if !pumped.again {
                break pumped.hung_up;
            }
        };
        let Executor { proxy, sockets, .. } = &mut self.executor;
        if hung_up
            && let Some(connection) = sockets.get(side)
            && pump::report_hangup(proxy, connection, side, now)
        {
            self.executor.run_commands(now);
        }
    }

    /// Continues to connect. Returns `false` if the connection is not open yet, or gone.
    #[inline(never)]
    fn establish(&mut self, side: Side, now: Instant) -> bool {
        let Executor { proxy, sockets, .. } = &mut self.executor;
        let Some(connection) = sockets.get(side) else {
            return false;
        };
        let started = self.slow_iterations.start_handshake();
        let established = pump::establish(proxy, connection, side, &mut self.scratch, now);
        self.slow_iterations
            .handshake_step_done(started, side, || connection.socket().peer());
        if established.watch {
            self.executor.watch_writable(side);
        }
        self.executor.run_commands(now);
        established.open
    }
}
