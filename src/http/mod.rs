//! Wire syntax of HTTP/1.1 (RFC 9110, RFC 9112): strict, on bytes, without decisions about a
//! request.
//!
//! The rule that decides nearly everything: parse strictly, and reject in doubt. Accepted messages have
//! one reading only.

pub mod chunked;
pub mod connection;
pub mod emit;
pub mod error;
pub mod field;
mod fields;
pub mod framing;
pub mod head;
mod head_fault;
pub mod mistaken;
pub mod persistence;
pub mod proxy_header;
mod scan;
pub mod target;
pub mod trace;
