//! Connection to a store: how it is made, and the conversation on it.

use std::rc::Rc;

use super::super::command::{Fault, Report};
use super::super::context::TimerKey;
use super::super::ids::{StoreId, UpstreamId};
use super::super::outbox::Outbox;
use super::super::rate_queue::Verdict;
use super::super::reason::Reason;
use super::super::upstream::{Dialed, Dialing};
use super::{Sent, Stage, StoreEnv, StoreState, Stores};
use crate::limits::{
    STORE_ANSWER_TIMEOUT, STORE_CONNECT_TIMEOUT, STORE_COUNT_BYTES_MAX, STORE_COUNTS_MAX,
    STORE_PIPELINE_BYTES,
};
use crate::policy::rate::Unsent;
use crate::policy::store::session::{Answer, Count, Session};
use crate::time::Instant;

impl Stores {
    /// Connects to a store.
    pub(super) fn connect(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        let Some(store) = self.slab.get_mut(id) else {
            return;
        };
        store.stage = Stage::Connecting;
        store.dialing = Dialing::new(store.dialing.target, None);
        let key = TimerKey::Store(id);
        let span = Some(STORE_CONNECT_TIMEOUT);
        env.ctx.arm(&mut store.timer, key, span);
        let outbox = Outbox::default();
        let mut search = store.search(id);
        let dialed = env
            .upstreams
            .connect_subrequest(&mut search, false, outbox, env.ctx);
        self.dialed(id, dialed, env);
    }

    fn dialed(&mut self, id: StoreId, dialed: Dialed, env: &mut StoreEnv<'_>) {
        match dialed {
            Dialed::Pending => {}
            Dialed::Reused | Dialed::NoAddress | Dialed::Full => {
                self.lost(id, "its name has no address", env);
            }
        }
    }

    /// Goes on once the name of a store is known, or known to have no address.
    pub(in crate::proxy) fn on_name_resolved(
        &mut self,
        id: StoreId,
        up: UpstreamId,
        env: &mut StoreEnv<'_>,
    ) {
        if let Some(store) = self.slab.get_mut(id) {
            let mut search = store.search(id);
            let dialed = env.upstreams.name_resolved(up, &mut search, env.ctx);
            self.dialed(id, dialed, env);
        }
    }

    /// Acts on a fault of the connection. The next address is tried where none is connected.
    pub(in crate::proxy) fn on_fault(
        &mut self,
        id: StoreId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        env: &mut StoreEnv<'_>,
    ) {
        let Some(store) = self.slab.get_mut(id) else {
            return;
        };
        if store.stage == Stage::Connecting {
            let mut search = store.search(id);
            if let Some(dialed) = env.upstreams.redial(up, &mut search, fault, env.ctx) {
                return self.dialed(id, dialed, env);
            }
        }
        let why = reason.as_ref().map(Reason::as_str);
        self.lost(id, why.unwrap_or(fault.outcome().as_str()), env);
    }

    /// Begins the conversation.
    pub(in crate::proxy) fn on_connected(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        let Some(store) = self.slab.get_mut(id) else {
            return;
        };
        store.stage = Stage::Greeting;
        let mut commands = Vec::new();
        store.session = Session::begin(&store.settings.account, &mut commands);
        store.session.probe(&store.settings.prefix, &mut commands);
        store.in_flight.push_back(None);
        store.await_answer(id, env);
        store.write(&commands, env);
    }

    /// Sends the windows that are queued, as many as may be in flight. A store that is down hears of
    /// none. The first connection has them wait.
    pub(super) fn send(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        let Some(store) = self.slab.get_mut(id) else {
            return;
        };
        match store.stage {
            Stage::Up => {}
            // What is counted before the first connection is made goes out on it.
            Stage::Connecting | Stage::Greeting if store.failures == 0 => return,
            _ => return super::forget_queued(id, env),
        }
        let mut room = STORE_PIPELINE_BYTES.saturating_sub(store.waiting(env));
        let (mut commands, mut key) = (Vec::new(), Vec::new());
        while store.in_flight.len() < STORE_COUNTS_MAX && room >= STORE_COUNT_BYTES_MAX {
            let Some(queued) = env.limiter.queues.take(id) else {
                break;
            };
            key.clear();
            let table = env.limiter.table(queued.table);
            let unsent = table.and_then(|table| {
                let Unsent { client, number } = queued.unsent(table)?;
                table.write_key(&store.settings.prefix, client, &mut key);
                Some((table.window(), number))
            });
            let Some((window, number)) = unsent else {
                let queues = &mut env.limiter.queues;
                queues.judge(queued.waiter, Verdict::Unknown);
                continue;
            };
            let before = commands.len();
            let count = Count {
                tag: 0,
                key: &key,
                window,
                number: number.into(),
            };
            store.session.count(count, &mut commands);
            room = room.saturating_sub(commands.len().saturating_sub(before));
            store.in_flight.push_back(Some(Sent {
                table: queued.table,
                window: queued.window,
                number,
                at: env.ctx.now,
                waiter: queued.waiter,
            }));
        }
        if !commands.is_empty() {
            if store.timer.deadline().is_none() {
                store.await_answer(id, env);
            }
            store.write(&commands, env);
        }
    }

