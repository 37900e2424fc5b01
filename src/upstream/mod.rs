//! Upstreams as data: addresses of targets, idle connections, health of a service's endpoints, and
//! balancing. No socket, no clock, no request.
//!
//! An endpoint is one address of a target. `idle` is its connection pool, `health` its health,
//! `balance` has the strategies; `group` combines the last two for the endpoints of one service.

pub mod addresses;
pub mod balance;
pub mod group;
pub mod health;
pub mod idle;
pub mod rules;
