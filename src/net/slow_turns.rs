//! Turns of the loop that take too long, and whose work it was.
//!
//! The loop reads the clock before it waits and after it; from the second reading to the next first one is a turn, so no
//! reading is added. Parts of a turn that are costly and rare (handshakes) are timed always, the others only in the few turns
//! after a slow one; until then the number of bytes it moved tells which connection has done most.

use core::fmt;
use std::net::SocketAddr;
use std::time::{Duration as Elapsed, Instant as Monotonic};

use crate::limits::{HANDSHAKES_PER_TURN, SLOW_TURN, SLOW_TURN_NOTICE, SLOW_TURN_WATCH};
use crate::proxy::command::Side;
use crate::time::{Duration, Instant};

/// A part that takes less is never the one to be named.
const WORTH_NAMING: Elapsed = Elapsed::from_millis(2);

/// What a part of a turn is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Going on with a connection that is not open: TCP, then TLS.
    Handshake,
    /// Reading, what the engine makes of it, and writing.
    Exchange,
}

/// Parts that belong to no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The clock's second, and taking what the kernel, helper threads and signals have to say.
    Events,
    /// Deadlines.
    Deadlines,
    /// Taking new connections.
    Accepting,
    /// The access log.
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

/// A connection's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    side: Side,
    peer: Option<SocketAddr>,
    work: Work,
    bytes: usize,
}

/// Whose part was longest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Longest {
    Connection(Part),
    Phase(Phase),
}

/// Measures turns.
#[derive(Default)]
pub struct SlowTurns {
    begun: Option<Instant>,
    /// Turns that are still to be timed in all parts, this one among them.
    watched: u8,
    longest: Option<(Elapsed, Longest)>,
    /// What all handshakes of the turn have taken.
    handshakes: Elapsed,
    /// The connection that has moved most bytes.
    busiest: Option<(Side, usize)>,
    /// No line before this moment.
    quiet_until: Option<Instant>,
    /// Slow turns that had no line.
    unsaid: u32,
}

/// The beginning of a part, where it is timed.
#[derive(Clone, Copy)]
pub struct Started(Option<Monotonic>);

impl SlowTurns {
    /// A turn begins.
    pub fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        (self.longest, self.busiest, self.handshakes) = (None, None, Elapsed::ZERO);
    }

    /// A part begins that costs little as a rule.
    #[inline]
    pub fn start(&self) -> Started {
        Started(if self.watched > 0 { Some(Monotonic::now()) } else { None })
    }

    /// A part begins that is costly and rare.
    pub fn start_costly(&self) -> Started {
        Started(Some(Monotonic::now()))
    }

    /// A connection's part is over. `peer`: whom it is with; asked only where the part was long, and before the connection is
    /// closed.
    #[inline]
    pub fn served(
        &mut self,
        started: Started,
        side: Side,
        work: Work,
        bytes: usize,
        peer: impl FnOnce() -> Option<SocketAddr>,
    ) {
        if self.busiest.is_none_or(|(_, most)| bytes > most) {
            self.busiest = Some((side, bytes));
        }
        if let Some(started) = started.0 {
            let elapsed = started.elapsed();
            if work == Work::Handshake {
                self.handshakes = self.handshakes.saturating_add(elapsed);
            }
            self.note(elapsed, || Longest::Connection(Part { side, peer: peer(), work, bytes }));
        }
    }

    /// Whether the turn's time for handshakes is used up: what is established already comes first.
    pub fn has_shaken_enough(&self) -> bool {
        self.handshakes.as_millis() >= u128::from(HANDSHAKES_PER_TURN.as_millis())
    }

    /// A part of no connection is over.
    #[inline]
    pub fn passed(&mut self, started: Started, phase: Phase) {
        if let Some(started) = started.0 {
            self.note(started.elapsed(), || Longest::Phase(phase));
        }
    }

    fn note(&mut self, elapsed: Elapsed, part: impl FnOnce() -> Longest) {
        if elapsed >= WORTH_NAMING && self.longest.is_none_or(|(most, _)| elapsed > most) {
            self.longest = Some((elapsed, part()));
        }
    }

    /// The turn is over; what to say if it was slow. `peer`: whom a connection is with, if it is still there.
    #[inline]
    pub fn end(&mut self, now: Instant, peer: impl FnOnce(Side) -> Option<SocketAddr>) -> Option<String> {
        let took = now.since(self.begun.take()?);
        self.watched = self.watched.saturating_sub(1);
        if took < SLOW_TURN { None } else { self.tell(took, now, peer) }
    }

    #[cold]
    fn tell(&mut self, took: Duration, now: Instant, peer: impl FnOnce(Side) -> Option<SocketAddr>) -> Option<String> {
        self.watched = SLOW_TURN_WATCH;
        if self.quiet_until.is_some_and(|until| now < until) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.quiet_until = Some(now.after(SLOW_TURN_NOTICE));
        let cause = match (self.longest, self.busiest) {
            (Some((part, Longest::Connection(Part { side, peer, work, bytes }))), _) => {
                let what = match work {
                    Work::Handshake => "a TLS handshake".to_owned(),
                    Work::Exchange => format!("an exchange that moved {bytes} bytes"),
                };
                format!("{} ms of it for {}, {what}", part.as_millis(), name(side, peer))
            }
            (Some((part, Longest::Phase(phase))), _) => format!("{} ms of it for {phase}", part.as_millis()),
            (None, Some((side, bytes))) => {
                format!("no part was timed; {} moved most, {bytes} bytes", name(side, peer(side)))
            }
            (None, None) => "no connection was served in it".to_owned(),
        };
        let unsaid = match core::mem::take(&mut self.unsaid) {
            0 => String::new(),
            more => format!(" ({more} slow turns before it were not logged)"),
        };
        Some(format!(
            "a turn of the loop took {} ms, in which all connections waited: {cause}{unsaid}",
            took.as_millis()
        ))
    }
}

