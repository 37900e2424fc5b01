//! Upgrade of the binary, on both sides: the old process and the new one.

use std::sync::Arc;

use log::{info, warn};

use super::{EventLoop, Postponed};
use crate::config::LogLevel;
use crate::net::certificates::store::Store;
use crate::net::shutdown::STOPS;
use crate::net::upgrade::handover::Offer;
use crate::net::upgrade::{CARRIED, News, Predecessor, Successor, Word, state};
use crate::proxy::carried::Taken;
use crate::proxy::retire;
use crate::proxy::upgrade::import;
use crate::time::{Duration, Instant};

/// Log level that holds for a while, and for how long.
type TimedLevel = (LogLevel, Duration);

impl EventLoop {
    /// Starts the binary again, which takes the sockets over. A worker leaves them to others instead.
    /// `name`: what asked for it.
    #[cold]
    pub(super) fn begin_upgrade(&mut self, name: &str, now: Instant) {
        if self.admin.is_supervised() {
            return self.leave_to_others(now);
        }
        if self.shutdown.is_stopping() {
            return warn!("{name}: no upgrade, the gateway stops");
        }
        if self.upgrader.is_under_way() {
            return warn!("{name}: an upgrade is under way already");
        }
        if self.reload.is_under_way() {
            info!("{name}: the upgrade begins when the reload has ended");
            self.postponed = Some(Postponed::Upgrade);
            return;
        }
        info!("{name}: starting the new binary");
        let begun = self
            .offers()
            .map_err(|error| error.to_string())
            .and_then(|offers| self.upgrader.begin(offers, Arc::clone(&self.waker)));
        match begun {
            Ok(()) => self.set_offered(true),
            Err(reason) => self.upgrade_failed(reason, now),
        }
    }

    /// Duplicates all sockets for another process.
    fn offers(&mut self) -> std::io::Result<Vec<Offer>> {
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
        offers.collect()
    }

    fn set_offered(&mut self, offered: bool) {
        self.executor.acceptor.set_offered(offered);
        self.admin.set_offered(offered);
    }

    /// Goes on with an upgrade: the new process wants a piece of the state, has all, or failed.
    #[cold]
    pub(super) fn step_upgrade(&mut self, now: Instant) {
        match self.upgrader.poll() {
            None => {}
            Some(News::Wanted) => {
                let acceptor = &self.executor.acceptor;
                let tickets = &|| acceptor.tickets();
                let level = self.admin.log_level().other(now);
                self.upgrader
                    .hand_over(&self.executor.proxy, tickets, level, now);
            }
            Some(News::Done(successor)) => self.leave_to(successor, now),
            Some(News::Failed(reason)) => self.upgrade_failed(reason, now),
        }
    }

    /// Lets another process serve new clients, and stops when those of this one are done.
    fn leave_to(&mut self, successor: Successor, now: Instant) {
        info!("process {} serves new clients", successor.pid);
        let pid = successor.pid.to_string();
        self.admin.upgrade_finished(&Ok(pid), now);
        let reload = self.postponed.take().is_some();
        if reload {
            let why = format!("process {} serves now, and reads the file", successor.pid);
            self.admin.reload_finished(&Err(why), now);
        }
        self.notifier.hand_over(successor.pid);
        self.executor.end_orders();
        let registry = self.executor.poll.registry();
        let unused = &successor.unused;
        self.executor.acceptor.leave(unused, registry);
        self.admin.leave(unused, registry);
        successor.go(reload);
        self.reload.end_watch();
        self.finish_clients(now);
    }

    /// Lets the workers of another supervisor serve new clients: they have the same sockets. Clients
    /// that are here, or wait at the sockets, are served to their end.
    fn leave_to_others(&mut self, now: Instant) {
        self.admin
            .upgrade_finished(&Ok(std::process::id().to_string()), now);
        let registry = self.executor.poll.registry();
        self.executor.acceptor.leave_to_others(registry);
        self.finish_clients(now);
    }

    /// Finishes what is in flight here: other processes serve new clients.
    fn finish_clients(&mut self, now: Instant) {
        // Those of the moment do for the clients that still wait here.
        self.certificates = None;
        if self.shutdown.begin_upgrade(now) {
            retire(&mut self.executor.proxy);
            self.executor.run_commands(now);
        }
    }

