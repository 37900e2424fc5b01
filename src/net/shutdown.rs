//! Stopping: the first signal lets exchanges finish within the grace time, a second ends at once.
//!
//! ```text
//! Running ──signal──> Draining until a deadline ──no client is left──> Done(Clean)
//!                        └──second signal──> Done(Now)
//! ```
//!
//! Out of scope: closing listeners and connections, which the event loop does.

use log::{info, warn};

use crate::time::{Duration, Instant};

/// Way in which the event loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// After a signal; everything in flight was finished, or cut at the end of the grace time.
    Clean,
    /// By a second signal.
    Now,
}

/// Error of a reload during a stop.
pub(super) const STOPS: &str = "the gateway stops: no configuration is read";

/// Progress of a stop.
pub(super) struct Shutdown {
    /// Time that exchanges in flight get; `None`: as long as they take.
    grace: Option<Duration>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Running,
    Draining { deadline: Option<Instant> },
    Done(Stopped),
}

impl Shutdown {
    pub(super) fn new(grace: Option<Duration>) -> Shutdown {
        Shutdown {
            grace,
            state: State::Running,
        }
    }

    /// Replaces the grace time of a stop that has not begun.
    pub(super) fn set_grace(&mut self, grace: Option<Duration>) {
        self.grace = grace;
    }

    /// Handles a signal that asks for a stop. Returns `true` if draining begins with it.
    pub(super) fn signal(&mut self, name: &str, now: Instant) -> bool {
        match self.state {
            State::Running => {
                info!("{name}: finishing what is in flight");
                let deadline = self.grace.map(|grace| now.after(grace));
                self.state = State::Draining { deadline };
                true
            }
            State::Draining { .. } | State::Done(_) => {
                warn!("second {name}: stopping at once");
                self.state = State::Done(Stopped::Now);
                false
            }
        }
    }

    /// Returns `true` if a stop has begun.
    pub(super) fn is_stopping(&self) -> bool {
        !matches!(self.state, State::Running)
    }

    /// Returns the end of the grace time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Draining { deadline } => deadline,
            State::Running | State::Done(_) => None,
        }
    }

    /// Ends draining if no client is left.
    pub(super) fn finish_if_drained(&mut self, clients: usize) {
        if matches!(self.state, State::Draining { .. }) && clients == 0 {
            self.state = State::Done(Stopped::Clean);
        }
    }

    /// Returns how the loop is to end, if it is.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        match self.state {
            State::Done(stopped) => Some(stopped),
            State::Running | State::Draining { .. } => None,
        }
    }
}
