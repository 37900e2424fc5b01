//! Operation of the gateway while it runs: signals, the admin listener, reloads, and the stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::{info, warn};

use super::EventLoop;
use crate::config::AdminAccess;
use crate::net::admin::{AdminCommand, Facts, GatewayState, ListenerFacts, Progress};
use crate::net::commands::Executor;
use crate::net::listener_counters::OpenConnections;
use crate::net::reload::{self, New, ReloadStep, Swap};
use crate::net::signals::Request;
use crate::net::upgrade::handover::Offer;
use crate::proxy::overview::{is_idle, is_service_up};
use crate::proxy::retire;
use crate::time::{Instant, UnixTime};

impl EventLoop {
    /// Makes new connections use the certificates that were read again.
    #[cold]
    pub(super) fn take_certificates(&mut self) {
        let Some(watcher) = &self.certificates else {
            return;
        };
        while let Some((listener, tls)) = watcher.poll() {
            self.executor.acceptor.reload_tls(listener, tls);
        }
    }

    #[cold]
    pub(super) fn handle_signals(&mut self, now: Instant) {
        for request in self.signals.pending() {
            match request {
                Request::Stop(name) => self.stop(name, now),
                Request::Reload => self.begin_reload(now),
                Request::Reopen if core::mem::replace(&mut self.is_reopen_explained, true) => {}
                Request::Reopen => {
                    info!("SIGUSR1: the logs go to stdout and stderr, there is no file to reopen");
                }
                Request::Upgrade => self.begin_upgrade(),
            }
        }
    }

    /// Begins to stop. `name`: what asked for it.
    pub(super) fn stop(&mut self, name: &str, now: Instant) {
        if self.shutdown.signal(name, now) {
            self.notifier.stopping();
            self.executor.acceptor.close();
            self.executor.proxy.handle_shutdown();
            self.executor.run_commands(now);
        }
    }

    /// Serves the clients of the admin listener, which is open until the end of a stop.
    #[cold]
    pub(super) fn serve_admin(&mut self, now: Instant) {
        let Executor { proxy, poll, .. } = &self.executor;
        let wall = self.clock.wall();
        let facts = || Facts {
            now: wall,
            started: self.started,
            config: self.reload.facts(),
            longest_turn: self.slow_iterations.longest(),
            turns_per_10_s: self.slow_iterations.turns_per_10_s(now),
            dropped_lines: self.access_log.dropped(),
            memory_bound: self.reload.memory_bound(),
            listeners: listeners(&self.executor),
            certificates: certificates(&self.executor),
        };
        let state = GatewayState {
            proxy,
            facts: &facts,
            is_up: &|route| is_service_up(proxy, route),
            progress: if self.shutdown.is_stopping() {
                Progress::Stopping
            } else if self.reload.is_under_way() {
                Progress::Reloading
            } else {
                Progress::Running
            },
        };
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

    // --- upgrade ---

    /// Starts the binary again, which takes the sockets over.
    #[cold]
    fn begin_upgrade(&mut self) {
        if self.shutdown.is_stopping() {
            return warn!("SIGUSR2: no upgrade, the gateway stops");
        }
        info!("SIGUSR2: starting the new binary");
        let clients = self.executor.acceptor.sockets();
        let clients = clients.map(|(address, listener)| (address, listener, false));
        let admin = self.admin.sockets();
        let admin = admin.map(|(address, listener)| (address, listener, true));
        let offers = clients.chain(admin).map(|(address, listener, is_admin)| {
            let (socket, owns_file) = listener.duplicate()?;
            Ok(Offer {
                name: address.to_string(),
                is_admin,
                owns_file,
                socket,
            })
        });
        let begun = offers
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|error| error.to_string())
            .and_then(|offers| self.upgrader.begin(offers, Arc::clone(&self.waker)));
        if let Err(reason) = begun {
            warn!("no upgrade: {reason}; this process goes on");
        }
    }

