//! Engine without sockets: the tests call `send` and `expect`, and set the clock.
//!
//! `expect` also means that nothing else arrives: bytes that no `expect` has taken fail the test at
//! its end.

mod announced;
mod arrivals;
mod auth;
mod balance;
mod bodies;
mod carried;
mod challenges;
mod chance;
mod cors;
mod deadlines;
mod edits;
mod ends;
mod entrances;
mod exchanges;
mod explanations;
mod heads;
mod identity;
mod ids;
mod in_flight;
mod limits;
mod listeners;
mod matching;
mod memory;
pub mod metrics;
mod names;
mod own_requests;
mod rate_fields;
mod reasons;
mod records;
mod refusals;
mod reload;
mod replies;
mod request_bodies;
mod rewrites;
mod routing;
pub mod script;
mod sockets;
mod splices;
mod sticky;
mod stores;
mod target_states;
mod tries;
mod tunnels;
mod unsent;
mod why;
mod workers;
