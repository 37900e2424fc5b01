//! Clients: well-behaved ones, slow ones, and ones that leave in the middle.

use std::collections::VecDeque;

use tollgate::properties::reference::{self, Response, Stop};
use tollgate::time::{Duration, Instant};

use super::client_stream::ClientStream;
use super::oracle::{Oracle, sticky_cookie};
use super::plan::{Answer, Plan, pattern};
use super::rng::Rng;

/// Ways in which a client leaves early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    Fin,
    Reset,
    /// The client stays connected and neither sends nor reads.
    Stall,
}

/// Behavior of a client.
#[derive(Clone, Debug)]
pub struct ClientBehavior {
    /// Sends the next request without waiting for an answer.
    pub pipelines: bool,
    /// Largest number of bytes that are sent, or read, at a time.
    pub pace: usize,
    /// Number of sent bytes after which the client leaves, and the way in which it does.
    pub leaves: Option<(usize, Leaving)>,
    /// Sends bytes at the end that are not a request.
    pub garbage: bool,
    /// Milliseconds between an answer and the next request.
    pub pause: u64,
}

pub struct Client {
    pub stream: ClientStream,
    behavior: ClientBehavior,
    plans: VecDeque<Plan>,
    /// Requests that were sent, at least in part, and not answered.
    waiting: VecDeque<Plan>,
    outgoing: VecDeque<u8>,
    /// Bytes of `outgoing` that belong to the head of the last request.
    head_left: usize,
    sent: usize,
    received: Vec<u8>,
    /// Number of final responses so far.
    served: usize,
    /// Time of the next request.
    pub next_request_at: Option<Instant>,
    /// True if the rest of the stream cannot be parsed: the last response may have been sent before
    /// the gateway knew the method, which decides whether there is a body.
    unread: bool,
    /// True if the last response announced the end of the connection.
    closing: bool,
    tunnel: Option<Plan>,
    finished: bool,
    gone: bool,
    /// Steps since the client reset its connection.
    pub broken_for: Option<u32>,
    /// Value of the cookie of its sticky session.
    cookie: Option<String>,
}

impl Client {
    pub fn new(stream: ClientStream, plans: VecDeque<Plan>, behavior: ClientBehavior) -> Client {
        Client {
            stream,
            behavior,
            plans,
            waiting: VecDeque::new(),
            outgoing: VecDeque::new(),
            head_left: 0,
            sent: 0,
            received: Vec::new(),
            served: 0,
            next_request_at: None,
            unread: false,
            closing: false,
            tunnel: None,
            finished: false,
            gone: false,
            broken_for: None,
            cookie: None,
        }
    }

