//! Upstreams as data: where a target is, and which connections to it are idle. No socket, no decision about requests.

pub mod addresses;
pub mod idle;
