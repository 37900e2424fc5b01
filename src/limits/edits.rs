//! Limits of header edits, and of conditions on headers, cookies and query parameters (`match`).

/// Names that one kind of header edits has: in `set`, in `add` and in `remove` together.
pub const HEADER_EDITS_MAX: usize = 64;
/// Bytes of the name of a header that is edited.
pub const HEADER_EDIT_NAME_BYTES: usize = 128;
/// Bytes of the value of an edit without its variables. A `Content-Security-Policy` has 2 KB at most.
pub const HEADER_EDIT_VALUE_BYTES: usize = 4 << 10;
/// Variables in the value of an edit.
pub const HEADER_EDIT_VARIABLES_MAX: usize = 8;
/// Bytes of all lines that one kind of header edits adds, whatever its variables hold: half of what
/// many servers take as a head.
pub const HEADER_EDIT_LINES_BYTES: usize = 16 << 10;
/// Bytes that a variable of a header edit may hold: a host name has 253. A longer value counts as
/// none, because a part of it would be another one.
pub const HEADER_VARIABLE_BYTES: usize = 256;

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
