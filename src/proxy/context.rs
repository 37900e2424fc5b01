//! Context of the engine's parts: the rules, the time, and the queues for the loop.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use super::access_log::AccessLog;
use super::bounds::Bounds;
use super::command::{Answered, Command, Refused, Report, Side};
use super::decisions::Decisions;
use super::ids::{
    ClientId, ExchangeId, ProviderId, ServiceId, StoreId, SubrequestId, TargetId, UpstreamId,
    row_key,
};
use super::log_entry::AccessLogEntry;
use super::open_challenges::Challenges;
use super::recent::Recent;
use super::recorder::Recorder;
use super::rules::Rules;
use crate::buffer::BufferPool;
use crate::fifo::Fifo;
use crate::http::head::FieldTable;
use crate::observe::access::Outcome;
use crate::observe::dampen::Dampener;
use crate::observe::metrics::counters::Counters;
use crate::policy::forward::Peer;
use crate::time::{Duration, Instant, UnixTime};
use crate::wheel::{Timer, Wheel};

/// Owner of a timer in the wheel.
#[derive(Clone, Copy)]
pub(super) enum TimerKey {
    Client(ClientId),
    /// Slot of an exchange. The timer stays with the slot when the exchange ends.
    Exchange(u32),
    Upstream(UpstreamId),
    Subrequest(SubrequestId),
    /// Health checks of a service.
    HealthChecks(ServiceId),
    /// Key set of a provider.
    Provider(ProviderId),
    /// Answer of a store, or the next attempt to connect to it.
    Store(StoreId),
    /// Resolution of a target's name.
    Target(TargetId),
    /// Counts of suppressed messages.
    Messages,
}

/// State of a side's reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reads {
    Always,
    Never,
    /// The exchange decides.
    Exchange(ExchangeId),
}

/// Messages to the operator, with a limit on repeated failures: see `failures`.
#[derive(Default)]
pub(super) struct Messages {
    /// Suppresses repeated messages.
    pub(super) dampener: Dampener,
    /// End of the window, after which the counts of suppressed messages are reported.
    pub(super) timer: Timer,
    /// Slots of the services whose first 429 was reported; `None` for requests without a route.
    pub(super) limited: BTreeSet<Option<u32>>,
    /// Proxy that is not trusted whose `X-Forwarded-For` was ignored and reported.
    pub(super) ignored_forwarder: Option<Peer>,
    /// Time of the last warning that all connections are in use.
    pub(super) full: Option<Instant>,
    /// Time of the last warning that a client has its share of the connections.
    pub(super) share: Option<Instant>,
}

impl Messages {
    /// Allows the reports that come once for each edition of the rules again.
    pub(super) fn begin_edition(&mut self) {
        self.limited = BTreeSet::new();
        self.ignored_forwarder = None;
        (self.full, self.share) = (None, None);
    }
}

/// State that all parts share: the rules, the time, and the queues for the loop.
pub(super) struct Context {
    /// Time of the event that is being handled.
    pub(super) now: Instant,
    pub(super) rules: Rc<Rules>,
    /// Largest bounds of all rules so far: what came under earlier rules may still be there.
    pub(super) peaks: Bounds,
    /// Commands for the loop, in order.
    pub(super) commands: VecDeque<Command>,
    /// Sides that may have become worth reading or writing.
    pub(super) ready: Fifo<Side>,
    /// Clients that are gone. Upstream connections may be reserved for them.
    pub(super) gone_clients: Vec<ClientId>,
    pub(super) buffers: BufferPool,
    pub(super) timers: Wheel<TimerKey>,
    /// Scratch space of the head parsers.
    pub(super) fields: FieldTable,
    pub(super) access_log: AccessLog,
    /// Messages to the operator, with a limit on repeated failures.
    pub(super) messages: Messages,
    /// Numbers for the metrics.
    pub(super) counters: Counters,
    /// The last failures.
    pub(super) recent: Recent,
    /// Open challenges of an authority, if there are any.
    pub(super) challenges: Option<Box<Challenges>>,
    /// Flight recorder, if it is on.
    pub(super) recorder: Option<Box<Recorder>>,
    /// Answer to an errand, until the loop takes it.
    pub(super) errand: Option<Box<Answered>>,
    /// The last decisions.
    pub(super) decisions: Decisions,
    /// Connections that are not served, by [`Refused`].
    pub(super) refused: [u64; Refused::ALL.len()],
    /// True if work waits for the end of this turn of the loop.
    pub(super) has_leftovers: bool,
    /// True while the gateway stops: exchanges in flight finish, and no connection is kept open.
    pub(super) draining: bool,
    /// True if idle clients stay all the same, until their next response: another process has
    /// taken over.
    pub(super) keeps_idle: bool,
}

