//! Stores of counts that several gateways share (Valkey, Redis): the conversation with one, and the
//! store that a supervisor is for its workers.
//!
//! Out of scope: connections and their timeouts (`proxy`), and which counts there are.

pub mod counts;
pub mod keys;
pub mod server;
pub mod session;
