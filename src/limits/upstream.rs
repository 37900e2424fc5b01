//! Limits of targets: their names, the choice among several, their health, requests in flight and
//! sticky sessions.

use crate::time::Duration;

// --- names ---

/// Interval at which a target's name is looked up again.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time to the next lookup of a name that was never known, after the first failure; doubled after
/// each further one, and at most [`RESOLVE_INTERVAL`]. Also the shortest time between two lookups
/// that requests cause.
pub const RESOLVE_RETRY: Duration = Duration::from_secs(1);
/// Names looked up at once.
pub const RESOLVER_THREADS: usize = 4;
/// Duration from which a lookup is slow: see `net::workers::dns`.
pub const RESOLVER_SLOW: core::time::Duration = core::time::Duration::from_secs(1);
/// Time after which an unused lookup thread ends.
pub const RESOLVER_IDLE: core::time::Duration = core::time::Duration::from_secs(5);
/// Time that one address of a name is tried alone before the next one is tried as well (RFC 8305 5
/// and 8).
pub const RACE_DELAY: Duration = Duration::from_millis(250);
/// Time for which an unreachable address is absent while another one of the same name is reachable.
pub const ABSENCE: Duration = RESOLVE_INTERVAL;
/// Addresses of one name that are used.
pub const ADDRESSES_PER_TARGET: usize = 16;

// --- several targets ---

/// Largest number of `targets` of a service; a choice of 1,000 takes 53,000 to 138,000 instructions.
pub const TARGETS_MAX: usize = 1024;
/// Largest `weight`: times a percentage and the number of targets it stays far below 2^32.
pub const WEIGHT_MAX: u32 = 1000;
/// Default of `retries`.
pub const RETRIES_DEFAULT: u32 = 1;
/// Largest `retries`: each may take `timeouts.response`, and no client waits for ten of them.
pub const RETRIES_MAX: u32 = 10;
/// Duration of a slow start: time until a returning endpoint has its whole weight.
pub const SLOW_START_TIME: Duration = Duration::from_secs(10);
/// Percentage of its weight at the beginning of a slow start: with 10 targets, one request in a
/// hundred.
pub const SLOW_START_PERCENT_MIN: u32 = 10;
/// Default of `healthCheck.interval`.
pub const CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// Smallest `healthCheck.interval` and `timeout`: the timer wheel has slots of 64 ms.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Health checks running at once; more of them wait for a moment.
pub const CHECKS_AT_ONCE: usize = 256;
/// Default of `healthCheck.timeout`.
pub const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Default of `healthCheck.rise`.
pub const CHECK_RISE_DEFAULT: u32 = 2;
/// Default of `healthCheck.fall`.
pub const CHECK_FALL_DEFAULT: u32 = 3;
/// Largest `rise` and `fall`.
pub const CHECK_RUN_MAX: u32 = 1000;
/// Default of `passiveHealth.failures`.
pub const PASSIVE_FAILURES_DEFAULT: u32 = 5;
/// Largest `passiveHealth.failures`.
pub const PASSIVE_FAILURES_MAX: u32 = 1_000_000;
/// Defaults of `passiveHealth.window` and `eject`.
pub const PASSIVE_SPAN_DEFAULT: Duration = Duration::from_secs(30);
/// Clients remembered for each endpoint, so that a client counts once in a window; above it, each
/// failure counts.
pub const PASSIVE_CLIENTS: usize = 1024;
/// Smallest `passiveHealth.eject`: each ejection is a line for the operator.
pub const PASSIVE_EJECT_MIN: Duration = Duration::from_secs(1);

// --- requests in flight, sticky sessions, rewrites ---

/// Bytes of the name of a `sticky` cookie.
pub const STICKY_NAME_BYTES_MAX: usize = 64;
/// Bytes of the `key` of `sticky`, at least: fewer can be guessed.
pub const STICKY_KEY_BYTES_MIN: usize = 16;
/// Largest `limits.inFlight` of a service and largest `maxInFlight` of a target.
pub const IN_FLIGHT_MAX: u32 = 1_000_000;
/// Bytes that a response head may grow by where URLs and cookie paths are rewritten; more is a 502.
pub const REWRITE_GROWTH_BYTES: usize = 16 << 10;
