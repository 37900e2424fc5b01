//!
//! Helper threads for work that would block the event loop, and their side in the loop.
//!
//! A thread sends its results through a queue, and wakes the loop.

pub mod access_log;
pub mod certificate_watcher;
pub mod dns;
pub(in crate::net) mod file_stamp;
pub mod logger;
pub(in crate::net) mod queue;
pub(in crate::net) mod recorder;
mod stderr_capture;
pub mod verifier;

use std::io;

/// Starts a thread. A call of the standard library's function takes 2 KB of the binary for each
/// type of `run`; the type here is always the same.
///
/// # Errors
/// The thread does not start.
pub(in crate::net) fn spawn(name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop)
}
