//! Requests that wait for a provider. The head stays where it is, in the client's inbox, and nothing more is read; when the answer
//! comes the head is taken from the start again, with the answer known.

use super::super::Proxy;
use super::super::command::DownstreamId;
use super::super::downstream::Phase;
use super::super::draft::Draft;
use super::decide::Trail;
use super::{Outcome, QuestionId};
use crate::observe::access::End;
use crate::time::Instant;

/// What is known of a request that waits.
#[derive(Default)]
pub(in super::super) struct Held {
    /// What the log will say of it.
    pub(in super::super) draft: Box<Draft>,
    /// What it waits for, and for which provider of its service.
    question: Option<(QuestionId, usize)>,
    trail: Trail,
}

impl Held {
    /// What was said of it so far.
    pub(in super::super) fn trail(&mut self) -> &mut Trail {
        &mut self.trail
    }
}

impl Proxy {
    /// Lets a request wait for the answer to a question.
    pub(in super::super) fn hold(
        &mut self,
        id: DownstreamId,
        mut held: Box<Held>,
        (question, position): (QuestionId, usize),
        service: usize,
        now: Instant,
    ) {
        held.question = Some((question, position));
        let patience = self.patience(service);
        if let Some(down) = self.downs.get_mut(id) {
            down.phase = Phase::Held(held);
            self.arm_down(id, Some(patience), now);
        }
    }

    /// The answer has come.
    pub(super) fn resume(
        &mut self,
        id: DownstreamId,
        question: QuestionId,
        outcome: Outcome,
        now: Instant,
    ) {
        let Some(mut held) = self.take_held(id, Some(question)) else {
            return;
        };
        let position = held.question.take().map_or(0, |(_, position)| position);
        held.trail.answer = Some((position, outcome));
        self.read_head_again(id, held, now);
        self.attend_down(id);
    }

    /// The waiting request of a connection, which starts to read a head again. `question`: only if it waits for this one.
    fn take_held(&mut self, id: DownstreamId, question: Option<QuestionId>) -> Option<Box<Held>> {
        let down = self.downs.get_mut(id)?;
        let waits = match &down.phase {
            Phase::Held(held) => {
                question.is_none() || held.question.map(|(asked, _)| asked) == question
            }
            _ => false,
        };
        if !waits {
            return None;
        }
        match core::mem::replace(
            &mut down.phase,
            Phase::ReadHead {
                scan: Default::default(),
                begun: true,
            },
        ) {
            Phase::Held(held) => Some(held),
            _ => None,
        }
    }

    /// A waiting request ends here: its line is written, and its question forgotten.
    pub(in super::super) fn end_held(&mut self, id: DownstreamId, end: End, now: Instant) {
        let Some(held) = self.take_held(id, None) else {
            return;
        };
        if let Some((question, _)) = held.question {
            self.leave_question(id, question);
        }
        if let Some(down) = self.downs.get_mut(id) {
            down.phase = Phase::Closed;
        }
        self.record(&held.draft, end, now);
        self.rest(held.draft);
    }

    /// Nobody answered in time (503).
    pub(in super::super) fn held_due(&mut self, id: DownstreamId, now: Instant) {
        let Some(mut held) = self.take_held(id, None) else {
            return;
        };
        if let Some((question, position)) = held.question.take() {
            self.leave_question(id, question);
            held.trail.answer = Some((position, Outcome::Down(End::UpstreamTimeout)));
        }
        self.read_head_again(id, held, now);
        self.attend_down(id);
    }
}
