//! What every part of the engine may do to the outside, and the time.

use std::collections::VecDeque;
use std::rc::Rc;

use super::access_log::AccessLog;
use super::command::{Command, Report, Side};
use super::ids::{ClientId, ExchangeId, SubrequestId, UpstreamId};
use super::log_entry::AccessLogEntry;
use super::rules::Rules;
use crate::buffer::BufferPool;
use crate::http::head::FieldTable;
use crate::observe::access::Outcome;
use crate::observe::dampen::Dampener;
use crate::time::{Duration, Instant, UnixTime};
use crate::wheel::{Timer, Wheel};

/// Whose timer a reminder of the wheel is about.
#[derive(Clone, Copy)]
pub(super) enum TimerKey {
    Client(ClientId),
    /// Slot of an exchange: its timer stays with the slot.
    Exchange(u32),
    Upstream(UpstreamId),
    Subrequest(SubrequestId),
    /// Health checks of a service, by its index.
    HealthChecks(u32),
    /// Key set of a provider, by its index.
    Provider(u32),
    /// Look-up of a target's name, by its index.
    Target(u32),
    /// Counts of messages that were not told.
    Messages,
}

/// Whether bytes of a side may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reads {
    Always,
    Never,
    /// The exchange knows.
    Exchange(ExchangeId),
}

/// Messages to the operator that a flood of failures may repeat: see `failures`.
#[derive(Default)]
pub(super) struct Messages {
    /// Keeps floods of one failure from the operator.
    pub(super) dampener: Dampener,
    /// End of the window after which the counts of what was kept are told.
    pub(super) timer: Timer,
}

/// What the parts share: the rules, the time, and what they leave for the loop.
pub(super) struct Context {
    /// The time of the event that is being handled.
    pub(super) now: Instant,
    pub(super) rules: Rc<Rules>,
    /// What the loop is to do, in order.
    pub(super) commands: VecDeque<Command>,
    /// Sides that may have become worth reading or writing.
    pub(super) ready: VecDeque<Side>,
    /// Clients that are gone, for which upstream connections may have been kept.
    pub(super) gone_clients: Vec<ClientId>,
    pub(super) buffers: BufferPool,
    pub(super) timers: Wheel<TimerKey>,
    /// Scratch of the head parsers, reused by each.
    pub(super) fields: FieldTable,
    pub(super) access_log: AccessLog,
    /// Messages to the operator, without floods of one failure.
    pub(super) messages: Messages,
    /// Whether the gateway stops: what is in flight finishes, and nothing is kept open.
    pub(super) draining: bool,
}

impl Context {
    /// A context at the origin of time.
    pub(super) fn new(rules: Rc<Rules>) -> Context {
        Context {
            now: Instant::ZERO,
            access_log: AccessLog::new(rules.settings.access_log),
            rules,
            commands: VecDeque::new(),
            ready: VecDeque::new(),
            gone_clients: Vec::new(),
            buffers: BufferPool::new(),
            timers: Wheel::new(),
            fields: FieldTable::default(),
            messages: Messages::default(),
            draining: false,
        }
    }

    /// Returns the time of day.
    pub(super) fn wall(&self) -> UnixTime {
        self.access_log.wall(self.now)
    }

    /// Adds a command for the loop.
    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// Tells the operator something.
    pub(super) fn report(&mut self, report: Report) {
        self.commands.push_back(Command::Report(report));
    }

    /// Has the loop look at a side again. `queued` is the side's own mark that it is to be looked at already.
    #[inline]
    pub(super) fn mark_ready(&mut self, queued: &mut bool, side: Side) {
        if !core::mem::replace(queued, true) {
            self.ready.push_back(side);
        }
    }

    /// Sets a deadline that is `span` away; `None` turns it off.
    #[inline]
    pub(super) fn arm(&mut self, timer: &mut Timer, key: TimerKey, span: Option<Duration>) {
        match span {
            Some(span) => self.timers.arm(timer, key, self.now.after(span)),
            None => timer.clear(),
        }
    }

    /// Writes the line of a request into the access log.
    pub(super) fn record(&mut self, entry: &AccessLogEntry, outcome: Outcome) {
        self.access_log
            .record(entry, outcome, &self.rules.settings, self.now);
    }
}
