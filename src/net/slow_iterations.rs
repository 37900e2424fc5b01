//! Iterations of the event loop that take too long, and the work that caused it.
//!
//! An iteration lasts from the clock reading after a wait to the one before the next, so no reading
//! is added. Handshakes, which are costly and rare, are always timed. Other parts are timed only in
//! the few iterations after a slow one; until then the largest number of bytes tells which
//! connection did most.

use core::fmt;
use std::net::SocketAddr;
use std::time::{Duration as Elapsed, Instant as Monotonic};

use crate::limits::{
    HANDSHAKE_TIME_PER_ITERATION, SLOW_ITERATION, SLOW_ITERATION_NOTICE, SLOW_ITERATION_WATCH,
};
use crate::proxy::command::Side;
use crate::time::{Duration, Instant};

/// Shortest part that a message names.
const MIN_NAMED: Elapsed = Elapsed::from_millis(2);

/// Work of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    /// A step of connecting: TCP, then TLS.
    Handshake,
    /// Reading, the engine's work, and writing; with the number of bytes.
    Exchange(usize),
}

/// Parts of an iteration that belong to no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The tick of the clock, events, results of helper threads, and signals.
    Events,
    /// Deadlines of the engine.
    Deadlines,
    /// Accepting clients.
    Accepting,
    /// Flushing the access log.
    Logging,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Events => "taking events",
            Phase::Deadlines => "deadlines",
            Phase::Accepting => "accepting connections",
            Phase::Logging => "the access log",
        })
    }
}

/// Part of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    side: Side,
    peer: Option<SocketAddr>,
    work: Work,
}

/// The longest part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Longest {
    Connection(Part),
    Phase(Phase),
}

/// Timer of iterations.
#[derive(Default)]
pub struct SlowIterations {
    started_at: Option<Instant>,
    /// Number of iterations that are still timed in all parts, with this one.
    timed_iterations: u8,
    /// End of the last timed part.
    lap: Option<Monotonic>,
    longest: Option<(Elapsed, Longest)>,
    /// Time of all handshakes in this iteration.
    handshakes: Elapsed,
    /// Largest number of bytes in one pump. 0: `busiest` is of an earlier iteration.
    most: usize,
    /// Connection that moved these bytes.
    busiest: Option<Side>,
    /// State of this iteration must be reset before the next.
    needs_reset: bool,
    /// Time before which no message is logged.
    quiet_until: Option<Instant>,
    /// Number of slow iterations without a message.
    suppressed: u32,
    longest_turns: LongestTurns,
}

/// Longest iterations of this minute and of the one before.
#[derive(Default)]
struct LongestTurns {
    minute: u64,
    now: Duration,
    before: Duration,
    /// Numbers of iterations in the same two minutes.
    turns: [u64; 2],
}

impl LongestTurns {
    fn note(&mut self, took: Duration, now: Instant) {
        let minute = now.as_millis() / 60_000;
        if minute != self.minute {
            let is_next = minute == self.minute.saturating_add(1);
            self.before = if is_next { self.now } else { Duration::ZERO };
            let [_, turns] = self.turns;
            self.turns = [if is_next { turns } else { 0 }, 0];
            (self.minute, self.now) = (minute, Duration::ZERO);
        }
        self.now = self.now.max(took);
        let [_, turns] = &mut self.turns;
        *turns = turns.saturating_add(1);
    }
}

/// Start of a handshake step.
#[derive(Clone, Copy)]
pub struct Started(Monotonic);

impl SlowIterations {
    /// Begins an iteration.
    #[inline]
    pub fn begin(&mut self, now: Instant) {
        self.started_at = Some(now);
        self.most = 0;
        if self.needs_reset {
            self.reset();
        }
    }

    /// Resets the state of the last iteration.
    #[cold]
    fn reset(&mut self) {
        (self.longest, self.handshakes) = (None, Elapsed::ZERO);
        self.needs_reset = self.timed_iterations > 0;
        if self.timed_iterations > 0 {
            self.lap = Some(Monotonic::now());
        }
    }

    /// Ends a part that belongs to no connection.
    #[inline]
    pub fn phase_done(&mut self, phase: Phase) {
        if self.timed_iterations > 0 {
            self.note_lap(|| Longest::Phase(phase));
        }
    }

    /// Ends a pump that moved bytes. `peer` returns the peer's address; it is called only for long
    /// parts, before the connection can be closed.
    #[inline]
    pub fn pumped(&mut self, side: Side, bytes: usize, peer: impl FnOnce() -> Option<SocketAddr>) {
        if bytes > self.most {
            (self.most, self.busiest) = (bytes, Some(side));
        }
        if self.timed_iterations > 0 {
            self.note_lap(|| {
                Longest::Connection(Part {
                    side,
                    peer: peer(),
                    work: Work::Exchange(bytes),
                })
            });
        }
    }

    /// Begins a handshake step.
    pub fn start_handshake(&self) -> Started {
        Started(Monotonic::now())
    }

