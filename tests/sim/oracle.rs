//! What everybody knows of every request, and what must be true of it (I1, I2, I4, I5, I6, I9, I11).

use std::collections::HashMap;
use std::net::SocketAddr;

use tollgate::properties::reference::{self, Request, Response};
use tollgate::time::{Duration, Instant};
use tollgate::upstream::health::Change;

use super::endpoints::{Arrival, Endpoints};
use super::link::End;
use super::plan::{Answer, Plan};

/// The end of a message: so many bytes of a connection.
struct Mark {
    end: End,
    bytes: usize,
}

impl Mark {
    /// The end of everything that was said so far.
    fn here(end: &End) -> Mark {
        Mark {
            end: end.clone(),
            bytes: end.said(),
        }
    }

    /// All of it has reached the gateway.
    fn is_delivered(&self) -> bool {
        self.end.has_delivered(self.bytes)
    }
}

/// Where an upstream is, and how a request must be written for it.
#[derive(Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub authority: String,
    /// The path of the target in each edition of the configuration, without a slash at its end; `None`: that edition does
    /// not have it.
    pub bases: [Option<String>; 2],
}

/// What happened to one request.
struct Entry {
    plan: Plan,
    /// When its first bytes left its client.
    sent: Option<Instant>,
    /// Where its client has nothing more to say of it.
    said_whole: Option<Mark>,
    /// How often its head has reached an upstream.
    arrivals: u32,
    /// Where an upstream has said the whole answer, and ended it as it should; twice when the request was replayed.
    answered_whole: Vec<Mark>,
    /// The status of the final response whose head its client has.
    heard: Option<u16>,
    /// It was answered before its head was complete: its line does not say whose it is.
    unread: bool,
    /// It has all of an upstream's answer, or its tunnel.
    served: bool,
    /// Editions of the configuration that it can be of.
    editions: [bool; 2],
    /// When something last happened to it.
    touched: Instant,
}

/// All requests of a world.
pub struct Oracle {
    entries: HashMap<u64, Entry>,
    /// The time of the world.
    pub now: Instant,
    /// Client connections that may not wait longer than this for something to happen (I10).
    pub patience: Duration,
    /// A connection to an upstream may be cut by a FIN that is not the upstream's.
    pub forged_ends: bool,
    /// How often a request may be at an upstream: at each of its tries once, and once more where a pooled connection was dead.
    pub arrivals_max: u32,
    pub endpoints: Endpoints,
    /// The edition of the configuration that adds security headers to responses, where one does and the other does not.
    pub marked: Option<usize>,
    /// Nothing is delayed: a request reaches its upstream soon after it was written.
    pub calm: bool,
    /// What came of the requests: answered to the end by an upstream, by the gateway itself, cut off behind the head.
    pub tally: Stats,
}

/// What came of the requests of a world.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    pub whole: usize,
    pub own: usize,
    pub cut: usize,
    pub unasked: usize,
    /// Tunnels.
    pub switched: usize,
    /// Arrivals of requests that were sent again.
    pub moved: usize,
    /// Endpoints that went out of use, and that came back.
    pub out: usize,
    pub back: usize,
    /// Requests that came on a connection of their client's own, and on one whose upstream had said for how long it is kept.
    pub private: usize,
    pub kept: usize,
    /// Connections that were closed before they were made: another address was sooner, or the time was over.
    pub raced: usize,
    /// Reloads.
    pub reloads: usize,
    /// Those among the gateway's own that brought no good credential.
    pub unauthorized: usize,
}

impl Stats {
    pub fn add(&mut self, other: Stats) {
        self.whole += other.whole;
        self.own += other.own;
        self.cut += other.cut;
        self.unasked += other.unasked;
        self.switched += other.switched;
        self.moved += other.moved;
        self.out += other.out;
        self.back += other.back;
        self.unauthorized += other.unauthorized;
        self.private += other.private;
        self.kept += other.kept;
        self.raced += other.raced;
        self.reloads += other.reloads;
    }
}

