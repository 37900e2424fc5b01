//! tollgate.
pub mod buffer;
pub mod digits;
pub mod http;
pub mod limits;
pub mod observe;
pub mod policy;
pub mod proxy;
pub mod slab;
pub mod time;
pub mod upstream;
pub mod wheel;
