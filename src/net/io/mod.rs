//! Sockets, and the bytes between them and the engine.

pub mod connection;
pub mod dial;
pub mod pump;
pub mod run_queue;
pub mod sockets;
pub mod splice_pipes;
