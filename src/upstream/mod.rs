//! Upstreams as data: where a target is, which connections are idle, how a service's endpoints are, and which of them is
//! next. No socket, no clock, no request.
//!
//! An endpoint is one address of a target. `idle` is its pool, `health` what is known of how it is, `balance` has the
//! strategies; `group` puts the last two together for the endpoints of one service.

pub mod addresses;
pub mod balance;
pub mod group;
pub mod health;
pub mod idle;
