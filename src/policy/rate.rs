//! Requests a window per client address.

use crate::time::Duration;

/// `rateLimit`: so many requests a window for each client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Requests that pass in one window; at least 1.
    pub requests: u32,
    /// Length of a window, which starts at a client's first request; at least 1 ms.
    pub window: Duration,
    /// IPv6 clients are counted by this many leading bits, 1 to 128.
    pub ipv6_prefix: u8,
    /// Windows kept at once, at least 1; at the bound the oldest goes.
    pub max_clients: usize,
}
