//! Certificates from an authority: carries out what [`crate::acme`] decides.

pub mod driver;
pub mod keys;

pub use self::driver::{Driver, Edge};
pub mod store;
