//! tollgate.
pub mod buffer;
pub mod cli;
pub mod config;
pub mod limits;
pub mod policy;
pub mod proxy;
pub mod slab;
pub mod time;
pub mod transport;
pub mod wheel;
