//! Clients of the admin listener: who answers them, and questions to the workers.

use super::questions::Answered;
use super::{Kind, Supervisor};
use crate::limits::{ADMIN_RELOAD_TIMEOUT, WORKER_ANSWER};
use crate::net::admin::{AdminCommand, Part, Response, Wish, answer};
use crate::time::Instant;

impl Supervisor {
    /// Does what a client asks for.
    pub(super) fn fulfil(&mut self, slot: usize, wish: Wish, now: Instant) {
        let stops = self.shutdown.is_stopping();
        match wish {
            Wish::Say(response) => self.front.respond(slot, &response, now),
            Wish::Ask(_, Part::Ready) if stops => {
                let response = Response::text(503, "the gateway is stopping\n");
                self.front.respond(slot, &response, now);
            }
            Wish::Ask(head, part) => self.ask(Kind::Client(slot, part), &head, now),
            Wish::Do(AdminCommand::Stop) => {
                let response = Response::json(200, &[("state", "stopping")]);
                self.front.respond(slot, &response, now);
                self.stop("POST /stop", now);
            }
            Wish::Do(_) if stops => {
                let response = Response::error(409, "the gateway is stopping");
                self.front.respond(slot, &response, now);
            }
            Wish::Do(AdminCommand::Upgrade) => self.begin_upgrade(Some(slot), now),
            Wish::Do(_) if self.reloading.is_some() => {
                let message = "a reload is running; try again when it is done";
                self.front
                    .respond(slot, &Response::error(409, message), now);
            }
            Wish::Do(_) => self.begin_reload(Some(slot), now),
        }
    }

    /// Asks all workers that serve.
    pub(super) fn ask(&mut self, kind: Kind, head: &str, now: Instant) {
        let time = match kind {
            Kind::Reload(_) => ADMIN_RELOAD_TIMEOUT,
            _ => WORKER_ANSWER,
        };
        let at = now.after(time);
        let registry = self.poll.registry();
        let asked = self.questions.ask(kind, head, &self.workers, registry, at);
        if let Err(answered) = asked {
            self.answered(answered, now);
        }
    }

    /// Goes on after a question that is answered.
    pub(super) fn answered(&mut self, answered: Answered<Kind>, now: Instant) {
        let Answered { kind, said } = answered;
        match kind {
            Kind::Client(slot, part) => {
                if let Part::Log(level, time) = part {
                    self.level.change("POST /log", level, time, now);
                }
                let response = self.joined(part, said);
                self.front.respond(slot, &response, now);
            }
            Kind::Reload(candidate) => self.workers_have_read(*candidate, said, now),
            Kind::Pulse => {
                let is_good = |(_, said): &(usize, Option<(u16, String)>)| said.is_some();
                if said.len() == self.workers.len() && said.iter().all(is_good) {
                    self.pulse.1 = now;
                }
            }
            Kind::Order => {}
        }
    }

    /// Answers clients that wait for a command.
    pub(super) fn respond_all(
        &mut self,
        slots: Vec<usize>,
        command: AdminCommand,
        result: &Result<String, String>,
        now: Instant,
    ) {
        for slot in slots {
            self.front.respond(slot, &answer(command, result), now);
        }
    }
}
