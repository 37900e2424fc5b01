//! Upgrade of the binary: a new supervisor takes the sockets, and starts workers of its own while
//! those of the old one finish what is in flight.

use std::sync::Arc;

use log::{info, warn};

use super::Supervisor;
use crate::net::admin::AdminCommand;
use crate::net::upgrade::handover::Offer;
use crate::net::upgrade::state::{self, Piece};
use crate::net::upgrade::{CARRIED, News, Word};
use crate::time::Instant;

impl Supervisor {
    /// Starts the new binary. `slot`: client that waits for the result.
    pub(super) fn begin_upgrade(&mut self, slot: Option<usize>, now: Instant) {
        self.upgrading.extend(slot);
        if self.upgrader.is_under_way() {
            return;
        }
        let begun = if self.shutdown.is_stopping() {
            Err("the gateway stops".to_owned())
        } else if self.reloading.is_some() {
            Err("a reload is running; try again when it is done".to_owned())
        } else {
            info!("starting the new binary");
            let offers = self.offers().map_err(|error| error.to_string());
            offers.and_then(|offers| self.upgrader.begin(offers, Arc::clone(&self.waker)))
        };
        if let Err(reason) = begun {
            self.upgrade_failed(reason, now);
        }
    }

    /// Duplicates all sockets for another process.
    fn offers(&mut self) -> std::io::Result<Vec<Offer>> {
        let mut offers = self.sockets.all()?;
        for (address, listener) in self.front.sockets() {
            let (socket, owns_file) = listener.duplicate()?;
            offers.push(Offer {
                name: address.to_string(),
                is_admin: true,
                owns_file,
                socket,
            });
        }
        Ok(offers)
    }

    /// Goes on with an upgrade.
    pub(super) fn step_upgrade(&mut self, now: Instant) {
        match self.upgrader.poll() {
            None => {}
            Some(News::Wanted) => {
                let piece = self.counts.carried(now).map(|piece| Piece {
                    level: self.level.other(now),
                    ..piece
                });
                self.upgrader.hand_over_piece(piece);
            }
            Some(News::Failed(reason)) => self.upgrade_failed(reason, now),
            Some(News::Done(successor)) => {
                info!("process {} serves new clients", successor.pid);
                let waiting = core::mem::take(&mut self.upgrading);
                let pid = Ok(successor.pid.to_string());
                self.respond_all(waiting, AdminCommand::Upgrade, &pid, now);
                self.notifier.hand_over(successor.pid);
                self.sockets.close(true);
                self.front.leave();
                successor.go(false);
                if self.shutdown.begin_upgrade(now) {
                    self.order_end("POST /upgrade HTTP/1.1\r\n", now);
                }
            }
        }
    }

    fn upgrade_failed(&mut self, reason: String, now: Instant) {
        self.counts.keep();
        warn!("no upgrade: {reason}; this process goes on");
        let waiting = core::mem::take(&mut self.upgrading);
        self.respond_all(waiting, AdminCommand::Upgrade, &Err(reason), now);
    }

    /// Says that all workers serve: to the operator, the service manager, and the old process of an
    /// upgrade.
    pub(super) fn all_are_ready(&mut self, now: Instant) {
        let Some(inherited) = self.inherited.take() else {
            return;
        };
        let count = self.workers.len();
        for name in self.sockets.names() {
            info!("Gateway is running on {name}, with {count} workers");
        }
        if let Some(mut predecessor) = inherited.into_predecessor() {
            let (mut taken, mut level, mut error) = (0_usize, None, None);
            loop {
                match predecessor.next() {
                    Word::State(piece) => {
                        let read = piece.ok_or("it is too long");
                        match read.and_then(|piece| state::read(&piece)) {
                            Ok(piece) => {
                                let count = self.counts.take_over(piece.engine.tables, now);
                                (taken, level) = (taken.saturating_add(count), piece.level);
                            }
                            Err(reason) => error = Some(reason),
                        }
                        predecessor.confirm();
                    }
                    Word::Go { reload } => {
                        self.counts.taken_over();
                        self.sockets.adopt();
                        self.front
                            .sockets()
                            .for_each(|(_, listener)| listener.adopt());
                        if let Some(reason) = error {
                            warn!(
                                "counts of rate limits begin again: the state of the old process cannot be used, {reason}"
                            );
                        }
                        if let Some((level, time)) = level {
                            self.level.change(CARRIED, level, time, now);
                            let workers = self.workers.iter();
                            workers.for_each(|worker| worker.change_level(level, time));
                        }
                        info!(
                            "{CARRIED}: the sockets, counts of {taken} clients of rate limits; health begins again"
                        );
                        if reload {
                            self.begin_reload(None, now);
                        }
                        break;
                    }
                    Word::Stop => {
                        info!("no upgrade: the old process stops, and this one with it");
                        return self.stop("upgrade", now);
                    }
                }
            }
        }
        self.pulse.1 = now;
        self.notifier.ready();
    }
}
