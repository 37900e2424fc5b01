//! Tests of the real binary on loopback that need a process, a socket or a signal. `edges` tests
//! the kernel alone.

mod admin;
mod announced;
mod auth;
mod balance;
mod edges;
mod endings;
mod listening;
mod logs;
mod memory;
mod process;
mod reload;
mod service_manager;
mod splices;
mod tls;
mod traffic;
mod upgrade;
mod world;
