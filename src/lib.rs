//! tollgate.
pub mod buffer;
pub mod limits;
pub mod slab;
pub mod time;
pub mod wheel;