    /// Ends a handshake step. `peer`: as in [`SlowIterations::pumped`].
    pub fn handshake_step_done(
        &mut self,
        started: Started,
        side: Side,
        peer: impl FnOnce() -> Option<SocketAddr>,
    ) {
        let now = Monotonic::now();
        self.lap = Some(now);
        self.needs_reset = true;
        let elapsed = now.saturating_duration_since(started.0);
        self.handshakes = self.handshakes.saturating_add(elapsed);
        self.note(elapsed, || {
            Longest::Connection(Part {
                side,
                peer: peer(),
                work: Work::Handshake,
            })
        });
    }

    /// Returns `true` if the time for handshakes is used up: open connections come first.
    pub fn is_handshake_time_spent(&self) -> bool {
        self.handshakes >= Elapsed::from_millis(HANDSHAKE_TIME_PER_ITERATION.as_millis())
    }

    #[cold]
    fn note_lap(&mut self, part: impl FnOnce() -> Longest) {
        let now = Monotonic::now();
        let elapsed = self
            .lap
            .replace(now)
            .map_or(Elapsed::ZERO, |lap| now.saturating_duration_since(lap));
        self.note(elapsed, part);
    }

    fn note(&mut self, elapsed: Elapsed, part: impl FnOnce() -> Longest) {
        if elapsed >= MIN_NAMED && self.longest.is_none_or(|(most, _)| elapsed > most) {
            self.longest = Some((elapsed, part()));
        }
    }

    /// Returns the longest iteration of the last one to two minutes.
    pub fn longest(&self) -> Duration {
        self.longest_turns.now.max(self.longest_turns.before)
    }

    /// Returns the number of iterations in ten seconds, of the last one to two minutes.
    pub fn turns_per_10_s(&self, now: Instant) -> u64 {
        let millis = now.as_millis() % 60_000;
        // In the first minute there is none before.
        let millis = if now.as_millis() < 60_000 {
            millis
        } else {
            millis.saturating_add(60_000)
        };
        let turns = self.longest_turns.turns.iter();
        let turns = turns.fold(0, |sum: u64, turns| sum.saturating_add(*turns));
        turns
            .saturating_mul(10_000)
            .checked_div(millis)
            .unwrap_or(0)
    }

    /// Ends the iteration, and returns the message if it was slow. `peer` returns the address of a
    /// connection's peer, if the connection is still open.
    #[inline]
    pub fn end(
        &mut self,
        now: Instant,
        peer: impl FnOnce(Side) -> Option<SocketAddr>,
    ) -> Option<String> {
        let took = now.since(self.started_at.take()?);
        self.longest_turns.note(took, now);
        self.timed_iterations = self.timed_iterations.saturating_sub(1);
        if took < SLOW_ITERATION {
            None
        } else {
            self.describe(took, now, peer)
        }
    }

    #[cold]
    fn describe(
        &mut self,
        took: Duration,
        now: Instant,
        peer: impl FnOnce(Side) -> Option<SocketAddr>,
    ) -> Option<String> {
        self.timed_iterations = SLOW_ITERATION_WATCH;
        self.needs_reset = true;
        if self.quiet_until.is_some_and(|until| now < until) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.quiet_until = Some(now.after(SLOW_ITERATION_NOTICE));
        let cause = match (self.longest, self.busiest.filter(|_| self.most > 0)) {
            (Some((part, Longest::Connection(Part { side, peer, work }))), _) => {
                let what = match work {
                    Work::Handshake => "a TLS handshake".to_owned(),
                    Work::Exchange(bytes) => format!("an exchange that moved {bytes} bytes"),
                };
                format!(
                    "{} ms of it for {}, {what}",
                    part.as_millis(),
                    name(side, peer)
                )
            }
            (Some((part, Longest::Phase(phase))), _) => {
                format!("{} ms of it for {phase}", part.as_millis())
            }
            (None, Some(side)) => {
                format!(
                    "no part was timed; {} moved most, {} bytes",
                    name(side, peer(side)),
                    self.most
                )
            }
            (None, None) => "no connection was served in it".to_owned(),
        };
        let suppressed = match core::mem::take(&mut self.suppressed) {
            0 => String::new(),
            more => format!(" ({more} slow iterations before it were not logged)"),
        };
        Some(format!(
            "an iteration of the event loop took {} ms, in which all connections waited: {cause}{suppressed}",
            took.as_millis()
        ))
    }
}

