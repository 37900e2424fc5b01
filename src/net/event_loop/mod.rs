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
//! (`io/`), and the commands (`commands.rs`). `operations.rs` has what a signal or a command changes, `upgrade.rs` an
//! upgrade.

mod operations;
mod start;
mod upgrade;

use std::io;
use std::sync::Arc;

use log::warn;
use mio::event::Event;
use mio::{Events, Token};

pub use self::start::Parts;
use crate::limits::ACCEPTS_PER_ITERATION;
use crate::net::acceptor::AcceptResult;
use crate::net::access_log::AccessLog;
use crate::net::admin::Admin;
use crate::net::clock::Clock;
use crate::net::commands::Executor;
use crate::net::io::pump::{self, PumpResult};
use crate::net::io::run_queue::RunQueue;
use crate::net::io::socket::readiness;
use crate::net::notify::Notifier;
use crate::net::reload::Reload;
use crate::net::shutdown::Shutdown;
pub use crate::net::shutdown::Stopped;
use crate::net::signals::Signals;
use crate::net::slow_iterations::{Phase, SlowIterations};
use crate::net::token::{ADMIN, CONNECTIONS, SIGNALS, WAKER, connection_of, is_upstream};
use crate::net::upgrade::Upgrader;
use crate::net::workers::access_log::AccessLogWriter;
use crate::net::workers::certificate_watcher::CertificateWatcher;
use crate::proxy::challenges;
use crate::proxy::command::Side;
use crate::proxy::overview::{overview, refused};
use crate::time::{Duration, Instant, UnixTime};
use crate::transport::hello::Purpose;

/// Longest wait. The poll counts milliseconds in 32 bits; one wake-up an hour costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Work that waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Postponed {
    /// A reload, for the end of an upgrade.
    Reload,
    /// An upgrade, for the end of a reload.
    Upgrade,
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
    reload: Reload,
    waker: Arc<mio::Waker>,
    /// SIGUSR1 was answered with an explanation, which is given once.
    is_reopen_explained: bool,
    access_log: AccessLog,
    notifier: Notifier,
    upgrader: Upgrader,
    /// Work that waits for the end of a reload or an upgrade: one of them runs at a time.
    postponed: Option<Postponed>,
    next_second: Instant,
    /// Time at which the gateway started.
    started: UnixTime,
}

impl EventLoop {
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
        self.begin_postponed(now);
        loop {
            let now = self.clock.now();
            let sockets = &mut self.executor.sockets;
            if let Some(line) = self
                .slow_iterations
                .end(now, |side| sockets.get(side)?.socket().peer())
            {
                warn!("{line}");
            }
            let due = self.executor.proxy.poll_timeout();
            let timeout = self.poll_timeout(due, now);
            match self.executor.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let now = self.clock.now();
            self.iteration(&events, due, now);
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

    /// Acts on events. `due`: the time at which the engine wanted to be called before the wait. What
    /// the events add to that is due in the next iteration.
    fn iteration(&mut self, events: &Events, due: Option<Instant>, now: Instant) {
        self.slow_iterations.begin(now);
        self.run_queue.begin();
        if now >= self.next_second {
            self.tick(now);
        }
        self.record_events(events, now);
        self.slow_iterations.phase_done(Phase::Events);
        if due.is_some_and(|due| due <= now) {
            self.executor.proxy.handle_timeout(now);
            self.executor.run_commands(now);
        }
        self.slow_iterations.phase_done(Phase::Deadlines);
        if self.executor.acceptor.due().is_some_and(|due| due <= now) {
            self.accept(now);
        }
        if self.reload.due().is_some_and(|due| due <= now) {
            self.step_reload(now);
        }
        if self.executor.orders_due().is_some_and(|due| due <= now) {
            self.step_orders(now);
        }
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

    /// Returns the longest time that the poll may wait; `None`: until an event. `engine`: the time at
    /// which the engine wants to be called.
    fn poll_timeout(&self, engine: Option<Instant>, now: Instant) -> Option<std::time::Duration> {
        let Executor {
            proxy, acceptor, ..
        } = &self.executor;
        if self.run_queue.is_busy() || proxy.has_ready() {
            return Some(std::time::Duration::ZERO);
        }
        let mut first = engine;
        let mut note = |due: Option<Instant>| {
            if due.is_some_and(|due| first.is_none_or(|first| due < first)) {
                first = due;
            }
        };
        note(self.access_log.flush_at());
        note(self.shutdown.deadline());
        note(acceptor.due());
        note(self.notifier.due());
        note(self.admin.due());
        note(self.reload.due());
        note(self.executor.orders_due());
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
                    self.step_reload(now);
                    self.step_upgrade(now);
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

    #[inline(never)]
    fn accept(&mut self, now: Instant) {
        for index in 0..self.executor.acceptor.len() {
            for _ in 0..ACCEPTS_PER_ITERATION {
                let Executor {
                    acceptor, proxy, ..
                } = &mut self.executor;
                match acceptor.accept(index, || proxy.is_full(), now) {
                    AcceptResult::Client(accepted, arrival, tls) => {
                        self.executor
                            .register_client(accepted, arrival, tls.as_ref(), now);
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

    /// Begins the handshake of a client whose first message tells what the connection is for. Returns
    /// true if it is to be established now.
    #[cold]
    fn begin_handshake(&mut self, side: Side, now: Instant) -> bool {
        let Side::Client(id) = side else {
            return false;
        };
        let Executor {
            proxy,
            sockets,
            challenge,
            ..
        } = &mut self.executor;
        let Some(connection) = sockets.get(side) else {
            return false;
        };
        match connection.look_at_hello(&mut self.scratch) {
            Purpose::Unknown => return false,
            Purpose::Challenge => connection.begin_handshake(challenge.as_ref()),
            Purpose::Service => connection.begin_handshake(None),
        }
        if challenges::is_denied(proxy, id) && !connection.is_proving() {
            challenges::close(proxy, id, now);
            self.executor.run_commands(now);
            return false;
        }
        true
    }

    /// Continues to connect. Returns `false` if the connection is not open yet, or gone.
    #[inline(never)]
    fn establish(&mut self, side: Side, now: Instant) -> bool {
        let Executor { proxy, sockets, .. } = &mut self.executor;
        let Some(connection) = sockets.get(side) else {
            return false;
        };
        if connection.is_awaiting_hello() {
            return self.begin_handshake(side, now);
        }
        // The header of a plain connection is no handshake.
        let is_tls = !connection.is_plain();
        let before = refused(proxy);
        let started = self.slow_iterations.start_handshake();
        let established = pump::establish(proxy, connection, side, &mut self.scratch, now);
        self.slow_iterations
            .handshake_step_done(started, side, || connection.socket().peer());
        let listener = connection.listener;
        // After a failure the connection is a plain one.
        let facts = connection.tls_facts();
        let Executor {
            acceptor, proxy, ..
        } = &mut self.executor;
        if let Some(counters) = acceptor.counters(listener).filter(|_| listener > 0) {
            if established.open && is_tls {
                counters.count_handshake(facts);
            }
            counters.count_refused(before, refused(proxy));
        }
        if established.watch {
            self.executor.watch_writable(side);
        }
        self.executor.run_commands(now);
        established.open
    }
}
