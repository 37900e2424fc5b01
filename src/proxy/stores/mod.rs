//! Stores of counts that several gateways share: connections to them, and what goes over these.
//!
//! ```text
//! Pausing --100 ms, doubling to 5 s--> Connecting --connected--> Greeting --probe answered--> Up
//!    ^                                      |                        |                         |
//!    `------ fault, refusal, no answer -----+------------------------+-------------------------'
//! ```
//!
//! A request never waits for a store, unless its limit is `exact`. It is counted in the table of its
//! limit at once. At the end of the turn all windows that changed go to the store in one pipeline, and
//! each answer corrects its window. A request of an `exact` limit goes to the store by itself; the sum
//! in the answer is its place among all. What the store was sent and has not answered when the connection is lost is not sent
//! again: it may have been counted.
//!
//! The probe is a count of nothing. Its answer shows that the store takes counts: it speaks RESP2,
//! lets the gateway in, and has room for keys.

mod editions;
mod entry;
mod link;
pub(super) mod memory;
mod view;

pub(super) use self::entry::{act, on_bytes, on_fault, on_race};
pub(super) use self::view::stores;

use std::collections::VecDeque;
use std::rc::Rc;

use super::command::Report;
use super::context::{Context, TimerKey};
use super::ids::{OfStore, RateTableId, StoreId, TargetId};
use super::limiter::Limiter;
use super::rate_queue::{Verdict, Waiter};
use super::settings::Store;
use super::upstream::{Dialing, Owner, Search, Upstreams};
use crate::limits::{STORE_EXACT_WAIT, STORE_PAUSE_MAX, STORE_PAUSE_MIN, STORE_WHY_CHARS_MAX};
use crate::observe::metrics::histogram::Histogram;
use crate::observe::told::Told;
use crate::policy::rate::WindowId;
use crate::policy::store::session::Session;
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use crate::wheel::{Timer, Wheel};

/// All stores of the settings.
#[derive(Default)]
pub(super) struct Stores {
    slab: Slab<StoreState, OfStore>,
}

/// Progress of the connection to a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No connection; the timer begins the next one.
    Pausing,
    /// The name is looked up, or the connection is being made.
    Connecting,
    /// The probe has no answer yet.
    Greeting,
    /// Counts go to the store.
    Up,
}

/// A store.
struct StoreState {
    settings: Rc<Store>,
    stage: Stage,
    dialing: Dialing,
    session: Session,
    /// Counts without an answer, in the order in which they were sent; `None` is the probe.
    in_flight: VecDeque<Option<Sent>>,
    timer: Timer,
    /// Connections in a row that ended soon.
    failures: u32,
    /// Time at which the store became usable.
    up_since: Instant,
    /// True if the operator was told that the store is down.
    is_told: bool,
    /// Reason that was told.
    told: Told,
    /// Time since which it is up or down; `None`: it has not been up, and no connection has failed.
    since: Option<Instant>,
    /// Reason why the last connection that failed did.
    why: Option<Box<str>>,
    /// Time from sending a count to its answer.
    duration: Histogram,
    /// Requests that waited for an answer which came too late, or not at all.
    late: u64,
}

/// Count that was sent.
struct Sent {
    table: RateTableId,
    window: WindowId,
    number: i32,
    at: Instant,
    /// Request that waits for the answer.
    waiter: Option<Waiter>,
}

impl Sent {
    /// Returns 1 if a request has waited for the answer longer than it waits.
    fn is_late(&self, now: Instant) -> u64 {
        u64::from(self.waiter.is_some() && now.since(self.at) >= STORE_EXACT_WAIT)
    }
}

/// Parts of the engine that a store works with.
pub(super) struct StoreEnv<'a> {
    pub(super) upstreams: &'a mut Upstreams,
    pub(super) limiter: &'a mut Limiter,
    pub(super) ctx: &'a mut Context,
}

/// Time for which a connection must be usable so that the next pause is the shortest again.
const STEADY: Duration = Duration::from_secs(5);

impl StoreState {
    fn new(settings: Rc<Store>, target: TargetId) -> StoreState {
        StoreState {
            settings,
            stage: Stage::Pausing,
            dialing: Dialing::new(target, None),
            session: Session::default(),
            in_flight: VecDeque::new(),
            timer: Timer::default(),
            failures: 0,
            up_since: Instant::ZERO,
            is_told: false,
            told: Told::default(),
            since: None,
            why: None,
            duration: Histogram::default(),
            late: 0,
        }
    }

    fn search(&mut self, id: StoreId) -> Search<'_> {
        Search::Own {
            owner: Owner::Store(id),
            dialing: &mut self.dialing,
        }
    }
}