fn name(side: Side, peer: Option<SocketAddr>) -> String {
    let kind = match side {
        Side::Client(_) => "client",
        Side::Upstream(_) => "upstream",
    };
    match peer {
        Some(address) => format!("{kind} {address}"),
        None => format!("{kind} of no known address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    fn down(index: u32) -> Side {
        Side::Client(Key::from_parts(index, 0))
    }

    fn up(index: u32) -> Side {
        Side::Upstream(Key::from_parts(index, 0))
    }

    fn ago(millis: u64) -> Option<Monotonic> {
        Monotonic::now().checked_sub(Elapsed::from_millis(millis))
    }

    fn shake(iterations: &mut SlowIterations, millis: u64, side: Side) {
        iterations.handshake_step_done(
            Started(ago(millis).expect("the machine has run so long")),
            side,
            || peer(side),
        );
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn peer(side: Side) -> Option<SocketAddr> {
        Some(SocketAddr::from((
            [192, 0, 2, 1],
            if side == down(1) { 1001 } else { 1002 },
        )))
    }

    #[test]
    fn a_turn_of_50_ms_is_told_and_a_shorter_one_is_not() {
        let mut iterations = SlowIterations::default();
        assert_eq!(iterations.end(at(0), peer), None, "no iteration began");
        for (took, told) in [(0, false), (49, false), (50, true)] {
            iterations.begin(at(100));
            assert_eq!(
                iterations.end(at(100 + took), peer).is_some(),
                told,
                "{took} ms"
            );
        }
    }

    #[test]
    fn the_longest_part_is_named() {
        let mut iterations = SlowIterations {
            timed_iterations: 3,
            ..SlowIterations::default()
        };
        iterations.begin(at(0));
        iterations.lap = ago(7);
        iterations.phase_done(Phase::Accepting);
        shake(&mut iterations, 60, down(1));
        iterations.lap = ago(9);
        iterations.pumped(up(2), 70_000, || peer(up(2)));
        let line = iterations.end(at(80), |_| None).expect("slow");
        assert!(
            line.starts_with(
                "an iteration of the event loop took 80 ms, in which all connections waited: 6"
            ),
            "{line}"
        );
        assert!(
            line.ends_with(" ms of it for client 192.0.2.1:1001, a TLS handshake"),
            "{line}"
        );

        iterations.begin(at(5000));
        iterations.lap = ago(55);
        iterations.pumped(up(2), 70_000, || peer(up(2)));
        let line = iterations.end(at(5060), |_| None).expect("slow");
        assert!(
            line.ends_with(
                " ms of it for upstream 192.0.2.1:1002, an exchange that moved 70000 bytes"
            ),
            "{line}"
        );

        iterations.begin(at(9000));
        iterations.lap = ago(55);
        iterations.phase_done(Phase::Deadlines);
        assert!(
            iterations
                .end(at(9060), |_| None)
                .expect("slow")
                .ends_with(" ms of it for deadlines")
        );
    }

    /// Handshakes are timed without a slow iteration before; their connection may be closed when
    /// the message is made.
    #[test]
    fn a_handshake_is_timed_always() {
        let mut iterations = SlowIterations::default();
        iterations.begin(at(0));
        shake(&mut iterations, 70, down(1));
        iterations.pumped(up(2), 70_000, || None);
        let line = iterations.end(at(80), |_| None).expect("slow");
        assert!(
            line.ends_with(" ms of it for client 192.0.2.1:1001, a TLS handshake"),
            "{line}"
        );
    }

    #[test]
    fn handshakes_have_a_share_of_a_turn() {
        let mut iterations = SlowIterations {
            timed_iterations: 1,
            ..SlowIterations::default()
        };
        iterations.begin(at(0));
        iterations.lap = ago(30);
        iterations.pumped(down(1), 10, || None);
        shake(&mut iterations, 6, down(2));
        assert!(!iterations.is_handshake_time_spent());
        shake(&mut iterations, 6, down(3));
        assert!(iterations.is_handshake_time_spent());
        iterations.begin(at(20));
        assert!(!iterations.is_handshake_time_spent());
    }

    #[test]
    fn parts_are_timed_only_behind_a_slow_turn() {
        let mut iterations = SlowIterations::default();
        iterations.begin(at(0));
        iterations.pumped(down(1), 10, || panic!("nothing is timed"));
        iterations.pumped(up(2), 5000, || panic!("nothing is timed"));
        iterations.pumped(down(3), 20, || panic!("nothing is timed"));
        iterations.phase_done(Phase::Logging);
        assert!(iterations.lap.is_none(), "the clock was not read");
        let line = iterations.end(at(51), peer).expect("slow");
        assert!(
            line.ends_with("no part was timed; upstream 192.0.2.1:1002 moved most, 5000 bytes"),
            "{line}"
        );

        iterations.begin(at(52));
        assert!(iterations.lap.is_some(), "it is read now");
        assert_eq!(iterations.end(at(200), peer), None, "one line a second");
        iterations.begin(at(2000));
        iterations.pumped(down(1), 10, || None);
        let line = iterations.end(at(2050), |_| None).expect("slow");
        assert!(
            line.contains(
                "client of no known address moved most, 10 bytes (1 slow iterations before"
            ),
            "{line}"
        );
        for iteration in 0..SLOW_ITERATION_WATCH {
            assert!(iterations.timed_iterations > 0, "{iteration}");
            iterations.begin(at(3000));
            assert_eq!(iterations.end(at(3001), peer), None);
        }
        assert_eq!(iterations.timed_iterations, 0);
    }
}
