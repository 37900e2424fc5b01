//! The end of the engine: what is in flight is finished, or cut.

use super::Proxy;
use super::stores;
use crate::observe::access::Outcome;
use crate::time::Instant;

/// Begins a stop in which no client is cut: another process takes new clients. Idle ones stay, and
/// each next response says `Connection: close`.
pub fn retire(proxy: &mut Proxy) {
    proxy.ctx.draining = true;
    proxy.ctx.keeps_idle = true;
}

impl Proxy {
    /// The gateway stops: what is idle closes, what is in flight finishes, and its connections
    /// close then.
    pub fn handle_shutdown(&mut self) {
        self.ctx.draining = true;
        for id in self.clients.keys() {
            if self.clients.is_between_requests(id) {
                self.clients.close(id, false, &mut self.ctx);
            }
        }
        self.upstreams.close_all_idle(&mut self.ctx);
        self.drive(None);
    }

    /// No more waiting: what is in flight is cut.
    pub fn handle_abort(&mut self, now: Instant) {
        self.ctx.now = now;
        for id in self.clients.keys() {
            let is_idle = self.clients.is_between_requests(id);
            self.drop_client(id, Outcome::Shutdown, !is_idle);
        }
        self.subrequests
            .cancel_all(&mut self.upstreams, &mut self.ctx);
        stores::act(self, |stores, env| stores.close_all(env));
        self.drive(None);
        self.upstreams.close_all_idle(&mut self.ctx);
    }
}
