//! Oracle: the history of every request, and the checks of it (I1, I2, I4, I5, I6, I9, I11, I13, I14).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use tollgate::properties::reference::{self, Request, Response};
use tollgate::time::{Duration, Instant};
use tollgate::upstream::addresses::is_socket;
use tollgate::upstream::health::Change;

use super::endpoints::{Arrival, Endpoints};
use super::link::End;
use super::plan::{Answer, Plan, STICKY};
use super::rates::{Limit, Verdict, judge};
use super::world::Policies;

/// Position in the byte stream of a connection at which a message ends.
struct Mark {
    end: End,
    bytes: usize,
}

impl Mark {
    /// Returns the position behind everything that was sent so far.
    fn here(end: &End) -> Mark {
        Mark {
            end: end.clone(),
            bytes: end.sent(),
        }
    }

    /// Returns the position behind the first `bytes`.
    fn at(end: &End, bytes: usize) -> Mark {
        Mark {
            end: end.clone(),
            bytes,
        }
    }

    /// Returns true if all bytes in front of the position have reached the gateway.
    fn is_delivered(&self) -> bool {
        self.end.has_delivered(self.bytes)
    }
}

/// Address of an upstream, and the form in which a request must reach it.
#[derive(Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub authority: String,
    /// Path of the target in each edition of the configuration, without a slash at its end. `None`
    /// if the edition does not have the target.
    pub bases: [Option<String>; 2],
    /// Number of the target's key, and its `maxInFlight`.
    pub in_flight: Option<(u64, u32)>,
}

/// History of one request.
struct Entry {
    plan: Plan,
    /// Time at which its first bytes left its client.
    sent: Option<Instant>,
    /// Number of reloads before that.
    reloads: usize,
    /// Number of answered lookups of names before that.
    lookups: usize,
    /// Position behind its head, once its client has sent that, and the time at which it reached the
    /// gateway.
    head: Option<Mark>,
    asked: Option<Instant>,
    /// True if the gateway may not have read the head when it came.
    is_late: bool,
    /// Position behind the last byte of the request, once its client has sent all of it.
    sent_whole: Option<Mark>,
    /// Number of times that its head has reached an upstream.
    arrivals: u32,
    /// Positions behind complete answers of upstreams. A replayed request has two.
    answered_whole: Vec<Mark>,
    /// Status of the final response whose head its client has.
    received: Option<u16>,
    /// True if the request was answered before its head was complete: its log line does not
    /// identify it.
    unread: bool,
    /// True if the client has the whole answer of an upstream, or its tunnel.
    served: bool,
    /// Editions of the configuration that may have served the request.
    editions: [bool; 2],
    /// Time of the last event of the request.
    touched: Instant,
}

impl Entry {
    /// Returns what is known of the decision of the rate limits.
    fn verdict(&self) -> Verdict {
        match self.received {
            _ if self.arrivals > 0 => Verdict::Passed,
            // Of a guarded service the budget of credentials that are not authentic may be used up.
            Some(429) if self.plan.credential.is_none() => Verdict::Limited,
            None | Some(400 | 408 | 429) => Verdict::Unknown,
            Some(_) => Verdict::Passed,
        }
    }
}

/// History of all requests of a world.
pub struct Oracle {
    entries: HashMap<u64, Entry>,
    /// Current time of the world.
    pub now: Instant,
    /// Number of lookups of names that were answered.
    pub lookups: usize,
    /// Longest time that a client may wait for an event of its request (I10).
    pub patience: Duration,
    /// True if a connection to an upstream may be cut by a FIN that the upstream has not sent.
    pub forged_ends: bool,
    /// Largest number of arrivals of a request at upstreams: one for each try, and one more for
    /// each try that met a dead pooled connection.
    pub arrivals_max: u32,
    pub endpoints: Endpoints,
    /// Edition that adds security headers to responses, if only one edition does.
    pub marked: Option<usize>,
    /// True if nothing is delayed: a request reaches its upstream soon after it was sent.
    pub calm: bool,
    /// Rules of services that are checked.
    pub policies: Policies,
    /// True if clients use TLS.
    pub secure: bool,
    /// Limits of requests by address, which hold for all services.
    pub limits: Vec<Limit>,
    /// Requests whose heads are under way to the gateway.
    heads: Vec<u64>,
    /// Address and path of a target by the value of its cookie, and the reverse.
    targets: HashMap<String, String>,
    cookies: HashMap<String, String>,
    /// Address that the client of a request comes from.
    clients: HashMap<u64, Ipv4Addr>,
    began: Instant,
    /// Number of requests by their results.
    pub stats: Stats,
}

