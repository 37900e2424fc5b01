//! Upstreams: what they do wrong, their plans say. What they receive, the strict reference parser reads.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{AlertDescription, ServerConfig, ServerConnection};
use tollgate::properties::reference::{self, Stop};
use tollgate::time::{Duration, Instant};

use super::link::End;
use super::oracle::{Oracle, Place};
use super::plan::{Answer, KEPT_SECONDS, Plan, pattern};
use super::rng::Rng;

/// What follows when everything was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// The next request.
    Next,
    /// The end, in order.
    End,
    /// A FIN without what should come before it.
    Fin,
    Reset,
    /// Nothing, ever.
    Stall,
}

/// What is wrong with an upstream that is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unhealthy {
    /// It says so.
    Says,
    /// It says nothing.
    Silent,
}

/// What the gateway asks for by itself.
pub const HEALTH: &str = "/health";

/// Bytes behind an answer that nobody asked for, made to look like the next one. It is the last, since every other answer
/// would be the next request's.
const UNASKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nX-Unasked: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad";

pub struct Upstream {
    end: End,
    place: Place,
    /// Checks find it so.
    ill: Option<Unhealthy>,
    tls: Option<Box<ServerConnection>>,
    heard: Vec<u8>,
    /// The request whose head was seen and whose body is still coming.
    begun: Option<u64>,
    answering: Option<Plan>,
    saying: VecDeque<u8>,
    /// How much of that is the answer itself.
    answer_left: usize,
    then: Then,
    tunnel: Option<Plan>,
    /// The idle connection will be closed.
    tired: bool,
    /// The idle connection will be closed at this time, as it has said.
    kept_until: Option<Instant>,
    /// Whose the connection is, once somebody has signed in on it.
    user: Option<u64>,
    gone: bool,
}

