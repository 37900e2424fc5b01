//! Slow request bodies must not keep upstream connections busy.
//!
//! * A body with a `Content-Length` of at most [`crate::limits::BODY_GATHERED_BYTES`] is read whole before an upstream connection is taken, within
//!   `timeouts.head`. One that came with its head costs nothing.
//! * A longer one is passed on as it comes. It has a least rate: [`BODY_LEAST_BYTES`] in each [`BODY_RATE_WINDOW`] in which the
//!   upstream took all that came.
//! * `timeouts.body` bounds the time of any body, chunked ones too. Chunked bodies have no least rate: they may be streams
//!   that are quiet for long.
//!
//! A body that is too slow is answered 408.

use super::balancing::Selection;
use super::client::Phase;
use super::command::ClientId;
use super::exchange::{Exchange, Upload};
use super::outbox::Outbox;
use super::reason::{Failure, Reason};
use super::settings::ExchangeTimeouts;
use super::{Proxy, TimerKey};
use crate::buffer::BufferPool;
use crate::http::framing::RequestBody;
use crate::limits::{BODY_LEAST_BYTES, BODY_RATE_WINDOW};
use crate::observe::access::Outcome;
use crate::time::{Duration, Instant};

/// A small body that is being read, and the head that goes out before it.
pub(super) struct Gathering {
    /// Where the request goes.
    selection: Selection,
    /// The head for the upstream, and what came of the body.
    outbox: Outbox,
    /// Bytes that are still to come; at least one.
    left: usize,
}

/// How fast a body comes that is passed on as it comes.
pub(super) struct Pace {
    /// Outcome of `timeouts.body`.
    ends: Option<Instant>,
    /// Whether there is a least rate.
    has_least_rate: bool,
    /// Outcome of the window in which bytes are counted. `None`: the upstream connection is not there yet.
    window_ends: Option<Instant>,
    /// Bytes that had come when the window began.
    moved_before: u64,
    /// The upstream did not take all that came in this window.
    was_held_up: bool,
    /// When the deadline comes that `timeouts.response` or `timeouts.idle` set.
    silent_at: Option<Instant>,
}

/// What a deadline says of a body.
enum Judgement {
    /// The client is too slow.
    TooSlow(Reason),
    /// The time without any progress is over.
    Silent,
    /// Neither.
    GoOn,
}

impl Gathering {
    /// Gives the storage back.
    pub(super) fn clear(&mut self, pool: &mut BufferPool) {
        self.outbox.clear(pool);
    }
}

impl Pace {
    /// The pace of a body that is passed on, where there is something to watch.
    fn of(body: &RequestBody, timeouts: &ExchangeTimeouts, now: Instant) -> Option<Box<Pace>> {
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

    /// The upstream did not take all that came.
    pub(super) fn hold_up(&mut self) {
        self.was_held_up = true;
    }

    /// The time to the next deadline, when that for silence is `span` away. `None`: there is none.
    fn next(&mut self, span: Option<Duration>, moved: u64, now: Instant) -> Option<Duration> {
        self.silent_at = span.map(|span| now.after(span));
        if self.has_least_rate && self.window_ends.is_none() {
            self.begin_window(moved, now);
        }
        self.rest(now)
    }

    /// An upstream connection is being made: the client cannot send as fast as it would.
    fn pause(&mut self) {
        self.window_ends = None;
        self.silent_at = None;
    }

    fn begin_window(&mut self, moved: u64, now: Instant) {
        self.window_ends = Some(now.after(BODY_RATE_WINDOW));
        self.moved_before = moved;
        self.was_held_up = false;
    }

    fn rest(&self, now: Instant) -> Option<Duration> {
        [self.ends, self.window_ends, self.silent_at]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.since(now))
    }