    fn upgrade_failed(&mut self, reason: String, now: Instant) {
        warn!("no upgrade: {reason}; this process goes on");
        self.set_offered(false);
        self.admin.upgrade_finished(&Err(reason), now);
        if self.postponed.take().is_some() {
            self.begin_reload(now);
        } else {
            // The watch may have read the file meanwhile.
            self.step_reload(now);
        }
    }

    /// Ends an upgrade, and work that waits: the gateway stops.
    pub(super) fn cancel_upgrade(&mut self, now: Instant) {
        self.upgrader.cancel();
        self.set_offered(false);
        self.admin
            .upgrade_finished(&Err("the gateway stops".to_owned()), now);
        if self.postponed.take() == Some(Postponed::Reload) {
            self.reload_failed(vec![STOPS.to_owned()], now);
        }
    }

    /// Follows the old process of an upgrade: takes its state over, and then the files of its unix
    /// sockets. Returns false if the old process stops: then this one does, too.
    pub fn succeed(&mut self, mut predecessor: Predecessor) -> bool {
        // All pieces count from one time.
        let now = self.clock.now();
        let (mut taken, mut level, mut error) = (Taken::default(), None, None);
        loop {
            match predecessor.next() {
                Word::State(piece) => {
                    match self.take_over(piece, now) {
                        Ok((more, now)) => (taken, level) = (taken.plus(more), now),
                        Err(reason) => error = Some(reason),
                    }
                    predecessor.confirm();
                }
                Word::Go { reload } => {
                    self.postponed = reload.then_some(Postponed::Reload);
                    break;
                }
                Word::Stop => {
                    info!("no upgrade: the old process stops, and this one with it");
                    return false;
                }
            }
        }
        // The gateway serves without the state, too.
        if let Some(reason) = error {
            warn!(
                "rate windows, names and the health of targets begin again: the state of the old process cannot be used, {reason}"
            );
        } else {
            let Taken {
                windows,
                names,
                health,
                keys,
            } = taken;
            info!(
                "{CARRIED}: rate windows of {windows} clients, health of {health} addresses, addresses of {names} names, {keys} key sets"
            );
        }
        if let Some((level, time)) = level {
            self.admin.log_level().change(CARRIED, level, time, now);
        }
        self.adopt_files();
        self.take_store(now);
        true
    }

    /// Goes on with the orders, or tries again to take their folder.
    #[cold]
    pub(super) fn step_orders(&mut self, now: Instant) {
        let orders = self.executor.orders.as_ref();
        if orders.is_some_and(|orders| orders.is_waiting()) {
            self.take_store(now);
        } else {
            let wall = self.clock.wall();
            self.executor.step_orders(now, wall);
        }
    }

    /// Takes the folder of the orders, which the old process of an upgrade gives back. The thread that
    /// writes files there ends at once, when it has written; until then its certificates are served.
    fn take_store(&mut self, now: Instant) {
        let config = self.reload.config();
        let Some(acme) = config.acme.as_ref() else {
            return;
        };
        match (Store::open(&acme.state), &mut self.executor.orders) {
            (Ok(store), _) => {
                self.executor.end_orders();
                self.start_orders(store);
            }
            (Err(reason), Some(orders)) if !orders.is_outdated() => orders.wait(&reason, now),
            (Err(_), _) => self.start_orders(Store::of_another(&acme.state)),
        }
    }

    /// Begins to order what the configuration asks for.
    pub(super) fn start_orders(&mut self, store: Store) {
        let config = self.reload.config();
        if let Some(acme) = &config.acme {
            let times = (self.clock.now(), self.clock.wall());
            let acme = (acme, config.is_worker());
            self.executor.start_orders(acme, store, &self.waker, times);
            self.executor.install_certificates();
        }
    }

    /// Takes over what the old process of an upgrade knew of clients, targets and providers. Returns the
    /// numbers of it, and the log level that holds for a while.
    fn take_over(
        &mut self,
        piece: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(Taken, Option<TimedLevel>), &'static str> {
        let piece = piece.ok_or("it is too long")?;
        let piece = state::read(&piece)?;
        self.executor.acceptor.restore_tickets(&piece.tickets);
        let taken = import(&mut self.executor.proxy, piece.engine, now);
        Ok((taken, piece.level))
    }

    /// Takes over the files of unix sockets that the old process of an upgrade has made.
    fn adopt_files(&mut self) {
        let clients = self.executor.acceptor.sockets();
        clients.for_each(|(_, listener)| listener.adopt());
        let admin = self.admin.sockets();
        admin.for_each(|(_, listener)| listener.adopt());
    }
}
