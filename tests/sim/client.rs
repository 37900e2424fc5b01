//! Clients: some behave, some are slow, some leave in the middle.

use std::collections::VecDeque;

use tollgate::properties::reference::{self, Response, Stop};
use tollgate::time::{Duration, Instant};

use super::client_stream::ClientStream;
use super::oracle::Oracle;
use super::plan::{Answer, Plan, pattern};
use super::rng::Rng;

/// How a client leaves before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    Fin,
    Reset,
    /// It stays, and neither speaks nor reads any more.
    Stall,
}

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientBehavior {
    /// Sends the next request without waiting for an answer.
    pub pipelines: bool,
    /// The most it says, and reads, at a time.
    pub pace: usize,
    /// Leaves like this when it has said so many bytes.
    pub leaves: Option<(usize, Leaving)>,
    /// Ends with bytes that are no request.
    pub garbage: bool,
    /// Milliseconds between an answer and the next request.
    pub pause: u64,
}

pub struct Client {
    pub voice: ClientStream,
    manners: ClientBehavior,
    plans: VecDeque<Plan>,
    /// Sent, at least in part, and not answered.
    waiting: VecDeque<Plan>,
    saying: VecDeque<u8>,
    said: usize,
    heard: Vec<u8>,
    /// Final responses so far.
    served: usize,
    /// When it sends its next request.
    pub wakes: Option<Instant>,
    /// The last response may have been said before the gateway knew the method, and so whether it may have a body.
    unread: bool,
    /// The last response said that it is the last.
    closing: bool,
    tunnel: Option<Plan>,
    finished: bool,
    gone: bool,
    /// Steps since it reset its connection.
    pub broken_for: Option<u32>,
}

impl Client {
    pub fn new(voice: ClientStream, plans: VecDeque<Plan>, manners: ClientBehavior) -> Client {
        Client {
            voice,
            manners,
            plans,
            waiting: VecDeque::new(),
            saying: VecDeque::new(),
            said: 0,
            heard: Vec::new(),
            served: 0,
            wakes: None,
            unread: false,
            closing: false,
            tunnel: None,
            finished: false,
            gone: false,
            broken_for: None,
        }
    }

