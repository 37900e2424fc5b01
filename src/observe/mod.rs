//! What happened, as values and as text. Nothing here decides anything.

pub mod access;
pub mod dampen;
pub mod date;
