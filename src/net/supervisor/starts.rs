//! Starts and ends of workers.

use log::{debug, info, warn};
use mio::Token;

use super::reload::files_offer;
use super::worker::Worker;
use super::{LINKS, Supervisor, metrics};
use crate::net::upgrade::Program;
use crate::time::Instant;

impl Supervisor {
    /// Starts the workers whose time has come.
    pub(super) fn start_workers(&mut self, now: Instant) {
        let count = self.workers.len();
        for index in 0..count {
            let Some(worker) = self.workers.get_mut(index) else {
                continue;
            };
            if self.shutdown.is_stopping() || worker.start_at.is_none_or(|at| at > now) {
                continue;
            }
            worker.restarts.started(now);
            let token = Token(LINKS.saturating_add(index));
            let program: &Program = self.upgrader.program();
            let place = (self.poll.registry(), token);
            let counts = self.counts.open(index, self.poll.registry());
            let offers = self.sockets.offers(index, &[]).and_then(|mut offers| {
                offers.push(counts?);
                offers.push(files_offer(&self.files)?);
                Ok(offers)
            });
            let started = offers.and_then(|offers| worker.start(program, count, &offers, place));
            if let Err(error) = started {
                warn!("worker {index} cannot be started: {error}");
                match worker.pid() {
                    // The end of the process is noticed, and counted, as any other.
                    Some(_) => worker.kill(),
                    None => worker.start_at = Some(worker.restarts.ended(now)),
                }
            }
        }
    }

    /// Counts for a worker. One whose connection has ended gets another.
    pub(super) fn count(&mut self, index: usize, now: Instant) {
        let registry = self.poll.registry();
        if !self.counts.handle(index, registry, now) {
            return;
        }
        if let Some(worker) = self.workers.get(index) {
            let opened = self.counts.open(index, registry);
            // A worker that has ended is noticed by its end, and starts with a new connection.
            if let Err(error) = opened.and_then(|offer| worker.pass(&[offer])) {
                debug!("worker {index} got no connection for counts: {error}");
                self.counts.close(index);
            }
        }
    }

    /// Notes that a worker serves.
    pub(super) fn worker_is_ready(&mut self, index: usize, now: Instant) {
        let is_first = self.inherited.is_some();
        if !is_first {
            let worker = self.workers.get(index);
            let pid = worker.and_then(Worker::pid);
            info!("worker {index} serves again (process {})", pid.unwrap_or(0));
            if let (Some(worker), Some((level, time))) = (worker, self.level.other(now)) {
                worker.change_level(level, time);
            }
        } else if self.workers.iter().all(|worker| worker.is_ready) {
            self.all_are_ready(now);
        }
        let ready = self.workers.iter().filter(|worker| worker.is_ready).count();
        let all = self.workers.len();
        self.notifier
            .status(&format!("{ready} of {all} workers serve"));
    }

    /// Notes the ends of workers, and when they are started again.
    pub(super) fn reap(&mut self, now: Instant) {
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let Some((pid, status)) = worker.ended() else {
                continue;
            };
            metrics::keep(&worker.scrape, &mut self.ended);
            worker.scrape.clear();
            if self.shutdown.is_stopping() {
                continue;
            }
            if self.inherited.is_some() {
                self.failure = Some(format!("worker {index} could not start ({status})"));
                continue;
            }
            let at = worker.restarts.ended(now);
            worker.start_at = Some(at);
            let pause = at.since(now).as_millis();
            let again = if pause == 0 {
                "at once".to_owned()
            } else {
                format!("in {pause} ms")
            };
            warn!(
                "worker {index} (process {pid}) has ended: {status}; it is started again {again}"
            );
        }
    }
}