    /// Returns true if the client has nothing more to do.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn is_stalled(&self) -> bool {
        self.stream.end.is_stalled()
            || self
                .behavior
                .leaves
                .is_some_and(|(at, how)| how == Leaving::Stall && self.sent >= at)
    }

    pub fn act(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        if self.gone || self.is_stalled() {
            return;
        }
        self.send_some(oracle, rng);
        let bytes = self.stream.receive(rng.size(self.behavior.pace));
        self.received.extend_from_slice(&bytes);
        if let Some(plan) = self.waiting.front().filter(|_| !bytes.is_empty()) {
            oracle.touch(plan.id);
        }
        self.read(oracle);
        if let Some((at, how)) = self.behavior.leaves
            && self.sent >= at
            && !self.gone
        {
            match how {
                Leaving::Reset => self.reset(rng),
                Leaving::Fin => self.finish(),
                Leaving::Stall => {}
            }
        }
        self.leave_if_done(oracle, rng);
    }

    /// Resets the connection, at any moment.
    pub fn reset(&mut self, rng: &mut Rng) {
        if !std::mem::replace(&mut self.gone, true) {
            self.stream.end.reset(rng.hits(500));
            self.broken_for = Some(0);
        }
    }

    /// Returns the requests without a complete answer, and the tunnel.
    pub fn open_requests(&self) -> impl Iterator<Item = u64> + '_ {
        self.waiting.iter().chain(&self.tunnel).map(|plan| plan.id)
    }

    fn send_some(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        if self.finished || !self.stream.is_ready() {
            return;
        }
        let may_start = self.waiting.is_empty()
            || (self.behavior.pipelines
                && self
                    .waiting
                    .iter()
                    .all(|plan| plan.answer != Answer::Switch));
        let is_pausing = self.next_request_at.is_some_and(|at| at > oracle.now);
        if self.outgoing.is_empty()
            && may_start
            && !is_pausing
            && !self.closing
            && self.tunnel.is_none()
        {
            self.next_request_at = None;
            match self.plans.pop_front() {
                Some(mut plan) => {
                    plan.cookie = self.cookie.clone();
                    oracle.sent(plan.id);
                    let request = plan.request();
                    let head = request.windows(4).position(|end| end == b"\r\n\r\n");
                    self.head_left = head.expect("a head has an end") + 4;
                    self.outgoing.extend(request);
                    self.waiting.push_back(plan);
                }
                None if std::mem::take(&mut self.behavior.garbage) => self
                    .outgoing
                    .extend(b"GET /plain/0 HTTP/1.1\nHost: gate\n\n"),
                None => {}
            }
        }
        if self.outgoing.is_empty() {
            return;
        }
        let mut n = rng.size(self.behavior.pace).min(self.outgoing.len());
        if let Some((at, _)) = self.behavior.leaves {
            n = n.min(at.saturating_sub(self.sent));
        }
        let bytes: Vec<u8> = self.outgoing.drain(..n).collect();
        self.sent += n;
        if let Some(plan) = self.waiting.back()
            && self.head_left > 0
        {
            let of_head = n.min(self.head_left);
            self.head_left -= of_head;
            if self.head_left == 0 {
                let end = &self.stream.end;
                let is_late = self.waiting.len() > 1;
                oracle.sent_head(plan.id, (end, end.sent() + of_head), is_late);
            }
        }
        if self.outgoing.is_empty()
            && let Some(plan) = self.waiting.back()
        {
            self.stream.send(&bytes);
            return oracle.sent_whole(plan.id, &self.stream.end);
        }
        self.stream.send(&bytes);
    }

    /// Reads the responses that have arrived, and checks them against the requests (I1, I9).
    fn read(&mut self, oracle: &mut Oracle) {
        while !self.received.is_empty() && self.tunnel.is_none() {
            if self.unread {
                return self.received.clear();
            }
            let ended = self.stream.has_received_the_end();
            let method = self
                .waiting
                .front()
                .map_or(&b"GET"[..], |plan| plan.method.as_bytes());
            let (response, rest) = match reference::response(&self.received, method, ended) {
                Ok(read) => read,
                Err(Stop::More) => return,
                Err(Stop::Bad) => panic!(
                    "I1: a client cannot read {:?}",
                    String::from_utf8_lossy(&self.received)
                ),
            };
            let rest = self.received.len() - rest.len();
            if response.head.status == 101 {
                let plan = self
                    .waiting
                    .pop_front()
                    .expect("I9: a 101 without a request");
                assert_eq!(
                    plan.answer,
                    Answer::Switch,
                    "I9: request {} did not ask for a tunnel",
                    plan.id
                );
                self.received.drain(..rest);
                self.outgoing.extend(pattern(plan.id << 2, plan.answer_len));
                oracle.switched(plan.id);
                self.tunnel = Some(plan);
                return;
            }
            if response.head.status < 200 {
                assert_ne!(method, b"", "an interim response without a request");
                self.received.drain(..rest);
                continue;
            }
            // The rest of the response may still come while the connection is open.
            if !response.complete && (!self.stream.end.is_ended() || self.stream.end.unread() > 0) {
                return;
            }
            self.received.drain(
                ..if response.complete {
                    rest
                } else {
                    self.received.len()
                },
            );
            self.conclude(&response, oracle);
        }
        self.read_tunnel();
    }

    /// Handles a final response, or the part of it that a closed connection has delivered.
    fn conclude(&mut self, response: &Response, oracle: &mut Oracle) {
        let closes =
            reference::values(&response.head.fields, b"connection").any(|value| value == b"close");
        self.closing |= closes || !response.complete;
        let arrived = self
            .waiting
            .front()
            .is_some_and(|plan| oracle.has_arrived(plan.id));
        let refused_unread = response.head.status == 503 && self.served == 0 && !arrived;
        self.unread = self.closing && (refused_unread || response.head.status == 408);
        self.served += 1;
        self.next_request_at = (self.behavior.pause > 0)
            .then(|| oracle.now.after(Duration::from_millis(self.behavior.pause)));
        if let Some(next) = self.waiting.get(1) {
            oracle.touch(next.id);
        }
        match self.waiting.pop_front() {
            Some(plan) if refused_unread => oracle.refused_unread(plan.id),
            Some(plan) => {
                oracle.received(plan.id, response);
                oracle.check_session(&plan, response);
                let set = sticky_cookie(response);
                self.cookie = set.map_or_else(|| self.cookie.take(), |set| Some(set.0));
            }
            // The head did not come in time, or could not be parsed.
            None => assert!(
                refused_unread || [400, 408].contains(&response.head.status),
                "I9: a {} without a request",
                response.head.status
            ),
        }
    }

    fn read_tunnel(&mut self) {
        if let Some(plan) = &self.tunnel {
            assert!(
                plan.answer_body().starts_with(&self.received),
                "I1: the bytes of tunnel {}",
                plan.id
            );
        }
    }

    fn leave_if_done(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        if self.stream.end.is_ended()
            && (self.stream.end.unread() == 0 || self.stream.end.is_cut_off())
        {
            self.read(oracle);
            self.stream.finish();
            self.gone = true;
            return;
        }
        let tunnel_done = self
            .tunnel
            .as_ref()
            .is_none_or(|plan| self.received.len() == plan.answer_len);
        let all_sent = self.outgoing.is_empty() && self.plans.is_empty();
        if all_sent && self.waiting.is_empty() && tunnel_done && !self.finished && rng.hits(300) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.outgoing.clear();
            self.stream.finish();
        }
    }

    /// Checks that a client which listens does not wait too long (I10).
    pub fn check_patience(&self, oracle: &Oracle) {
        if let Some(plan) = self
            .waiting
            .front()
            .filter(|_| !self.gone && !self.is_stalled() && !self.stream.end.is_ended())
        {
            oracle.check_wait(plan.id);
        }
    }
}
