//! Minimum rate of a request's body, so that slow bodies do not occupy upstream connections.
//!
//! * A body with a `Content-Length` of at most [`crate::limits::BODY_GATHERED_BYTES`] is read whole
//!   before an upstream connection is taken, within `timeouts.head`: see `request`. One that came
//!   with its head costs nothing.
//! * A longer one is passed on as it comes. It has a least rate: [`BODY_LEAST_BYTES`] in each
//!   [`BODY_RATE_WINDOW`] in which the upstream took all that came.
//! * `timeouts.body` bounds the time of any body, chunked ones too. Chunked bodies have no least
//!   rate: they may be streams that are quiet for long.
//!
//! A body that is too slow is answered 408.

use super::super::reason::Reason;
use super::super::settings::ExchangeTimeouts;
use crate::http::framing::RequestBody;
use crate::limits::{BODY_LEAST_BYTES, BODY_RATE_WINDOW};
use crate::time::{Duration, Instant};

/// Rate of a body that is forwarded while it arrives.
pub(in crate::proxy) struct Pace {
    /// Deadline of `timeouts.body`.
    ends: Option<Instant>,
    /// True if the body has a minimum rate.
    has_least_rate: bool,
    /// End of the window in which bytes are counted; `None` while the upstream connection is being
    /// opened.
    window_ends: Option<Instant>,
    /// Number of bytes that had arrived at the start of the window.
    moved_before: u64,
    /// True if the upstream did not accept all bytes in this window.
    was_held_up: bool,
    /// Deadline of `timeouts.response` or `timeouts.idle`.
    silent_at: Option<Instant>,
}

/// Result of a deadline of a body.
pub(super) enum Judgement {
    /// The client is too slow.
    TooSlow(Reason),
    /// The time without progress is over.
    Silent,
    /// No deadline is missed.
    GoOn,
}

impl Pace {
    /// Returns the pace of a body that is passed on, where there is something to watch.
    pub(super) fn of(
        body: &RequestBody,
        timeouts: &ExchangeTimeouts,
        now: Instant,
    ) -> Option<Box<Pace>> {
        let has_least_rate = matches!(body, RequestBody::Sized(_));
        let ends = timeouts.body.map(|span| now.after(span));
        let pace = Pace {
            ends,
            has_least_rate,
            window_ends: None,
            moved_before: 0,
            was_held_up: false,
            silent_at: None,
        };
        (has_least_rate || ends.is_some()).then(|| Box::new(pace))
    }

    /// Notes that the upstream did not take all that came.
    pub(in crate::proxy) fn hold_up(&mut self) {
        self.was_held_up = true;
    }

    /// The time to the next deadline, when that for silence is `span` away. `None`: there is none.
    pub(super) fn next(
        &mut self,
        span: Option<Duration>,
        moved: u64,
        now: Instant,
    ) -> Option<Duration> {
        self.silent_at = span.map(|span| now.after(span));
        if self.has_least_rate && self.window_ends.is_none() {
            self.begin_window(moved, now);
        }
        self.rest(now)
    }

    /// An upstream connection is being made: the client cannot send as fast as it would.
    pub(super) fn pause(&mut self) {
        self.window_ends = None;
        self.silent_at = None;
    }

    fn begin_window(&mut self, moved: u64, now: Instant) {
        self.window_ends = Some(now.after(BODY_RATE_WINDOW));
        self.moved_before = moved;
        self.was_held_up = false;
    }

    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        [self.ends, self.window_ends, self.silent_at]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.since(now))
    }

    /// `moved`: body bytes so far. `has_passed_all`: the upstream has taken all of them.
    pub(super) fn assess(&mut self, moved: u64, has_passed_all: bool, now: Instant) -> Judgement {
        if self.ends.is_some_and(|at| at <= now) {
            return Judgement::TooSlow(Reason::BodyTimeout);
        }
        if self.window_ends.is_some_and(|at| at <= now) {
            let is_slow = moved.saturating_sub(self.moved_before) < BODY_LEAST_BYTES;
            if is_slow && has_passed_all && !self.was_held_up {
                return Judgement::TooSlow(Reason::BodyTooSlow);
            }
            self.begin_window(moved, now);
        }
        // Without any other deadline this one was that for a connection.
        let is_paused = self.window_ends.is_none() && self.silent_at.is_none();
        if is_paused || self.silent_at.is_some_and(|at| at <= now) {
            Judgement::Silent
        } else {
            Judgement::GoOn
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BODY_GATHERED_BYTES, READ_BYTES};

    const _: () = assert!(
        BODY_GATHERED_BYTES <= READ_BYTES as u64,
        "a gathered body fits the buffer of a stalled stream"
    );

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn pace(ends: Option<u64>) -> Pace {
        Pace {
            ends: ends.map(at),
            has_least_rate: true,
            window_ends: None,
            moved_before: 0,
            was_held_up: false,
            silent_at: None,
        }
    }

    #[test]
    fn a_window_with_too_few_bytes_is_too_slow_unless_the_upstream_held_it_up() {
        for (moved, passed_all, held_up, is_slow) in [
            (30 * 1024 - 1, true, false, true),
            (30 * 1024, true, false, false),
            (0, false, false, false),
            (0, true, true, false),
        ] {
            let mut pace = pace(None);
            assert_eq!(
                pace.next(Some(Duration::from_secs(40)), 0, at(0)),
                Some(Duration::from_secs(30))
            );
            if held_up {
                pace.hold_up();
            }
            let slow = matches!(
                pace.assess(moved, passed_all, at(30)),
                Judgement::TooSlow(Reason::BodyTooSlow)
            );
            assert_eq!(slow, is_slow, "{moved} {passed_all} {held_up}");
            if !slow {
                assert_eq!(
                    pace.rest(at(30)),
                    Some(Duration::from_secs(10)),
                    "the silence began at 0"
                );
                assert!(matches!(
                    pace.assess(moved, true, at(40)),
                    Judgement::Silent
                ));
                assert!(
                    matches!(pace.assess(moved, true, at(60)), Judgement::TooSlow(_)),
                    "nothing came in the next one"
                );
            }
        }
    }

    #[test]
    fn the_whole_time_ends_a_body_that_is_fast_enough() {
        let mut pace = pace(Some(10));
        assert_eq!(
            pace.next(Some(Duration::from_secs(15)), 0, at(1)),
            Some(Duration::from_secs(9))
        );
        assert!(matches!(
            pace.assess(1 << 30, true, at(10)),
            Judgement::TooSlow(Reason::BodyTimeout)
        ));
    }
}