    /// Reads answers.
    pub(in crate::proxy) fn on_bytes(
        &mut self,
        id: StoreId,
        up: UpstreamId,
        env: &mut StoreEnv<'_>,
    ) {
        let (Some(store), Some(upstream)) = (self.slab.get_mut(id), env.upstreams.get_mut(up))
        else {
            return;
        };
        let mut answers = Vec::new();
        let read = store.session.receive(upstream.inbox.filled(), &mut answers);
        upstream
            .inbox
            .consume(read.as_ref().map_or(0, |read| *read));
        env.ctx.buffers.release_if_empty(&mut upstream.inbox);
        let mut repairs = Vec::new();
        for answer in answers {
            if let Err(text) = store.on_answer(id, answer, &mut repairs, env) {
                let why = format!("it refuses a count: {text}");
                return self.lost(id, &why, env);
            }
        }
        if let Err(fault) = read {
            let why = fault.to_string();
            return self.lost(id, &why, env);
        }
        match store.session.awaited() {
            0 => store.timer.clear(),
            _ => store.await_answer(id, env),
        }
        store.write(&repairs, env);
        self.send(id, env);
    }
}

impl StoreState {
    /// Acts on the answer to the first count in flight. Appends the command that gives a key without
    /// an end one.
    ///
    /// # Errors
    /// The store did not take the count. The text is its own.
    fn on_answer(
        &mut self,
        id: StoreId,
        answer: Answer,
        repairs: &mut Vec<u8>,
        env: &mut StoreEnv<'_>,
    ) -> Result<(), Box<str>> {
        let now = env.ctx.now;
        let Some(sent) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let table = sent.as_ref().and_then(|sent| env.limiter.table(sent.table));
        let total = match answer.result {
            Ok(total) => total,
            Err(text) => {
                if let (Some(sent), Some(table)) = (&sent, table) {
                    table.settle(sent.window, sent.number, None, now);
                }
                let waiter = sent.and_then(|sent| sent.waiter);
                env.limiter.queues.judge(waiter, Verdict::Unknown);
                return Err(text);
            }
        };
        let Some(sent) = sent else {
            self.begin_counting(id, env);
            return Ok(());
        };
        self.duration.add(now.since(sent.at).as_millis());
        self.late = self.late.saturating_add(sent.is_late(now));
        let mut verdict = None;
        if let Some(table) = table {
            let window = table.window();
            let client = table.settle(
                sent.window,
                sent.number,
                Some((total.count, total.left)),
                now,
            );
            verdict = table.judge_place(sent.window, total.count, now);
            let mut key = Vec::new();
            if let (None, Some(client)) = (total.left, client) {
                table.write_key(&self.settings.prefix, client, &mut key);
            }
            let room = STORE_PIPELINE_BYTES.saturating_sub(self.waiting(env));
            // Without room the next count repairs the key.
            let has_room = repairs.len().saturating_add(STORE_COUNT_BYTES_MAX) <= room;
            if has_room && !key.is_empty() {
                self.session.expire(&key, window, repairs);
            }
        }
        let verdict = match verdict {
            None => Verdict::Unknown,
            Some(Ok(quota)) => Verdict::Passed(quota),
            Some(Err(full)) => Verdict::Full(full),
        };
        env.limiter.queues.judge(sent.waiter, verdict);
        Ok(())
    }

    /// Begins to count in the store.
    #[cold]
    fn begin_counting(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        self.stage = Stage::Up;
        self.up_since = env.ctx.now.max(Instant::from_millis(1));
        self.since = Some(env.ctx.now);
        let is_closed = self.settings.is_closed;
        env.limiter.queues.set_state(id, true, is_closed);
        if core::mem::take(&mut self.is_told) {
            env.ctx.report(Report::Store {
                store: Rc::clone(&self.settings),
                why: None,
            });
        }
    }

    /// Sets the time for the next answer.
    fn await_answer(&mut self, id: StoreId, env: &mut StoreEnv<'_>) {
        let key = TimerKey::Store(id);
        env.ctx
            .arm(&mut self.timer, key, Some(STORE_ANSWER_TIMEOUT));
    }

    /// Returns the bytes that wait for the socket.
    fn waiting(&self, env: &StoreEnv<'_>) -> usize {
        let upstream = self
            .dialing
            .upstream
            .and_then(|up| env.upstreams.get(up.id));
        upstream.map_or(0, |upstream| {
            let (head, body) = upstream.outbox.pending();
            head.len().saturating_add(body.len())
        })
    }

    /// Writes commands behind those that wait.
    fn write(&mut self, commands: &[u8], env: &mut StoreEnv<'_>) {
        let Some(up) = self.dialing.upstream.filter(|_| !commands.is_empty()) else {
            return;
        };
        if let Some(upstream) = env.upstreams.get_mut(up.id) {
            let buffers = &mut env.ctx.buffers;
            let head = upstream.outbox.head_room(commands.len(), buffers);
            let is_written = head.push(commands);
            debug_assert!(is_written, "the commands have a bound");
            env.upstreams.mark_ready(up.id, env.ctx);
        }
    }
}
