//! Upstreams. Their plans decide which faults they have. The strict reference parser reads what
//! they receive.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{AlertDescription, ServerConfig, ServerConnection};
use tollgate::properties::reference::{self, Stop};
use tollgate::time::{Duration, Instant};

use super::link::End;
use super::oracle::{Oracle, Place};
use super::plan::{Answer, KEPT_SECONDS, Plan, pattern};
use super::rng::Rng;

/// Action after the whole answer was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AfterAnswer {
    /// Reads the next request.
    Next,
    /// Ends the connection in order.
    End,
    /// Sends FIN before the answer is complete.
    Fin,
    Reset,
    /// Does nothing more.
    Stall,
}

/// Faults of an upstream that the health checks should find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unhealthy {
    /// The upstream answers with an error status.
    Says,
    /// The upstream does not answer.
    Silent,
}

/// Path of health checks.
pub const HEALTH: &str = "/health";

/// Bytes behind an answer that no request has asked for. They look like the next answer. With
/// `Connection: close` they are the last one, since every further answer would belong to the next
/// request.
const UNASKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nX-Unasked: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad";

pub struct Upstream {
    end: End,
    place: Place,
    /// Path of the target in the last request.
    base: String,
    /// Fault that health checks find.
    unhealthy: Option<Unhealthy>,
    tls: Option<Box<ServerConnection>>,
    received: Vec<u8>,
    /// Request whose head was read and whose body is still coming.
    begun: Option<u64>,
    answering: Option<Plan>,
    outgoing: VecDeque<u8>,
    /// Number of bytes in `outgoing` that belong to the answer itself.
    answer_left: usize,
    then: AfterAnswer,
    tunnel: Option<Plan>,
    /// True if the upstream will close the idle connection.
    closes_when_idle: bool,
    /// Time at which the upstream will close the idle connection, as it has announced.
    kept_until: Option<Instant>,
    /// Client that has authenticated the connection.
    user: Option<u64>,
    gone: bool,
}