impl Oracle {
    pub fn new(plans: impl Iterator<Item = Plan>, now: Instant, patience: Duration) -> Oracle {
        let entry = |plan: Plan| Entry {
            plan,
            sent: None,
            said_whole: None,
            arrivals: 0,
            answered_whole: Vec::new(),
            heard: None,
            unread: false,
            served: false,
            editions: [true; 2],
            touched: now,
        };
        let entries = plans.map(|plan| (plan.id, entry(plan))).collect();
        Oracle {
            entries,
            now,
            patience,
            forged_ends: false,
            arrivals_max: 2,
            endpoints: Endpoints::default(),
            marked: None,
            calm: false,
            tally: Stats::default(),
        }
    }

    pub fn plan(&self, id: u64) -> Plan {
        self.entries
            .get(&id)
            .unwrap_or_else(|| panic!("I2: nobody plans request {id}"))
            .plan
            .clone()
    }

    /// What is known of a request, to which something happens now.
    fn entry(&mut self, id: u64) -> &mut Entry {
        let entry = self
            .entries
            .get_mut(&id)
            .unwrap_or_else(|| panic!("I2: nobody plans request {id}"));
        entry.touched = self.now;
        entry
    }

    /// Something happened to a request.
    pub fn touch(&mut self, id: u64) {
        self.entry(id);
    }

    /// The clock jumped: that is nobody's waiting.
    pub fn touch_all(&mut self) {
        self.entries
            .values_mut()
            .for_each(|entry| entry.touched = self.now);
    }

    /// What is known of a request, for a message.
    pub fn story(&self, id: u64) -> String {
        let entry = &self.entries[&id];
        format!(
            "said whole {}, {} arrivals, answered whole {}, heard {:?}: {:?}",
            entry.said_whole.as_ref().is_some_and(Mark::is_delivered),
            entry.arrivals,
            entry.answered_whole.iter().any(Mark::is_delivered),
            entry.heard,
            entry.plan
        )
    }

    /// A client waits for the answer to a request that it has said to its end (I10).
    pub fn waits(&self, id: u64) {
        let entry = &self.entries[&id];
        let waited = self.now.since(entry.touched);
        assert!(
            !entry.said_whole.as_ref().is_some_and(Mark::is_delivered) || waited <= self.patience,
            "I10: nothing happened to request {id} for {} ms: {}",
            waited.as_millis(),
            self.story(id)
        );
    }

    pub fn sent(&mut self, id: u64) {
        let now = self.now;
        self.entry(id).sent = Some(now);
    }

    pub fn said_whole(&mut self, id: u64, end: &End) {
        self.entry(id)
            .said_whole
            .get_or_insert_with(|| Mark::here(end));
    }

    /// The head of a request is at an upstream: its number.
    pub fn arrived(&mut self, head: &reference::RequestHead, tls: bool, place: &Place) -> u64 {
        let id = only(reference::values(&head.fields, b"x-id"))
            .expect("I2: a request without its number");
        let plan = self.plan(id);
        assert_eq!(&head.method[..], plan.method.as_bytes(), "I2: request {id}");
        let is_target = |base: &Option<String>| {
            base.as_ref()
                .is_some_and(|base| head.target == format!("{base}/{id}").into_bytes())
        };
        let editions = [0, 1].map(|edition| is_target(&place.bases[edition]));
        assert!(
            editions.contains(&true),
            "I2: request {id} asks for {:?} at {:?}",
            String::from_utf8_lossy(&head.target),
            place.bases
        );
        self.obeys(id, editions);
        let host: Vec<&[u8]> = reference::values(&head.fields, b"host").collect();
        assert_eq!(
            host,
            [place.authority.as_bytes()],
            "I2: the Host of request {id}"
        );
        assert!(!plan.lost, "I4: request {id} has no route");
        assert_eq!(tls, plan.tls, "request {id} is at the wrong upstream");
        assert!(
            plan.is_let_in(),
            "request {id} has no good credential: {plan:?}"
        );
        let user = reference::values(&head.fields, b"x-user")
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        let said = plan.credential.map(|_| id.to_string().into_bytes());
        assert_eq!(
            user,
            said.into_iter().collect::<Vec<_>>(),
            "whom the upstream of request {id} hears of"
        );
        let most = self.arrivals_max;
        let entry = self.entry(id);
        let sent = entry
            .sent
            .unwrap_or_else(|| panic!("I2: nobody sent request {id}"));
        entry.arrivals += 1;
        let is_first = entry.arrivals == 1;
        assert!(
            is_first || plan.is_idempotent(),
            "I5: request {id} arrived twice"
        );
        assert!(
            entry.arrivals <= most,
            "request {id} arrived {} times",
            entry.arrivals
        );
        self.tally.moved += usize::from(!is_first);
        if !plan.tls {
            self.endpoints.check_choice(Arrival {
                id,
                principal: plan.principal,
                sent,
                is_first,
                address: place.address,
            });
        }
        id
    }

