//! The signals that the gateway handles, as events of the loop.
//!
//! TERM, INT and QUIT stop it, HUP has it read its certificates again. USR1 and USR2 mean "reopen the logs" or "restart" to
//! other servers, and log rotation sends them to whole lists of servers: their default action, to end the process, is taken
//! away. (Rust's runtime ignores SIGPIPE, so a write to a dead peer is an error value.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals as Pending;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// To stop; the name of the signal.
    Stop(&'static str),
    /// To read the certificates again (SIGHUP).
    Reload,
    /// To reopen the logs (SIGUSR1); there is nothing to reopen.
    Reopen,
    /// Nothing that the gateway knows (SIGUSR2).
    Unused,
}

/// The signals that the gateway handles.
pub struct Signals {
    pending: Pending,
}

/// Takes the default action of SIGUSR1 and SIGUSR2, to end the process, away for the rest of the process's life. To be called
/// before anything that takes time, such as reading the configuration.
///
/// # Errors
/// The kernel refuses.
pub fn outlive_user_signals() -> io::Result<()> {
    for signal in [SIGUSR1, SIGUSR2] {
        // Nobody reads the flag: that a handler exists is enough.
        flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut pending = Pending::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
        registry.register(&mut pending, token, Interest::READABLE)?;
        Ok(Signals { pending })
    }

    /// What was asked for since the last call; several signals of one kind may count as one.
    pub fn pending(&mut self) -> Vec<Request> {
        let request = |signal| match signal {
            SIGTERM => Request::Stop("SIGTERM"),
            SIGQUIT => Request::Stop("SIGQUIT"),
            SIGHUP => Request::Reload,
            SIGUSR1 => Request::Reopen,
            SIGUSR2 => Request::Unused,
            _ => Request::Stop("SIGINT"),
        };
        self.pending.pending().map(request).collect()
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
        for (signal, request) in [
            (SIGTERM, Request::Stop("SIGTERM")),
            (SIGINT, Request::Stop("SIGINT")),
            (SIGQUIT, Request::Stop("SIGQUIT")),
            (SIGHUP, Request::Reload),
            (SIGUSR1, Request::Reopen),
            (SIGUSR2, Request::Unused),
        ] {
            signal_hook::low_level::raise(signal).expect("raised");
            poll.poll(&mut events, Some(Duration::from_secs(20)))
                .expect("epoll");
            assert_eq!(
                events.iter().next().map(|event| event.token()),
                Some(Token(1))
            );
            assert_eq!(
                signals.pending(),
                [request],
                "and the next one is an event again"
            );
        }
    }
}