impl Context {
    /// Creates a context at the origin of time.
    /// `key`: random bits for the ids of requests.
    pub(super) fn new(rules: Rc<Rules>, key: u64) -> Context {
        let mut counters = Counters::default();
        rules.adopt_counters(&mut counters);
        Context {
            now: Instant::ZERO,
            peaks: rules.bounds,
            access_log: AccessLog::new(&rules, key),
            challenges: None,
            recorder: Recorder::new(&rules.settings),
            rules,
            commands: VecDeque::new(),
            ready: Fifo::default(),
            gone_clients: Vec::new(),
            buffers: BufferPool::new(),
            timers: Wheel::new(),
            fields: FieldTable::default(),
            messages: Messages::default(),
            counters,
            recent: Recent::default(),
            errand: None,
            decisions: Decisions::default(),
            refused: [0; Refused::ALL.len()],
            has_leftovers: false,
            draining: false,
            keeps_idle: false,
        }
    }

    /// Returns true if TLS listeners prove names now.
    #[cold]
    pub(super) fn proves_in_handshakes(&self) -> bool {
        let challenges = self.challenges.as_deref();
        challenges.is_some_and(|challenges| challenges.in_handshakes)
    }

    /// Returns the time of day.
    pub(super) fn wall(&self) -> UnixTime {
        self.access_log.wall(self.now)
    }

    /// Adds a command for the loop.
    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// Reports an event to the operator.
    pub(super) fn report(&mut self, report: Report) {
        self.commands.push_back(Command::Report(report));
    }

    /// Counts a connection that is not served.
    pub(super) fn count_refused(&mut self, why: Refused) {
        if let Some(count) = self.refused.get_mut(why as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Queues a side for the loop. `queued` is the side's own mark that it is in the queue.
    #[inline]
    pub(super) fn mark_ready(&mut self, queued: &mut bool, side: Side) {
        if !core::mem::replace(queued, true) {
            self.ready.push(side);
        }
    }

    /// Sets a deadline that is `span` in the future; `None` disarms the timer.
    #[inline]
    pub(super) fn arm(&mut self, timer: &mut Timer, key: TimerKey, span: Option<Duration>) {
        match span {
            Some(span) => self.timers.arm(timer, key, self.now.after(span)),
            None => timer.clear(),
        }
    }

    /// Counts a request that has ended, writes its line into the access log, and keeps what was
    /// decided about it. `client`: connection that the request came over.
    pub(super) fn record(
        &mut self,
        client: ClientId,
        mut entry: Box<AccessLogEntry>,
        outcome: Outcome,
    ) {
        if self.recorder.is_some() {
            self.record_end(client, &entry, outcome);
        }
        let service = entry.service.as_ref().map(|rules| row_key(rules.id));
        let ended = entry.ended(outcome, self.now);
        self.counters.count_request(service, &ended);
        self.recent.note(&entry, outcome, self.now);
        self.access_log.record(&entry, outcome, self.now);
        let edition = self.rules.state.edition;
        self.decisions.note(&mut entry, outcome, self.now, edition);
        self.access_log.recycle(entry);
    }
}
