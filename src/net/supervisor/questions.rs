//! Questions to several workers at once, and their answers.

use std::io::{self, Read};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::worker::Worker;
use crate::limits::{ADMIN_ANSWER_BYTES, WORKERS_MAX};
use crate::net::answer::{self, Source};
use crate::time::Instant;

/// Questions at once: one for each client of the admin listener, and the supervisor's own.
const QUESTIONS: usize = 24;

/// Answer of a worker: its status and body.
pub(super) type Said = (u16, String);

/// All questions; `K` is what each is for.
pub(super) struct Questions<K> {
    open: Vec<Option<Question<K>>>,
    first: usize,
}

struct Question<K> {
    kind: K,
    parts: Vec<Part>,
    deadline: Instant,
}

struct Part {
    worker: usize,
    /// `None`: no more comes.
    stream: Option<UnixStream>,
    bytes: Vec<u8>,
}

/// Question that is answered: each worker with its answer, if it gave one.
pub(super) struct Answered<K> {
    pub(super) kind: K,
    pub(super) said: Vec<(usize, Option<Said>)>,
}

impl<K> Questions<K> {
    /// Creates a table without questions. `first`: first token of the connections.
    pub(super) fn new(first: usize) -> Questions<K> {
        let mut open = Vec::new();
        open.resize_with(QUESTIONS, || None);
        Questions { open, first }
    }

    /// Asks each worker that serves. `head`: request line and fields. Returns the question at once
    /// if there is no worker, or no room.
    pub(super) fn ask(
        &mut self,
        kind: K,
        head: &str,
        workers: &[Worker],
        registry: &Registry,
        deadline: Instant,
    ) -> Result<(), Answered<K>> {
        let free = self.open.iter().position(Option::is_none);
        let Some(slot) = free else {
            return Err(Answered {
                kind,
                said: Vec::new(),
            });
        };
        let mut parts = Vec::new();
        for (worker, asked) in workers.iter().enumerate() {
            if !asked.is_ready {
                continue;
            }
            let stream = asked.ask(head).and_then(|mut stream| {
                let place = slot.saturating_mul(WORKERS_MAX).saturating_add(worker);
                let token = Token(self.first.saturating_add(place));
                registry.register(&mut stream, token, Interest::READABLE)?;
                Ok(stream)
            });
            parts.push(Part {
                worker,
                stream: stream.ok(),
                bytes: Vec::new(),
            });
        }
        let question = Question {
            kind,
            parts,
            deadline,
        };
        if question.parts.iter().all(|part| part.stream.is_none()) {
            return Err(question.end());
        }
        if let Some(place) = self.open.get_mut(slot) {
            *place = Some(question);
        }
        Ok(())
    }

    /// Reads what has come on a connection. Returns the question if that was its last answer.
    pub(super) fn handle(&mut self, token: Token) -> Option<Answered<K>> {
        let place = token.0.checked_sub(self.first)?;
        let (slot, worker) = (place / WORKERS_MAX, place % WORKERS_MAX);
        let entry = self.open.get_mut(slot)?;
        let question = entry.as_mut()?;
        let mut parts = question.parts.iter_mut();
        parts.find(|part| part.worker == worker)?.read();
        let is_open = question.parts.iter().any(|part| part.stream.is_some());
        let done = if is_open { None } else { entry.take() };
        done.map(Question::end)
    }

    /// Returns a question whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Answered<K>> {
        let is_over = |entry: &Option<Question<K>>| {
            entry
                .as_ref()
                .is_some_and(|question| question.deadline <= now)
        };
        let entry = self.open.iter_mut().find(|entry| is_over(entry))?;
        entry.take().map(Question::end)
    }

    /// Returns the time at which the first question's time is over.
    pub(super) fn due(&self) -> Option<Instant> {
        let open = self.open.iter().flatten();
        open.map(|question| question.deadline).min()
    }
}

impl<K> Question<K> {
    fn end(self) -> Answered<K> {
        let said = self
            .parts
            .into_iter()
            .map(|part| (part.worker, part.said()));
        Answered {
            said: said.collect(),
            kind: self.kind,
        }
    }
}

impl Part {
    fn read(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut room = [0; 16 << 10];
        while self.bytes.len() <= ADMIN_ANSWER_BYTES {
            match stream.read(&mut room) {
                Ok(0) => break,
                Ok(count) => self
                    .bytes
                    .extend_from_slice(room.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.stream = None;
    }

    /// Returns the whole answer, if it came.
    fn said(mut self) -> Option<Said> {
        if self.stream.is_some() {
            return None;
        }
        let answer = answer::read(
            &mut Whole(core::mem::take(&mut self.bytes)),
            Some(ADMIN_ANSWER_BYTES),
        );
        let answer = answer.ok()?;
        Some((answer.status, String::from_utf8(answer.body).ok()?))
    }
}

/// All bytes of a connection.
struct Whole(Vec<u8>);

impl Source for Whole {
    fn more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.append(&mut self.0);
        Ok(())
    }
}
