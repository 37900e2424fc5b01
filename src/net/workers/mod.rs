//!
//! Helper threads for work that would block the event loop, and their side in the loop.
//!
//! A thread sends its results over a channel or a shared queue, and wakes the loop.

pub mod access_log;
pub mod certificate_watcher;
pub mod dns;
pub(in crate::net) mod file_stamp;
pub mod logger;
mod stderr_capture;
pub mod verifier;
