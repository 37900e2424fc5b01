//! The listeners of the event loop, and when they accept.
//!
//! ```text
//! Idle  ──event──>  Ready  ──WouldBlock──>  Idle
//!                     │  ^
//!   no descriptor, or │  │ ACCEPT_RETRY is over, or a connection was closed
//!   limit is reached  v  │
//!                    Paused
//! ```
//!
//! Clients that are not accepted wait in the kernel's queue. Out of scope: what becomes of an
//! accepted client (`commands.rs`).

use std::io;

use log::{debug, info, warn};
use mio::{Interest, Registry, Token};

use super::io::dial::is_exhaustion;
use super::listener::{Accepted, Listener};
use super::token::LISTENERS;
use crate::limits::ACCEPT_RETRY;
use crate::proxy::command::ListenerKind;
use crate::time::Instant;
use crate::transport::server::ServerTls;

/// All listeners; none after a stop.
pub(super) struct Acceptor {
    entries: Vec<Entry>,
}

struct Entry {
    listener: Listener,
    kind: ListenerKind,
    /// TLS settings for new connections.
    tls: Option<ServerTls>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No client waits.
    Idle,
    /// Clients may wait in the kernel's queue.
    Ready,
    /// Clients wait, and are not accepted before this time.
    Paused(Instant),
}

/// Result of [`Acceptor::accept`].
pub(super) enum AcceptResult {
    /// A client, the kind of its listener, and the listener's TLS settings.
    Client(Accepted, ListenerKind, Option<ServerTls>),
    /// The client closed the connection before it was accepted.
    Lost,
    /// No descriptor is left: free one, or call [`Acceptor::pause`].
    Exhausted(io::Error),
    /// No client is to be accepted now.
    Nothing,
}

impl Acceptor {
    /// Registers the listeners.
    ///
    /// # Errors
    /// The kernel has no memory left.
    pub(super) fn register(
        listeners: Vec<(Listener, ListenerKind)>,
        registry: &Registry,
    ) -> io::Result<Acceptor> {
        let mut entries = Vec::with_capacity(listeners.len());
        for (token, (mut listener, kind)) in (LISTENERS..).map(Token).zip(listeners) {
            registry.register(&mut listener, token, Interest::READABLE)?;
            entries.push(Entry {
                listener,
                kind,
                tls: None,
                state: State::Idle,
            });
        }
        Ok(Acceptor { entries })
    }

    /// Sets the TLS settings that new connections of a listener use.
    pub(super) fn set_tls(&mut self, listener: usize, tls: ServerTls) {
        if let Some(entry) = self.entries.get_mut(listener) {
            entry.tls = Some(tls);
        }
    }

    /// Sets TLS settings that were read again, and logs that.
    pub(super) fn reload_tls(&mut self, listener: usize, tls: ServerTls) {
        self.set_tls(listener, tls);
        if let Some(entry) = self.entries.get(listener) {
            info!("the certificates of {} were read again", entry.listener);
        }
    }

    /// Records that clients wait. A pause ends at its time all the same.
    pub(super) fn record_event(&mut self, token: Token) {
        let index = token.0.checked_sub(LISTENERS);
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index))
            && entry.state == State::Idle
        {
            entry.state = State::Ready;
        }
    }

    /// Returns the number of listeners.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Accepts the next client of a listener. `is_full`: the engine takes no more connections.
    #[inline]
    pub(super) fn accept(
        &mut self,
        index: usize,
        is_full: impl FnOnce() -> bool,
        now: Instant,
    ) -> AcceptResult {
        let Some(entry) = self.entries.get_mut(index) else {
            return AcceptResult::Nothing;
        };
        match entry.state {
            State::Idle => return AcceptResult::Nothing,
            State::Paused(until) if until > now => return AcceptResult::Nothing,
            State::Ready | State::Paused(_) => {}
        }
        if is_full() {
            entry.state = State::Paused(now.after(ACCEPT_RETRY));
            return AcceptResult::Nothing;
        }
        entry.state = State::Ready;
        match entry.listener.accept() {
            Ok(accepted) => AcceptResult::Client(accepted, entry.kind, entry.tls.clone()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                entry.state = State::Idle;
                AcceptResult::Nothing
            }
            Err(error) if is_exhaustion(&error) => AcceptResult::Exhausted(error),
            Err(error) => {
                debug!("accept: {error}");
                AcceptResult::Lost
            }
        }
    }

    /// Stops accepting on a listener for a while: no descriptor is left.
    #[cold]
    pub(super) fn pause(&mut self, index: usize, error: &io::Error, now: Instant) {
        if let Some(entry) = self.entries.get_mut(index) {
            warn!("cannot accept: {error}; raise the limit of open files (LimitNOFILE, ulimit -n)");
            entry.state = State::Paused(now.after(ACCEPT_RETRY));
        }
    }

    /// Ends all pauses: a descriptor is free again.
    pub(super) fn resume(&mut self) {
        for entry in &mut self.entries {
            if matches!(entry.state, State::Paused(_)) {
                entry.state = State::Ready;
            }
        }
    }

    /// Returns `true` if clients may be accepted at once.
    pub(super) fn is_ready(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == State::Ready)
    }

    /// Returns the end of the earliest pause.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.entries
            .iter()
            .filter_map(|entry| match entry.state {
                State::Paused(until) => Some(until),
                State::Idle | State::Ready => None,
            })
            .min()
    }

    /// Closes all listeners.
    pub(super) fn close(&mut self) {
        self.entries.clear();
    }
}