/// Results of the requests of a world: answered by an upstream, answered by the gateway itself, or
/// cut behind the head.
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
    /// Endpoints that went out of use, and endpoints that came back.
    pub out: usize,
    pub back: usize,
    /// Requests on a connection that belongs to their client, and requests on a connection whose
    /// upstream had announced an idle timeout.
    pub private: usize,
    pub kept: usize,
    /// Connections that were closed before they were made: another address was faster, or the
    /// timeout had passed.
    pub raced: usize,
    pub reloads: usize,
    /// Answers of the gateway itself to requests without a valid credential.
    pub unauthorized: usize,
    /// Answers of the target that the client's cookie names, and 503 because a limit of requests in
    /// flight was reached.
    pub stuck: usize,
    pub full: usize,
    /// Requests that a rate limit has refused, as it should.
    pub limited: usize,
    /// Requests at unix sockets, those of them that came back by the cookie of a session, and
    /// connections that a unix socket refused.
    pub at_sockets: usize,
    pub stuck_at_sockets: usize,
    pub refused_by_sockets: usize,
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
        self.stuck += other.stuck;
        self.full += other.full;
        self.limited += other.limited;
        self.at_sockets += other.at_sockets;
        self.stuck_at_sockets += other.stuck_at_sockets;
        self.refused_by_sockets += other.refused_by_sockets;
    }
}

impl Oracle {
    pub fn new(plans: impl Iterator<Item = Plan>, now: Instant, patience: Duration) -> Oracle {
        let entry = |plan: Plan| Entry {
            plan,
            sent: None,
            reloads: 0,
            lookups: 0,
            head: None,
            asked: None,
            is_late: false,
            sent_whole: None,
            arrivals: 0,
            answered_whole: Vec::new(),
            received: None,
            unread: false,
            served: false,
            editions: [true; 2],
            touched: now,
        };
        let entries = plans.map(|plan| (plan.id, entry(plan))).collect();
        Oracle {
            entries,
            now,
            lookups: 0,
            patience,
            forged_ends: false,
            arrivals_max: 2,
            endpoints: Endpoints::default(),
            marked: None,
            calm: false,
            policies: Policies::default(),
            secure: false,
            limits: Vec::new(),
            heads: Vec::new(),
            targets: HashMap::new(),
            cookies: HashMap::new(),
            clients: HashMap::new(),
            began: now,
            stats: Stats::default(),
        }
    }

    pub fn plan(&self, id: u64) -> Plan {
        self.entries
            .get(&id)
            .unwrap_or_else(|| panic!("I2: request {id} has no plan"))
            .plan
            .clone()
    }

    /// Returns the history of a request, and records that an event happens to it now.
    fn entry(&mut self, id: u64) -> &mut Entry {
        let entry = self
            .entries
            .get_mut(&id)
            .unwrap_or_else(|| panic!("I2: request {id} has no plan"));
        entry.touched = self.now;
        entry
    }

    /// Records an event of a request.
    pub fn touch(&mut self, id: u64) {
        self.entry(id);
    }

    /// Records an event of every request after a jump of the clock, so that the jump does not count
    /// as waiting.
    pub fn touch_all(&mut self) {
        self.entries
            .values_mut()
            .for_each(|entry| entry.touched = self.now);
    }

