//! Limits of `match`: conditions on headers, cookies and query parameters.

/// Conditions of a service. All of them are looked at in each request of the route.
pub const MATCH_CONDITIONS_MAX: usize = 8;
/// Names of headers, cookies and parameters that the services of one host and route ask for. Each
/// field line, cookie and parameter of a request is compared with all of them.
pub const MATCH_NAMES_MAX: usize = 8;
/// Services of one host and route that have conditions.
pub const MATCH_SERVICES_MAX: usize = 16;
/// Bytes of a name.
pub const MATCH_NAME_BYTES_MAX: usize = 128;
/// Bytes of a value.
pub const MATCH_VALUE_BYTES_MAX: usize = 256;
/// Bytes of a value in a request that is compared: a wanted one with each byte escaped, twice. A
/// longer one counts as unclear.
pub const MATCH_READ_BYTES: usize = 6 * MATCH_VALUE_BYTES_MAX;
