//! Stores of counts that several gateways share (Valkey, Redis): the conversation with one.
//!
//! Out of scope: connections and their timeouts (`proxy`), and which counts there are.

pub mod keys;
pub mod session;
