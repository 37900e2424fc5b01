//! SIGTERM and SIGINT, as events of the loop. (Rust's runtime ignores SIGPIPE, so a write to a dead peer is an error value.)

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as Pending;

/// The signals that stop a gateway.
pub struct Signals {
    pending: Pending,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut pending = Pending::new([SIGINT, SIGTERM])?;
        registry.register(&mut pending, token, Interest::READABLE)?;
        Ok(Signals { pending })
    }

    /// The names of those that came.
    pub fn pending(&mut self) -> Vec<&'static str> {
        self.pending.pending().map(|signal| if signal == SIGTERM { "SIGTERM" } else { "SIGINT" }).collect()
    }
}