    /// Returns the history of a request for a message.
    pub fn history(&self, id: u64) -> String {
        let entry = &self.entries[&id];
        format!(
            "sent whole {}, {} arrivals, answered whole {}, received {:?}: {:?}",
            entry.sent_whole.as_ref().is_some_and(Mark::is_delivered),
            entry.arrivals,
            entry.answered_whole.iter().any(Mark::is_delivered),
            entry.received,
            entry.plan
        )
    }

    /// Checks that a client does not wait too long for the answer to a request that it has sent
    /// completely (I10).
    pub fn check_wait(&self, id: u64) {
        let entry = &self.entries[&id];
        let waited = self.now.since(entry.touched);
        assert!(
            !entry.sent_whole.as_ref().is_some_and(Mark::is_delivered) || waited <= self.patience,
            "I10: nothing happened to request {id} for {} ms: {}",
            waited.as_millis(),
            self.history(id)
        );
    }

    pub fn sent(&mut self, id: u64) {
        let (now, reloads, lookups) = (self.now, self.stats.reloads, self.lookups);
        let entry = self.entry(id);
        entry.sent = Some(now);
        (entry.reloads, entry.lookups) = (reloads, lookups);
    }

    /// Records that the head of a request ends behind the first `bytes` of its connection.
    /// `is_late`: others are in front of it.
    pub fn sent_head(&mut self, id: u64, (end, bytes): (&End, usize), is_late: bool) {
        let entry = self.entry(id);
        entry.head = Some(Mark::at(end, bytes));
        entry.is_late = is_late;
        self.heads.push(id);
    }

    /// Records which heads have reached the gateway by now.
    pub fn note_heads(&mut self) {
        let (entries, now) = (&mut self.entries, self.now);
        self.heads.retain(|id| {
            let entry = entries.get_mut(id).expect("it was sent");
            let has_come = entry.head.as_ref().is_some_and(Mark::is_delivered);
            entry.asked = has_come.then_some(now);
            !has_come
        });
    }

    pub fn sent_whole(&mut self, id: u64, end: &End) {
        self.entry(id)
            .sent_whole
            .get_or_insert_with(|| Mark::here(end));
    }

    /// Records and checks the arrival of a request's head at an upstream. Returns the number of the
    /// request.
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
        self.narrow_editions(id, editions);
        let host: Vec<&[u8]> = reference::values(&head.fields, b"host").collect();
        assert_eq!(
            host,
            [place.authority.as_bytes()],
            "I2: the Host of request {id}"
        );
        assert!(!plan.no_route, "I4: request {id} has no route");
        assert_eq!(tls, plan.tls, "request {id} is at the wrong upstream");
        assert!(
            plan.has_access(),
            "request {id} has no good credential: {plan:?}"
        );
        let user = reference::values(&head.fields, b"x-user")
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        let sent = plan.credential.map(|_| id.to_string().into_bytes());
        assert_eq!(
            user,
            sent.into_iter().collect::<Vec<_>>(),
            "whom the upstream of request {id} hears of"
        );
        let most = self.arrivals_max;
        let entry = self.entry(id);
        let sent = entry
            .sent
            .unwrap_or_else(|| panic!("I2: no client has sent request {id}"));
        entry.arrivals += 1;
        let is_first = entry.arrivals == 1;
        assert!(
            is_first || plan.is_idempotent(),
            "I5: request {id} arrived twice"
        );
        let arrivals = entry.arrivals;
        assert!(
            arrivals <= most,
            "request {id} arrived {arrivals} times: {}",
            self.history(id)
        );
        self.stats.moved += usize::from(!is_first);
        self.stats.at_sockets += usize::from(is_socket(place.address));
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

    /// Checks a connection on which the first bytes of another request have arrived. `kept_until`:
    /// the end of the idle timeout that its upstream has announced.
    pub fn begun_on(&self, kept_until: Option<Instant>) {
        let late =
            kept_until.is_some_and(|until| self.now.after(Duration::from_millis(500)) > until);
        assert!(
            !(self.calm && late),
            "a request is on a connection that is about to close"
        );
    }