    /// `moved`: body bytes so far. `has_passed_all`: the upstream has taken all of them.
    fn decide(&mut self, moved: u64, has_passed_all: bool, now: Instant) -> Judgement {
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

impl Proxy {
    /// Connects the exchange of `id` to `spot`; its request's body goes the way that its length asks for. `outbox` holds the head
    /// for the upstream, `came` bytes came behind the client's.
    #[inline]
    pub(super) fn connect_for(
        &mut self,
        id: ClientId,
        (selection, outbox): (Selection, Outbox),
        body: &RequestBody,
        came: usize,
        now: Instant,
    ) {
        let bytes = match body {
            RequestBody::Empty => 0,
            RequestBody::Sized(bytes) => *bytes,
            RequestBody::Chunked => u64::MAX,
        };
        // The usual case: all of it is here.
        if bytes <= came as u64 {
            return self.link(id, selection, outbox, now);
        }
        if bytes <= self.settings.limits.gathered_bytes {
            return self.begin_gathering(id, selection, outbox, bytes, now);
        }
        let pace = self
            .timeouts_of(id)
            .and_then(|timeouts| Pace::of(body, timeouts, now));
        if let Some(exchange) = self.exchange_of(id) {
            exchange.pace = pace;
        }
        self.link(id, selection, outbox, now);
    }

    /// Reads the body of an exchange whole, and only then connects.
    #[cold]
    fn begin_gathering(
        &mut self,
        id: ClientId,
        selection: Selection,
        outbox: Outbox,
        bytes: u64,
        now: Instant,
    ) {
        let left = usize::try_from(bytes).unwrap_or(usize::MAX);
        let body = self.timeouts_of(id).and_then(|timeouts| timeouts.body);
        let span = [self.settings.timeouts.head, body]
            .into_iter()
            .flatten()
            .min();
        let Some(exchange) = self.exchange_of(id) else {
            return;
        };
        exchange.upload = Upload::Gather(Box::new(Gathering {
            selection,
            outbox,
            left,
        }));
        self.arm_client(id, span, now);
    }

    /// Takes what came of a body that is read whole first; connects when that is all of it.
    pub(super) fn gather(&mut self, id: ClientId, now: Instant) {
        let half_close = self.settings.half_close;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return;
        };
        let Upload::Gather(gathering) = &mut exchange.upload else {
            return;
        };
        let n = gathering
            .outbox
            .gather(&mut client.inbox, gathering.left, &mut self.pool);
        gathering.left = gathering.left.saturating_sub(n);
        exchange.log_entry.bytes_in = exchange.log_entry.bytes_in.saturating_add(n as u64);
        if gathering.left > 0 {
            return;
        }
        if client.ended && !half_close {
            return self.cancel(id, now);
        }
        let Upload::Gather(gathered) = core::mem::replace(&mut exchange.upload, Upload::Done)
        else {
            return;
        };
        let (service, client) = (exchange.service, exchange.log_entry.client);
        let Gathering {
            mut selection,
            outbox,
            ..
        } = *gathered;
        // The name's addresses may have changed while the body came. An address that is still there stays: a connection that is
        // kept for this client alone leads to it.
        let is_there = selection
            .endpoint
            .is_some_and(|endpoint| self.endpoints.get(endpoint).is_some());
        if !is_there
            && let Some(fresh) = self.choose_among(service, client, now, |member| {
                member.destination == selection.destination
            })
        {
            selection = fresh;
        }
        self.link(id, selection, outbox, now);
    }

    /// Drops what came of a body that was to be read whole first.
    pub(super) fn drop_gathered(&mut self, exchange: &mut Exchange) {
        if let Upload::Gather(gathering) = &mut exchange.upload {
            gathering.clear(&mut self.pool);
        }
        exchange.pace = None;
    }

    /// Sets the deadline of an exchange: one of its service's timeouts, or what the pace of its request's body says.
    #[inline]
    pub(super) fn arm_exchange(
        &mut self,
        id: ClientId,
        now: Instant,
        timeout: impl Fn(&ExchangeTimeouts) -> Option<Duration>,
    ) {
        if self.wheel.len() > self.bounds.reminders {
            self.sweep_reminders();
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let span = match &mut client.phase {
            Phase::Relay(exchange) | Phase::Tunnel(exchange) => {
                let row = self.settings.services.get(exchange.service);
                let span = row.and_then(|service| timeout(&service.timeouts));
                match (&mut exchange.pace, &exchange.upload) {
                    (Some(pace), Upload::Copy(transfer)) => pace.next(span, transfer.moved(), now),
                    _ => span,
                }
            }
            _ => None,
        };
        match span {
            Some(span) => self
                .wheel
                .arm(&mut client.timer, TimerKey::Down(id), now.after(span)),
            None => client.timer.clear(),
        }
    }

    /// Sets the deadline of an exchange whose upstream connection is being made.
    pub(super) fn arm_connect(&mut self, id: ClientId, span: Option<Duration>, now: Instant) {
        if let Some(pace) = self
            .exchange_of(id)
            .and_then(|exchange| exchange.pace.as_mut())
        {
            pace.pause();
        }
        self.arm_client(id, span, now);
    }

    /// A deadline came while a request's body comes. True: that is all there was to it.
    pub(super) fn body_due(&mut self, id: ClientId, now: Instant) -> bool {
        let Some(Phase::Relay(exchange)) = self.clients.get(id).map(|client| &client.phase) else {
            return false;
        };
        let has_passed_all = self.uploaded_all(exchange);
        let Some(exchange) = self.exchange_of(id) else {
            return false;
        };
        let judgement = match (&exchange.upload, &mut exchange.pace) {
            (Upload::Gather(_), _) => Judgement::TooSlow(Reason::BodyTimeout),
            (Upload::Copy(transfer), Some(pace)) => {
                pace.decide(transfer.moved(), has_passed_all, now)
            }
            _ => Judgement::Silent,
        };
        match judgement {
            Judgement::TooSlow(reason) => {
                self.refuse_body(id, Failure::new(Outcome::ClientTimeout, reason), now);
                true
            }
            Judgement::Silent => false,
            Judgement::GoOn => {
                let span = exchange.pace.as_ref().and_then(|pace| pace.rest(now));
                self.arm_client(id, span, now);
                true
            }
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
                pace.decide(moved, passed_all, at(30)),
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
                    pace.decide(moved, true, at(40)),
                    Judgement::Silent
                ));
                assert!(
                    matches!(pace.decide(moved, true, at(60)), Judgement::TooSlow(_)),
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
            pace.decide(1 << 30, true, at(10)),
            Judgement::TooSlow(Reason::BodyTimeout)
        ));
    }
}
