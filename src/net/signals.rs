//! SIGTERM, SIGINT and SIGHUP, as events of the loop. (Rust's runtime ignores SIGPIPE, so a write to a dead peer is an error value.)

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as Pending;

/// The signals that stop a gateway, and the one that has it read its certificates again.
pub struct Signals {
    pending: Pending,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut pending = Pending::new([SIGINT, SIGTERM, SIGHUP])?;
        registry.register(&mut pending, token, Interest::READABLE)?;
        Ok(Signals { pending })
    }

    /// The names of those that came.
    pub fn pending(&mut self) -> Vec<&'static str> {
        let name = |signal| match signal {
            SIGTERM => "SIGTERM",
            SIGHUP => "SIGHUP",
            _ => "SIGINT",
        };
        self.pending.pending().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    fn a_signal_is_an_event() {
        let mut poll = Poll::new().expect("epoll");
        let mut signals = Signals::register(poll.registry(), Token(1)).expect("caught");
        assert!(signals.pending().is_empty());
        let mut events = Events::with_capacity(4);
        for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT"), (SIGHUP, "SIGHUP")] {
            signal_hook::low_level::raise(signal).expect("raised");
            poll.poll(&mut events, Some(Duration::from_secs(20))).expect("epoll");
            assert_eq!(events.iter().next().map(|event| event.token()), Some(Token(1)));
            assert_eq!(signals.pending(), [name], "and the next one is an event again");
        }
    }
}
