//! Observation: events as values and as text. No decisions.

pub mod access;
pub mod basic_user;
pub mod dampen;
pub mod date;
pub mod metrics;
pub mod report;
pub mod told;