    /// Goes on with an upgrade: the new process is ready, or it failed.
    #[cold]
    pub(super) fn step_upgrade(&mut self, now: Instant) {
        let successor = match self.upgrader.poll() {
            None => return,
            Some(Err(reason)) => return warn!("no upgrade: {reason}; this process goes on"),
            Some(Ok(successor)) => successor,
        };
        info!("process {} serves new clients", successor.pid);
        self.notifier.hand_over(successor.pid);
        let clients = self.executor.acceptor.sockets();
        clients.for_each(|(_, listener)| listener.disown());
        let admin = self.admin.sockets();
        admin.for_each(|(_, listener)| listener.disown());
        let registry = self.executor.poll.registry();
        // Without sockets to add, nothing can fail.
        let _ = self
            .admin
            .set(&AdminAccess::default(), Vec::new(), registry);
        successor.go();
        if self.shutdown.signal("SIGUSR2", now) {
            self.executor.acceptor.close();
            retire(&mut self.executor.proxy);
            self.executor.run_commands(now);
        }
    }

    /// Takes over the files of unix sockets that the old process of an upgrade has made.
    pub fn adopt_files(&mut self) {
        let clients = self.executor.acceptor.sockets();
        clients.for_each(|(_, listener)| listener.adopt());
        let admin = self.admin.sockets();
        admin.for_each(|(_, listener)| listener.adopt());
    }

    // --- reload ---

    /// Has the configuration read again.
    #[cold]
    pub(super) fn begin_reload(&mut self, now: Instant) {
        if self.shutdown.is_stopping() {
            let errors = vec!["the gateway stops: no configuration is read".to_owned()];
            return self.reload_failed(errors, now);
        }
        self.notifier.reloading();
        if let Err(errors) = self.reload.begin() {
            self.reload_failed(errors, now);
        }
    }

    /// Goes on with a reload: the file was read, or it is time to try again.
    #[cold]
    pub(super) fn step_reload(&mut self, now: Instant) {
        let new = match self.reload.step(now) {
            ReloadStep::Wait => return,
            ReloadStep::Failed(errors) => return self.reload_failed(errors, now),
            ReloadStep::Swap(new) => new,
            ReloadStep::Apply(candidate) => {
                let acceptor = &self.executor.acceptor;
                match reload::bind(&candidate.loaded.config, acceptor, &self.admin) {
                    Err(errors) => return self.reload_failed(errors, now),
                    Ok(bound) => Box::new(New {
                        candidate: *candidate,
                        bound,
                    }),
                }
            }
        };
        let mut swap = Swap {
            executor: &mut self.executor,
            admin: &mut self.admin,
            shutdown: &mut self.shutdown,
            certificates: &mut self.certificates,
            waker: &self.waker,
        };
        match reload::apply(&mut swap, new, now) {
            Err(new) => self.reload.wait(new, now),
            Ok(applied) => {
                let wall = self.clock.wall();
                let summary = self.reload.finish(applied.new, applied.connections, wall);
                self.admin.reload_finished(&Ok(summary), now);
                self.notifier.ready();
            }
        }
    }

    fn reload_failed(&mut self, errors: Vec<String>, now: Instant) {
        let text = self.reload.fail(errors);
        self.admin.reload_finished(&Err(text), now);
        self.notifier.ready();
    }

    pub(super) fn stop_if_done(&mut self, now: Instant) {
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
}

/// Returns what operators see of the listeners. Looks at every connection.
fn listeners(executor: &Executor) -> Vec<ListenerFacts> {
    let mut open = BTreeMap::<u32, OpenConnections>::new();
    for (id, connection) in executor.sockets.clients() {
        let counts = open.entry(connection.listener).or_default();
        let count = if !connection.is_open() {
            &mut counts.handshake
        } else if is_idle(&executor.proxy, id) {
            &mut counts.idle
        } else {
            &mut counts.active
        };
        *count = count.saturating_add(1);
    }
    let listeners = executor.acceptor.listeners();
    let facts = listeners.map(|(serial, address, counters)| ListenerFacts {
        address: address.to_string(),
        open: open.remove(&serial).unwrap_or_default(),
        counters,
    });
    facts.collect()
}

/// Returns the ends of the certificates of the listeners.
fn certificates(executor: &Executor) -> BTreeMap<String, UnixTime> {
    let expiries = executor.acceptor.expiries();
    expiries
        .map(|(path, end)| (path.display().to_string(), end))
        .collect()
}
