//! Defaults of `timeouts`.

use crate::time::Duration;

/// Defaults of `timeouts`.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(75);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const UPSTREAM_KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(30);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const TUNNEL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Time that requests in flight have in the old process of an upgrade, beyond `timeouts.shutdown`.
/// Each has deadlines of its own, but a response that never pauses has no end: this bounds the number
/// of old processes.
pub const REQUESTS_AFTER_UPGRADE: Duration = Duration::from_secs(3600);
