//! The loop: waits, moves bytes between sockets and the engine, and does what the engine commands. It decides nothing.
//!
//! Sockets are registered edge-triggered. Three sticky bits a connection remember what the kernel said; a `recv` that fills
//! less than its buffer has drained the socket, so no call is made only to hear "would block". Clients are registered for
//! reading alone until the first short write. A connection moves a bounded number of bytes in an iteration and then waits for
//! the next one, so that a fat stream does not hold up the others. Upstreams are served before clients, and what the engine
//! wants attended to before anybody else: an exchange is carried as far as it goes while its bytes are in the cache.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use log::{debug, error, info, warn};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::clock::Clock;
use super::io::connection::Connection;
use super::io::dial::{dial, is_exhaustion, is_unreachable};
use super::io::pump::{self, PumpResult};
use super::io::raw_stream::Readiness;
use super::io::run_queue::RunQueue;
use super::io::socket::Socket;
use super::io::sockets::Sockets;
use super::io::splice_pipes::Pipes;
use super::listener::{Accepted, Listener};
use super::messages::{self, Names, mid_sentence};
use super::signals::{Request, Signals};
use super::slow_iterations::{Phase, SlowIterations};
use super::workers::access_log::AccessLogWriter;
use super::workers::certificate_watcher::{CertificateWatcher, WatchedListener};
use super::workers::dns::Resolver;
use super::workers::verifier::{Kinds, Verifier};
use crate::limits::{
    ACCEPT_RETRY, ACCEPTS_PER_ITERATION, ACCESS_LOG_FLUSH_AFTER, ACCESS_LOG_FLUSH_BYTES,
    LISTENERS_MAX, SCRATCH_BYTES, SPLICE_MIN_READ,
};
use crate::proxy::Proxy;
use crate::proxy::command::{Cause, Command, Fault, KeysFault, ListenerKind, Reason, Report, Side};
use crate::proxy::settings::{Target, TargetHost};
use crate::time::{Duration, Instant};
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;
use crate::upstream::health::Change;

/// Tokens below the connections': the helper threads' waker, the signals, then the listeners.
const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const LISTENERS: usize = 2;
const CONNECTIONS: usize = LISTENERS + LISTENERS_MAX;

/// The poll counts milliseconds in 32 bits; waking once an hour for nothing costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Everything the loop is made of, as [`EventLoop::new`] takes it.
pub struct Parts {
    /// The engine, before its first command was polled.
    pub proxy: Proxy,
    /// The targets of the settings, for their names.
    pub targets: Vec<Target>,
    /// The routes of the services, for messages.
    pub routes: Vec<String>,
    /// The names of the providers, for messages.
    pub providers: Vec<String>,
    /// What there may be to verify away from the loop.
    pub verifies: Kinds,
    /// Their TLS settings, under the targets' indices.
    pub tls: Vec<Option<ClientTls>>,
    /// Bound sockets, and what each is for.
    pub listeners: Vec<(Listener, ListenerKind)>,
    /// How those of them that are for TLS shake hands.
    pub certificates: Vec<WatchedListener>,
    /// Pipes there may be at once.
    pub pipes: usize,
    /// Where the access log goes.
    pub access: AccessLogWriter,
    /// Grace for what is in flight when the gateway stops; `None`: as long as it takes.
    pub shutdown: Option<Duration>,
}

/// How the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// After a signal, with everything in flight finished or cut at the end of the grace time.
    Clean,
    /// By a second signal.
    Now,
}

