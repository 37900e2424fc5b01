//! The machine against an authority that fails by plan, in virtual time.

#[cfg(test)]
use std::collections::BTreeMap;

use rcgen::{CertificateParams, Issuer, KeyPair};

use super::*;
use crate::acme::{Challenge, File, Kind, Method, Proof, Request};
use crate::net::certificates::keys::RingKeys;
use crate::policy::auth::base64::decode_url;
use crate::policy::auth::json::Json;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const BEGIN: u64 = 1_767_225_600;

/// Fault of the authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Away,
    Garbage,
    Redirect,
    OtherKey,
    Expired,
    OtherName,
    Invalid,
    RateLimited,
    Nonces,
    OnlyOtherChallenge,
    NewIsGone,
}

/// Order at the authority.
#[derive(Clone, Default)]
struct Placed {
    names: Vec<String>,
    proved: usize,
    state: &'static str,
    chain: String,
}

/// Authority in virtual time.
struct Authority {
    key: KeyPair,
    life: u64,
    fault: Fault,
    offers_window: bool,
    orders: Vec<Placed>,
    /// Times of new orders, of failed proofs, and of issued certificates.
    placed: Vec<u64>,
    failed: Vec<(u64, String)>,
    issued: Vec<u64>,
    replaced: usize,
    nonces: u64,
    wants_binding: bool,
}

impl Authority {
    fn new() -> Authority {
        Authority {
            key: KeyPair::generate().expect("a key"),
            life: 90 * DAY,
            fault: Fault::None,
            offers_window: false,
            orders: Vec::new(),
            placed: Vec::new(),
            failed: Vec::new(),
            issued: Vec::new(),
            replaced: 0,
            nonces: 0,
            wants_binding: false,
        }
    }

    fn answer(
        &mut self,
        request: &Request,
        now: u64,
        offered: &[Challenge],
    ) -> Result<Response, String> {
        self.nonces += 1;
        match self.fault {
            Fault::Away => return Err("connection refused".to_owned()),
            Fault::Garbage => return Ok(plain(200, "<html>")),
            Fault::Redirect => {
                let mut response = plain(302, "");
                let to = format!("https://ca.test{}", request.path);
                response.fields.push(field("Location", &to));
                return Ok(response);
            }
            _ => {}
        }
        let mut response = self.route(request, now, offered);
        response
            .fields
            .push(field("Replay-Nonce", &format!("n{}", self.nonces)));
        Ok(response)
    }

