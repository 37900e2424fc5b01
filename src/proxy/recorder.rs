//! Flight recorder: the inputs of a request from its first byte to its end. They are kept when the
//! request fails in a way that the configuration names, and dropped otherwise.
//!
//! A recording has the bytes as they came. Whoever writes it to a file blanks them first.
//!
//! Out of scope: requests of the gateway's own, and failures whose cause lies outside of the request
//! and its connections (rate limit, credentials, routes, limits of connections, health checks).

use core::net::SocketAddr;

use super::command::{Fault, ListenerKind};
use super::ids::{ClientId, UpstreamId};
use super::log_entry::AccessLogEntry;
use super::reason::{Reason, of_outcome};
use super::recorded_settings::settings_of;
use super::rules::Rules;
use super::settings::{RecordRule, Settings};
use super::tries::Verdict;
use crate::limits::{RECORD_INPUTS, RECORDINGS};
use crate::observe::access::Outcome;
use crate::policy::path::PathFault;
use crate::time::{Instant, UnixTime};

/// Inputs of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    client: ClientId,
    /// Time of the engine at the first input.
    pub started: Instant,
    /// Time of day at the first input.
    pub wall: UnixTime,
    /// Kind of the client's listener.
    pub listener: ListenerKind,
    /// Inputs in their order.
    pub inputs: Vec<Input>,
    /// Bytes that were kept, one input behind the other.
    pub bytes: Vec<u8>,
    /// Connections to upstreams; the number of the first one is 1.
    connections: Vec<UpstreamId>,
    /// Milliseconds until the client took bytes for the last time, and the number of inputs before.
    took: (u32, usize),
    /// Number of inputs when the client took the first bytes of a head.
    begun: usize,
    /// Milliseconds until the first input that found no room; `None`: all are here.
    pub dropped: Option<u32>,
    /// End of the request; `None` while it is in flight.
    pub ending: Option<Box<Ending>>,
}

/// Input with its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Milliseconds since the first input.
    pub at: u32,
    /// Event.
    pub what: What,
}

/// Kinds of inputs. The first number is that of the connection; 0 is the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Bytes came: their number, and the number of those that were kept.
    Bytes(u16, usize, usize),
    /// The peer ended its direction.
    End(u16),
    /// The client ended its direction, although bytes may wait that were not read.
    Hangup,
    /// The connection failed, with what the system or TLS said.
    Fault(u16, Fault, Option<Box<str>>),
    /// The request goes to this connection: a kept one (true) or one that is being made.
    Attempt(u16, bool),
    /// The connection is made.
    Connected(u16),
    /// The target's name has these addresses.
    Names(Vec<SocketAddr>),
    /// The client takes no further byte.
    Stall,
}

impl What {
    /// Returns whether the client did this.
    fn is_of_client(&self) -> bool {
        use What::{Bytes, End, Fault, Hangup, Stall};
        matches!(self, Bytes(0, ..) | End(0) | Fault(0, ..) | Hangup | Stall)
    }
}

/// End of a recorded request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Id of the request.
    pub id: Option<Box<[u8]>>,
    /// Word of the access log.
    pub outcome: Outcome,
    /// Status that the client got.
    pub status: Option<u16>,
    /// Reason of the outcome.
    pub reason: Option<Box<str>>,
    /// Rules that the request was judged by, without anything secret.
    pub settings: Settings,
}

/// Recordings of the requests in flight.
pub(super) struct Recorder {
    pub(super) rule: RecordRule,
    open: Vec<Recording>,
    /// Recordings that wait for the loop.
    pub(super) done: Vec<Recording>,
}

impl Recorder {
    /// Creates a recorder; `None`: the settings have none.
    pub(super) fn new(settings: &Settings) -> Option<Box<Recorder>> {
        let rule = settings.record.clone()?;
        Some(Box::new(Recorder {
            rule,
            open: Vec::new(),
            done: Vec::new(),
        }))
    }

    /// Returns the recorder under new settings. Requests in flight are still recorded.
    pub(super) fn renew(
        known: Option<Box<Recorder>>,
        settings: &Settings,
    ) -> Option<Box<Recorder>> {
        match (known, &settings.record) {
            (Some(mut recorder), Some(rule)) => {
                recorder.rule = rule.clone();
                Some(recorder)
            }
            _ => Recorder::new(settings),
        }
    }

    /// Begins the recording of a client's request, whose first bytes are these.
    pub(super) fn begin(
        &mut self,
        client: ClientId,
        listener: ListenerKind,
        bytes: &[u8],
        (now, wall): (Instant, UnixTime),
    ) {
        self.forget(client);
        if self.open.len() >= RECORDINGS {
            return;
        }
        let mut recording = Recording {
            client,
            started: now,
            wall,
            listener,
            inputs: Vec::new(),
            bytes: Vec::new(),
            connections: Vec::new(),
            took: (0, 0),
            begun: 0,
            dropped: None,
            ending: None,
        };
        recording.note_bytes(now, 0, bytes, bytes.len(), self.rule.bytes);
        self.open.push(recording);
    }

    /// Returns the recording of a client's request.
    pub(super) fn of(&mut self, client: ClientId) -> Option<&mut Recording> {
        self.open.iter_mut().find(|open| open.client == client)
    }

