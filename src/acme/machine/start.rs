//! Begin of the machine, and changes of its plan.

use super::super::state::{SETS_MAX, Set, State, file_of};
use super::super::{ACCOUNT_FILE, Folder, Plan, STATE_FILE, Stored, pem_file, schedule};
use super::{Machine, Phase, Step};
use crate::time::UnixTime;
use std::collections::VecDeque;

impl Machine {
    /// Begins with what the state folder has.
    pub fn new(plan: Plan, folder: &dyn Folder, now: UnixTime) -> Machine {
        let mut found = Vec::new();
        let (mut state, chains) = begin(&plan, folder, now);
        for (set, chain) in state.sets.iter_mut().zip(chains) {
            let key = folder.read(&format!("{}.next.pem", set.file()));
            note_order(set, key.as_deref().and_then(pem_file::key));
            let is_wanted = plan.certificates.iter().any(|one| one.names == set.names);
            if let (Some(pem), Some(_)) = (chain, set.life) {
                let names = set.names.clone();
                found.push((is_wanted, Stored { names, pem }));
            }
        }
        let (wanted, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(wanted, _)| *wanted);
        Machine {
            account_file: folder
                .read(ACCOUNT_FILE)
                .and_then(|file| pem_file::key(&file)),
            found: wanted
                .into_iter()
                .chain(others)
                .map(|(_, one)| one)
                .collect(),
            plan,
            state,
            account_key: None,
            directory: None,
            nonce: None,
            task: None,
            out: VecDeque::new(),
            awaits: None,
            inbox: None,
            is_clock_reported: false,
        }
    }

    /// Takes the plan of a new configuration.
    pub fn replan(&mut self, plan: Plan, now: UnixTime) {
        if plan == self.plan {
            return;
        }
        let is_another = plan.directory != self.plan.directory;
        self.plan = plan;
        self.state.fit(&self.plan, now.as_secs());
        let is_wanted = self.task.as_ref().is_some_and(|task| {
            let mut certificates = self.plan.certificates.iter();
            certificates.any(|one| *one == task.wanted)
        });
        let is_saved = matches!(
            self.task.as_ref().map(|task| &task.phase),
            Some(Phase::Install(_))
        );
        if (is_another || !is_wanted) && !is_saved && self.task.is_some() {
            if let Some(task) = &mut self.task {
                task.is_dropped = true;
            }
            if self.awaits.is_none() {
                self.drop_task();
            }
        }
    }

    /// Gives up a task that the configuration does not ask for any more.
    pub(super) fn drop_task(&mut self) {
        self.task = None;
        self.nonce = None;
        self.directory = None;
        self.out.push_back(Step::Withdraw);
    }
}

/// Returns what the folder has of the sets of a plan, and of sets before it: the state and, beside each set, its
/// chain. A certificate whose state is lost is found by its file.
pub(super) fn begin(
    plan: &Plan,
    folder: &dyn Folder,
    now: UnixTime,
) -> (State, Vec<Option<Vec<u8>>>) {
    let mut state = folder
        .read(STATE_FILE)
        .map_or_else(State::default, |file| State::read(&file));
    adopt(&mut state, folder);
    state.fit(plan, now.as_secs());
    let chains = state.sets.iter_mut().map(|set| {
        let file = set.file();
        let chain = folder.read(&format!("{file}.pem"));
        note_file(set, chain.as_deref());
        chain
    });
    let chains = chains.collect();
    (state, chains)
}

/// Adds a set for each certificate of the folder that the state does not know.
fn adopt(state: &mut State, folder: &dyn Folder) {
    let known = state.sets.iter().map(Set::file).collect::<Vec<_>>();
    for name in folder.names() {
        let Some(file) = name.strip_suffix(".pem") else {
            continue;
        };
        if state.sets.len() >= SETS_MAX || known.iter().any(|known| known == file) {
            continue;
        }
        let chain = folder.read(&name).unwrap_or_default();
        let mut set = Set {
            names: pem_file::names(&chain),
            ..Set::default()
        };
        // Files of keys, and those that others have put there, have other names.
        if !set.names.is_empty() && set.file() == file {
            note_file(&mut set, Some(&chain));
            state.sets.push(set);
        }
    }
}

/// Takes the certificate of a set as its file has it: the file is written before the state.
#[inline(never)]
fn note_file(set: &mut Set, chain: Option<&[u8]>) {
    let life = chain.and_then(pem_file::life);
    if life != set.life {
        set.life = life;
        set.certificate = None;
        set.window = None;
        set.renew = life.map_or(0, |(begin, end)| schedule::renewal(begin, end, 0));
    }
}

/// Takes the key of an open order. An order of which the authority's answer is not known counts as
/// a failure: a process that always ends there must not order each time.
fn note_order(set: &mut Set, key: Option<Vec<u8>>) {
    let Some(order) = &mut set.order else { return };
    match (key, &order.url) {
        (Some(key), Some(_)) => order.key = key,
        _ => {
            set.failures = set.failures.saturating_add(1);
            let retry = schedule::next_attempt(order.begun, set.failures, None);
            set.retry = set.retry.max(retry);
            set.order = None;
        }
    }
}

impl Set {
    /// Returns the names of the files of a certificate and of the key of an order.
    pub(super) fn files(&self) -> [String; 2] {
        let file = file_of(&self.names);
        [format!("{file}.pem"), format!("{file}.next.pem")]
    }
}