/// The event loop.
pub struct EventLoop {
    poll: Poll,
    proxy: Proxy,
    targets: Vec<Target>,
    tls: Vec<Option<ClientTls>>,
    /// Why the last look-up of a target's name failed, under the target's index.
    unresolved: Vec<Option<String>>,
    /// The routes, to name a service in a message.
    routes: Vec<String>,
    /// The names of the providers, for the same.
    providers: Vec<String>,
    listeners: Vec<Listening>,
    sockets: Sockets<Socket>,
    run_queue: RunQueue,
    slow_iterations: SlowIterations,
    scratch: Box<[u8]>,
    clock: Clock,
    resolver: Resolver,
    certificates: Option<CertificateWatcher>,
    verifier: Verifier,
    signals: Signals,
    /// SIGUSR1 came and was explained.
    reopen_explained: bool,
    access: AccessLogWriter,
    /// When lines of the access log are due to be written.
    flush_at: Option<Instant>,
    shutdown: Option<Duration>,
    stopping: Option<Instant>,
    stopped: Option<Stopped>,
    next_second: Instant,
}

struct Listening {
    listener: Listener,
    entrance: ListenerKind,
    tls: Option<ServerTls>,
    /// The kernel has connections for us that we did not take, for want of descriptors or because the iteration was over.
    ready: bool,
    /// Not before this moment: no descriptor was left.
    retry_at: Option<Instant>,
}