    /// Checks the connection on which the head of a request has arrived: `user` is the client that
    /// the connection belongs to. `is_kept`: its upstream has announced an idle timeout.
    pub fn arrived_on(&mut self, id: u64, user: Option<u64>, is_kept: bool) {
        let principal = self.plan(id).principal;
        assert!(
            user.is_none_or(|user| user == principal),
            "request {id} of {principal} is on the connection of {user:?}"
        );
        self.stats.private += usize::from(user.is_some());
        self.stats.kept += usize::from(is_kept);
    }

    /// Records a change of health that the gateway has reported.
    pub fn health_changed(&mut self, address: SocketAddr, change: Change) {
        match change {
            Change::WentDown | Change::Ejected | Change::EjectedAgain => self.stats.out += 1,
            Change::CameUp | Change::Returned => self.stats.back += 1,
            Change::StillDown | Change::Recovered => {}
        }
        self.endpoints.health_changed(address, change, self.now);
    }

    /// Narrows the editions of the configuration that may have served a request. Each request is
    /// served by one edition only.
    fn narrow_editions(&mut self, id: u64, editions: [bool; 2]) {
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

    /// Checks a whole request at an upstream.
    pub fn arrived_whole(&mut self, request: &Request, id: u64) {
        assert!(
            request.body == self.plan(id).request_body(),
            "I2: the body of request {id}"
        );
        let whole = self
            .entry(id)
            .sent_whole
            .as_ref()
            .is_some_and(Mark::is_delivered);
        assert!(whole, "I1: request {id} did not come to its end");
    }

    pub fn answered_whole(&mut self, id: u64, end: &End) {
        self.entry(id).answered_whole.push(Mark::here(end));
    }

    /// Checks a final response to request `id`, or the part of it that a closed connection has
    /// delivered.
    pub fn received(&mut self, id: u64, response: &Response) {
        let plan = self.plan(id);
        let status = response.head.status;
        let forged_ends = self.forged_ends;
        let entry = self.entry(id);
        assert_eq!(
            entry.received.replace(status),
            None,
            "I9: request {id} was answered twice"
        );
        if reference::values(&response.head.fields, b"x-unasked")
            .next()
            .is_some()
        {
            // The unasked bytes came after the next request was sent, so the gateway cannot tell
            // them from an answer. If they had come earlier, `Socket::write` would have found them.
            self.stats.unasked += 1;
            return;
        }
        let number = only(reference::values(&response.head.fields, b"x-id"));
        let Some(number) = number else {
            let own = [400, 401, 404, 408, 413, 429, 502, 503, 504];
            assert!(
                own.contains(&status),
                "request {id}: {status} without an upstream"
            );
            if response.complete && plan.method != "HEAD" {
                assert!(
                    response
                        .body
                        .starts_with(format!("{{\"code\":{status},").as_bytes()),
                    "request {id}"
                );
            }
            entry.unread = status == 408;
            assert!(status != 404 || plan.no_route, "request {id} has a route");
            assert!(
                status != 401 || !plan.has_access(),
                "request {id} has a good credential"
            );
            self.stats.unauthorized += usize::from(status == 401);
            let mut waits = reference::values(&response.head.fields, b"retry-after");
            let is_limited = self.policies.limits_in_flight();
            self.stats.full +=
                usize::from(is_limited && status == 503 && waits.next() == Some(b"1"));
            self.stats.own += 1;
            return;
        };
        assert_eq!(number, id, "I9: an answer to another request");
        if let Some(marked) = self.marked {
            let mut marks = reference::values(&response.head.fields, b"x-frame-options");
            let has_mark = marks.next().is_some();
            self.narrow_editions(id, [0, 1].map(|edition| (edition == marked) == has_mark));
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
            !plan.no_route && entry.arrivals > 0,
            "request {id} was not answered by an upstream"
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
        // Without TLS a FIN in the middle of such a body looks like its end (RFC 9112 8).
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
            self.stats.whole += 1;
        } else {
            self.stats.cut += 1;
        }
    }

    /// Records the address that the client of requests comes from.
    pub fn comes_from<'p>(&mut self, plans: impl IntoIterator<Item = &'p Plan>, address: Ipv4Addr) {
        let ids = plans.into_iter().map(|plan| (plan.id, address));
        self.clients.extend(ids);
    }

