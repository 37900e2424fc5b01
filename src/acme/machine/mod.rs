//! Orders, one at a time.
//!
//! ```text
//! (Probe) -> Begin: keys and state saved -> NewOrder -> Order --+
//!   Order: pending -> Authorization -> Respond -> Authorization .. valid -> Order
//!          ready -> Finalize -> Order       valid -> Certificate -> checked, saved -> Install
//! ```
//!
//! Directory, nonce and account are fetched when the next request needs them. Everything that must
//! outlive the process is saved before the request that depends on it, so a process that is killed
//! goes on with its order.

mod answers;
mod ends;
mod requests;
mod start;

use std::collections::VecDeque;

use super::jws::AccountKey;
use super::messages::Directory;
use super::schedule::{self, EARLIEST, ORDERS_MAX, ORDERS_SPAN};
use super::state::{Set, State};
use super::{
    Folder, Identifier, Keys, Level, Plan, Report, Response, Row, STATE_FILE, Step, Stored, Url,
    Wanted,
};
use crate::time::UnixTime;

/// The state machine of all orders.
pub struct Machine {
    plan: Plan,
    state: State,
    account_key: Option<AccountKey>,
    /// Key of the account in the state folder.
    account_file: Option<Vec<u8>>,
    directory: Option<Directory>,
    nonce: Option<String>,
    task: Option<Task>,
    out: VecDeque<Step>,
    awaits: Option<Awaited>,
    inbox: Option<Inbox>,
    is_clock_reported: bool,
    found: Vec<Stored>,
}

/// Result that came.
enum Inbox {
    Response(Result<Response, String>),
    Done(Result<(), String>),
}

/// Result that is awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Directory,
    Nonce,
    Account,
    Phase,
    Probe,
    Save,
}

/// Order or question that is under way.
struct Task {
    wanted: Wanted,
    phase: Phase,
    key: Vec<u8>,
    begun: u64,
    /// Time of the next request.
    at: u64,
    requests: usize,
    polls: u64,
    refused_nonces: u32,
    authorizations: Vec<Url>,
    /// Number of the authorization that is worked on.
    index: usize,
    /// The challenge of that authorization is answered by the gateway.
    is_offered: bool,
    /// The authority was told so.
    is_responded: bool,
    /// The configuration does not ask for it any more.
    is_dropped: bool,
    /// An account or a certificate that the authority does not know was forgotten.
    is_corrected: bool,
}

/// Next request of a task.
enum Phase {
    Begin,
    NewOrder,
    Order,
    Authorization,
    Respond(Url),
    Finalize(Url),
    Certificate(Url),
    /// The certificate is being saved; the set as it was before.
    Install(Box<(Stored, Set)>),
    /// Question when to renew.
    Renewal,
}

impl Machine {
    /// Returns certificates of the state folder for names of the plan, the best first. Empty at the
    /// second call.
    pub fn certificates(&mut self) -> Vec<Stored> {
        core::mem::take(&mut self.found)
    }

    /// Tells the answer to a request, or why there is none.
    pub fn answered(&mut self, answer: Result<Response, String>) {
        self.inbox = Some(Inbox::Response(answer));
    }

    /// Tells the result of a probe.
    pub fn probed(&mut self, result: Result<(), String>) {
        self.inbox = Some(Inbox::Done(result));
    }

    /// Tells the result of saving.
    pub fn saved(&mut self, result: Result<(), String>) {
        self.inbox = Some(Inbox::Done(result));
    }

    /// Returns the next step.
    pub fn next(&mut self, now: UnixTime, keys: &mut dyn Keys) -> Step {
        let now = now.as_secs();
        // A step leads to at most a few others; the bound is against a fault here.
        for _ in 0..100 {
            if let Some(step) = self.out.pop_front() {
                return step;
            }
            if let Some(awaited) = self.awaits {
                let Some(inbox) = self.inbox.take() else {
                    return wait(now.saturating_add(60));
                };
                self.awaits = None;
                match &self.task {
                    Some(task) if task.is_dropped => self.drop_task(),
                    _ => self.take(awaited, inbox, now, keys),
                }
                continue;
            }
            if now < EARLIEST {
                return self.wait_for_clock(now);
            }
            let at = match &self.task {
                Some(task) => task.at,
                None => self.begin_due(now),
            };
            if at > now {
                return wait(at);
            }
            self.advance(now, keys);
        }
        wait(now.saturating_add(1))
    }

    /// Returns the state of each certificate of the plan.
    pub fn rows(&self, now: UnixTime) -> Vec<Row> {
        let sets = self.plan.certificates.iter().filter_map(|wanted| {
            let mut sets = self.state.sets.iter();
            sets.find(|set| set.names == wanted.names)
        });
        sets.map(|set| {
            let task = self.task.as_ref();
            let task = task.filter(|task| task.wanted.names == set.names);
            row(set, task, now.as_secs())
        })
        .collect()
    }

    fn wait_for_clock(&mut self, now: u64) -> Step {
        if core::mem::replace(&mut self.is_clock_reported, true) {
            return wait(now.saturating_add(60));
        }
        let text = format!(
            "certificates: the clock of this machine is at {now} s after 1970, before 2025; nothing is ordered until it is set"
        );
        report(Level::Warn, text)
    }