impl EventLoop {
    /// Registers everything with a fresh poll.
    ///
    /// # Errors
    /// The kernel has no epoll instance or descriptor left, or a helper thread does not start.
    pub fn new(parts: Parts) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let mut listeners = Vec::with_capacity(parts.listeners.len());
        for (token, (mut listener, entrance)) in (LISTENERS..).map(Token).zip(parts.listeners) {
            poll.registry()
                .register(&mut listener, token, Interest::READABLE)?;
            listeners.push(Listening {
                listener,
                entrance,
                tls: None,
                ready: false,
                retry_at: None,
            });
        }
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let verifier = Verifier::new(parts.verifies, &waker)?;
        let resolver = Resolver::new(Arc::clone(&waker));
        for watched in &parts.certificates {
            if let Some(listening) = listeners.get_mut(watched.listener) {
                listening.tls = Some(watched.tls.clone());
            }
        }
        let watch = (!parts.certificates.is_empty())
            .then(|| CertificateWatcher::watch(parts.certificates, waker));
        let certificates = watch.transpose()?;
        let signals = Signals::register(poll.registry(), SIGNALS)?;
        Ok(EventLoop {
            poll,
            proxy: parts.proxy,
            unresolved: vec![None; parts.targets.len()],
            targets: parts.targets,
            routes: parts.routes,
            providers: parts.providers,
            tls: parts.tls,
            listeners,
            sockets: Sockets::new(Pipes::new(parts.pipes, SPLICE_MIN_READ)),
            run_queue: RunQueue::default(),
            slow_iterations: SlowIterations::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            clock: Clock::new(),
            resolver,
            certificates,
            verifier,
            signals,
            reopen_explained: false,
            access: parts.access,
            flush_at: None,
            shutdown: parts.shutdown,
            stopping: None,
            stopped: None,
            next_second: Instant::ZERO,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// The poll itself fails, which the kernel does only when something is very wrong.
    pub fn run(&mut self) -> io::Result<Stopped> {
        let mut events = Events::with_capacity(1024);
        let now = self.clock.now();
        self.tick(now);
        self.run_commands(now);
        loop {
            let now = self.clock.now();
            if let Some(line) = self
                .slow_iterations
                .end(now, |side| self.sockets.get(side)?.socket().peer())
            {
                warn!("{line}");
            }
            match self.poll.poll(&mut events, self.poll_timeout(now)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let now = self.clock.now();
            self.iteration(&events, now);
            if let Some(stopped) = self.stopped {
                self.flush();
                return Ok(stopped);
            }
            if events.iter().count() == events.capacity() {
                events = Events::with_capacity(events.capacity().saturating_mul(2));
            }
        }
    }

    /// The access log, to be closed at the very end.
    pub fn into_access(self) -> AccessLogWriter {
        self.access
    }

    fn iteration(&mut self, events: &Events, now: Instant) {
        self.slow_iterations.begin(now);
        self.run_queue.begin();
        if now >= self.next_second {
            self.tick(now);
        }
        self.record_events(events, now);
        self.slow_iterations.phase_done(Phase::Events);
        if self.proxy.poll_timeout().is_some_and(|due| due <= now) {
            self.proxy.handle_timeout(now);
            self.run_commands(now);
        }
        self.slow_iterations.phase_done(Phase::Deadlines);
        self.accept(now);
        self.slow_iterations.phase_done(Phase::Accepting);
        while let Some(side) = self.run_queue.next(&mut self.proxy, &mut self.sockets) {
            self.serve(side, now);
        }
        self.flush_if_due(now);
        self.slow_iterations.phase_done(Phase::Logging);
        self.stop_if_done(now);
    }

    // --- waiting ---

    /// How long the poll may wait.
    fn poll_timeout(&self, now: Instant) -> Option<std::time::Duration> {
        let busy = self.run_queue.is_busy()
            || self.proxy.has_ready()
            || self
                .listeners
                .iter()
                .any(|listening| listening.ready && listening.retry_at.is_none());
        if busy {
            return Some(std::time::Duration::ZERO);
        }
        let retries = self
            .listeners
            .iter()
            .filter_map(|listening| listening.retry_at);
        self.proxy
            .poll_timeout()
            .into_iter()
            .chain(self.flush_at)
            .chain(self.stopping)
            .chain(retries)
            .min()
            .map(|due| {
                std::time::Duration::from_millis(due.since(now).min(LONGEST_WAIT).as_millis())
            })
    }

    /// Once a second while the loop iterations: the time of day may have been set.
    fn tick(&mut self, now: Instant) {
        self.proxy.handle_clock(now, self.clock.wall());
        self.next_second = now.after(Duration::from_secs(1));
    }

    // --- what the kernel said ---

    fn record_events(&mut self, events: &Events, now: Instant) {
        for event in events {
            if event.token().0 >= CONNECTIONS && is_upstream(event.token()) {
                self.record_event(event);
            }
        }
        for event in events {
            match event.token() {
                WAKER => {
                    self.take_worker_results(now);
                    self.take_certificates();
                }
                SIGNALS => self.handle_signals(now),
                Token(index) if index < CONNECTIONS => {
                    let listener = index.checked_sub(LISTENERS);
                    if let Some(listening) =
                        listener.and_then(|index| self.listeners.get_mut(index))
                    {
                        listening.ready = true;
                    }
                }
                token if !is_upstream(token) => self.record_event(event),
                _ => {}
            }
        }
    }

    fn record_event(&mut self, event: &Event) {
        let Some((side, connection)) = named(event.token(), &mut self.sockets) else {
            return;
        };
        connection.record_readiness(readiness(event));
        self.run_queue.enqueue(side, connection);
    }

    #[cold]
    fn take_worker_results(&mut self, now: Instant) {
        while let Some((target, answer)) = self.resolver.poll() {
            match answer {
                Ok(addresses) => {
                    self.log_resolution(target, None);
                    self.proxy.handle_resolved(target, &addresses, now);
                }
                Err(reason) => {
                    self.log_resolution(target, Some(reason));
                    self.proxy.handle_resolved(target, &[], now);
                }
            }
            self.run_commands(now);
        }
        while let Some((verification, good)) = self.verifier.poll() {
            self.proxy.handle_verified(verification, good, now);
            self.run_commands(now);
        }
    }

    /// A name that cannot be looked up is asked for again and again: only what is new about it is worth a warning.
    #[cold]
    fn log_resolution(&mut self, target: usize, reason: Option<String>) {
        let Some(TargetHost::Name(host)) = self.targets.get(target).map(|target| &target.host)
        else {
            return;
        };
        let Some(before) = self.unresolved.get_mut(target) else {
            return;
        };
        match (&reason, before.is_some()) {
            (Some(why), _) if reason != *before => {
                warn!("cannot resolve {host}: {why}; looking again within 30 s")
            }
            (Some(why), _) => debug!("cannot resolve {host}: {why}"),
            (None, true) => info!("{host} can be resolved again"),
            (None, false) => {}
        }
        *before = reason;
    }

    /// Whoever connects from now on is shown the new ones.
    #[cold]
    fn take_certificates(&mut self) {
        while let Some((listener, fresh)) = self
            .certificates
            .as_ref()
            .and_then(CertificateWatcher::poll)
        {
            if let Some(listening) = self.listeners.get_mut(listener) {
                listening.tls = Some(fresh);
                info!("the certificates of {} were read again", listening.listener);
            }
        }
    }

    #[cold]
    fn handle_signals(&mut self, now: Instant) {
        for request in self.signals.pending() {
            let signal = match request {
                Request::Stop(signal) => signal,
                Request::Reload => {
                    match &self.certificates {
                        Some(certificates) => certificates.reload_all(),
                        None => info!(
                            "SIGHUP: there are no certificates to read again; a new configuration needs a restart"
                        ),
                    }
                    continue;
                }
                Request::Reopen => {
                    if !core::mem::replace(&mut self.reopen_explained, true) {
                        info!(
                            "SIGUSR1: the logs go to stdout and stderr, there is no file to reopen"
                        );
                    }
                    continue;
                }
                Request::Unused => {
                    info!("SIGUSR2 is ignored; to stop, send SIGTERM");
                    continue;
                }
            };
            if self.stopping.is_some() {
                warn!("second {signal}: stopping at once");
                self.stopped = Some(Stopped::Now);
                return;
            }
            info!("{signal}: finishing what is in flight");
            self.stopping = Some(
                self.shutdown
                    .map_or(Instant::from_millis(u64::MAX), |grace| now.after(grace)),
            );
            self.listeners.clear();
            self.proxy.handle_shutdown();
            self.run_commands(now);
        }
    }

    fn stop_if_done(&mut self, now: Instant) {
        let Some(deadline) = self.stopping else {
            return;
        };
        if deadline <= now && self.proxy.downstreams() > 0 {
            warn!(
                "{} connections are cut: the grace time is over",
                self.proxy.downstreams()
            );
            self.proxy.handle_abort(now);
            self.run_commands(now);
        }
        if self.proxy.downstreams() == 0 && self.stopped.is_none() {
            self.stopped = Some(Stopped::Clean);
        }
    }

    // --- new connections ---

    #[inline(never)]
    fn accept(&mut self, now: Instant) {
        for index in 0..self.listeners.len() {
            for taken in 0.. {
                let Some(listening) = self.listeners.get_mut(index) else {
                    break;
                };
                let paused = listening.retry_at.is_some_and(|at| at > now);
                if !listening.ready || paused || taken == ACCEPTS_PER_ITERATION {
                    break;
                }
                listening.retry_at = None;
                if self.proxy.is_full() {
                    // Until one closes, new ones wait in the kernel's queue.
                    listening.retry_at = Some(now.after(ACCEPT_RETRY));
                    break;
                }
                match listening.listener.accept() {
                    Ok(accepted) => {
                        let (entrance, tls) = (listening.entrance, listening.tls.clone());
                        self.register_client(accepted, entrance, tls.as_ref(), now);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listening.ready = false
                    }
                    Err(error) if is_exhaustion(&error) => self.pause_accepting(index, &error, now),
                    // The client was gone before we took it.
                    Err(error) => debug!("accept: {error}"),
                }
            }
        }
    }

    /// No descriptor is left: one that nobody needs is freed, or the listener rests until one is.
    #[cold]
    fn pause_accepting(&mut self, index: usize, error: &io::Error, now: Instant) {
        if self.sockets.pipes.close_idle() || self.proxy.handle_exhausted() {
            self.run_commands(now);
            return;
        }
        if let Some(listening) = self.listeners.get_mut(index) {
            warn!("cannot accept: {error}; raise the limit of open files (LimitNOFILE, ulimit -n)");
            listening.retry_at = Some(now.after(ACCEPT_RETRY));
        }
    }

    fn register_client(
        &mut self,
        accepted: Accepted,
        entrance: ListenerKind,
        tls: Option<&ServerTls>,
        now: Instant,
    ) {
        let Some(id) = self.proxy.handle_accepted(accepted.peer, entrance, now) else {
            return self.run_commands(now);
        };
        let connection = match tls {
            None => Ok(Connection::client(accepted.socket, id.generation())),
            Some(tls) => Connection::secure_client(accepted.socket, id.generation(), tls),
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                warn!("cannot start TLS with a client: {error}");
                self.proxy
                    .handle_fault(Side::Client(id), Fault::Exhausted, now);
                return self.run_commands(now);
            }
        };
        let token = token_of(Side::Client(id));
        if let Err(error) =
            self.poll
                .registry()
                .register(connection.socket(), token, Interest::READABLE)
        {
            warn!("cannot watch a client connection: {error}");
            self.proxy
                .handle_fault(Side::Client(id), Fault::Exhausted, now);
            return self.run_commands(now);
        }
        self.sockets.insert(Side::Client(id), connection);
        self.run_commands(now);
    }

    // --- moving bytes ---

    /// Lets a connection move what it can, within its share of the iteration.
    fn serve(&mut self, side: Side, now: Instant) {
        let hung_up = loop {
            let place = (side, self.run_queue.current());
            let moved = match pump::pump_once(
                &mut self.proxy,
                &mut self.sockets,
                place,
                &mut self.scratch,
                now,
            ) {
                PumpResult::Pumped(moved) => moved,
                PumpResult::NotOpen if self.slow_iterations.is_handshake_time_spent() => {
                    return self.run_queue.defer(side, &mut self.sockets);
                }
                PumpResult::NotOpen if self.establish(side, now) => continue,
                PumpResult::NotOpen | PumpResult::Gone => return,
                PumpResult::OutOfBudget => return self.run_queue.defer(side, &mut self.sockets),
            };
            let peer = || self.sockets.get(side)?.socket().peer();
            self.slow_iterations.pumped(side, moved.bytes, peer);
            if moved.watch {
                self.watch_writable(side);
            }
            self.run_commands(now);
            if !moved.again {
                break moved.hung_up;
            }
        };
        if hung_up
            && let Some(connection) = self.sockets.get(side)
            && pump::report_hangup(&mut self.proxy, connection, side, now)
        {
            self.run_commands(now);
        }
    }

    /// False: the connection is not there yet, or gone.
    #[inline(never)]
    fn establish(&mut self, side: Side, now: Instant) -> bool {
        let Some(connection) = self.sockets.get(side) else {
            return false;
        };
        let started = self.slow_iterations.start_handshake();
        let established =
            pump::establish(&mut self.proxy, connection, side, &mut self.scratch, now);
        self.slow_iterations
            .handshake_step_done(started, side, || connection.socket().peer());
        if established.watch {
            self.watch_writable(side);
        }
        self.run_commands(now);
        established.open
    }

    /// Asks to be told when the socket takes bytes again; once in a client connection's life.
    fn watch_writable(&mut self, side: Side) {
        let Some(connection) = self.sockets.get(side) else {
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll
                .registry()
                .reregister(connection.socket(), token_of(side), interest)
        {
            warn!("cannot watch a connection: {error}");
        }
    }

    // --- what the engine said ---

    /// Does what the engine commands. Whom it wants attended to comes next: see [`RunQueue::next`].
    #[inline]
    fn run_commands(&mut self, now: Instant) {
        if self.proxy.has_commands() {
            self.run_all_commands(now);
        }
    }

    #[inline(never)]
    fn run_all_commands(&mut self, now: Instant) {
        while let Some(command) = self.proxy.poll_command() {
            match command {
                Command::Dial {
                    upstream,
                    target,
                    address,
                } => self.dial(upstream, target, address, now),
                Command::Resolve { target } => self.resolve(target),
                Command::Shut(side) => {
                    if let Some(connection) = self.sockets.get(side) {
                        connection.shut();
                    }
                }
                Command::Close { side, abort } => self.close(side, abort),
                Command::Verify { verification, work } => {
                    self.verifier.request(verification, work);
                }
                Command::Report(report) => self.report(report),
            }
        }
    }

    #[inline(never)]
    fn dial(
        &mut self,
        upstream: crate::proxy::command::UpstreamId,
        target: usize,
        address: SocketAddr,
        now: Instant,
    ) {
        let side = Side::Upstream(upstream);
        let tls = self.tls.get(target).and_then(Option::as_ref);
        let connected = dial(address).and_then(|socket| {
            let mut connection = Connection::upstream(socket, upstream.generation(), tls)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(connection.socket(), token_of(side), interest)?;
            connection.watch_for_writing();
            Ok(connection)
        });
        match connected {
            Ok(connection) => self.sockets.insert(side, connection),
            Err(error) => {
                let fault = match is_exhaustion(&error) {
                    _ if is_unreachable(&error, address) => Fault::Unreachable,
                    true => Fault::Exhausted,
                    false => Fault::Refused,
                };
                debug!("connecting to {address}: {error}");
                self.proxy.handle_explained_fault(
                    side,
                    fault,
                    mid_sentence(error.to_string()),
                    now,
                );
            }
        }
    }

    fn resolve(&mut self, target: usize) {
        if let Some(Target {
            host: TargetHost::Name(host),
            port,
            ..
        }) = self.targets.get(target)
        {
            self.resolver.request(target, host.clone(), *port);
        }
    }

    fn close(&mut self, side: Side, abort: bool) {
        if self.sockets.close(side, abort) {
            // A descriptor is free again.
            for listening in &mut self.listeners {
                listening.retry_at = None;
            }
        }
    }

    fn names(&self) -> Names<'_> {
        Names {
            routes: &self.routes,
            targets: &self.targets,
            providers: &self.providers,
        }
    }

    fn provider(&self, index: usize) -> &str {
        self.providers.get(index).map_or("?", String::as_str)
    }

    #[cold]
    fn report(&self, report: Report) {
        match report {
            Report::UpstreamFailed(failed) => messages::upstream_failed(&failed, &self.names()),
            Report::Refused(failed) => messages::refused(&failed, &self.names()),
            Report::Unsaid {
                service,
                provider,
                what,
                count,
            } => {
                messages::suppressed(service, provider, what, count, &self.names());
            }
            Report::Health {
                service,
                target,
                address,
                change,
                cause,
                reason,
            } => {
                let route = self
                    .routes
                    .get(service as usize)
                    .map_or("?", String::as_str);
                let authority = self
                    .targets
                    .get(target as usize)
                    .map_or("?", |target| target.authority.as_str());
                log_health_change(
                    route,
                    (authority, address),
                    change,
                    (cause, reason.as_ref()),
                );
            }
            Report::ProviderFailed {
                provider,
                end,
                reason,
            } => {
                warn!(
                    "auth {}: {}",
                    self.provider(provider),
                    messages::reason_text(end, reason.as_ref())
                );
            }
            Report::KeysFetched {
                provider,
                count,
                left_out: 0,
            } => {
                info!(
                    "auth {}: {count} keys in the key set",
                    self.provider(provider)
                );
            }
            Report::KeysFetched {
                provider,
                count,
                left_out,
            } => warn!(
                "auth {}: the first {count} keys of the key set are used, and {left_out} more are not: tokens that they signed are refused",
                self.provider(provider)
            ),
            Report::KeysFailed {
                provider,
                fault,
                reason,
            } => {
                let name = self.provider(provider);
                match fault {
                    KeysFault::NoAnswer(end) => {
                        warn!(
                            "auth {name}: cannot fetch the key set: {}",
                            messages::reason_text(end, reason.as_ref())
                        );
                    }
                    KeysFault::Status(status) => {
                        warn!("auth {name}: cannot fetch the key set: status {status}")
                    }
                    KeysFault::Refused(why) => {
                        warn!("auth {name}: the key set {why}; the one before stays")
                    }
                }
            }
            Report::ConnectionsFull => debug!("all connections are in use: a client got 503"),
            Report::ClientConnectionsFull { client } => {
                debug!(
                    "{client} has its share of the connections and got no further one; see limits.connectionsPerClient"
                );
            }
            Report::Exhausted => error!(
                "no descriptor, port or memory is left for an upstream connection; raise the limit of open files (LimitNOFILE, \
                 ulimit -n) or the range of ports (net.ipv4.ip_local_port_range)"
            ),
        }
    }

    // --- the access log ---

    fn flush_if_due(&mut self, now: Instant) {
        let waiting = self.proxy.access_lines().len();
        if waiting == 0 {
            return;
        }
        match self.flush_at {
            None => self.flush_at = Some(now.after(ACCESS_LOG_FLUSH_AFTER)),
            Some(at) if at <= now => self.flush(),
            Some(_) => {}
        }
        if waiting >= ACCESS_LOG_FLUSH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        self.access.submit(self.proxy.access_lines());
        self.access.count_dropped(self.proxy.take_dropped_lines());
    }
}

/// An endpoint went or came back.
#[cold]
fn log_health_change(
    route: &str,
    (authority, address): (&str, SocketAddr),
    change: Change,
    (cause, reason): (Cause, Option<&Reason>),
) {
    let shown = address.to_string();
    let place = if shown == authority {
        shown
    } else {
        format!("{authority} ({shown})")
    };
    let seen = match cause {
        Cause::Status(status) => format!("status {status}"),
        Cause::Failure(end) => messages::reason_text(end, reason).to_owned(),
        Cause::Time => String::new(),
    };
    match change {
        Change::WentDown => warn!("{route}: {place} is down, its checks fail: {seen}"),
        Change::CameUp => info!("{route}: {place} is up again, its checks succeed: {seen}"),
        Change::Ejected => {
            warn!("{route}: {place} is put aside for a while, requests fail there: {seen}")
        }
        // Where nobody listens for long, or at one of the addresses of localhost, this goes on and on.
        Change::EjectedAgain => debug!("{route}: {place} is put aside again: {seen}"),
        Change::Returned => debug!("{route}: {place} is tried again"),
        Change::Recovered => info!("{route}: {place} is well again, its requests succeed"),
    }
}

/// What an event says.
fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed(),
        failed: event.is_error() || (event.is_write_closed() && event.is_read_closed()),
        reset: event.is_error(),
    }
}

