//! Signals that the gateway handles, as events of the loop.
//!
//! TERM, INT and QUIT stop the gateway; HUP reads its configuration again; USR2 starts the new
//! binary. USR1 means "reopen the logs" to other servers, and log rotation sends it to whole lists
//! of servers. The default action of USR1 and USR2, which ends the process, is taken away before
//! the loop runs. (Rust's runtime ignores SIGPIPE, so a write to a closed pipe is an error value.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals as Pending;

/// Request that a signal makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Stop; with the name of the signal.
    Stop(&'static str),
    /// Read the certificates again (SIGHUP).
    Reload,
    /// Reopen the logs (SIGUSR1), of which the gateway has none.
    Reopen,
    /// Start the new binary (SIGUSR2).
    Upgrade,
}

/// The registered signals.
pub struct Signals {
    /// `None`: the signals are ignored.
    pending: Option<Pending>,
}

/// Takes away the default action of SIGHUP, SIGUSR1 and SIGUSR2, which ends the process. Call it before
/// anything that takes time, such as reading the configuration.
///
/// # Errors
/// The kernel refuses the handler.
pub fn outlive_user_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGUSR1, SIGUSR2] {
        // The flag is not read: a handler is enough.
        flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Ends of child processes.
pub(super) struct Children(Pending);

impl Children {
    /// Registers the handler.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Children> {
        let mut pending = Pending::new([SIGCHLD])?;
        registry.register(&mut pending, token, Interest::READABLE)?;
        Ok(Children(pending))
    }

    /// Forgets the ends that were reported.
    pub(super) fn clear(&mut self) {
        self.0.pending().for_each(drop);
    }
}

impl Signals {
    /// Registers the handlers.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut pending = Pending::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
        registry.register(&mut pending, token, Interest::READABLE)?;
        Ok(Signals {
            pending: Some(pending),
        })
    }

    /// Ignores the signals. A worker does that: a terminal and a service manager send them to the
    /// whole group, and the supervisor says what follows.
    ///
    /// # Errors
    /// The kernel refuses the handler.
    pub fn ignored() -> io::Result<Signals> {
        for signal in [SIGINT, SIGTERM, SIGQUIT] {
            flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Signals { pending: None })
    }

    /// Returns the requests since the last call. Several signals of one kind may count as one.
    pub fn pending(&mut self) -> Vec<Request> {
        let request = |signal| match signal {
            SIGTERM => Request::Stop("SIGTERM"),
            SIGQUIT => Request::Stop("SIGQUIT"),
            SIGHUP => Request::Reload,
            SIGUSR1 => Request::Reopen,
            SIGUSR2 => Request::Upgrade,
            _ => Request::Stop("SIGINT"),
        };
        let pending = self.pending.iter_mut().flat_map(Pending::pending);
        pending.map(request).collect()
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
            (SIGUSR2, Request::Upgrade),
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
