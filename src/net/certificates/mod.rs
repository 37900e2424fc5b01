//! Certificates from an authority: carries out what [`crate::acme`] decides.

pub mod driver;
mod edge;
pub mod keys;
pub(in crate::net) mod orders;
mod probe;
mod seen;
mod shared;
pub mod store;
mod wishes;
