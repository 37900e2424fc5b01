//! tollgate.
pub mod buffer;
pub mod limits;
pub mod policy;
pub mod proxy;
pub mod slab;
pub mod time;
pub mod wheel;
