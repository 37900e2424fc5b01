//! The real binary on loopback: what needs a process, a socket or a signal. `edges` asks the kernel alone.

mod admin;
mod auth;
mod balance;
mod edges;
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