impl Upstream {
    pub fn new(
        end: End,
        place: Place,
        unhealthy: Option<Unhealthy>,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Upstream {
        let tls = tls.map(|config| {
            let mut session =
                ServerConnection::new(Arc::clone(config)).expect("rustls takes the settings");
            session.set_buffer_limit(None);
            Box::new(session)
        });
        Upstream {
            end,
            place,
            base: String::new(),
            unhealthy,
            tls,
            received: Vec::new(),
            begun: None,
            answering: None,
            outgoing: VecDeque::new(),
            answer_left: 0,
            then: AfterAnswer::Next,
            tunnel: None,
            closes_when_idle: false,
            kept_until: None,
            user: None,
            gone: false,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Returns the request without a complete answer, or the tunnel.
    pub fn current_request(&self) -> Option<u64> {
        self.begun.or_else(|| {
            self.answering
                .as_ref()
                .or(self.tunnel.as_ref())
                .map(|plan| plan.id)
        })
    }

    /// Resets the connection, at any moment.
    pub fn reset(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        self.end.reset(rng.hits(300));
        self.gone = true;
        oracle
            .endpoints
            .note_disturbance(self.place.address, oracle.now);
    }

    pub fn act(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        if self.gone {
            return;
        }
        if self.then == AfterAnswer::Stall && self.outgoing.is_empty() {
            if self.end.unread() > 0 {
                oracle
                    .endpoints
                    .note_disturbance(self.place.address, oracle.now);
            }
            return;
        }
        if !self.tunnel.as_ref().is_some_and(|plan| plan.ignores_input) {
            self.receive(oracle, rng);
        }
        if self.end.left().is_some() && self.end.unread() == 0 {
            self.gone = true;
            return;
        }
        self.read_requests(oracle);
        self.send_some(oracle, rng);
        // The upstream ends a tunnel when the client has ended its direction.
        if self.tunnel.is_some() && self.end.is_ended() && self.end.unread() == 0 {
            self.finish(true);
        }
        // The gateway counts the idle time from the end of the answer as it has read it. A slow
        // client delays that; the gateway cannot know when the bytes were sent.
        if self.kept_until.is_some() && !self.end.is_read() {
            self.keep(oracle.now);
        }
        let is_idle =
            self.answering.is_none() && self.received.is_empty() && self.then == AfterAnswer::Next;
        if self.closes_when_idle && is_idle && rng.hits(100) {
            self.finish(true);
        }
        if is_idle && self.kept_until.is_some_and(|until| until <= oracle.now) {
            self.finish(true);
        }
    }

    fn receive(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        let was_idle = self.answering.is_none() && self.received.is_empty();
        let bytes = self.end.receive(rng.size(64 << 10));
        if let Some(id) = self.begun.filter(|_| !bytes.is_empty()) {
            oracle.touch(id);
        }
        match &mut self.tls {
            None => self.received.extend_from_slice(&bytes),
            Some(session) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    session.read_tls(&mut rest).expect("a slice can be read");
                    match session.process_new_packets() {
                        // A gateway that gives up during the handshake may still send close_notify.
                        Ok(_)
                        | Err(rustls::Error::AlertReceived(AlertDescription::CloseNotify)) => {}
                        Err(error) => panic!("I1: the gateway speaks no TLS: {error}"),
                    }
                    // An error "would block" means here that no more data is available.
                    let _ = session.reader().read_to_end(&mut self.received);
                }
                flush(session, &self.end);
            }
        }
        if was_idle && !self.received.is_empty() {
            oracle.begun_on(self.kept_until);
        }
    }

    /// Reads requests, and answers one at a time (I2).
    fn read_requests(&mut self, oracle: &mut Oracle) {
        if let Some(plan) = &self.tunnel {
            assert!(
                pattern(plan.id << 2, plan.answer_len).starts_with(&self.received),
                "I1: the bytes of tunnel {}",
                plan.id
            );
            return;
        }
        if self.answering.is_some() || self.received.is_empty() || self.then != AfterAnswer::Next {
            return;
        }
        let tls = self.tls.is_some();
        if self.begun.is_none()
            && let Ok((head, _)) = reference::request_head(&self.received)
        {
            if head.target == HEALTH.as_bytes() {
                return self.answer_check(&head);
            }
            let id = oracle.arrived(&head, tls, &self.place);
            oracle.arrived_on(id, self.user, self.kept_until.take().is_some());
            self.begun = Some(id);
            let target = String::from_utf8_lossy(&head.target).into_owned();
            self.base = target.trim_end_matches(&format!("/{id}")).to_owned();
        }
        match reference::request(&self.received) {
            Ok((request, rest)) => {
                let rest = self.received.len() - rest.len();
                self.received.drain(..rest);
                let id = self.begun.take().expect("its head was read");
                oracle.arrived_whole(&request, id);
                self.answer(oracle.plan(id), oracle);
            }
            Err(Stop::More) => {
                let early = self
                    .begun
                    .map(|id| oracle.plan(id))
                    .filter(|plan| plan.answer == Answer::Early);
                if let Some(plan) = early {
                    self.answer(plan, oracle);
                }
                let plan = self.begun.map(|id| oracle.plan(id));
                if plan.is_some_and(|plan| plan.answer == Answer::Silent && plan.ignores_input) {
                    self.then = AfterAnswer::Stall;
                }
            }
            Err(Stop::Bad) => panic!(
                "I2: an upstream cannot read {:?}",
                String::from_utf8_lossy(&self.received)
            ),
        }
    }

    /// Answers a health check, which has its own connection.
    fn answer_check(&mut self, head: &reference::RequestHead) {
        let host: Vec<&[u8]> = reference::values(&head.fields, b"host").collect();
        assert_eq!(
            (&head.method[..], &host[..]),
            (&b"GET"[..], &[self.place.authority.as_bytes()][..])
        );
        let (request, rest) =
            reference::request(&self.received).unwrap_or_else(|_| panic!("I2: a check is whole"));
        assert!(
            request.body.is_empty() && rest.is_empty(),
            "I2: bytes behind a check"
        );
        self.received.clear();
        if self.unhealthy != Some(Unhealthy::Silent) {
            let status = if self.unhealthy.is_some() {
                "500 Oh"
            } else {
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nwell");
            self.end.send(answer.as_bytes());
        }
        self.then = AfterAnswer::Stall;
    }

    fn answer(&mut self, plan: Plan, oracle: &mut Oracle) {
        let mut response = plan.response();
        if plan.signs_in.is_some() {
            self.user = Some(plan.principal);
            let (address, now) = (self.place.address, oracle.now);
            oracle
                .endpoints
                .signed_in(plan.principal, address, &self.end, now);
        }
        if let (Some(user), Some(at)) = (
            self.user,
            response.windows(6).position(|bytes| bytes == b"X-Id: "),
        ) {
            response.splice(at..at, format!("X-Speaks-To: {user}\r\n").into_bytes());
        }
        // The oracle compares it with what the cookie of a sticky session names.
        if oracle.policies.sticky
            && let Some(at) = response.windows(6).position(|bytes| bytes == b"X-Id: ")
        {
            let at_field = format!("X-At: {} {}\r\n", self.place.address, self.base);
            response.splice(at..at, at_field.into_bytes());
        }
        let cut = |response: &mut Vec<u8>, permille: usize| {
            response.truncate(response.len().saturating_sub(1) * permille / 1000)
        };
        self.then = match plan.answer {
            Answer::UntilClose | Answer::Closing | Answer::Nothing => AfterAnswer::End,
            Answer::Silent => AfterAnswer::Stall,
            Answer::Early => AfterAnswer::Stall,
            Answer::CutByFin { permille, .. } => {
                cut(&mut response, permille);
                AfterAnswer::Fin
            }
            Answer::CutByReset { permille, .. } => {
                cut(&mut response, permille);
                AfterAnswer::Reset
            }
            Answer::Stall { permille, .. } => {
                cut(&mut response, permille);
                AfterAnswer::Stall
            }
            Answer::ClosingLater => {
                self.closes_when_idle = true;
                AfterAnswer::Next
            }
            _ => AfterAnswer::Next,
        };
        self.answer_left = response.len();
        self.outgoing.extend(response);
        if plan.answer == Answer::Extra {
            self.outgoing.extend(UNASKED);
        }
        self.answering = Some(plan);
    }

    fn send_some(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        let Some(plan) = &self.answering else { return };
        let id = plan.id;
        let left = if self.answer_left > 0 {
            self.answer_left
        } else {
            self.outgoing.len()
        };
        let n = rng.size(64 << 10).min(left);
        let last = n == self.answer_left && n > 0;
        self.answer_left -= n.min(self.answer_left);
        let bytes: Vec<u8> = self.outgoing.drain(..n).collect();
        match &mut self.tls {
            None => self.end.send(&bytes),
            Some(session) => {
                session
                    .writer()
                    .write_all(&bytes)
                    .expect("there is no limit");
                flush(session, &self.end);
            }
        }
        oracle.touch(id);
        // An answer that was cut, or that ends with the stream, is not complete yet.
        if last && plan.is_whole_when_sent() {
            if plan.answer == Answer::Extra && self.tls.is_none() {
                self.end.note_answered();
            }
            oracle.answered_whole(id, &self.end);
        }
        if self.outgoing.is_empty() {
            self.end_answer(oracle, rng);
        }
    }

    /// Begins the idle time that the answer has announced.
    fn keep(&mut self, now: Instant) {
        self.kept_until = Some(now.after(Duration::from_secs(KEPT_SECONDS)));
    }

    fn end_answer(&mut self, oracle: &mut Oracle, rng: &mut Rng) {
        let Some(plan) = self.answering.take() else {
            return;
        };
        match self.then {
            AfterAnswer::Next | AfterAnswer::Stall => {}
            AfterAnswer::End => self.finish(true),
            AfterAnswer::Fin => self.finish(false),
            AfterAnswer::Reset => {
                self.end.reset(rng.hits(300));
                self.gone = true;
            }
        }
        if plan.answer == Answer::KeptAlive {
            self.keep(oracle.now);
        }
        if plan.answer == Answer::UntilClose {
            oracle.answered_whole(plan.id, &self.end);
        }
        if plan.answer == Answer::Switch {
            self.tunnel = Some(plan);
        }
    }

    /// Ends the direction to the gateway. In order means with close_notify over TLS.
    fn finish(&mut self, in_order: bool) {
        if let Some(session) = self.tls.as_mut().filter(|_| in_order) {
            session.send_close_notify();
            flush(session, &self.end);
        }
        self.end.finish();
        self.then = AfterAnswer::Stall;
    }

    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Returns the number of the target's key, and its `maxInFlight`.
    pub fn in_flight_max(&self) -> Option<(u64, u32)> {
        self.place.in_flight
    }

    pub fn end(&self) -> &End {
        &self.end
    }
}

fn flush(session: &mut ServerConnection, end: &End) {
    while session.wants_write() {
        let mut records = Vec::new();
        session.write_tls(&mut records).expect("a vector takes all");
        end.send(&records);
    }
}
