//! Operation of the gateway while it runs: signals, the admin listener, reloads, and the stop.

use log::{info, warn};

use super::{EventLoop, Postponed};
use crate::config::Config;
use crate::net::acceptor::slot_of;
use crate::net::admin::{AdminCommand, Facts, GatewayState, ListenerFacts, Progress};
use crate::net::commands::Executor;
use crate::net::listener_counters::OpenConnections;
use crate::net::reload::{self, New, ReloadStep, Swap};
use crate::net::shutdown::{Overdue, STOPS};
use crate::net::signals::Request;
use crate::net::token::LISTENER_SLOTS;
use crate::proxy::end_others;
use crate::proxy::overview::{is_idle, is_service_up};
use crate::sort::sort_by;
use crate::time::{Duration, Instant, UnixTime};
use crate::transport::server::ServerTls;

impl EventLoop {
    /// Makes new connections use the certificates that were read again.
    #[cold]
    pub(super) fn take_certificates(&mut self) {
        let Some(watcher) = &self.certificates else {
            return;
        };
        let mut is_changed = false;
        while let Some((listener, tls)) = watcher.poll() {
            self.executor.acceptor.reload_tls(listener, tls);
            is_changed = true;
        }
        if is_changed {
            self.executor.install_certificates();
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
                Request::Upgrade => self.begin_upgrade("SIGUSR2", now),
            }
        }
    }

    /// Begins to stop. `name`: what asked for it.
    pub(super) fn stop(&mut self, name: &str, now: Instant) {
        if self.shutdown.signal(name, now) {
            self.cancel_upgrade(now);
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
            certificates: certificates(&self.executor, &self.reload.config()),
            orders: self.executor.order_rows(wall),
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
            is_upgrading: self.upgrader.is_under_way()
                || self.postponed == Some(Postponed::Upgrade),
        };
        let commands = self.admin.serve(&state, poll.registry(), now, wall);
        if let Some(counts) = self.admin.take_counts() {
            self.executor.counts = Some(counts);
        }
        for command in commands {
            match command {
                AdminCommand::Stop => self.stop("POST /stop", now),
                AdminCommand::Reload => self.begin_reload(now),
                AdminCommand::Upgrade => self.begin_upgrade("POST /upgrade", now),
                // The admin listener changes it itself.
                AdminCommand::LogLevel { .. } => {}
            }
        }
    }

    // --- reload ---

    /// Does what the old process of an upgrade has left to do.
    pub(super) fn begin_postponed(&mut self, now: Instant) {
        if self.postponed.take().is_some() {
            self.begin_reload(now);
        }
    }

    /// Has the configuration read again.
    #[cold]
    pub(super) fn begin_reload(&mut self, now: Instant) {
        if self.shutdown.is_stopping() {
            return self.reload_failed(vec![STOPS.to_owned()], now);
        }
        self.notifier.reloading();
        if self.upgrader.is_under_way() {
            info!("the reload begins when the upgrade has ended");
            self.postponed = Some(Postponed::Reload);
            return;
        }
        if let Err(errors) = self.reload.begin(self.admin.take_files()) {
            self.reload_failed(errors, now);
        }
    }

    /// Goes on with a reload: the file was read, or it is time to try again.
    #[cold]
    pub(super) fn step_reload(&mut self, now: Instant) {
        if self.upgrader.is_under_way() {
            // The new process has the sockets of before.
            return;
        }
        let new = match self.reload.step(now) {
            ReloadStep::Wait => return,
            ReloadStep::Failed(errors) => return self.reload_failed(errors, now),
            _ if self.shutdown.is_stopping() => {
                return self.reload_failed(vec![STOPS.to_owned()], now);
            }
            ReloadStep::Swap(new) => new,
            ReloadStep::Apply(candidate) => {
                let orders = self.executor.orders.as_deref();
                let acceptor = &mut self.executor.acceptor;
                let admin = &mut self.admin;
                match reload::bind(&candidate.loaded.config, acceptor, admin, orders) {
                    Err(errors) => return self.reload_failed(errors, now),
                    Ok(bound) => Box::new(New {
                        candidate: *candidate,
                        bound,
                        waits: false,
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
            wall: self.clock.wall(),
        };
        match reload::apply(&mut swap, new, now) {
            Err(new) => self.reload.wait(new, now),
            Ok(applied) => {
                let summary = self.reload.finish(applied.new, applied.connections);
                self.admin.reload_finished(&Ok(summary), now);
                self.reload_ended(now);
            }
        }
    }

    pub(super) fn reload_failed(&mut self, errors: Vec<String>, now: Instant) {
        let text = self.reload.fail(errors);
        self.admin.reload_finished(&Err(text), now);
        self.reload_ended(now);
    }

    fn reload_ended(&mut self, now: Instant) {
        self.admin.forget_passed();
        self.notifier.ready();
        if self.postponed == Some(Postponed::Upgrade) && !self.reload.is_under_way() {
            self.postponed = None;
            self.begin_upgrade("upgrade", now);
        }
    }

    pub(super) fn stop_if_done(&mut self, now: Instant) {
        // What follows counts all services, which is not for each turn of the loop.
        if !self.shutdown.is_stopping() {
            return;
        }
        let proxy = &mut self.executor.proxy;
        let overdue = self.shutdown.overdue(Duration::ZERO, now);
        let clients = proxy.holdings().clients;
        match overdue {
            Overdue::All if clients > 0 => {
                warn!("{clients} connections are cut: the grace time is over");
                proxy.handle_abort(now);
            }
            Overdue::Others if clients > 0 => {
                let tunnels = end_others(proxy, now);
                let rest = proxy.holdings().clients;
                info!(
                    "the grace time is over: cut WebSockets: {tunnels}, requests that go on: {rest}"
                );
            }
            Overdue::None | Overdue::Others | Overdue::All => {}
        }
        if overdue != Overdue::None {
            self.executor.run_commands(now);
            self.executor.acceptor.close();
        }
        let clients = self.executor.proxy.holdings().clients;
        let open = self.executor.acceptor.open();
        let is_closing = overdue != Overdue::All && self.admin.is_closing();
        let open = open.saturating_add(usize::from(is_closing));
        self.shutdown
            .finish_if_drained(clients.saturating_add(open));
    }
}

/// Returns what operators see of the listeners. Looks at every connection once.
fn listeners(executor: &Executor) -> Vec<ListenerFacts> {
    let facts = executor.acceptor.listeners();
    let facts = facts.map(|(serial, address, counters)| ListenerFacts {
        serial,
        address: address.to_string(),
        open: OpenConnections::default(),
        counters,
    });
    let mut facts = facts.collect::<Vec<_>>();
    let mut open = [(0, OpenConnections::default()); LISTENER_SLOTS];
    for listener in &facts {
        if let Some((serial, _)) = open.get_mut(slot_of(listener.serial)) {
            *serial = listener.serial;
        }
    }
    for (id, connection) in executor.sockets.clients() {
        let slot = open.get_mut(slot_of(connection.listener));
        let Some((_, open)) = slot.filter(|(serial, _)| *serial == connection.listener) else {
            continue;
        };
        let count = if !connection.is_open() {
            &mut open.handshake
        } else if is_idle(&executor.proxy, id) {
            &mut open.idle
        } else {
            &mut open.active
        };
        *count = count.saturating_add(1);
    }
    for listener in &mut facts {
        if let Some((_, open)) = open.get(slot_of(listener.serial)) {
            listener.open = *open;
        }
    }
    facts
}

/// Returns the ends of the certificates of the listeners, and of those that targets are shown. Those
/// that end first are at the front.
fn certificates(executor: &Executor, config: &Config) -> Vec<(String, UnixTime)> {
    let tls = || executor.acceptor.tls();
    let files = tls().flat_map(ServerTls::expiries);
    let files = files.chain(config.client_certificates());
    let files = files.map(|(path, end)| (path.display().to_string(), end));
    let ordered = tls().flat_map(ServerTls::ordered_expiries);
    by_end(files.chain(ordered).collect())
}

/// Returns each name once, the first end at the front. Two listeners may have read one file, or have
/// been given one ordered certificate, at different times.
fn by_end(mut all: Vec<(String, UnixTime)>) -> Vec<(String, UnixTime)> {
    sort_by(&mut all, Ord::cmp);
    all.dedup_by(|(next, _), (name, _)| next == name);
    sort_by(&mut all, |one, other| one.1.cmp(&other.1));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metrics have a series for each name, which may be there once only.
    #[test]
    fn a_certificate_is_listed_once_whatever_its_listeners_say() {
        let of = |name: &str, end| (name.to_owned(), UnixTime::from_millis(end));
        let all = vec![of("b", 5), of("a", 9), of("b", 4), of("c", 1), of("a", 9)];
        assert_eq!(by_end(all), [of("c", 1), of("b", 4), of("a", 9)]);
    }
}