    fn route(&mut self, request: &Request, now: u64, offered: &[Challenge]) -> Response {
        let path = &*request.path;
        if request.method == Method::Get {
            return match path {
                "/dir" => {
                    let window = if self.offers_window {
                        r#","renewalInfo":"https://ca.test/ari""#
                    } else {
                        ""
                    };
                    let wants = self.wants_binding;
                    plain(
                        200,
                        &format!(
                            r#"{{"newNonce":"https://ca.test/nonce","newAccount":"https://ca.test/account","newOrder":"https://ca.test/order"{window},"meta":{{"externalAccountRequired":{wants}}}}}"#
                        ),
                    )
                }
                "/nonce" => plain(204, ""),
                _ => {
                    let last = self.issued.last().copied().unwrap_or(now);
                    let mut response = plain(
                        200,
                        &format!(
                            r#"{{"suggestedWindow":{{"start":"{}","end":"{}"}}}}"#,
                            rfc3339(last + DAY),
                            rfc3339(last + 2 * DAY)
                        ),
                    );
                    response.fields.push(field("Retry-After", "21600"));
                    response
                }
            };
        }
        if self.fault == Fault::Nonces && !self.nonces.is_multiple_of(3) {
            return problem(400, "badNonce");
        }
        let body = Json::parse(&request.body).expect("JSON");
        let payload = body.get("payload").and_then(Json::text).expect("a payload");
        let payload = decode_url(payload.as_bytes()).expect("base64");
        if path == "/account" {
            let mut response = plain(201, "{}");
            response
                .fields
                .push(field("Location", "https://ca.test/account/1"));
            return response;
        }
        if path == "/order" {
            if self.fault == Fault::RateLimited {
                let mut response = problem(429, "rateLimited");
                response.fields.push(field("Retry-After", "100000"));
                return response;
            }
            let json = Json::parse(&payload).expect("JSON");
            self.replaced += usize::from(json.get("replaces").is_some());
            let Some(Json::List(names)) = json.get("identifiers") else {
                panic!("no names")
            };
            let names = names.iter().map(|name| {
                name.get("value")
                    .and_then(Json::text)
                    .expect("a name")
                    .to_owned()
            });
            self.placed.push(now);
            self.orders.push(Placed {
                names: names.collect(),
                state: "pending",
                ..Placed::default()
            });
            let id = self.orders.len() - 1;
            let mut response = self.shown(id);
            response.status = 201;
            response
                .fields
                .push(field("Location", &format!("https://ca.test/order/{id}")));
            return response;
        }
        let parts = path.split('/').collect::<Vec<_>>();
        let number = |at: usize| parts[at].parse::<usize>().expect("a number");
        if self.fault == Fault::NewIsGone && parts[1] == "order" {
            return problem(404, "malformed");
        }
        match parts[1] {
            "order" => self.shown(number(2)),
            "authz" | "respond" => {
                let (id, index) = (number(2), number(3));
                let name = self.orders[id].names[index].clone();
                if parts[1] == "respond" {
                    let proved = offered.iter().any(|one| one.identifier.to_string() == name && matches!(&one.proof, Proof::Http01 { token, text } if text.starts_with(&**token)));
                    if proved && self.fault != Fault::Invalid {
                        self.orders[id].proved = index + 1;
                        if self.orders[id].proved == self.orders[id].names.len() {
                            self.orders[id].state = "ready";
                        }
                    } else {
                        self.failed.push((now, name));
                        self.orders[id].state = "invalid";
                    }
                    return plain(200, "{}");
                }
                let order = &self.orders[id];
                let state = match order.state {
                    "invalid" => "invalid",
                    _ if order.proved > index => "valid",
                    _ => "pending",
                };
                let kind = if self.fault == Fault::OnlyOtherChallenge {
                    "dns-01"
                } else {
                    "http-01"
                };
                plain(
                    200,
                    &format!(
                        r#"{{"status":"{state}","identifier":{{"type":"dns","value":"{name}"}},"challenges":[{{"type":"{kind}","status":"pending","url":"https://ca.test/respond/{id}/{index}","token":"tok{id}"}}]}}"#
                    ),
                )
            }
            "finalize" => {
                let id = number(2);
                let json = Json::parse(&payload).expect("JSON");
                let csr = decode_url(
                    json.get("csr")
                        .and_then(Json::text)
                        .expect("a csr")
                        .as_bytes(),
                )
                .expect("base64");
                self.orders[id].chain = self.issue(&self.orders[id].names, &csr, now);
                self.orders[id].state = "valid";
                self.issued.push(now);
                self.shown(id)
            }
            _ => plain(200, &self.orders[number(2)].chain.clone()),
        }
    }

