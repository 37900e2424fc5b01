//! Ends of a task: a certificate, or a failure and its pause.

use super::super::messages::shown;
use super::super::schedule::{self, UNCOUNTED_LIFE};
use super::super::{File, Keys, Level, Response, Step, Stored, pem_file};
use super::{Machine, Phase, report};
use crate::acme::identifier::listed;

/// Seconds for which an order is kept that could not go on.
const KEPT: u64 = schedule::DAY;

/// Seconds until the next question when to renew, behind one that failed.
const ASK_AGAIN: u64 = 6 * 3600;

impl Machine {
    /// Checks a chain, and saves it with its key.
    pub(super) fn on_certificate(
        &mut self,
        response: &Response,
        now: u64,
        keys: &mut dyn Keys,
    ) -> Result<(), String> {
        let Some(task) = &self.task else {
            return Ok(());
        };
        let names = task.wanted.names.clone();
        let point = keys
            .public(&task.key)
            .ok_or("the key of the order is lost")?;
        let checked = pem_file::check(&response.body, &point, &names, now)?;
        let mut pem = pem_file::of_key(&task.key);
        pem.extend_from_slice(&checked.pem);
        let leaf = &checked.leaf;
        let life = (leaf.not_before.as_secs(), leaf.not_after.as_secs());
        let (random, id) = (keys.random(), pem_file::renewal_id(leaf));
        let Some(set) = self.set_mut() else {
            return Ok(());
        };
        let before = set.clone();
        let begun = set.order.take().map_or(now, |order| order.begun);
        // A process that was killed behind its request did not count it.
        if set.issued.last().is_none_or(|last| *last < begun) {
            set.issued.push(now);
        }
        if life.1.saturating_sub(life.0) < UNCOUNTED_LIFE {
            set.issued.pop();
        }
        set.life = Some(life);
        set.renew = schedule::renewal(life.0.max(now.min(life.1)), life.1, random);
        (set.failures, set.retry, set.ask) = (0, 0, now);
        (set.problem, set.window, set.certificate) = (None, None, id);
        let [file, next] = set.files();
        let files = vec![
            File {
                name: file,
                bytes: Some(pem.clone()),
            },
            File {
                name: next,
                bytes: None,
            },
        ];
        if let Some(task) = &mut self.task {
            task.phase = Phase::Install(Box::new((Stored { names, pem }, before)));
        }
        self.save(files);
        Ok(())
    }

    /// Has the saved certificate served.
    pub(super) fn installed(&mut self) {
        let Some(task) = self.task.take() else { return };
        let Phase::Install(saved) = task.phase else {
            return;
        };
        let (stored, _) = *saved;
        let text = format!(
            "certificate for {}: issued, and served from now on",
            listed(&stored.names)
        );
        self.out.push_back(Step::Install(stored));
        self.out.push_back(report(Level::Info, text));
    }

    /// Notes that the state folder takes no files: a new order would have the same end.
    pub(super) fn not_saved(&mut self, text: &str, now: u64) {
        let text = format!("the state folder takes no files: {}", shown(text));
        let Some(task) = &mut self.task else {
            self.out
                .push_back(report(Level::Warn, format!("certificates: {text}")));
            return;
        };
        let phase = core::mem::replace(&mut task.phase, Phase::Order);
        if let (Phase::Install(saved), Some(set)) = (phase, self.set_mut()) {
            *set = saved.1;
        }
        self.end(&text, None, true, now);
    }

    /// Ends the task with a failure, and saves that. `may_keep`: the order may go on later.
    pub(super) fn fail(&mut self, text: String, asked: Option<u64>, may_keep: bool, now: u64) {
        if let Some(Phase::Renewal) = self.task.as_ref().map(|task| &task.phase) {
            // The usual time of the renewal stands.
            if let Some(set) = self.set_mut() {
                let pause = asked.unwrap_or(0).clamp(ASK_AGAIN, schedule::DAY);
                set.ask = now.saturating_add(pause);
            }
            self.task = None;
            return;
        }
        let removed = self.end(&text, asked, may_keep, now);
        self.save(removed);
    }

    /// Ends the task with a failure. Returns the files that go.
    fn end(&mut self, text: &str, asked: Option<u64>, may_keep: bool, now: u64) -> Vec<File> {
        let mut removed = Vec::new();
        let Some(set) = self.set_mut() else {
            self.task = None;
            return removed;
        };
        set.failures = set.failures.saturating_add(1);
        set.retry = schedule::next_attempt(now, set.failures, asked);
        set.problem = Some(shown(text));
        let is_open = set
            .order
            .as_ref()
            .is_some_and(|order| order.url.is_some() && order.begun.saturating_add(KEPT) > now);
        if !(may_keep && is_open) && set.order.take().is_some() {
            let [_, name] = set.files();
            removed.push(File { name, bytes: None });
        }
        let (failed, names) = (set.clone(), listed(&set.names));
        for other in &mut self.state.sets {
            if other.shares(&failed) {
                other.failures = other.failures.max(failed.failures);
                other.retry = other.retry.max(failed.retry);
            }
        }
        if self.task.take().is_some_and(|task| task.is_offered) {
            self.out.push_back(Step::Withdraw);
        }
        let minutes = failed.retry.saturating_sub(now) / 60;
        let served = match failed.life {
            Some((_, end)) if end > now => "; the certificate of before stays",
            _ => "",
        };
        self.out.push_back(report(
            Level::Warn,
            format!("certificate for {names}: {text}; next attempt in {minutes} min{served}"),
        ));
        removed
    }
}
