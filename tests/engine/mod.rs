//! The engine without sockets: two verbs, `send` and `expect`, and a clock that jumps.
//!
//! `expect` also means "and nothing else": what one side received and nobody expected fails the test at its end.

mod arrivals;
mod auth;
mod balance;
mod bodies;
mod carried;
mod cors;
mod deadlines;
mod ends;
mod entrances;
mod exchanges;
mod ids;
mod memory;
mod metrics;
mod own_requests;
mod reasons;
mod refusals;
mod reload;
mod request_bodies;
mod rewrites;
mod routing;
pub mod script;
mod splices;
mod tunnels;