fn name(side: Side, peer: Option<SocketAddr>) -> String {
    let kind = match side {
        Side::Down(_) => "client",
        Side::Up(_) => "upstream",
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
        Side::Down(Key::from_parts(index, 0))
    }

    fn up(index: u32) -> Side {
        Side::Up(Key::from_parts(index, 0))
    }

    fn ago(millis: u64) -> Started {
        Started(Monotonic::now().checked_sub(Elapsed::from_millis(millis)))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn peer(side: Side) -> Option<SocketAddr> {
        Some(SocketAddr::from(([192, 0, 2, 1], if side == down(1) { 1001 } else { 1002 })))
    }

    #[test]
    fn a_turn_of_50_ms_is_told_and_a_shorter_one_is_not() {
        let mut turns = SlowTurns::default();
        assert_eq!(turns.end(at(0), peer), None, "no turn began");
        for (took, told) in [(0, false), (49, false), (50, true)] {
            turns.begin(at(100));
            assert_eq!(turns.end(at(100 + took), peer).is_some(), told, "{took} ms");
        }
    }

    #[test]
    fn the_longest_part_is_named() {
        let mut turns = SlowTurns::default();
        turns.begin(at(0));
        turns.passed(ago(7), Phase::Accepting);
        turns.served(ago(60), down(1), Work::Handshake, 0, || peer(down(1)));
        turns.served(ago(9), up(2), Work::Exchange, 70_000, || peer(up(2)));
        let line = turns.end(at(80), |_| None).expect("slow");
        assert!(line.starts_with("a turn of the loop took 80 ms, in which all connections waited: 6"), "{line}");
        assert!(line.ends_with(" ms of it for client 192.0.2.1:1001, a TLS handshake"), "{line}");

        turns.begin(at(5000));
        turns.served(ago(55), up(2), Work::Exchange, 70_000, || peer(up(2)));
        let line = turns.end(at(5060), |_| None).expect("slow");
        assert!(line.ends_with(" ms of it for upstream 192.0.2.1:1002, an exchange that moved 70000 bytes"), "{line}");

        turns.begin(at(9000));
        turns.passed(ago(55), Phase::Deadlines);
        assert!(turns.end(at(9060), |_| None).expect("slow").ends_with(" ms of it for deadlines"));
    }

    #[test]
    fn handshakes_have_a_share_of_a_turn() {
        let mut turns = SlowTurns::default();
        turns.begin(at(0));
        turns.served(ago(30), down(1), Work::Exchange, 10, || None);
        turns.served(ago(6), down(2), Work::Handshake, 0, || None);
        assert!(!turns.has_shaken_enough());
        turns.served(ago(6), down(3), Work::Handshake, 0, || None);
        assert!(turns.has_shaken_enough());
        turns.begin(at(20));
        assert!(!turns.has_shaken_enough());
    }

    #[test]
    fn parts_are_timed_only_behind_a_slow_turn() {
        let mut turns = SlowTurns::default();
        turns.begin(at(0));
        assert!(turns.start().0.is_none() && turns.start_costly().0.is_some());
        turns.served(turns.start(), down(1), Work::Exchange, 10, || None);
        turns.served(turns.start(), up(2), Work::Exchange, 5000, || None);
        turns.served(turns.start(), down(3), Work::Exchange, 20, || None);
        let line = turns.end(at(51), peer).expect("slow");
        assert!(line.ends_with("no part was timed; upstream 192.0.2.1:1002 moved most, 5000 bytes"), "{line}");

        turns.begin(at(52));
        assert!(turns.start().0.is_some());
        assert_eq!(turns.end(at(200), peer), None, "one line a second");
        turns.begin(at(2000));
        turns.served(turns.start(), down(1), Work::Exchange, 10, || None);
        let line = turns.end(at(2050), |_| None).expect("slow");
        assert!(line.contains("client of no known address moved most, 10 bytes (1 slow turns before"), "{line}");
        for turn in 0..SLOW_TURN_WATCH {
            turns.begin(at(3000));
            assert!(turns.start().0.is_some(), "{turn}");
            assert_eq!(turns.end(at(3001), peer), None);
        }
        turns.begin(at(4000));
        assert!(turns.start().0.is_none());
    }
}