impl Upstream {
    pub fn new(
        end: End,
        place: Place,
        ill: Option<Unhealthy>,
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
            ill,
            tls,
            heard: Vec::new(),
            begun: None,
            answering: None,
            saying: VecDeque::new(),
            answer_left: 0,
            then: Then::Next,
            tunnel: None,
            tired: false,
            kept_until: None,
            user: None,
            gone: false,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The request that it has not answered to its end, or its tunnel.
    pub fn works_for(&self) -> Option<u64> {
        self.begun.or_else(|| {
            self.answering
                .as_ref()
                .or(self.tunnel.as_ref())
                .map(|plan| plan.id)
        })
    }

    /// Resets its connection, in the middle of whatever it is.
    pub fn break_off(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        self.end.reset(chance.hits(300));
        self.gone = true;
        ledger.endpoints.lost(self.place.address, ledger.now);
    }

    pub fn act(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        if self.gone {
            return;
        }
        if self.then == Then::Stall && self.saying.is_empty() {
            if self.end.unheard() > 0 {
                ledger.endpoints.lost(self.place.address, ledger.now);
            }
            return;
        }
        if !self.tunnel.as_ref().is_some_and(|plan| plan.deaf) {
            self.hear(ledger, chance);
        }
        if self.end.left().is_some() && self.end.unheard() == 0 {
            self.gone = true;
            return;
        }
        self.understand(ledger);
        self.speak(ledger, chance);
        // A tunnel is over for it when the client has ended its direction.
        if self.tunnel.is_some() && self.end.is_ended() && self.end.unheard() == 0 {
            self.finish(true);
        }
        let is_idle = self.answering.is_none() && self.heard.is_empty() && self.then == Then::Next;
        if self.tired && is_idle && chance.hits(100) {
            self.finish(true);
        }
        if is_idle && self.kept_until.is_some_and(|until| until <= ledger.now) {
            self.finish(true);
        }
    }

    fn hear(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        let bytes = self.end.hear(chance.size(64 << 10));
        if let Some(id) = self.begun.filter(|_| !bytes.is_empty()) {
            ledger.touch(id);
        }
        match &mut self.tls {
            None => self.heard.extend_from_slice(&bytes),
            Some(session) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    session.read_tls(&mut rest).expect("a slice can be read");
                    match session.process_new_packets() {
                        // It gave up during the handshake; that it does so in order is no error of its own.
                        Ok(_)
                        | Err(rustls::Error::AlertReceived(AlertDescription::CloseNotify)) => {}
                        Err(error) => panic!("I1: the gateway speaks no TLS: {error}"),
                    }
                    // "Would block" is how it says that there is no more.
                    let _ = session.reader().read_to_end(&mut self.heard);
                }
                flush(session, &self.end);
            }
        }
    }

    /// Reads requests; one is answered at a time (I2).
    fn understand(&mut self, ledger: &mut Oracle) {
        if let Some(plan) = &self.tunnel {
            assert!(
                pattern(plan.id << 2, plan.answer_len).starts_with(&self.heard),
                "I1: the bytes of tunnel {}",
                plan.id
            );
            return;
        }
        if self.answering.is_some() || self.heard.is_empty() || self.then != Then::Next {
            return;
        }
        let tls = self.tls.is_some();
        if self.begun.is_none()
            && let Ok((head, _)) = reference::request_head(&self.heard)
        {
            if head.target == HEALTH.as_bytes() {
                return self.say_how_it_is(&head);
            }
            let id = ledger.arrived(&head, tls, &self.place);
            ledger.arrived_on(id, self.user, self.kept_until.take());
            self.begun = Some(id);
        }
        match reference::request(&self.heard) {
            Ok((request, rest)) => {
                let rest = self.heard.len() - rest.len();
                self.heard.drain(..rest);
                let id = self.begun.take().expect("its head was read");
                ledger.arrived_whole(&request, id);
                self.answer(ledger.plan(id), ledger);
            }
            Err(Stop::More) => {
                let early = self
                    .begun
                    .map(|id| ledger.plan(id))
                    .filter(|plan| plan.answer == Answer::Early);
                if let Some(plan) = early {
                    self.answer(plan, ledger);
                }
                let plan = self.begun.map(|id| ledger.plan(id));
                if plan.is_some_and(|plan| plan.answer == Answer::Silent && plan.deaf) {
                    self.then = Then::Stall;
                }
            }
            Err(Stop::Bad) => panic!(
                "I2: an upstream cannot read {:?}",
                String::from_utf8_lossy(&self.heard)
            ),
        }
    }

    /// A check of the gateway's own: it is on a connection of its own.
    fn say_how_it_is(&mut self, head: &reference::RequestHead) {
        let host: Vec<&[u8]> = reference::values(&head.fields, b"host").collect();
        assert_eq!(
            (&head.method[..], &host[..]),
            (&b"GET"[..], &[self.place.authority.as_bytes()][..])
        );
        let (request, rest) =
            reference::request(&self.heard).unwrap_or_else(|_| panic!("I2: a check is whole"));
        assert!(
            request.body.is_empty() && rest.is_empty(),
            "I2: bytes behind a check"
        );
        self.heard.clear();
        if self.ill != Some(Unhealthy::Silent) {
            let status = if self.ill.is_some() {
                "500 Oh"
            } else {
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nwell");
            self.end.say(answer.as_bytes());
        }
        self.then = Then::Stall;
    }

    fn answer(&mut self, plan: Plan, ledger: &mut Oracle) {
        let mut response = plan.response();
        if plan.signs_in.is_some() {
            self.user = Some(plan.principal);
            let (address, now) = (self.place.address, ledger.now);
            ledger
                .endpoints
                .signed_in(plan.principal, address, &self.end, now);
        }
        if let (Some(user), Some(at)) = (
            self.user,
            response.windows(6).position(|bytes| bytes == b"X-Id: "),
        ) {
            response.splice(at..at, format!("X-Speaks-To: {user}\r\n").into_bytes());
        }
        let cut = |response: &mut Vec<u8>, permille: usize| {
            response.truncate(response.len().saturating_sub(1) * permille / 1000)
        };
        self.then = match plan.answer {
            Answer::UntilClose | Answer::Closing | Answer::Nothing => Then::End,
            Answer::Silent => Then::Stall,
            Answer::Early => Then::Stall,
            Answer::CutByFin { permille, .. } => {
                cut(&mut response, permille);
                Then::Fin
            }
            Answer::CutByReset { permille, .. } => {
                cut(&mut response, permille);
                Then::Reset
            }
            Answer::Stall { permille, .. } => {
                cut(&mut response, permille);
                Then::Stall
            }
            Answer::ClosingLater => {
                self.tired = true;
                Then::Next
            }
            _ => Then::Next,
        };
        self.answer_left = response.len();
        self.saying.extend(response);
        if plan.answer == Answer::Extra {
            self.saying.extend(UNASKED);
        }
        self.answering = Some(plan);
    }

    fn speak(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        let Some(plan) = &self.answering else { return };
        let id = plan.id;
        let left = if self.answer_left > 0 {
            self.answer_left
        } else {
            self.saying.len()
        };
        let n = chance.size(64 << 10).min(left);
        let last = n == self.answer_left && n > 0;
        self.answer_left -= n.min(self.answer_left);
        let bytes: Vec<u8> = self.saying.drain(..n).collect();
        match &mut self.tls {
            None => self.end.say(&bytes),
            Some(session) => {
                session
                    .writer()
                    .write_all(&bytes)
                    .expect("there is no limit");
                flush(session, &self.end);
            }
        }
        ledger.touch(id);
        // What was cut off, and an end that is the end of the stream, are not whole yet.
        if last && plan.is_whole_when_said() {
            if plan.answer == Answer::Extra && self.tls.is_none() {
                self.end.have_answered();
            }
            ledger.answered_whole(id, &self.end);
        }
        if self.saying.is_empty() {
            self.have_spoken(ledger, chance);
        }
    }

    fn have_spoken(&mut self, ledger: &mut Oracle, chance: &mut Rng) {
        let Some(plan) = self.answering.take() else {
            return;
        };
        match self.then {
            Then::Next | Then::Stall => {}
            Then::End => self.finish(true),
            Then::Fin => self.finish(false),
            Then::Reset => {
                self.end.reset(chance.hits(300));
                self.gone = true;
            }
        }
        if plan.answer == Answer::KeptAlive {
            self.kept_until = Some(ledger.now.after(Duration::from_secs(KEPT_SECONDS)));
        }
        if plan.answer == Answer::UntilClose {
            ledger.answered_whole(plan.id, &self.end);
        }
        if plan.answer == Answer::Switch {
            self.tunnel = Some(plan);
        }
    }

    /// Ends its direction; with close_notify, where there is TLS and it is done in order.
    fn finish(&mut self, in_order: bool) {
        if let Some(session) = self.tls.as_mut().filter(|_| in_order) {
            session.send_close_notify();
            flush(session, &self.end);
        }
        self.end.finish();
        self.then = Then::Stall;
    }

    pub fn end(&self) -> &End {
        &self.end
    }
}

fn flush(session: &mut ServerConnection, end: &End) {
    while session.wants_write() {
        let mut records = Vec::new();
        session.write_tls(&mut records).expect("a vector takes all");
        end.say(&records);
    }
}
