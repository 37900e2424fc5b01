//! Helper threads: what would block the loop runs there.

pub mod access_log;
pub mod certificate_watcher;
pub mod dns;
pub mod logger;
mod stderr_capture;
pub mod verifier;
