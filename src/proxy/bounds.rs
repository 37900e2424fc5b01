//! The bounds that the engine looks at while it runs. `memory` computes them.

/// Counts and sizes that the engine may reach.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bounds {
    /// Bytes of the buffers of one client connection that is served, and of its upstream
    /// connection.
    pub(super) served: usize,
    /// Bytes of the buffers of one client connection that is told 503.
    pub(super) overflow: usize,
    /// Bytes of the buffers of one client connection that is denied.
    pub(super) denied: usize,
    /// Reminders in the wheel above which the stale ones are swept out.
    pub(super) reminders: usize,
    /// Connections that may wait for one target's name.
    pub(super) waiting: usize,
    /// Upstream connections, idle ones included.
    pub(super) upstreams: usize,
    /// Requests of the gateway's own at once.
    pub(super) subrequests: usize,
    /// Bytes of the buffers of one of them.
    pub(super) of_subrequest: usize,
    /// Stores.
    pub(super) stores: usize,
    /// Client connections that are served.
    pub(super) connections: usize,
    /// Client connections, those that are turned away included.
    pub(super) clients: usize,
    /// Client connections of denied peers.
    pub(super) denied_clients: usize,
}

impl Bounds {
    /// Returns the larger value of each bound.
    pub(super) fn max(&self, other: &Bounds) -> Bounds {
        Bounds {
            served: self.served.max(other.served),
            overflow: self.overflow.max(other.overflow),
            denied: self.denied.max(other.denied),
            reminders: self.reminders.max(other.reminders),
            waiting: self.waiting.max(other.waiting),
            upstreams: self.upstreams.max(other.upstreams),
            subrequests: self.subrequests.max(other.subrequests),
            of_subrequest: self.of_subrequest.max(other.of_subrequest),
            stores: self.stores.max(other.stores),
            connections: self.connections.max(other.connections),
            clients: self.clients.max(other.clients),
            denied_clients: self.denied_clients.max(other.denied_clients),
        }
    }
}

/// Numbers of client connections and of what is counted of them.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct ClientCounts {
    /// Connections that are served.
    pub(super) served: usize,
    /// Connections that are told 503.
    pub(super) overflow: usize,
    /// Connections of denied peers.
    pub(super) denied: usize,
    /// Clients with a connection that is counted.
    pub(super) accounts: usize,
    /// Connections that are counted.
    pub(super) counted: usize,
}

/// Bytes of a vector that grew by doubling to `count` elements of `size` bytes, its old storage
/// while it is copied included.
pub const fn grown(count: usize, size: usize) -> usize {
    let capacity = if count < 4 {
        4
    } else {
        count.next_power_of_two()
    };
    capacity.saturating_add(capacity / 2).saturating_mul(size)
}
