//! What happened, as values and as text. Nothing here decides anything.

pub mod access;
pub mod date;
