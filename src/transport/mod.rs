//! Byte pipes.

pub mod identity;
