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
