//! Wire syntax of HTTP/1.1 (RFC 9110, RFC 9112): strict, on bytes, without a decision about anybody's request.
//!
//! One policy answers nearly everything: parse strictly; in doubt reject. What this room accepts has one reading.

pub mod chunked;
pub mod emit;
pub mod error;
pub mod field;
pub mod framing;
pub mod head;
pub mod persistence;
pub mod target;