    /// The connection that a request has reached: whose it is, and until when its upstream said that it may idle.
    pub fn arrived_on(&mut self, id: u64, user: Option<u64>, kept_until: Option<Instant>) {
        let principal = self.plan(id).principal;
        assert!(
            user.is_none_or(|user| user == principal),
            "request {id} of {principal} is on the connection of {user:?}"
        );
        let late =
            kept_until.is_some_and(|until| self.now.after(Duration::from_millis(500)) > until);
        assert!(
            !(self.calm && late),
            "request {id} is on a connection that is about to close"
        );
        self.tally.private += usize::from(user.is_some());
        self.tally.kept += usize::from(kept_until.is_some());
    }

    /// The gateway says how an endpoint is.
    pub fn told(&mut self, address: SocketAddr, change: Change) {
        match change {
            Change::WentDown | Change::Ejected | Change::EjectedAgain => self.tally.out += 1,
            Change::CameUp | Change::Returned => self.tally.back += 1,
            Change::Recovered => {}
        }
        self.endpoints.told(address, change, self.now);
    }

    /// Something of a request shows which editions of the configuration it can be of: each request obeys one edition.
    fn obeys(&mut self, id: u64, editions: [bool; 2]) {
        let entry = self.entry(id);
        for (known, shown) in entry.editions.iter_mut().zip(editions) {
            *known &= shown;
        }
        assert!(
            entry.editions.contains(&true),
            "I11: request {id} obeys two editions of the configuration: {:?}",
            entry.plan
        );
    }

    /// A whole request is at an upstream.
    pub fn arrived_whole(&mut self, request: &Request, id: u64) {
        assert!(
            request.body == self.plan(id).request_body(),
            "I2: the body of request {id}"
        );
        let whole = self
            .entry(id)
            .said_whole
            .as_ref()
            .is_some_and(Mark::is_delivered);
        assert!(whole, "I1: request {id} did not come to its end");
    }

    pub fn answered_whole(&mut self, id: u64, end: &End) {
        self.entry(id).answered_whole.push(Mark::here(end));
    }

    /// A client read a final response to its request `id`, or the front of one whose connection is gone.
    pub fn heard(&mut self, id: u64, response: &Response) {
        let plan = self.plan(id);
        let status = response.head.status;
        let forged_ends = self.forged_ends;
        let entry = self.entry(id);
        assert_eq!(
            entry.heard.replace(status),
            None,
            "I9: request {id} was answered twice"
        );
        if reference::values(&response.head.fields, b"x-unasked")
            .next()
            .is_some()
        {
            // It came when the next request was on its way already: nobody can tell. Where it came before, `Socket::write`
            // would have noticed.
            self.tally.unasked += 1;
            return;
        }
        let number = only(reference::values(&response.head.fields, b"x-id"));
        let Some(number) = number else {
            let own = [400, 401, 404, 408, 413, 429, 502, 503, 504];
            assert!(own.contains(&status), "request {id}: a {status} of nobody");
            if response.complete && plan.method != "HEAD" {
                assert!(
                    response
                        .body
                        .starts_with(format!("{{\"code\":{status},").as_bytes()),
                    "request {id}"
                );
            }
            entry.unread = status == 408;
            assert!(status != 404 || plan.lost, "request {id} has a route");
            assert!(
                status != 401 || !plan.is_let_in(),
                "request {id} has a good credential"
            );
            self.tally.unauthorized += usize::from(status == 401);
            self.tally.own += 1;
            return;
        };
        assert_eq!(number, id, "I9: an answer for somebody else");
        if let Some(marked) = self.marked {
            let mut marks = reference::values(&response.head.fields, b"x-frame-options");
            let has_mark = marks.next().is_some();
            self.obeys(id, [0, 1].map(|edition| (edition == marked) == has_mark));
        }
        let entry = self.entry(id);
        for user in reference::values(&response.head.fields, b"x-speaks-to") {
            assert_eq!(
                user,
                plan.principal.to_string().as_bytes(),
                "I9: request {id} was answered as another client's"
            );
        }
        assert!(
            !plan.lost && entry.arrivals > 0,
            "request {id} was answered by nobody"
        );
        let body = if bodiless(&plan) {
            Vec::new()
        } else {
            plan.answer_body()
        };
        assert!(
            body.starts_with(&response.body),
            "I1: the body of the answer to {id}"
        );
        // Nobody can tell a FIN in the middle from one at the end, without TLS (RFC 9112 8).
        let unknowable = plan.answer == Answer::UntilClose && !plan.tls && forged_ends;
        if response.complete {
            let whole = entry.answered_whole.iter().any(Mark::is_delivered);
            assert!(
                whole || unknowable,
                "I1: the answer to {id} did not come to its end"
            );
            assert!(
                response.body.len() == body.len() || unknowable,
                "I1: the answer to {id} is short"
            );
            entry.served = true;
            self.tally.whole += 1;
        } else {
            self.tally.cut += 1;
        }
    }