    /// Begins a task that is due; otherwise returns the time of the first.
    fn begin_due(&mut self, now: u64) -> u64 {
        let mut first = now.saturating_add(schedule::DAY);
        let mut begun = None;
        let span_end = self.state.span.saturating_add(ORDERS_SPAN);
        let is_full = span_end > now && self.state.orders >= ORDERS_MAX;
        for wanted in &self.plan.certificates {
            let Some(set) = self.state.sets.iter().find(|set| set.names == wanted.names) else {
                continue;
            };
            let mut at = due(set, now);
            if is_full && set.order.is_none() {
                at = at.max(span_end);
            }
            let mut phase = match &set.order {
                Some(_) => Phase::Order,
                None => Phase::Begin,
            };
            // An order that is due has precedence over the question when it will be.
            if set.life.is_some() && set.certificate.is_some() && set.ask < at && at > now {
                (at, phase) = (set.ask, Phase::Renewal);
            }
            if at <= now && begun.is_none() {
                let key = set.order.as_ref().map(|order| order.key.clone());
                begun = Some(Task::new(
                    wanted.clone(),
                    phase,
                    key.unwrap_or_default(),
                    now,
                ));
            }
            first = first.min(at);
        }
        self.task = begun;
        self.directory = None;
        if self.task.is_some() {
            self.probe_first();
            return now;
        }
        first.max(now.saturating_add(1))
    }

    /// Asks the gateway itself before the first order of a set.
    fn probe_first(&mut self) {
        let Some(task) = &self.task else { return };
        let wanted = task.wanted.clone();
        let is_new = matches!(task.phase, Phase::Begin) && matches!(wanted.port, 80 | 443);
        let set = self.set();
        if is_new && set.is_some_and(|set| set.life.is_none() && !set.probed) {
            self.awaits = Some(Awaited::Probe);
            self.out.push_back(Step::Probe(wanted.names, wanted.kind));
        }
    }

    /// Returns the set of the task.
    fn set(&self) -> Option<&Set> {
        let names = &self.task.as_ref()?.wanted.names;
        self.state.sets.iter().find(|set| set.names == *names)
    }

    fn set_mut(&mut self) -> Option<&mut Set> {
        let names = &self.task.as_ref()?.wanted.names;
        self.state.sets.iter_mut().find(|set| set.names == *names)
    }

    /// Saves the state, and these files before it or (when they go) behind it.
    fn save(&mut self, files: Vec<super::File>) {
        let (mut before, behind): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.bytes.is_some());
        before.push(super::File {
            name: STATE_FILE.to_owned(),
            bytes: Some(self.state.write()),
        });
        before.extend(behind);
        self.awaits = Some(Awaited::Save);
        self.out.push_back(Step::Save(before));
    }
}

impl Task {
    fn new(wanted: Wanted, phase: Phase, key: Vec<u8>, now: u64) -> Task {
        Task {
            wanted,
            phase,
            key,
            begun: now,
            at: now,
            requests: 0,
            polls: 0,
            refused_nonces: 0,
            authorizations: Vec::new(),
            index: 0,
            is_offered: false,
            is_responded: false,
            is_dropped: false,
            is_corrected: false,
        }
    }
}

/// Returns the state of each certificate of a plan, from the folder alone.
pub fn rows(plan: &Plan, folder: &dyn Folder, now: UnixTime) -> Vec<Row> {
    let (state, _) = start::begin(plan, folder, now);
    let sets = plan
        .certificates
        .iter()
        .filter_map(|wanted| state.sets.iter().find(|set| set.names == wanted.names));
    sets.map(|set| row(set, None, now.as_secs())).collect()
}

/// Returns the time of the next order of a set.
fn due(set: &Set, now: u64) -> u64 {
    match &set.order {
        Some(_) => set.retry,
        None => set.next().max(schedule::issue_from(&set.issued, now)),
    }
}

fn row(set: &Set, task: Option<&Task>, now: u64) -> Row {
    let step = match (task.map(|task| &task.phase), set.life) {
        (Some(Phase::Begin | Phase::NewOrder | Phase::Order), _) => "an order runs",
        (Some(Phase::Authorization | Phase::Respond(_)), _) => {
            "an order runs: the authority asks for proof"
        }
        (Some(Phase::Finalize(_) | Phase::Certificate(_) | Phase::Install(_)), _) => {
            "an order runs: the certificate is being issued"
        }
        (_, None) if set.failures > 0 => "waits after a failure",
        (_, None) => "awaits its first order",
        (_, Some((_, end))) if end <= now => "has expired",
        (_, Some(_)) => "valid",
    };
    let seconds = |seconds: u64| UnixTime::from_millis(seconds.saturating_mul(1000));
    Row {
        names: set.names.clone(),
        file: format!("{}.pem", set.file()),
        not_after: set.life.map(|(_, end)| seconds(end)),
        next: Some(seconds(due(set, now))).filter(|next| next.as_secs() > 0),
        step,
        problem: set.problem.clone(),
    }
}

fn wait(until: u64) -> Step {
    Step::Wait(UnixTime::from_millis(until.saturating_mul(1000)))
}

fn report(level: Level, text: String) -> Step {
    Step::Report(Report { level, text })
}

#[cfg(test)]
mod tests;
