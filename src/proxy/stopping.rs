//! The end of the engine: what is in flight is finished, or cut.

use super::Proxy;
use super::exchange::Exchange;
use super::stores;
use crate::observe::access::Outcome;
use crate::time::Instant;

/// Begins a stop in which no client is cut: another process takes new clients. Idle ones stay, and
/// each next response says `Connection: close`.
pub fn retire(proxy: &mut Proxy) {
    proxy.ctx.draining = true;
    proxy.ctx.keeps_idle = true;
}

/// Ends the clients that have no request in flight: idle ones, and tunnels, which are cut. Returns the
/// number of tunnels.
#[cold]
pub fn end_others(proxy: &mut Proxy, now: Instant) -> usize {
    proxy.ctx.now = now;
    proxy.ctx.keeps_idle = false;
    let tunnels = drop_clients(proxy, false);
    proxy.drive(None);
    tunnels
}

/// Ends all clients, or spares those that have a request in flight. Returns the number of those that are
/// cut.
fn drop_clients(proxy: &mut Proxy, are_requests_over: bool) -> usize {
    let mut cut: usize = 0;
    for id in proxy.clients.keys() {
        let is_idle = proxy.clients.is_between_requests(id);
        let exchange = proxy.clients.get(id).and_then(|client| client.exchange());
        let exchange = exchange.and_then(|exchange| proxy.exchanges.get(exchange));
        if is_idle || are_requests_over || exchange.is_some_and(Exchange::is_tunnel) {
            proxy.drop_client(id, Outcome::Shutdown, !is_idle);
            cut = cut.saturating_add(usize::from(!is_idle));
        }
    }
    cut
}

impl Proxy {
    /// The gateway stops: what is idle closes, what is in flight finishes, and its connections
    /// close then.
    pub fn handle_shutdown(&mut self) {
        self.ctx.draining = true;
        self.ctx.keeps_idle = false;
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
        drop_clients(self, true);
        self.subrequests
            .cancel_all(&mut self.upstreams, &mut self.ctx);
        stores::act(self, |stores, env| stores.close_all(env));
        self.drive(None);
        self.upstreams.close_all_idle(&mut self.ctx);
    }
}