    /// A client got its tunnel.
    pub fn switched(&mut self, id: u64) {
        self.entry(id).served = true;
        self.tally.switched += 1;
    }

    /// Whether an upstream's answer has arrived to its end. The gateway may pool the connection then,
    /// although the upstream has not read all of the request.
    pub fn is_answered(&self, id: u64) -> bool {
        let entry = &self.entries[&id];
        entry.answered_whole.iter().any(Mark::is_delivered)
    }

    /// Whether it has reached an upstream.
    pub fn has_arrived(&self, id: u64) -> bool {
        self.entries[&id].arrivals > 0
    }

    /// A client was answered 503 before its request was looked at.
    pub fn turned_away(&mut self, id: u64) {
        let entry = self.entry(id);
        assert_eq!(entry.arrivals, 0, "I4: request {id} was turned away");
        self.tally.own += 1;
    }

    /// Requests that were sent, have a route, and got no upstream's answer.
    pub fn unserved(&self) -> Vec<String> {
        let unserved = |entry: &&Entry| {
            entry.sent.is_some() && !entry.served && !entry.plan.lost && entry.plan.is_let_in()
        };
        self.entries
            .values()
            .filter(unserved)
            .map(|entry| self.story(entry.plan.id))
            .collect()
    }

    /// The access log when all is over (I6).
    pub fn check_log(&self, log: &str) {
        let mut lines: HashMap<u64, u32> = HashMap::new();
        for line in log.lines() {
            let request = combined(line).unwrap_or_else(|| panic!("I6: no combined line: {line}"));
            // A request that was cut in the middle of its line has one, too, but it does not say whose.
            let whole = request.ends_with(" HTTP/1.1") || request.ends_with(" HTTP/1.0");
            let path = request.split(' ').nth(1).filter(|_| whole);
            let number = path
                .and_then(|path| path.rsplit('/').next())
                .and_then(|id| id.parse().ok());
            if let Some(id) = number {
                *lines.entry(id).or_default() += 1;
            }
        }
        for (id, entry) in &self.entries {
            let count = lines.get(id).copied().unwrap_or(0);
            assert!(count <= 1, "I6: {count} lines for request {id}");
            assert!(
                count == 1 || !(entry.heard.is_some() && !entry.unread || entry.arrivals > 0),
                "I6: no line for request {id}: {}\n{log}",
                self.story(*id)
            );
        }
    }
}

fn bodiless(plan: &Plan) -> bool {
    plan.method == "HEAD" || matches!(plan.answer, Answer::NoContent | Answer::NotModified)
}

/// The number in the one field of this name.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<u64> {
    let value = values.next()?;
    assert!(values.next().is_none(), "a number twice");
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The request line in a combined log line, if it is one.
fn combined(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("192.0.2.")?;
    let (_, rest) = rest.split_once(" - - [")?;
    let (date, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut rest = rest.split(' ');
    let (status, size) = (rest.next()?, rest.next()?);
    let (referer, agent) = (rest.next()?, rest.next()?);
    let number = |text: &str| text == "-" || text.parse::<u64>().is_ok();
    let quoted = |text: &str| text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let dated = date.len() == 26 && date.ends_with(" +0000");
    (dated
        && number(status)
        && number(size)
        && quoted(referer)
        && quoted(agent)
        && rest.next().is_none())
    .then_some(request)
}
