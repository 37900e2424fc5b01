//! tollgate's integration tests, one binary.
//!
//! `engine` drives the whole gateway without sockets, with virtual time; `loopback` runs the real binary; `layering` reads
//! the sources.

mod engine;
mod layering;
mod loopback;