    /// It has nothing more to do.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn is_stalled(&self) -> bool {
        self.voice.end.is_stalled()
            || self
                .manners
                .leaves
                .is_some_and(|(at, how)| how == Leaving::Stall && self.said >= at)
    }

    pub fn act(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        if self.gone || self.is_stalled() {
            return;
        }
        self.speak(ledger, chance);
        let bytes = self.voice.hear(chance.size(self.manners.pace));
        self.heard.extend_from_slice(&bytes);
        if let Some(plan) = self.waiting.front().filter(|_| !bytes.is_empty()) {
            ledger.touch(plan.id);
        }
        self.read(ledger);
        if let Some((at, how)) = self.manners.leaves
            && self.said >= at
            && !self.gone
        {
            match how {
                Leaving::Reset => self.break_off(chance),
                Leaving::Fin => self.finish(),
                Leaving::Stall => {}
            }
        }
        self.leave_if_done(ledger, chance);
    }

    /// Resets its connection, in the middle of whatever it is.
    pub fn break_off(&mut self, chance: &mut Rng) {
        if !std::mem::replace(&mut self.gone, true) {
            self.voice.end.reset(chance.hits(500));
            self.broken_for = Some(0);
        }
    }

    /// The requests that it waits for, and its tunnel.
    pub fn asked(&self) -> impl Iterator<Item = u64> + '_ {
        self.waiting.iter().chain(&self.tunnel).map(|plan| plan.id)
    }

    fn speak(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        if self.finished || !self.voice.is_ready() {
            return;
        }
        let may_start = self.waiting.is_empty()
            || (self.manners.pipelines
                && self
                    .waiting
                    .iter()
                    .all(|plan| plan.answer != Answer::Switch));
        let rests = self.wakes.is_some_and(|at| at > ledger.now);
        if self.saying.is_empty() && may_start && !rests && !self.closing && self.tunnel.is_none() {
            self.wakes = None;
            match self.plans.pop_front() {
                Some(plan) => {
                    ledger.sent(plan.id);
                    self.saying.extend(plan.request());
                    self.waiting.push_back(plan);
                }
                None if std::mem::take(&mut self.manners.garbage) => {
                    self.saying.extend(b"GET /plain/0 HTTP/1.1\nHost: gate\n\n")
                }
                None => {}
            }
        }
        if self.saying.is_empty() {
            return;
        }
        let mut n = chance.size(self.manners.pace).min(self.saying.len());
        if let Some((at, _)) = self.manners.leaves {
            n = n.min(at.saturating_sub(self.said));
        }
        let bytes: Vec<u8> = self.saying.drain(..n).collect();
        self.said += n;
        if self.saying.is_empty()
            && let Some(plan) = self.waiting.back()
        {
            self.voice.say(&bytes);
            return ledger.said_whole(plan.id, &self.voice.end);
        }
        self.voice.say(&bytes);
    }

    /// Reads the responses that are there, and checks them against the requests (I1, I9).
    fn read(&mut self, ledger: &mut Oracle) {
        while !self.heard.is_empty() && self.tunnel.is_none() {
            if self.unread {
                return self.heard.clear();
            }
            let ended = self.voice.has_heard_the_end();
            let method = self
                .waiting
                .front()
                .map_or(&b"GET"[..], |plan| plan.method.as_bytes());
            let (response, rest) = match reference::response(&self.heard, method, ended) {
                Ok(read) => read,
                Err(Stop::More) => return,
                Err(Stop::Bad) => panic!(
                    "I1: a client cannot read {:?}",
                    String::from_utf8_lossy(&self.heard)
                ),
            };
            let rest = self.heard.len() - rest.len();
            if response.head.status == 101 {
                let plan = self
                    .waiting
                    .pop_front()
                    .expect("I9: a 101 nobody asked for");
                assert_eq!(
                    plan.answer,
                    Answer::Switch,
                    "I9: request {} asked for no tunnel",
                    plan.id
                );
                self.heard.drain(..rest);
                self.saying.extend(pattern(plan.id << 2, plan.answer_len));
                ledger.switched(plan.id);
                self.tunnel = Some(plan);
                return;
            }
            if response.head.status < 200 {
                assert_ne!(method, b"", "an interim response to nobody");
                self.heard.drain(..rest);
                continue;
            }
            // The rest may come, as long as the connection stands.
            if !response.complete && (!self.voice.end.is_ended() || self.voice.end.unheard() > 0) {
                return;
            }
            self.heard.drain(
                ..if response.complete {
                    rest
                } else {
                    self.heard.len()
                },
            );
            self.conclude(&response, ledger);
        }
        self.read_tunnel();
    }

    /// A final response, or as much of one as there will ever be.
    fn conclude(&mut self, response: &Response, ledger: &mut Oracle) {
        let closes =
            reference::values(&response.head.fields, b"connection").any(|value| value == b"close");
        self.closing |= closes || !response.complete;
        let arrived = self
            .waiting
            .front()
            .is_some_and(|plan| ledger.has_arrived(plan.id));
        let turned_away = response.head.status == 503 && self.served == 0 && !arrived;
        self.unread = self.closing && (turned_away || response.head.status == 408);
        self.served += 1;
        self.wakes = (self.manners.pause > 0)
            .then(|| ledger.now.after(Duration::from_millis(self.manners.pause)));
        if let Some(next) = self.waiting.get(1) {
            ledger.touch(next.id);
        }
        match self.waiting.pop_front() {
            Some(plan) if turned_away => ledger.turned_away(plan.id),
            Some(plan) => ledger.heard(plan.id, response),
            // A head that did not come in time, or none that could be read.
            None => assert!(
                turned_away || [400, 408].contains(&response.head.status),
                "I9: {} to nobody",
                response.head.status
            ),
        }
    }

    fn read_tunnel(&mut self) {
        if let Some(plan) = &self.tunnel {
            assert!(
                plan.answer_body().starts_with(&self.heard),
                "I1: the bytes of tunnel {}",
                plan.id
            );
        }
    }

    fn leave_if_done(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        if self.voice.end.is_ended()
            && (self.voice.end.unheard() == 0 || self.voice.end.is_cut_off())
        {
            self.read(ledger);
            self.voice.finish();
            self.gone = true;
            return;
        }
        let tunnel_done = self
            .tunnel
            .as_ref()
            .is_none_or(|plan| self.heard.len() == plan.answer_len);
        let all_said = self.saying.is_empty() && self.plans.is_empty();
        if all_said && self.waiting.is_empty() && tunnel_done && !self.finished && chance.hits(300)
        {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.saying.clear();
            self.voice.finish();
        }
    }

    /// I10: it does not wait in vain, unless it does not listen.
    pub fn check_patience(&self, ledger: &Oracle) {
        if let Some(plan) = self
            .waiting
            .front()
            .filter(|_| !self.gone && !self.is_stalled() && !self.voice.end.is_ended())
        {
            ledger.waits(plan.id);
        }
    }
}
