//! Limits of requests in flight and of sticky sessions.

/// Bytes of the name of a `sticky` cookie.
pub const STICKY_NAME_BYTES_MAX: usize = 64;
/// Bytes of the `key` of `sticky`, at least: fewer can be guessed.
pub const STICKY_KEY_BYTES_MIN: usize = 16;
/// Largest `limits.inFlight` of a service and largest `maxInFlight` of a target.
pub const IN_FLIGHT_MAX: u32 = 1_000_000;
/// Bytes that a response head may grow by where URLs and cookie paths are rewritten; more is a 502.
pub const REWRITE_GROWTH_BYTES: usize = 16 << 10;

/// Names of one certificate that is ordered: authorities take at most 100.
pub const ACME_NAMES_MAX: usize = 100;
/// Bytes of other texts about orders: an address, a profile, the id of a key.
pub const ACME_TEXT_BYTES_MAX: usize = 254;
