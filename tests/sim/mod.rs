//! The whole gateway under a simulated network. The engine, the TLS pipe and the passes of the
//! event loop are the real ones. A seed decides how clients and upstreams behave, leave and stall.
//! Invariants I1 to I14 of docs/invariants.md hold after every step and at the end. In guarded
//! worlds no request without a valid credential reaches an upstream.
//!
//! `SEED=n cargo test --test it sim` runs one world and prints its result. `SEEDS=n` sets the
//! number of worlds, and `FIRST=n` the first seed.

mod client;
mod client_stream;
mod cuts;
mod endpoints;
mod gateway;
mod identity;
mod limits;
mod link;
mod oracle;
mod plan;
mod provider;
mod rates;
pub mod rng;
pub mod seeds;
mod signer;
mod sockets;
mod trace;
mod upstream;
mod world;