    /// Forgets what was recorded of a client that is gone.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.open.retain(|open| open.client != client);
    }

    /// Notes an input of a client's request.
    pub(super) fn note(&mut self, client: ClientId, now: Instant, what: What) {
        if let Some(recording) = self.of(client) {
            recording.note(now, what);
        }
    }

    /// Notes that a client took bytes. `is_first`: the first ones of a head.
    pub(super) fn took(&mut self, client: ClientId, is_first: bool, now: Instant) {
        if let Some(recording) = self.of(client) {
            recording.took = (recording.millis(now), recording.inputs.len());
            if is_first {
                recording.begun = recording.inputs.len();
            }
        }
    }

    /// Ends the recording of a client's request. Returns it if it is to be kept.
    pub(super) fn finish(
        &mut self,
        client: ClientId,
        entry: &AccessLogEntry,
        outcome: Outcome,
        rules: &Rules,
    ) -> Option<Recording> {
        let place = self.open.iter().position(|open| open.client == client)?;
        let mut recording = self.open.swap_remove(place);
        let status = entry.numbers.status;
        let is_refused = entry.numbers.verdict == Verdict::Refused
            || entry.reason.as_deref() == Some(&Reason::UnsafePath(PathFault::OtherGuard));
        if !self.rule.picks(outcome, status) || is_refused || is_outside(outcome, status) {
            return None;
        }
        let is_idle = outcome == Outcome::ClientTimeout
            && entry.reason.as_deref() == Some(&Reason::ClientIdle);
        let answered = entry.numbers.upstream_status;
        // Of a response that was taken back, the client took nothing.
        let is_sure = is_idle || answered.is_some_and(|answered| status != Some(answered));
        // A client that leaves may have left bytes untaken, and a replay must not end before it leaves.
        if is_sure || outcome == Outcome::ClientClosed && status.is_some() {
            recording.stall(is_sure);
        }
        let reason = match &entry.reason {
            Some(reason) => Some(reason.as_str()),
            None => of_outcome(outcome, status),
        };
        recording.ending = Some(Box::new(Ending {
            id: entry.id().map(Into::into),
            outcome,
            status,
            reason: reason.map(Into::into),
            settings: settings_of(rules, entry.service.as_deref()),
        }));
        Some(recording)
    }
}

/// Returns true if the cause of the end lies outside of the request and its connections.
fn is_outside(outcome: Outcome, status: Option<u16>) -> bool {
    match outcome {
        Outcome::RateLimited
        | Outcome::Unauthorized
        | Outcome::Maintenance
        | Outcome::StoreDown
        | Outcome::NoRoute
        | Outcome::NoTargetUp
        | Outcome::LoopDetected
        | Outcome::Shutdown => true,
        Outcome::OverLimit => status == Some(503),
        _ => false,
    }
}

impl Recording {
    fn millis(&self, now: Instant) -> u32 {
        u32::try_from(now.since(self.started).as_millis()).unwrap_or(u32::MAX)
    }

    pub(super) fn note(&mut self, now: Instant, what: What) {
        let at = self.millis(now);
        if self.inputs.len() < RECORD_INPUTS {
            self.inputs.push(Input { at, what });
        } else {
            self.dropped = self.dropped.or(Some(at));
        }
    }

    /// Appends bytes; of those beyond `most` only the number is kept. `length`: number of bytes that
    /// came, of which `bytes` were read.
    pub(super) fn note_bytes(
        &mut self,
        now: Instant,
        from: u16,
        bytes: &[u8],
        length: usize,
        most: usize,
    ) {
        let room = most.saturating_sub(self.bytes.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend_from_slice(kept);
        let at = self.millis(now);
        // Bytes of one event are one input, but for those behind a head that the client began to take.
        if self.inputs.len() != self.begun
            && let Some(Input {
                at: before,
                what: What::Bytes(number, sum, sum_kept),
            }) = self.inputs.last_mut()
            && (*before, *number) == (at, from)
            && *sum == *sum_kept
        {
            *sum = sum.saturating_add(length);
            *sum_kept = sum_kept.saturating_add(kept.len());
            return;
        }
        self.note(now, What::Bytes(from, length, kept.len()));
    }

    /// Notes that the request goes to a connection.
    pub(super) fn attempt(&mut self, up: UpstreamId, is_kept: bool, now: Instant) {
        self.connections.push(up);
        let number = self.connections.len() as u16;
        self.note(now, What::Attempt(number, is_kept));
    }

    /// Returns the number of a connection.
    pub(super) fn number(&mut self, up: UpstreamId, now: Instant) -> u16 {
        let known = self.connections.iter().position(|known| *known == up);
        let place = known.unwrap_or(self.connections.len());
        let number = place.saturating_add(1) as u16;
        if known.is_none() {
            self.connections.push(up);
            // It races against another one.
            self.note(now, What::Attempt(number, false));
        }
        number
    }

    /// Notes that the client took nothing after it took bytes for the last time. Unless `always`, this
    /// is left out where nothing came for it later.
    fn stall(&mut self, always: bool) {
        let (at, place) = self.took;
        let mut later = self.inputs.iter().skip(place);
        if always || later.any(|input| !input.what.is_of_client()) {
            let what = What::Stall;
            self.inputs.insert(place, Input { at, what });
        }
    }

    /// Upper bound of the bytes of a recording with `bytes` of the peers.
    pub(super) const fn bound(bytes: usize) -> usize {
        // Vectors double; the ending has the settings of one service.
        let inputs = RECORD_INPUTS
            .saturating_mul(size_of::<Input>())
            .saturating_mul(2);
        let ending = size_of::<Ending>().saturating_add(64 << 10);
        bytes
            .saturating_mul(2)
            .saturating_add(inputs)
            .saturating_add(ending)
    }
}
