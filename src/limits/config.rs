//! Limits of the configuration file: its size, its lists and texts.

use crate::time::Duration;

/// Longest duration in the configuration: a longer one has the wrong unit.
pub const CONFIG_DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Largest `limits.bodyBytes`: 1 PB.
pub const BODY_BYTES_MAX: u64 = 1 << 50;
/// Largest configuration file in bytes: some 100,000 services.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;
/// Depth of lists and objects in the configuration; tollgate's keys need 5.
pub const CONFIG_DEPTH_MAX: usize = 16;
/// Faults of the syntax that one run reports: a file that is no configuration has one at each word.
pub const CONFIG_FAULTS_MAX: usize = 50;
/// Least number of milliseconds that may stand without a unit; a smaller one is most likely meant in
/// seconds. Zero is zero in any unit.
pub const CONFIG_BARE_DURATION_MIN: u64 = 1000;
/// Bytes of the body of `respond`, and of an error page.
pub const FIXED_BODY_BYTES_MAX: usize = 64 << 10;
/// Files that services are read from, folders included.
pub const CONFIG_INCLUDED_MAX: usize = 10_000;
/// Addresses in `listen`: their poll tokens are below those of the connections.
pub const LISTENERS_MAX: usize = 62;
/// Bytes of a unix socket's path: `sun_path` holds 108 with its NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Bytes of a route or a target's path: a default request line still has room for the rest.
pub const CONFIG_PATH_BYTES_MAX: usize = 2048;
/// Names of one certificate that is ordered: authorities take at most 100.
pub const ACME_NAMES_MAX: usize = 100;
/// Bytes of other texts about orders: an address, a profile, the id of a key.
pub const ACME_TEXT_BYTES_MAX: usize = 254;
