//! The whole gateway under a simulated network: the real engine, the real TLS pipe and the real passes of the loop, between
//! clients and upstreams that a seed makes behave, misbehave, leave and stall. Invariants I1 to I11 of
//! docs/invariants.md hold after every step and when all is over. Where the services are guarded, no request without a good credential
//! ever reaches an upstream.
//!
//! `SEED=n cargo test --test it sim` runs one world and says how it went; `SEEDS=n` runs so many instead of the usual number,
//! from `FIRST=n` on.

mod client;
mod client_stream;
mod cuts;
mod endpoints;
mod gateway;
mod identity;
mod link;
mod oracle;
mod plan;
mod provider;
mod rng;
mod seeds;
mod signer;
mod trace;
mod upstream;
mod world;