    fn shown(&self, id: usize) -> Response {
        let order = &self.orders[id];
        let of =
            (0..order.names.len()).map(|index| format!(r#""https://ca.test/authz/{id}/{index}""#));
        let of = of.collect::<Vec<_>>().join(",");
        let certificate = if order.state == "valid" {
            format!(r#","certificate":"https://ca.test/cert/{id}""#)
        } else {
            String::new()
        };
        plain(
            200,
            &format!(
                r#"{{"status":"{}","authorizations":[{of}],"finalize":"https://ca.test/finalize/{id}"{certificate}}}"#,
                order.state
            ),
        )
    }

    fn issue(&self, names: &[String], csr: &[u8], now: u64) -> String {
        let names = match self.fault {
            Fault::OtherName => vec!["other.test".to_owned()],
            _ => names.to_vec(),
        };
        let mut params = CertificateParams::new(names).expect("names");
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |seconds: u64| epoch + std::time::Duration::from_secs(seconds);
        params.not_before = at(now - HOUR);
        params.not_after = match self.fault {
            Fault::Expired => at(now - 5),
            _ => at(now + self.life),
        };
        params.use_authority_key_identifier_extension = true;
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = Issuer::from_params(&ca, &self.key);
        if self.fault == Fault::OtherKey {
            let other = KeyPair::generate().expect("a key");
            return params
                .signed_by(&other, &issuer)
                .expect("a certificate")
                .pem();
        }
        // The one BIT STRING of 66 bytes in a request is its key.
        let start = csr
            .windows(4)
            .position(|bytes| bytes == [0x03, 0x42, 0, 4])
            .expect("a key")
            + 3;
        let key = Point(csr[start..start + 65].to_vec());
        params
            .signed_by(&key, &issuer)
            .expect("a certificate")
            .pem()
    }
}

/// Public key of a request.
struct Point(Vec<u8>);

impl rcgen::PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn rfc3339(seconds: u64) -> String {
    let mut dates = crate::observe::date::DateCache::new();
    let text = dates
        .rfc3339(UnixTime::from_millis(seconds * 1000))
        .to_vec();
    format!("{}Z", String::from_utf8_lossy(&text).trim_end_matches('Z'))
}

fn field(name: &str, value: &str) -> (Box<[u8]>, Box<[u8]>) {
    (name.as_bytes().into(), value.as_bytes().into())
}

fn plain(status: u16, body: &str) -> Response {
    Response {
        status,
        fields: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn problem(status: u16, kind: &str) -> Response {
    plain(
        status,
        &format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"by plan"}}"#),
    )
}

/// The gateway around a machine: its disk, and what it serves.
struct World {
    authority: Authority,
    files: BTreeMap<String, Vec<u8>>,
    plan: Plan,
    machine: Machine,
    now: u64,
    offered: Vec<Challenge>,
    installed: Vec<Stored>,
    reports: Vec<String>,
    steps: usize,
    is_disk_full: bool,
    probe: Result<(), String>,
    probes: usize,
}

fn plan(sets: &[&[&str]]) -> Plan {
    let certificates = sets.iter().map(|names| Wanted {
        names: names
            .iter()
            .map(|name| Identifier::parse(name).expect(name))
            .collect(),
        kind: Kind::Http01,
        port: 80,
    });
    Plan {
        directory: Url::parse("https://ca.test/dir").expect("a URL"),
        emails: vec!["a@b.test".into()],
        profile: None,
        eab: None,
        certificates: certificates.collect(),
    }
}

impl World {
    fn new(sets: &[&[&str]]) -> World {
        let plan = plan(sets);
        World {
            authority: Authority::new(),
            files: BTreeMap::new(),
            machine: Machine::new(
                plan.clone(),
                &BTreeMap::new(),
                UnixTime::from_millis(BEGIN * 1000),
            ),
            plan,
            now: BEGIN,
            offered: Vec::new(),
            installed: Vec::new(),
            reports: Vec::new(),
            steps: 0,
            is_disk_full: false,
            probe: Ok(()),
            probes: 0,
        }
    }

    /// The process is killed, and starts again.
    fn restart(&mut self) {
        self.machine = Machine::new(
            self.plan.clone(),
            &self.files,
            UnixTime::from_millis(self.now * 1000),
        );
        self.offered.clear();
        self.installed = self.machine.certificates();
    }

    /// Carries one step out. Returns the time until which the machine waits.
    fn step(&mut self, keys: &mut RingKeys) -> Option<u64> {
        self.steps += 1;
        match self
            .machine
            .next(UnixTime::from_millis(self.now * 1000), keys)
        {
            Step::Wait(until) => return Some(until.as_secs()),
            Step::Request(request) => {
                let answer = self.authority.answer(&request, self.now, &self.offered);
                self.machine.answered(answer);
            }
            Step::Probe(..) => {
                self.probes += 1;
                self.machine.probed(self.probe.clone());
            }
            Step::Save(files) => {
                if self.is_disk_full {
                    self.machine
                        .saved(Err("no space left on device".to_owned()));
                    return None;
                }
                for File { name, bytes } in files {
                    match bytes {
                        Some(bytes) => self.files.insert(name, bytes),
                        None => self.files.remove(&name),
                    };
                }
                self.machine.saved(Ok(()));
            }
            Step::Offer(challenge) => self.offered.push(challenge),
            Step::Withdraw => self.offered.clear(),
            Step::Install(stored) => self.installed.push(stored),
            Step::Report(report) => self.reports.push(report.text),
        }
        None
    }

    /// Runs until a time.
    fn run(&mut self, until: u64) {
        let keys = &mut RingKeys::new();
        for _ in 0..1_000_000 {
            if let Some(at) = self.step(keys) {
                assert!(at > self.now, "time goes on");
                if at > until {
                    self.now = until;
                    return;
                }
                self.now = at;
            }
        }
        panic!("no end: {:?}", self.reports.last());
    }
}

/// Returns the most events within one span.
fn most_within(times: &[u64], span: u64) -> usize {
    let within = |begin: &u64| {
        times
            .iter()
            .filter(|at| (*begin..*begin + span).contains(at))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn certificates_are_ordered_and_renewed() {
    let mut world = World::new(&[&["a.test", "b.test"], &["c.test"]]);
    world.run(BEGIN + 60);
    assert_eq!(
        (
            world.installed.len(),
            world.authority.placed.len(),
            world.probes
        ),
        (2, 2, 2)
    );
    assert!(
        world.offered.is_empty(),
        "no challenge is answered any more"
    );
    let rows = world.machine.rows(UnixTime::from_millis(world.now * 1000));
    assert!(
        rows.iter()
            .all(|row| row.step == "valid" && row.problem.is_none())
    );
    world.run(BEGIN + 53 * DAY);
    assert_eq!(world.authority.placed.len(), 2);
    world.run(BEGIN + 61 * DAY);
    assert_eq!((world.authority.placed.len(), world.probes), (4, 2));
    world.restart();
    assert_eq!(world.installed.len(), 2);
    world.run(BEGIN + 62 * DAY);
    assert_eq!(world.authority.placed.len(), 4);
}

#[test]
fn the_authority_says_when_to_renew() {
    let mut world = World::new(&[&["a.test"]]);
    world.authority.offers_window = true;
    world.run(BEGIN + 10 * DAY);
    let count = world.authority.issued.len();
    assert!((2..=6).contains(&count), "{count}");
    assert_eq!(world.authority.replaced, count - 1);
}

#[test]
fn every_fault_has_words_and_pauses() {
    for (fault, words) in [
        (Fault::Away, "cannot be reached: connection refused"),
        (Fault::Garbage, "its directory is no JSON"),
        (
            Fault::Redirect,
            "redirects to \"https://ca.test/dir\" (status 302), which is not followed",
        ),
        (Fault::OtherKey, "is for another key than ours"),
        (Fault::Expired, "has expired already"),
        (Fault::OtherName, "does not cover a.test"),
        (Fault::Invalid, "did not accept the proof for a.test"),
        (
            Fault::RateLimited,
            "the authority says 429: rateLimited: by plan",
        ),
        (Fault::OnlyOtherChallenge, "offers no http-01 for a.test"),
    ] {
        let mut world = World::new(&[&["a.test"]]);
        world.authority.fault = fault;
        world.run(BEGIN + 59);
        let report = world.reports.last().cloned().unwrap_or_default();
        assert!(report.contains(words), "{fault:?}: {report}");
        let rows = world.machine.rows(UnixTime::from_millis(world.now * 1000));
        assert!(
            rows[0]
                .problem
                .as_ref()
                .is_some_and(|text| text.contains(words))
        );
        assert_eq!(
            (rows[0].step, world.installed.len()),
            ("waits after a failure", 0)
        );
        world.run(BEGIN + DAY);
        let attempts = world.reports.len();
        let expected = if fault == Fault::RateLimited {
            1..=1
        } else {
            5..=8
        };
        assert!(expected.contains(&attempts), "{fault:?}: {attempts}");
        assert!(world.offered.is_empty());
        // The authority is well again.
        world.authority.fault = Fault::None;
        world.run(BEGIN + 8 * DAY);
        assert_eq!(
            world.installed.len(),
            1,
            "{fault:?}: {:?}",
            world.reports.last()
        );
    }
}

#[test]
fn refused_nonces_are_no_failure() {
    let mut world = World::new(&[&["a.test"]]);
    world.authority.fault = Fault::Nonces;
    world.run(BEGIN + 50);
    assert_eq!(world.installed.len(), 1, "{:?}", world.reports);
}

#[test]
fn a_failed_renewal_leaves_the_certificate() {
    let mut world = World::new(&[&["a.test"]]);
    world.run(BEGIN + DAY);
    world.authority.fault = Fault::OtherKey;
    world.run(BEGIN + 70 * DAY);
    assert!(
        world
            .reports
            .last()
            .is_some_and(|text| text.contains("the certificate of before stays"))
    );
    world.restart();
    assert_eq!(world.installed.len(), 1);
}

#[test]
fn a_kill_at_every_step_makes_no_second_order() {
    let mut whole = World::new(&[&["a.test", "b.test"]]);
    whole.run(BEGIN + 100);
    let steps = whole.steps;
    assert!(steps > 20, "{steps}");
    for at in 0..steps {
        let mut world = World::new(&[&["a.test", "b.test"]]);
        let keys = &mut RingKeys::new();
        while world.steps < at {
            if let Some(until) = world.step(keys) {
                world.now = until;
            }
        }
        let placed = world.authority.placed.len();
        // The authority made an order, and the process ended before its name was saved.
        let state = world
            .files
            .get(STATE_FILE)
            .map(|file| String::from_utf8_lossy(file).into_owned());
        let is_unknown = placed == 1 && !state.unwrap_or_default().contains("/order/");
        world.restart();
        world.run(BEGIN + DAY);
        let most = if is_unknown && at < steps - 4 { 2 } else { 1 };
        assert!(
            world.authority.placed.len() <= most,
            "killed at {at}: {:?}",
            world.reports
        );
        assert_eq!(
            world.installed.len(),
            1,
            "killed at {at}: {:?}",
            world.reports
        );
    }
}

#[test]
fn a_crash_loop_orders_nothing() {
    let mut world = World::new(&[&["a.test"]]);
    let keys = &mut RingKeys::new();
    for _ in 0..2000 {
        // Each life ends when the authority has made an order.
        let placed = world.authority.placed.len();
        for _ in 0..30 {
            world.step(keys);
            if world.authority.placed.len() > placed {
                break;
            }
        }
        world.restart();
        world.now += 10;
    }
    let placed = world.authority.placed.len();
    assert!(placed <= 5, "{placed}");
}

#[test]
fn five_years_stay_below_the_published_limits() {
    let sets: [&[&str]; 3] = [&["a.test"], &["a.test", "b.test"], &["c.test"]];
    let mut world = World::new(&sets);
    let faults = [
        Fault::None,
        Fault::Away,
        Fault::Invalid,
        Fault::None,
        Fault::OtherKey,
        Fault::Garbage,
        Fault::Expired,
        Fault::NewIsGone,
        Fault::RateLimited,
        Fault::None,
        Fault::Redirect,
        Fault::OnlyOtherChallenge,
    ];
    for day in 0..5 * 365 {
        // Faults of one to eleven days.
        world.authority.fault = faults[(day / (1 + day % 11)) % faults.len()];
        world.authority.offers_window = day / 100 % 2 == 1;
        if day % 37 == 5 {
            world.restart();
        }
        world.run(BEGIN + day as u64 * DAY + DAY);
    }
    let authority = &world.authority;
    for names in sets {
        let of_set = |times: &dyn Fn(&(usize, &Placed)) -> bool| {
            authority
                .orders
                .iter()
                .enumerate()
                .filter(|one| times(one))
                .map(|(id, _)| authority.placed[id])
                .collect::<Vec<_>>()
        };
        let issued = of_set(&|(_, order)| order.names == names && order.state == "valid");
        assert!(
            most_within(&issued, 7 * DAY) <= 5,
            "{names:?}: {}",
            most_within(&issued, 7 * DAY)
        );
        assert!(issued.len() >= 25, "{names:?}: {}", issued.len());
    }
    assert!(most_within(&authority.placed, 3 * HOUR) <= 300);
    for name in ["a.test", "b.test", "c.test"] {
        let of_name = authority.failed.iter().filter(|(_, of)| of == name);
        let times = of_name.map(|(at, _)| *at).collect::<Vec<_>>();
        let most = most_within(&times, HOUR);
        assert!(most <= 5, "{name}: {most}");
    }
}

#[test]
fn many_names_stay_below_the_orders_of_an_account() {
    let names = (0..400)
        .map(|number| format!("n{number}.test"))
        .collect::<Vec<_>>();
    let lists = names
        .iter()
        .map(|name| vec![name.as_str()])
        .collect::<Vec<_>>();
    let sets = lists.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let mut world = World::new(&sets);
    world.run(BEGIN + DAY);
    assert_eq!(world.installed.len(), 400);
    assert!(most_within(&world.authority.placed, 3 * HOUR) <= 300);
}

#[test]
fn a_full_disk_orders_nothing_and_a_clock_in_1970_neither() {
    let mut world = World::new(&[&["a.test"]]);
    world.is_disk_full = true;
    world.run(BEGIN + DAY);
    assert_eq!(world.authority.placed.len(), 0);
    assert!(
        world.reports[0].contains("takes no files: no space left on device"),
        "{:?}",
        world.reports
    );
    world.is_disk_full = false;
    world.run(BEGIN + 2 * DAY);
    assert_eq!(world.installed.len(), 1);

    let mut world = World::new(&[&["a.test"]]);
    world.now = 100;
    world.run(DAY);
    assert_eq!((world.authority.placed.len(), world.reports.len()), (0, 1));
    assert!(world.reports[0].contains("until it is set"));
    world.now = BEGIN;
    world.run(BEGIN + 60);
    assert_eq!(world.installed.len(), 1);
}

#[test]
fn a_probe_that_fails_delays_the_first_order() {
    let mut world = World::new(&[&["a.test"]]);
    world.probe = Err("no route".to_owned());
    world.run(BEGIN + 599);
    assert_eq!(world.authority.placed.len(), 0);
    assert!(world.reports[0].contains("does not reach itself by its names: no route"));
    world.run(BEGIN + 660);
    assert_eq!((world.installed.len(), world.probes), (1, 1));
}

#[test]
fn new_names_are_a_new_order_and_the_old_certificate_stays() {
    let mut world = World::new(&[&["a.test"]]);
    world.run(BEGIN + 60);
    world.plan = plan(&[&["a.test", "b.test"]]);
    world.restart();
    assert_eq!(world.installed.len(), 1, "the old one is served until then");
    world.run(BEGIN + 120);
    assert_eq!(
        (world.installed.len(), world.authority.placed.len()),
        (2, 2)
    );
    // And by a reload.
    let third = plan(&[&["c.test"]]);
    world
        .machine
        .replan(third, UnixTime::from_millis(world.now * 1000));
    world.run(BEGIN + 180);
    assert_eq!(
        (world.installed.len(), world.authority.placed.len()),
        (3, 3)
    );
}

#[test]
fn an_account_outside_of_acme() {
    let mut world = World::new(&[&["a.test"]]);
    world.authority.wants_binding = true;
    world.run(BEGIN + 50);
    assert!(
        world.reports[0].contains("set acme.eab"),
        "{:?}",
        world.reports
    );
    let mut with = world.plan.clone();
    with.eab = Some(crate::acme::Eab {
        kid: "k".into(),
        key: b"secret".as_slice().into(),
    });
    world
        .machine
        .replan(with, UnixTime::from_millis(world.now * 1000));
    world.run(BEGIN + 700);
    assert_eq!(world.installed.len(), 1, "{:?}", world.reports);
}

/// The file `state.json` is removed to have a failed order begin at once; what was issued is served all the same.
#[test]
fn certificates_outlive_a_lost_state() {
    let mut world = World::new(&[&["a.test", "b.test"]]);
    world.run(BEGIN + HOUR);
    assert_eq!(world.authority.issued.len(), 1);
    for (sets, orders) in [
        (&[&["a.test", "b.test"][..]][..], 1),
        (&[&["a.test", "b.test", "new.test"]], 2),
    ] {
        world.files.remove(STATE_FILE);
        world
            .files
            .insert("other-01020304.pem".to_owned(), b"no certificate".to_vec());
        world.plan = plan(sets);
        world.authority.fault = Fault::Away;
        world.restart();
        let served = world.installed.iter().map(|one| one.names.len());
        assert_eq!(served.collect::<Vec<_>>(), [2], "{sets:?}");
        let now = UnixTime::from_millis(world.now * 1000);
        let rows = rows(&world.plan, &world.files, now);
        let steps = rows.iter().map(|row| row.step).collect::<Vec<_>>();
        assert_eq!(
            steps,
            [if orders == 1 {
                "valid"
            } else {
                "awaits its first order"
            }]
        );
        world.authority.fault = Fault::None;
        world.run(world.now + HOUR);
        assert_eq!(world.authority.issued.len(), orders, "{sets:?}");
    }
}
