//! Start of the event loop: what it is given, and what it registers.

use std::io;
use std::sync::Arc;

use mio::Poll;

use super::EventLoop;
use crate::config::ListenAddress;
use crate::limits::{SCRATCH_BYTES, SPLICE_MIN_READ};
use crate::net::acceptor::Acceptor;
use crate::net::access_log::AccessLog;
use crate::net::admin::{Admin, AdminListener};
use crate::net::certificates::store::Store;
use crate::net::clock::Clock;
use crate::net::commands::Executor;
use crate::net::io::run_queue::RunQueue;
use crate::net::io::sockets::Sockets;
use crate::net::io::splice_pipes::Pipes;
use crate::net::listener::Listener;
use crate::net::messages::Messages;
use crate::net::notify::Notifier;
use crate::net::reload::{self, ConfigSource, Loaded, Reload};
use crate::net::shutdown::Shutdown;
use crate::net::signals::Signals;
use crate::net::slow_iterations::SlowIterations;
use crate::net::token::{SIGNALS, WAKER};
use crate::net::upgrade::{Program, Upgrader};
use crate::net::workers::access_log::AccessLogWriter;
use crate::net::workers::certificate_watcher::CertificateWatcher;
use crate::net::workers::dns::Resolver;
use crate::net::workers::recorder::RecordWriter;
use crate::net::workers::verifier::{Kinds, Verifier};
use crate::proxy::Proxy;
use crate::time::Instant;

/// Arguments of [`EventLoop::new`].
pub struct Parts {
    /// The engine, before its first command was polled.
    pub proxy: Proxy,
    /// Kinds of credentials that helper threads verify.
    pub verifies: Kinds,
    /// The configuration, its certificates, and the TLS settings of its targets.
    pub loaded: Loaded,
    /// File of the configuration.
    pub source: Option<ConfigSource>,
    /// Bound listeners, each with its address in the configuration.
    pub listeners: Vec<(ListenAddress, Listener)>,
    /// Bound sockets of the admin listener.
    pub admin: Vec<AdminListener>,
    /// Largest number of pipes at once.
    pub pipes: usize,
    /// Writer of the access log.
    pub access: AccessLogWriter,
    /// Folder of the orders; `None`: none is made, or another process has it until it hands over.
    pub store: Option<Store>,
    /// Messages to the service manager.
    pub notifier: Notifier,
    /// Program that an upgrade starts.
    pub program: Program,
}

impl EventLoop {
    /// Registers everything with a new poll, and starts the helper threads.
    ///
    /// # Errors
    /// The kernel has no epoll instance or descriptor left, or a helper thread does not start.
    pub fn new(parts: Parts) -> io::Result<EventLoop> {
        let Loaded {
            config,
            server_tls,
            client_tls,
            read_at,
        } = parts.loaded;
        let poll = Poll::new()?;
        let mut acceptor = Acceptor::new();
        acceptor.add(parts.listeners, poll.registry())?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let mut admin = Admin::register(
            parts.admin,
            &config.admin,
            config.log_level,
            poll.registry(),
        )?;
        let signals = match config.is_worker() {
            true => Signals::ignored()?,
            false => Signals::register(poll.registry(), SIGNALS)?,
        };
        let verifier = Verifier::new(parts.verifies, &waker)?;
        let resolver = Resolver::new(Arc::clone(&waker));
        let watched = reload::set_listeners(&mut acceptor, &config, server_tls);
        let certificates = (!watched.is_empty())
            .then(|| CertificateWatcher::watch(watched, Arc::clone(&waker)))
            .transpose()?;
        let clock = Clock::new();
        let shutdown = Shutdown::new(config.settings.timeouts.shutdown);
        let started = clock.wall();
        let reload = Reload::new(config, parts.source, read_at, Arc::clone(&waker))?;
        let mut event_loop = EventLoop {
            executor: Executor {
                poll,
                proxy: parts.proxy,
                sockets: Sockets::new(Pipes::new(parts.pipes, SPLICE_MIN_READ)),
                acceptor,
                messages: Messages::default(),
                resolver,
                records: RecordWriter::default(),
                verifier,
                tls: client_tls,
                orders: None,
                challenge: None,
                counts: admin.take_counts(),
            },
            run_queue: RunQueue::default(),
            slow_iterations: SlowIterations::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            clock,
            certificates,
            signals,
            shutdown,
            admin,
            reload,
            waker,
            is_reopen_explained: false,
            access_log: AccessLog::new(parts.access),
            notifier: parts.notifier,
            upgrader: Upgrader::new(parts.program),
            postponed: None,
            next_second: Instant::ZERO,
            started,
        };
        if let Some(store) = parts.store {
            event_loop.start_orders(store);
        }
        Ok(event_loop)
    }
}