    /// Checks the cookie of a sticky session in an upstream's answer: each value names one target,
    /// and a client without a new value is at the target that its own value names (I13).
    pub fn check_session(&mut self, plan: &Plan, response: &Response) {
        let fields = &response.head.fields;
        if reference::values(fields, b"x-unasked").next().is_some() {
            return;
        }
        let Some(at) = reference::values(fields, b"x-at").next() else {
            assert!(
                sticky_cookie(response).is_none(),
                "I13: a cookie of no target"
            );
            return;
        };
        let at = String::from_utf8_lossy(at).into_owned();
        if plan.tls {
            assert!(sticky_cookie(response).is_none(), "I13: /tls is not sticky");
            return;
        }
        let id = plan.id;
        // The cookie is that of the edition in which the answer came, if that one has the target.
        if self.entries[&id].reloads != self.stats.reloads {
            return;
        }
        let Some((value, rest)) = sticky_cookie(response) else {
            let own = plan.cookie.clone();
            // An address that its name has lost meanwhile has no value of its own any more: a client
            // that was sent there keeps what it has.
            let own_is_here = own
                .as_ref()
                .is_some_and(|own| self.targets.get(own).is_none_or(|known| *known == at));
            if !own_is_here && self.entries[&id].lookups != self.lookups {
                return;
            }
            let own = own.unwrap_or_else(|| panic!("I13: request {id} got no cookie"));
            let known = self.targets.entry(own).or_insert_with(|| at.clone());
            assert_eq!(*known, at, "I13: request {id} has moved, and got no cookie");
            self.stats.stuck += 1;
            let address = at
                .split(' ')
                .next()
                .and_then(|address| address.parse().ok());
            self.stats.stuck_at_sockets += usize::from(address.is_some_and(is_socket));
            return;
        };
        let secure = if self.secure { "; Secure" } else { "" };
        let attributes = format!("; Path=/plain; Max-Age=3600; HttpOnly; SameSite=Lax{secure}");
        assert_eq!(rest, attributes, "I13: request {id}");
        assert_ne!(
            plan.cookie.as_ref(),
            Some(&value),
            "I13: request {id} got its own cookie"
        );
        assert!(
            !(self.policies.never_moves && plan.cookie.is_some()),
            "I13: request {id} has moved, and nothing has failed"
        );
        let target = self
            .targets
            .entry(value.clone())
            .or_insert_with(|| at.clone());
        assert_eq!(*target, at, "I13: a cookie names two targets");
        let cookie = self.cookies.entry(at).or_insert_with(|| value.clone());
        assert_eq!(*cookie, value, "I13: a target has two cookies");
    }

    /// Checks at the end of the world that the limits by address have let in what they should, and
    /// refused what they should, request by request (I14). Where the time of a decision is not known,
    /// the sum must be possible.
    pub fn check_rates(&mut self) {
        if self.limits.is_empty() {
            return;
        }
        let elapsed = self.now.since(self.began).as_millis();
        let most = self.limits.iter().map(|limit| limit.most_within(elapsed));
        let most = most.min().unwrap_or(u64::MAX);
        let mut addresses: HashMap<Ipv4Addr, Vec<u64>> = HashMap::new();
        for id in self.entries.keys() {
            if let Some(client) = self.clients.get(id) {
                addresses.entry(*client).or_default().push(*id);
            }
        }
        for (client, ids) in addresses {
            let arrived = ids.iter().filter(|id| self.entries[*id].arrivals > 0);
            let count = arrived.count() as u64;
            assert!(
                count <= most,
                "I14: {count} requests of {client}, not {most}"
            );
            self.judge_client(client, &ids);
        }
    }

