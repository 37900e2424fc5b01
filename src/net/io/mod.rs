//! Sockets, and the bytes between them and the engine.
//!
//! ```text
//! raw_stream splice_pipes budget        the socket's operations, pipes of the kernel, work per iteration
//!        \      |      /
//!         connection                    one socket with its transport and its state
//!             |
//!          sockets                      all connections, by the engine's ids
//!             |
//!           pump                        one read and one write between a connection and the engine
//!             |
//!         run_queue                     whose turn it is
//! ```
//!
//! `socket` and `dial` are the kernel's side: everything else runs on sockets in memory, too.
//! Out of scope: when a connection is served, and the poll (`event_loop.rs`).

mod budget;
pub mod connection;
pub mod dial;
pub mod pump;
pub mod raw_stream;
pub mod run_queue;
pub mod socket;
pub mod sockets;
pub mod splice_pipes;
