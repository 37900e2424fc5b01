//! The order in which connections are served.
//!
//! Each iteration serves sides that the engine marked ready, then sockets with events. Ready sides
//! come first because an exchange is then carried as far as it goes while its data is in the cache,
//! and its buffers return to the pool before the next exchange needs some. A side that has used up
//! its budget is deferred to the next iteration.

use super::connection::Connection;
use super::pump;
use super::raw_stream::RawStream;
use super::sockets::Sockets;
use crate::fifo::Fifo;
use crate::proxy::Proxy;
use crate::proxy::command::Side;

/// Sides that wait for this iteration and for the next.
#[derive(Default)]
pub struct RunQueue {
    iteration: u32,
    waiting: Fifo<Side>,
    deferred: Fifo<Side>,
}

impl RunQueue {
    /// Returns the number of the current iteration; it wraps around.
    pub fn current(&self) -> u32 {
        self.iteration
    }

    /// Begins the next iteration, with the sides that were deferred to it.
    pub fn begin(&mut self) {
        self.iteration = self.iteration.wrapping_add(1);
        debug_assert!(self.waiting.is_empty(), "an iteration takes all sides");
        core::mem::swap(&mut self.waiting, &mut self.deferred);
    }

    /// Adds a side whose socket had an event.
    pub fn enqueue<S: RawStream>(&mut self, side: Side, connection: &mut Connection<S>) {
        if !core::mem::replace(&mut connection.is_queued, true) {
            self.waiting.push(side);
        }
    }

    /// Adds a side to the next iteration.
    pub fn defer<S: RawStream>(&mut self, side: Side, sockets: &mut Sockets<S>) {
        if let Some(connection) = sockets.get(side)
            && !core::mem::replace(&mut connection.is_queued, true)
        {
            self.deferred.push(side);
        }
    }

    /// Returns the side to serve next. Ready sides whose socket cannot make progress are skipped.
    pub fn next<S: RawStream>(
        &mut self,
        proxy: &mut Proxy,
        sockets: &mut Sockets<S>,
    ) -> Option<Side> {
        while let Some(ready) = proxy.poll_ready() {
            if let Some(connection) = sockets.get(ready.side)
                && pump::can_progress(connection, ready.has_pending)
            {
                return Some(ready.side);
            }
        }
        let side = self.waiting.pop()?;
        if let Some(connection) = sockets.get(side) {
            connection.is_queued = false;
        }
        Some(side)
    }

    /// Returns `true` if a side waits, for this iteration or the next.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.deferred.is_empty()
    }
}