    fn judge_client(&mut self, client: Ipv4Addr, ids: &[u64]) {
        let sent = ids.iter().map(|id| &self.entries[id]);
        let sent = sent
            .filter(|entry| entry.sent.is_some())
            .collect::<Vec<_>>();
        // The time of the decision is known up to the first request that was not read when it came.
        let is_late = |entry: &&&Entry| entry.is_late || self.secure;
        let late = sent.iter().filter(is_late).filter_map(|entry| entry.sent);
        let until = late.min();
        let in_time = sent
            .iter()
            .filter_map(|entry| Some((entry, entry.asked?)))
            .filter(|(_, asked)| until.is_none_or(|until| *asked < until));
        let mut asked: Vec<_> = in_time
            .map(|(entry, asked)| (asked.as_millis(), entry.verdict()))
            .collect();
        match judge(&self.limits, &mut asked) {
            Ok(judged) => {
                let limited = asked.iter().take(judged);
                let limited = limited.filter(|(_, verdict)| *verdict == Verdict::Limited);
                self.stats.limited += limited.count();
            }
            Err(place) => panic!(
                "I14: {client}, request {place} of {asked:?} by {:?}: {:?}",
                self.limits,
                ids.iter().map(|id| self.history(*id)).collect::<Vec<_>>()
            ),
        }
    }

    /// Records that a client has its tunnel.
    pub fn switched(&mut self, id: u64) {
        self.entry(id).served = true;
        self.stats.switched += 1;
    }

    /// Returns true if the gateway has received an upstream's whole answer. The gateway may pool
    /// the connection then, although the upstream has not read all of the request.
    pub fn is_answered(&self, id: u64) -> bool {
        let entry = &self.entries[&id];
        entry.answered_whole.iter().any(Mark::is_delivered)
    }

    /// Returns true if the request has reached an upstream.
    pub fn has_arrived(&self, id: u64) -> bool {
        self.entries[&id].arrivals > 0
    }

    /// Records a 503 that was sent before the request was read.
    pub fn refused_unread(&mut self, id: u64) {
        let entry = self.entry(id);
        assert_eq!(entry.arrivals, 0, "I4: request {id} was turned away");
        self.stats.own += 1;
    }

    /// Returns the requests that were sent, have a route, and have no answer of an upstream.
    pub fn unserved(&self) -> Vec<String> {
        let unserved = |entry: &&Entry| {
            entry.sent.is_some() && !entry.served && !entry.plan.no_route && entry.plan.has_access()
        };
        self.entries
            .values()
            .filter(unserved)
            .map(|entry| self.history(entry.plan.id))
            .collect()
    }

    /// Checks the access log at the end of the world (I6).
    pub fn check_log(&self, log: &str) {
        let mut lines: HashMap<u64, u32> = HashMap::new();
        for line in log.lines() {
            let request = combined(line).unwrap_or_else(|| panic!("I6: no combined line: {line}"));
            // A request that was cut in the middle of its line has a log line, too, but the line
            // does not identify it.
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
                count == 1 || !(entry.received.is_some() && !entry.unread || entry.arrivals > 0),
                "I6: no line for request {id}: {}\n{log}",
                self.history(*id)
            );
        }
    }
}

/// Returns the value and the attributes of the cookie of a sticky session.
pub fn sticky_cookie(response: &Response) -> Option<(String, String)> {
    let mut lines = reference::values(&response.head.fields, b"set-cookie");
    let line = lines.next()?;
    assert!(lines.next().is_none(), "I13: two cookies");
    let line = String::from_utf8_lossy(line);
    let (value, _) = line
        .strip_prefix(STICKY)?
        .strip_prefix('=')?
        .split_once(';')?;
    let rest = line.get(STICKY.len() + 1 + value.len()..)?;
    Some((value.to_owned(), rest.to_owned()))
}

fn bodiless(plan: &Plan) -> bool {
    plan.method == "HEAD" || matches!(plan.answer, Answer::NoContent | Answer::NotModified)
}

/// Returns the number in the only field of this name.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<u64> {
    let value = values.next()?;
    assert!(values.next().is_none(), "a number twice");
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns the request line of a log line in the combined format.
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
