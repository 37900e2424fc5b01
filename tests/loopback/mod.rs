//! The real binary on loopback: what needs a process, a socket or a signal.

mod listening;
mod logs;
mod memory;
mod process;
mod traffic;
mod world;
