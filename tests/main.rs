//! tollgate's integration tests, one binary.
//!
//! `engine` drives the whole gateway without sockets, with virtual time; `wire` runs the tables of
//! the protocol, cut at every byte; `sim` runs the gateway in a simulated network with faults;
//! `loopback` runs the real binary; `layering` reads the sources; `pipes` and `server_pipes` move
//! bytes over TLS in memory; `budgets` counts the costs of a request.

#![allow(
    unreachable_pub,
    reason = "a test binary exports nothing; `pub` marks what a helper offers to its tests"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a helper that finds the world broken fails its test; a long run says what it has seen"
)]

mod authority;
mod budgets;
mod citations;
mod documents;
mod engine;
mod layering;
mod loopback;
mod pipes;
mod readme;
mod record_forger;
mod reference;
mod rust_text;
mod server_pipes;
mod sim;
mod slips;
mod wire;
