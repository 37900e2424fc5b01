//! Stopping: the first signal lets exchanges finish within the grace time, a second ends at once. After
//! an upgrade the old process waits longer: until each request in flight has ended.
//!
//! ```text
//!            ┌──upgrade──> Upgrade until the grace time is over ──> Requests until an hour is over
//!            │                     └──signal──┐                         │
//! Running ───┴──signal──> Stop until the grace time is over <───signal──┘
//!                           └──second signal──> Done(Now)
//!
//! Upgrade, Requests, Stop ──no client is left──> Done(Clean)
//! ```
//!
//! Out of scope: closing listeners and connections, which the event loop does.

use log::{info, warn};

use crate::limits::REQUESTS_AFTER_UPGRADE;
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
    Draining {
        drain: Drain,
        deadline: Option<Instant>,
    },
    Done(Stopped),
}

/// Clients that are waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// Every client, after a signal.
    Stop,
    /// Every client, after an upgrade.
    Upgrade,
    /// Clients with a request in flight, after an upgrade.
    Requests,
}

/// Clients whose time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overdue {
    None,
    /// Clients without a request in flight: idle ones and tunnels.
    Others,
    All,
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

    /// Begins to wait for the clients of the old process of an upgrade. Returns `false` if it stops
    /// already.
    pub(super) fn begin_upgrade(&mut self, now: Instant) -> bool {
        let is_running = matches!(self.state, State::Running);
        if is_running {
            self.drain("upgrade", Drain::Upgrade, now);
        }
        is_running
    }

    fn drain(&mut self, name: &str, drain: Drain, now: Instant) {
        info!("{name}: finishing what is in flight");
        let deadline = self.grace.map(|grace| now.after(grace));
        self.state = State::Draining { drain, deadline };
    }

    /// Handles a signal that asks for a stop. Returns `true` if the stop begins with it.
    pub(super) fn signal(&mut self, name: &str, now: Instant) -> bool {
        match self.state {
            State::Running
            | State::Draining {
                drain: Drain::Upgrade | Drain::Requests,
                ..
            } => {
                self.drain(name, Drain::Stop, now);
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
            State::Draining { deadline, .. } => deadline,
            State::Running | State::Done(_) => None,
        }
    }

    /// Returns the clients whose time is over, and has been for `slack`. After an upgrade, requests in
    /// flight then get more.
    pub(super) fn overdue(&mut self, slack: Duration, now: Instant) -> Overdue {
        match &mut self.state {
            State::Draining {
                drain,
                deadline: Some(deadline),
            } if deadline.after(slack) <= now => {
                if *drain != Drain::Upgrade {
                    return Overdue::All;
                }
                *drain = Drain::Requests;
                *deadline = now.after(REQUESTS_AFTER_UPGRADE);
                Overdue::Others
            }
            _ => Overdue::None,
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

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn requests_have_an_hour_more_after_an_upgrade_than_after_a_signal() {
        let mut stop = Shutdown::new(Some(GRACE));
        assert!(stop.signal("SIGTERM", at(0)));
        assert_eq!(stop.overdue(Duration::ZERO, at(9)), Overdue::None);
        assert_eq!(stop.overdue(Duration::ZERO, at(10)), Overdue::All);
        let mut upgrade = Shutdown::new(Some(GRACE));
        assert!(upgrade.begin_upgrade(at(0)));
        for (seconds, overdue) in [
            (9, Overdue::None),
            (10, Overdue::Others),
            (10, Overdue::None),
            (3609, Overdue::None),
            (3610, Overdue::All),
            (3611, Overdue::All),
        ] {
            assert_eq!(upgrade.overdue(Duration::ZERO, at(seconds)), overdue);
            let deadline = if seconds < 10 { at(10) } else { at(3610) };
            assert_eq!(upgrade.deadline(), Some(deadline));
        }
        upgrade.finish_if_drained(1);
        assert_eq!(upgrade.stopped(), None);
        upgrade.finish_if_drained(0);
        assert_eq!(upgrade.stopped(), Some(Stopped::Clean));
    }

    #[test]
    fn a_supervisor_gives_its_workers_time_to_end_first() {
        let slack = Duration::from_secs(2);
        let mut upgrade = Shutdown::new(Some(GRACE));
        assert!(upgrade.begin_upgrade(at(0)));
        assert_eq!(upgrade.overdue(slack, at(11)), Overdue::None);
        assert_eq!(upgrade.overdue(slack, at(12)), Overdue::Others);
        assert_eq!(upgrade.overdue(slack, at(3612)), Overdue::None);
        assert_eq!(upgrade.overdue(slack, at(3614)), Overdue::All);
    }

    #[test]
    fn a_signal_makes_an_upgrade_a_stop_and_a_second_one_ends_it() {
        for late in [false, true] {
            let mut upgrade = Shutdown::new(Some(GRACE));
            assert!(upgrade.begin_upgrade(at(0)));
            if late {
                assert_eq!(upgrade.overdue(Duration::ZERO, at(15)), Overdue::Others);
            }
            assert!(upgrade.signal("SIGTERM", at(100)));
            assert!(!upgrade.begin_upgrade(at(101)), "it stops");
            assert_eq!(upgrade.deadline(), Some(at(110)));
            assert_eq!(upgrade.overdue(Duration::ZERO, at(110)), Overdue::All);
            assert!(!upgrade.signal("SIGTERM", at(110)));
            assert_eq!(upgrade.stopped(), Some(Stopped::Now));
        }
    }

    #[test]
    fn without_a_grace_time_all_are_waited_for() {
        let mut upgrade = Shutdown::new(None);
        assert!(upgrade.begin_upgrade(at(0)));
        assert_eq!(upgrade.deadline(), None);
        assert_eq!(upgrade.overdue(Duration::ZERO, at(1 << 30)), Overdue::None);
    }
}
