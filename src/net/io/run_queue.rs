//! Who is served, and in which order.
//!
//! In an iteration come those of whom the kernel has said something, and before them whom the engine wants attended to: an exchange is
//! carried as far as it goes while what it is about is in the cache, and its buffers go back to the pool before the next one
//! needs some. Who has used up a share of the iteration waits for the next one.

use std::collections::VecDeque;

use super::connection::{Connection, RawStream};
use super::pump;
use super::sockets::Sockets;
use crate::proxy::Proxy;
use crate::proxy::command::Side;

/// The iterations of a loop, and who waits for this one and the next.
#[derive(Default)]
pub struct RunQueue {
    iteration: u32,
    waiting: VecDeque<Side>,
    next: VecDeque<Side>,
}

impl RunQueue {
    /// Which iteration it is; counts up and begins anew at the end.
    pub fn current(&self) -> u32 {
        self.iteration
    }

    /// The next iteration begins, with those that wait for it.
    pub fn begin(&mut self) {
        self.iteration = self.iteration.wrapping_add(1);
        core::mem::swap(&mut self.waiting, &mut self.next);
    }

    /// There is news of a connection.
    pub fn enqueue<S: RawStream>(&mut self, side: Side, connection: &mut Connection<S>) {
        if !core::mem::replace(&mut connection.queued, true) {
            self.waiting.push_back(side);
        }
    }

    /// A connection has had its share of this iteration.
    pub fn defer<S: RawStream>(&mut self, side: Side, sockets: &mut Sockets<S>) {
        if let Some(connection) = sockets.get(side)
            && !core::mem::replace(&mut connection.queued, true)
        {
            self.next.push_back(side);
        }
    }

    /// Who is served next.
    pub fn next<S: RawStream>(
        &mut self,
        proxy: &mut Proxy,
        sockets: &mut Sockets<S>,
    ) -> Option<Side> {
        while let Some(side) = proxy.poll_ready() {
            if let Some(connection) = sockets.get(side)
                && pump::can_progress(proxy, connection, side)
            {
                return Some(side);
            }
        }
        let side = self.waiting.pop_front()?;
        if let Some(connection) = sockets.get(side) {
            connection.queued = false;
        }
        Some(side)
    }

    /// Whether somebody waits, for this iteration or the next.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.next.is_empty()
    }
}