impl Stores {
    /// Returns the timer of a store.
    pub(super) fn timer(&mut self, id: StoreId) -> Option<&mut Timer> {
        self.slab.get_mut(id).map(|store| &mut store.timer)
    }

    /// Leaves one reminder for each timer of this part.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for id in self.slab.keys().collect::<Vec<_>>() {
            if let Some(store) = self.slab.get_mut(id) {
                timers.renew(&mut store.timer, TimerKey::Store(id));
            }
        }
    }

    /// Returns what the upstream part must know to connect to a store.
    pub(super) fn search(&mut self, id: StoreId) -> Option<Search<'_>> {
        self.slab.get_mut(id).map(|store| store.search(id))
    }

    /// Sends what was counted in this turn.
    #[cold]
    pub(super) fn end_turn(&mut self, env: &mut StoreEnv<'_>) {
        for id in self.slab.keys().collect::<Vec<_>>() {
            self.send(id, env);
        }
    }

    /// Acts on the deadline of a store.
    pub(super) fn on_deadline(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        match self.slab.get(id).map(|store| store.stage) {
            Some(Stage::Pausing) => self.connect(id, env),
            Some(Stage::Connecting) => self.lost(id, "no connection within 5 s", env),
            Some(Stage::Greeting | Stage::Up) => self.lost(id, "no answer within 1 s", env),
            None => {}
        }
    }

    /// Closes all connections for good.
    pub(super) fn close_all(&mut self, env: &mut StoreEnv<'_>) {
        for id in self.slab.keys().collect::<Vec<_>>() {
            self.disconnect(id, env);
            if let Some(store) = self.slab.get_mut(id) {
                store.timer.clear();
            }
        }
    }

    /// Ends the connection to a store, tells the operator once of each reason, and makes the next one
    /// later.
    #[cold]
    fn lost(&mut self, id: StoreId, why: &str, env: &mut StoreEnv<'_>) {
        self.disconnect(id, env);
        let Some(store) = self.slab.get_mut(id) else {
            return;
        };
        let ctx = &mut *env.ctx;
        if !store.is_told {
            store.since = Some(ctx.now);
        }
        store.why = Some(why.chars().take(STORE_WHY_CHARS_MAX).collect());
        if ctx.now.since(store.up_since) >= STEADY && store.up_since > Instant::ZERO {
            store.failures = 0;
        }
        store.up_since = Instant::ZERO;
        let doubled = STORE_PAUSE_MIN
            .as_millis()
            .saturating_mul(1_u64.checked_shl(store.failures).unwrap_or(u64::MAX));
        store.failures = store.failures.saturating_add(1);
        let pause = Duration::from_millis(doubled).min(STORE_PAUSE_MAX);
        ctx.arm(&mut store.timer, TimerKey::Store(id), Some(pause));
        let is_news = match core::mem::replace(&mut store.is_told, true) {
            true => store.told.is_news(why, ctx.now),
            false => {
                store.told = Told::first(why);
                true
            }
        };
        if is_news {
            ctx.report(Report::Store {
                store: Rc::clone(&store.settings),
                why: Some(why.into()),
            });
        }
    }

    /// Closes the connection to a store. What waits for it is not sent any more.
    fn disconnect(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        let Some(store) = self.slab.get_mut(id) else {
            return;
        };
        store.stage = Stage::Pausing;
        if let Some(upstream) = store.dialing.upstream.take() {
            env.upstreams.note_address(upstream.id, false);
            env.upstreams.close(upstream.id, env.ctx);
        }
        store.session = Session::default();
        for sent in store.in_flight.drain(..).flatten() {
            store.late = store.late.saturating_add(sent.is_late(env.ctx.now));
            if let Some(table) = env.limiter.table(sent.table) {
                table.settle(sent.window, sent.number, None, env.ctx.now);
            }
            env.limiter.queues.judge(sent.waiter, Verdict::Unknown);
        }
        let is_closed = store.settings.is_closed;
        env.limiter.queues.set_state(id, false, is_closed);
        forget_queued(id, env);
    }
}

/// Drops what a store that is down does not hear of: it was counted here, and that is all.
fn forget_queued(id: StoreId, env: &mut StoreEnv<'_>) {
    while let Some(queued) = env.limiter.queues.take(id) {
        if let Some(table) = env.limiter.table(queued.table)
            && let Some(unsent) = queued.unsent(table)
        {
            table.settle(queued.window, unsent.number, None, env.ctx.now);
        }
        let queues = &mut env.limiter.queues;
        queues.judge(queued.waiter, Verdict::Unknown);
    }
}
