//! Pure decisions: values in, values out. No socket, no clock, no state but the rate table's.

pub mod cors;
pub mod rate;
pub mod rewrite;
pub mod security;