// A token is side, slot and generation: `(slot << 1 | side) + CONNECTIONS` below, generation above. On a 32-bit machine
// twelve bits of generation remain, which tell the events of one batch apart.
const SLOT_BITS: u32 = usize::BITS / 2 + 4;

fn token_of(side: Side) -> Token {
    let (index, generation, bit) = match side {
        Side::Client(id) => (id.index(), id.generation(), 0),
        Side::Upstream(id) => (id.index(), id.generation(), 1),
    };
    let low = (index as usize) << 1 | bit;
    Token(
        ((generation as usize) << SLOT_BITS)
            .wrapping_add(low)
            .wrapping_add(CONNECTIONS),
    )
}

fn is_upstream(token: Token) -> bool {
    low_bits(token) & 1 == 1
}

fn low_bits(token: Token) -> usize {
    (token.0 & ((1 << SLOT_BITS) - 1)).wrapping_sub(CONNECTIONS)
}

/// The connection a token names, if it is still the one that was registered.
fn named(token: Token, sockets: &mut Sockets<Socket>) -> Option<(Side, &mut Connection<Socket>)> {
    let low = low_bits(token);
    sockets
        .occupant(u32::try_from(low >> 1).ok()?, low & 1 == 1)
        .filter(|(side, _)| token_of(*side) == token)
}
