//! World of the simulation: the gateway, its clients, its upstreams, the network between them, and the injected
//! faults. The seed decides everything. No socket and no clock is real.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tollgate::limits::BODY_GATHERED_BYTES;
use tollgate::net::io::raw_stream::Readiness;
use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::command::Report;
use tollgate::proxy::settings::{Destination, Settings, Target, TargetHost};
use tollgate::time::{Duration, UnixTime};
use tollgate::transport::client::ClientTls;
use tollgate::upstream::addresses::of_socket;

use super::client::{Client, ClientBehavior};
use super::client_stream::ClientStream;
use super::endpoints::Endpoints;
use super::gateway::{Dialed, Gateway};
use super::identity::Identity;
use super::link::{Cut, End, Left};
use super::oracle::{Oracle, Place, Stats};
use super::plan::{Plan, SECRET};
use super::provider::Provider;
use super::rates;
use super::rng::Rng;
use super::signer::Signer;
use super::trace::Trace;
use super::upstream::{Unhealthy, Upstream};

/// Timeouts of the gateway in milliseconds: short enough that a stall ends soon, and different
/// enough to tell them apart.
const CONNECT: u64 = 500;
const RESPONSE: u64 = 1500;
const IDLE: u64 = 4000;
/// Milliseconds by which a tick of the timer wheel may delay a timeout (I10).
const GRACE: u64 = 250;

/// Rates of the faults, in a thousand steps. A step is a few milliseconds of the world's time.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Connections to upstreams that are refused.
    pub refused: u32,
    /// Connections to upstreams that are neither made nor refused.
    pub unanswered: u32,
    /// Connections to upstreams for which no descriptor is left (F9).
    pub exhausted: u32,
    /// Lookups that fail.
    pub unresolved: u32,
    /// Resets of a connection by a client or an upstream, at any moment.
    pub reset: u32,
    /// Readiness that the kernel reports without a reason (F3).
    pub spurious: u32,
    /// Calls that are interrupted (F4).
    pub interrupted: u32,
    /// Peers whose bytes do not move in this step.
    pub delayed: u32,
    /// Jumps of the clocks: the monotonic clock by an hour forwards, the time of day backwards
    /// (F13).
    pub jump: u32,
    /// Upstreams that fail their health checks.
    pub unhealthy: u32,
    /// Clients for which no descriptor is left.
    pub shed: u32,
    /// Requests to the gateway to stop.
    pub stop: u32,
    /// Answers of the authorization server that are malformed or missing.
    pub provider: u32,
    /// Reloads: the configuration is replaced by its other edition.
    pub reload: u32,
    /// Unix sockets that fail or come back.
    pub sockets: u32,
}

/// Settings of a world.
pub struct Scenario {
    pub config: String,
    /// Other edition of the configuration, in a world with reloads.
    pub other: Option<String>,
    pub faults: Faults,
    /// Clients, each with its requests and its behavior.
    pub clients: Vec<(VecDeque<Plan>, ClientBehavior)>,
    /// True if the clients use TLS.
    pub secure: bool,
    /// Remaining bytes of a body from which on it is spliced.
    pub splice_min_bytes: u64,
    /// Longest body that is read whole before it is forwarded.
    pub gathered_bytes: u64,
    /// Size of the send buffer of a socket.
    pub window: usize,
    /// Cut of every connection to a client, and of every connection to an upstream.
    pub client_cut: Option<Cut>,
    pub upstream_cut: Option<Cut>,
    /// Largest number of bytes that arrive at once.
    pub piece: usize,
    /// Milliseconds that a thousand steps take.
    pub speed: u32,
    /// True if there is no fault and all peers stay until the end: then every request must be
    /// answered by its upstream.
    pub calm: bool,
    /// Number of addresses that clients come from.
    pub addresses: usize,
    /// Rules of services that the oracle knows.
    pub policies: Policies,
}

/// Rules of services, as the oracle checks them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies {
    /// `limits.inFlight` of `/plain`.
    pub in_flight: Option<usize>,
    /// True if targets of `/plain` have `maxInFlight`.
    pub of_targets: bool,
    /// True if `/plain` is sticky.
    pub sticky: bool,
    /// True if a client never moves to another target: there are no faults, no reloads and no
    /// connections that belong to a client.
    pub never_moves: bool,
    /// True if a balancer announces the clients by the PROXY protocol.
    pub proxied: bool,
}

impl Policies {
    /// Returns true if requests in flight have a limit.
    pub fn limits_in_flight(&self) -> bool {
        self.in_flight.is_some() || self.of_targets
    }
}

impl Scenario {
    /// Returns a scenario without faults and without delays.
    pub fn calm(clients: Vec<(VecDeque<Plan>, ClientBehavior)>) -> Scenario {
        let tls = clients
            .iter()
            .any(|(plans, _)| plans.iter().any(|plan| plan.tls));
        Scenario {
            config: config(
                r#""target": "http://10.0.0.1/base""#,
                tls,
                r#""rateLimit": false, "cors": false, "securityHeaders": false"#,
            ),
            other: None,
            faults: Faults::default(),
            clients,
            secure: false,
            splice_min_bytes: u64::MAX,
            gathered_bytes: BODY_GATHERED_BYTES,
            window: 256 << 10,
            client_cut: None,
            upstream_cut: None,
            piece: usize::MAX,
            speed: 1000,
            calm: true,
            addresses: 200,
            policies: Policies::default(),
        }
    }
}

/// Returns the gateway's configuration: the service `/plain` with the keys `plain`, the service
/// `/tls` if `tls` is set, and the other keys `more`.
pub fn config(plain: &str, tls: bool, more: &str) -> String {
    let secure =
        r#", { "route": "/tls", "target": "https://tls.test/base", "tls": { "ca": "ca.pem" } }"#;
    format!(
        r#"{{ "services": [ {{ "route": "/plain", {plain} }}{} ],
          "timeouts": {{ "connect": "{CONNECT}ms", "head": 2000, "response": "{RESPONSE}ms", "idle": "{IDLE}ms", "keepAlive": 8000,
            "upstreamKeepAlive": 3000, "tunnel": 5000, "shutdown": 10000 }}, {more} }}"#,
        if tls { secure } else { "" }
    )
}

/// Returns the configuration with three auth providers on every service: two verify signed tokens
/// (one of them on the helper thread), and the third asks an authorization server.
pub fn guarded(text: &str) -> String {
    let text = text.replace(
        "{ \"route\":",
        "{ \"auth\": [\"main\", \"costly\", \"opaque\"], \"route\":",
    );
    let providers = format!(
        r#""auth": {{ "main": {{ "type": "jwt", "secret": "{SECRET}", "forwardClaims": {{ "sub": "X-User" }} }},
            "costly": {{ "type": "jwt", "publicKey": {:?}, "forwardClaims": {{ "sub": "X-User" }} }},
            "opaque": {{ "type": "introspection", "url": "http://10.0.0.9/introspect", "cache": "1s",
                "forwardClaims": {{ "sub": "X-User" }} }} }}, "timeouts""#,
        Signer::shared().public_key()
    );
    text.replacen("\"timeouts\"", &providers, 1)
}

/// Connection that an upstream has not answered yet.
struct Arriving {
    dialed: Dialed,
    /// Steps until the connection is made or refused.
    steps: usize,
    made: bool,
}

/// What the world knows of a target.
#[derive(Clone)]
struct TargetPlace {
    authority: String,
    bases: [Option<String>; 2],
    is_tls: bool,
    /// `maxInFlight`.
    in_flight: Option<u32>,
}

pub struct World {
    rng: Rng,
    faults: Faults,
    gateway: Gateway,
    oracle: Oracle,
    /// Settings of the upstream that uses TLS, if there is one.
    server: Option<Arc<ServerConfig>>,
    /// Settings of clients that use TLS.
    client_tls: Option<Arc<ClientConfig>>,
    /// Both editions of the settings. Without reloads they are equal.
    editions: [Settings; 2],
    /// Index of the current edition.
    edition: usize,
    /// Targets by the numbers of their keys. Targets of earlier editions stay.
    places: HashMap<u64, TargetPlace>,
    waiting: Vec<(VecDeque<Plan>, ClientBehavior)>,
    clients: Vec<Client>,
    arriving: Vec<Arriving>,
    upstreams: Vec<Upstream>,
    /// Authority of the authorization server, and the connections to it.
    provider: Option<String>,
    providers: Vec<Provider>,
    /// Connections of all clients and of all upstreams, also closed ones.
    client_ends: Vec<End>,
    upstream_ends: Vec<End>,
    client_cut: Option<Cut>,
    upstream_cut: Option<Cut>,
    piece: usize,
    speed: u32,
    calm: bool,
    /// Number of addresses that clients come from.
    addresses: usize,
    policies: Policies,
    /// True if the gateway sends health checks.
    checked: bool,
    stopping: bool,
    log: Vec<u8>,
    /// Number of steps since something last moved.
    still: u32,
}

/// Steps within which the reset of a client must reach its upstream. More than one, because the
/// work of other connections may fill a turn.
const RESET_STEPS: u32 = 3;

/// Steps after which a world counts as endless.
const STEPS_MAX: usize = 200_000;

/// Reloads of a world. Where each one replaces a provider, a request that asks it finds no time for
/// the answer: SEED=1147198 at e6134be had 60,000 reloads in 11 s, and did not end.
const RELOADS_MAX: usize = 1000;

impl World {
    pub fn new(seed: u64, scenario: Scenario) -> World {
        let identity = Identity::shared();
        let mut rng = Rng::new(seed);
        let read = |_: &std::path::Path| Ok(identity.pem.clone().into_bytes());
        let load = |text: &str| {
            let config = tollgate::config::load(text.as_bytes(), "sim.json", &|_| None, &read);
            let mut config = config.unwrap_or_else(|errors| panic!("{errors:?}"));
            config.settings.limits.splice_min_bytes = scenario.splice_min_bytes;
            config.settings.limits.gathered_bytes = scenario.gathered_bytes;
            config
        };
        let config = load(&scenario.config);
        let other = scenario.other.as_ref().map(|text| load(text).settings);
        let secure = config.upstream_tls.iter().any(Option::is_some);
        let tls = config
            .upstream_tls
            .iter()
            .map(|tls| tls.as_ref().map(|tls| client_tls(&tls.roots)))
            .collect();
        let settings = config.settings;
        let editions = [settings.clone(), other.unwrap_or_else(|| settings.clone())];
        let is_marked = |settings: &Settings| settings.security_headers.is_some();
        let marked = editions.iter().position(is_marked);
        let marked = marked.filter(|_| !editions.iter().all(is_marked));
        let retries = settings
            .services
            .iter()
            .map(|service| service.retries)
            .max()
            .unwrap_or(0);
        let checked = settings
            .services
            .iter()
            .any(|service| service.health_check.is_some());
        let endpoints = match &settings.services[0].destinations[..] {
            [_] => Vec::new(),
            several => several
                .iter()
                .filter_map(|one| address_of(&settings.targets[one.target]))
                .collect(),
        };
        // With a reload that replaces targets, the oracle does not know the current endpoints.
        let hosts = editions.each_ref().map(hosts_of);
        let endpoints: Vec<SocketAddr> = if hosts[0] == hosts[1] {
            endpoints
        } else {
            Vec::new()
        };
        let provider = settings
            .auth
            .iter()
            .find_map(|provider| Some(provider.kind.endpoint()?.target));
        let provider = provider.map(|target| settings.targets[target].authority.clone());
        let limits = rates::by_address(&settings.rate_limit);
        let proxy = Proxy::new(settings, rng.number().into());
        let mut gateway = Gateway::new(proxy, tls, Rng::new(rng.number()));
        gateway.listener = scenario.secure.then(|| identity.listener());
        gateway.window = scenario.window;
        gateway.exhausted = scenario.faults.exhausted;
        gateway.unix_sockets.queue = if scenario.calm { usize::MAX } else { 2 };
        for target in editions.iter().flat_map(|settings| &settings.targets) {
            if let Some(path) = target.host.socket() {
                gateway.unix_sockets.add(path);
            }
        }
        let plans = scenario
            .clients
            .iter()
            .flat_map(|(plans, _)| plans.iter().cloned());
        // Each try, and each replay of it, may take a lookup, a connection and a handshake. The
        // longer of the other two timeouts follows.
        let tries = u64::from(retries) + 1;
        let patience = Duration::from_millis(2 * tries * (CONNECT + GRACE) + RESPONSE.max(IDLE));
        let mut oracle = Oracle::new(plans, gateway.now, patience);
        oracle.forged_ends = scenario.upstream_cut.is_some();
        // A refusal takes a request to another address of the name, of which there are three, and costs no
        // retry. Each may be reached over a connection of the pool, and over a fresh one.
        oracle.arrivals_max = 2 * (retries + 3);
        let connects = (
            scenario.faults.refused,
            scenario.faults.unanswered,
            scenario.faults.exhausted,
            scenario.faults.sockets,
        ) == (0, 0, 0, 0);
        oracle.endpoints = Endpoints::new(endpoints, connects);
        oracle.calm = scenario.calm;
        oracle.marked = marked;
        oracle.policies = scenario.policies;
        oracle.secure = scenario.secure;
        oracle.limits = limits;
        let mut world = World {
            rng,
            faults: scenario.faults,
            gateway,
            oracle,
            server: secure.then(|| identity.server()),
            client_tls: scenario.secure.then(|| identity.client()),
            editions,
            edition: 0,
            places: HashMap::new(),
            checked,
            waiting: scenario.clients,
            clients: Vec::new(),
            arriving: Vec::new(),
            upstreams: Vec::new(),
            provider,
            providers: Vec::new(),
            client_ends: Vec::new(),
            upstream_ends: Vec::new(),
            client_cut: scenario.client_cut,
            upstream_cut: scenario.upstream_cut,
            piece: scenario.piece,
            speed: scenario.speed,
            calm: scenario.calm,
            addresses: scenario.addresses,
            policies: scenario.policies,
            stopping: false,
            log: Vec::new(),
            still: 0,
        };
        world.note_places();
        world
    }

    /// Records the targets of the current edition.
    fn note_places(&mut self) {
        let keys = self.gateway.proxy.targets().iter();
        let targets = &self.editions[self.edition].targets;
        for (key, target) in keys.zip(targets) {
            let found = self
                .editions
                .each_ref()
                .map(|settings| destination_of(settings, target));
            let limits = found.iter().flatten().map(|found| found.role.max_in_flight);
            let place = TargetPlace {
                authority: target.authority.clone(),
                bases: found.map(|found| found.map(base_of)),
                is_tls: target.tls,
                in_flight: limits.max().filter(|limit| *limit < u32::MAX),
            };
            self.places.insert(u64::from(*key), place);
        }
    }

    /// Replaces the configuration by its other edition, unless the gateway refuses because too many
    /// editions are alive.
    fn reload(&mut self) {
        let other = 1 - self.edition;
        let settings = self.editions[other].clone();
        let before = self.gateway.proxy.targets().to_vec();
        if self
            .gateway
            .proxy
            .handle_settings(settings, self.gateway.now)
            .is_err()
        {
            return;
        }
        self.edition = other;
        self.oracle.stats.reloads += 1;
        let targets = &self.editions[other].targets;
        self.oracle.endpoints.keep(|address| {
            targets
                .iter()
                .any(|target| address_of(target) == Some(*address))
        });
        // The target that uses TLS is the same in both editions.
        let after = self.gateway.proxy.targets().iter();
        for key in after.filter(|key| !before.contains(key)) {
            self.gateway.tls.insert(u64::from(*key), None);
        }
        self.note_places();
        self.gateway.run_commands();
        self.listen_to_reports();
    }

    /// Runs the world to its end, then checks what must hold at the end.
    pub fn run(mut self) -> Outcome {
        for step in 0.. {
            assert!(step < STEPS_MAX, "the world does not end");
            self.step();
            let left = self
                .clients
                .iter()
                .any(|client| !client.is_gone() && !client.is_stalled());
            if !left && self.waiting.is_empty() {
                break;
            }
        }
        self.wait_until_empty();
        self.oracle.stats.refused_by_sockets = self.gateway.unix_sockets.refused;
        self.oracle.check_rates();
        self.oracle
            .check_log(std::str::from_utf8(&self.log).expect("the log is ASCII"));
        if self.calm {
            // In a calm world an upstream answers every request that has a route.
            assert_eq!(
                self.oracle.unserved(),
                Vec::<String>::new(),
                "requests that no upstream answered in a calm world"
            );
        }
        let total = |ends: &[End], count: fn(&End) -> usize| ends.iter().map(count).sum();
        Outcome {
            stats: self.oracle.stats,
            trace: self.gateway.trace,
            client_sent: total(&self.client_ends, End::sent),
            client_received: total(&self.client_ends, End::received),
            upstream_sent: total(&self.upstream_ends, End::sent),
            upstream_received: total(&self.upstream_ends, End::received),
            spliced: [
                total(&self.client_ends, End::spliced),
                total(&self.upstream_ends, End::spliced),
            ],
        }
    }

    fn step(&mut self) {
        let before = self.progress();
        self.misbehave();
        self.connect_clients();
        self.act();
        self.move_bytes();
        self.oracle.note_heads();
        self.gateway.turn();
        self.gateway.verify();
        self.listen_to_reports();
        self.take_dialed();
        self.log.append(self.gateway.proxy.access_lines());
        self.still = if before == self.progress() {
            self.still + 1
        } else {
            0
        };
        self.pass_time();
        self.check();
    }

    fn listen_to_reports(&mut self) {
        for report in std::mem::take(&mut self.gateway.reports) {
            // Only the service with several targets is checked: the name of another service may
            // have the same addresses.
            if let Report::Health {
                service,
                address,
                change,
                ..
            } = report
                && &*service == "/plain"
            {
                self.oracle.health_changed(address, change);
            }
        }
    }

    // --- faults ---

    fn misbehave(&mut self) {
        let faults = self.faults.clone();
        if self.rng.hits(faults.spurious)
            && let Some(end) = self.any_end()
        {
            let bits = self.rng.below(4);
            end.report(Readiness {
                readable: bits & 1 > 0,
                writable: bits & 2 > 0,
                ..Readiness::default()
            });
        }
        if self.rng.hits(faults.interrupted)
            && let Some(end) = self.any_end()
        {
            end.interrupt_in(1 + self.rng.below(4) as u32);
        }
        if faults.reset > 0 && self.rng.hits(faults.reset) && !self.clients.is_empty() {
            let index = self.rng.below(self.clients.len());
            self.clients[index].reset(&mut self.rng);
        }
        if faults.reset > 0 && self.rng.hits(faults.reset) && !self.upstreams.is_empty() {
            let index = self.rng.below(self.upstreams.len());
            self.upstreams[index].reset(&mut self.oracle, &mut self.rng);
        }
        if self.rng.hits(faults.jump) {
            self.gateway.now = self.gateway.now.after(Duration::from_secs(3600));
            self.gateway
                .proxy
                .handle_clock(self.gateway.now, UnixTime::from_millis(1_700_000_000_000));
            self.gateway.turn();
            self.oracle.now = self.gateway.now;
            self.oracle.touch_all();
            self.oracle.endpoints.jumped(self.gateway.now);
            // An endpoint that was chosen in this turn may be reached before the next turn.
            self.listen_to_reports();
        }
        if self.rng.hits(faults.sockets)
            && let Some(address) = self.gateway.unix_sockets.change(&mut self.rng)
        {
            self.end_process(address);
        }
        if self.rng.hits(faults.shed) {
            self.gateway.proxy.handle_exhausted();
            self.gateway.run_commands();
        }
        let is_reloading = !self.stopping && self.oracle.stats.reloads < RELOADS_MAX;
        if faults.reload > 0 && is_reloading && self.rng.hits(faults.reload) {
            self.reload();
        }
        if self.rng.hits(faults.stop) && !std::mem::replace(&mut self.stopping, true) {
            self.gateway.proxy.handle_shutdown();
            self.gateway.run_commands();
        }
    }

    /// Resets the connections of a process that served a unix socket, also those that it has not
    /// accepted.
    fn end_process(&mut self, address: SocketAddr) {
        let oracle = &mut self.oracle;
        oracle.endpoints.note_disturbance(address, oracle.now);
        for upstream in &mut self.upstreams {
            if upstream.address() == address {
                upstream.reset(oracle, &mut self.rng);
            }
        }
        let sockets = &mut self.gateway.unix_sockets;
        self.arriving.retain(|arriving| {
            let is_lost = arriving.dialed.address == address;
            if is_lost {
                arriving.dialed.end.reset(false);
                sockets.leave_queue(address);
            }
            !is_lost
        });
    }

    fn any_end(&mut self) -> Option<End> {
        let ends = self
            .clients
            .iter()
            .map(|client| &client.stream.end)
            .chain(self.upstreams.iter().map(Upstream::end));
        let ends: Vec<_> = ends.collect();
        (!ends.is_empty()).then(|| ends[self.rng.below(ends.len())].clone())
    }

    // --- new clients ---

    fn connect_clients(&mut self) {
        if self.stopping {
            self.waiting.clear();
        }
        if self.waiting.is_empty() || !(self.clients.is_empty() || self.rng.hits(200)) {
            return;
        }
        let (plans, behavior) = self.waiting.remove(0);
        // Some clients have several connections.
        let last = 1 + (self.clients.len() % self.addresses) as u8;
        let address = Ipv4Addr::new(192, 0, 2, last);
        let is_proxied = self.policies.proxied;
        let sender = if is_proxied { BALANCER } else { address };
        let peer = Peer::Ip(IpAddr::V4(sender));
        self.oracle.comes_from(&plans, address);
        // If the gateway has no place for the connection, it stays in the kernel's queue; then the
        // client gives up.
        let Some(end) = self.gateway.accept(peer, is_proxied) else {
            return;
        };
        if is_proxied {
            end.send(&header(address));
        }
        if let Some(cut) = self.client_cut {
            end.cut(cut);
        }
        self.client_ends.push(end.clone());
        let stream = ClientStream::new(end, self.client_tls.as_ref());
        self.clients.push(Client::new(stream, plans, behavior));
    }

    /// Collects the connections and lookups that the gateway has started.
    fn take_dialed(&mut self) {
        for dialed in std::mem::take(&mut self.gateway.dialed) {
            let is_unix = self.gateway.unix_sockets.has(dialed.address);
            let slow = self.rng.hits(self.faults.unanswered) && !is_unix;
            let made = !self.rng.hits(self.faults.refused) || is_unix;
            let steps = if slow { usize::MAX } else { self.rng.below(3) };
            self.arriving.push(Arriving {
                dialed,
                steps,
                made,
            });
        }
        for mut arriving in std::mem::take(&mut self.arriving) {
            let address = arriving.dialed.address;
            let is_unix = self.gateway.unix_sockets.has(address);
            match arriving.steps {
                _ if !self.gateway.unix_sockets.accepts(address) => self.arriving.push(arriving),
                0 if is_unix => {
                    self.gateway.unix_sockets.leave_queue(address);
                    self.arrive(&arriving);
                }
                _ if arriving.dialed.end.left().is_some() && !is_unix => {
                    self.oracle.stats.raced += 1;
                }
                0 => self.arrive(&arriving),
                steps => {
                    arriving.steps = if steps == usize::MAX {
                        steps
                    } else {
                        steps - 1
                    };
                    self.arriving.push(arriving);
                }
            }
        }
        for target in std::mem::take(&mut self.gateway.lookups) {
            let second = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 2], 80));
            let [first, third] =
                [1, 3].map(|last| SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 80)));
            let mut addresses = vec![first, second, third];
            self.rng.shuffle(&mut addresses);
            addresses.truncate(1 + self.rng.below(3));
            if self.rng.hits(self.faults.unresolved) {
                addresses.clear();
            }
            self.gateway
                .proxy
                .handle_resolved(target, &addresses, self.gateway.now);
            self.oracle.lookups += 1;
            self.gateway.run_commands();
        }
    }

    /// Makes or refuses a connection.
    fn arrive(&mut self, arriving: &Arriving) {
        let end = &arriving.dialed.end;
        if !self.gateway.unix_sockets.has(arriving.dialed.address) {
            end.finish_connecting(arriving.made);
        }
        let TargetPlace {
            authority,
            bases,
            is_tls,
            in_flight,
        } = self.places[&u64::from(arriving.dialed.target)].clone();
        if arriving.made && Some(&authority) == self.provider.as_ref() {
            self.providers
                .push(Provider::new(end.clone(), self.faults.provider));
        } else if arriving.made {
            if let Some(cut) = self.upstream_cut {
                end.cut(cut);
            }
            let place = Place {
                address: arriving.dialed.address,
                authority,
                bases,
                in_flight: in_flight.map(|limit| (arriving.dialed.target.into(), limit)),
            };
            let tls = self.server.as_ref().filter(|_| is_tls);
            let unhealthy = self
                .rng
                .hits(self.faults.unhealthy)
                .then(|| self.rng.pick(&[Unhealthy::Says, Unhealthy::Silent]));
            self.upstream_ends.push(end.clone());
            self.upstreams
                .push(Upstream::new(end.clone(), place, unhealthy, tls));
        }
    }

    // --- bytes ---

    fn act(&mut self) {
        self.oracle.endpoints.note_held(self.oracle.now);
        for client in &mut self.clients {
            if !self.rng.hits(self.faults.delayed) {
                client.act(&mut self.oracle, &mut self.rng);
            }
        }
        for upstream in &mut self.upstreams {
            if !self.rng.hits(self.faults.delayed) {
                upstream.act(&mut self.oracle, &mut self.rng);
            }
        }
        self.upstreams.retain(|upstream| !upstream.is_gone());
        for provider in &mut self.providers {
            if !self.rng.hits(self.faults.delayed) {
                provider.act(&mut self.rng);
            }
        }
        self.providers.retain(|provider| !provider.is_gone());
    }

    /// Returns a value that changes with every progress.
    fn progress(&self) -> (Trace, usize, usize) {
        let clients = self.clients.iter().map(|client| &client.stream.end);
        let others = self
            .upstreams
            .iter()
            .map(Upstream::end)
            .chain(self.providers.iter().map(Provider::end));
        let bytes = clients.chain(others).map(End::progress).sum();
        (self.gateway.trace, bytes, self.arriving.len())
    }

    /// Lets bytes arrive at the gateway.
    fn move_bytes(&mut self) {
        let clients = self.clients.iter().map(|client| &client.stream.end);
        let others = self
            .upstreams
            .iter()
            .map(Upstream::end)
            .chain(self.providers.iter().map(Provider::end));
        for end in clients.chain(others) {
            if !self.rng.hits(self.faults.delayed) {
                end.arrive(self.rng.size(256 << 10).min(self.piece));
            }
            // A reset may overtake bytes that were not read (RFC 9293 3.10.7.4).
            if end.left() == Some(Left::Reset) && end.unread() > 0 && self.rng.hits(300) {
                end.discard_written();
            }
        }
    }

    // --- time ---

    fn pass_time(&mut self) {
        let pause = if self.still > 20 {
            self.until_something_is_due()
        } else {
            u64::from(self.rng.hits(self.speed))
        };
        self.gateway.now = self.gateway.now.after(Duration::from_millis(pause));
        self.oracle.now = self.gateway.now;
    }

    fn until_something_is_due(&mut self) -> u64 {
        self.still = 0;
        let next_request_at = self
            .clients
            .iter()
            .filter(|client| !client.is_gone())
            .filter_map(|client| client.next_request_at);
        match self
            .gateway
            .proxy
            .poll_timeout()
            .into_iter()
            .chain(next_request_at.filter(|at| *at > self.gateway.now))
            .min()
        {
            Some(due) => due.since(self.gateway.now).as_millis(),
            None => 1,
        }
    }

    /// Checks that no more requests are in flight than the limits of `/plain` and of its targets
    /// allow, as the upstreams see it.
    fn check_in_flight(&self) {
        if !self.policies.limits_in_flight() {
            return;
        }
        let open = self.upstreams.iter();
        let open = open.filter(|upstream| upstream.end().left().is_none());
        let requests = open.filter_map(|upstream| {
            let id = upstream.current_request()?;
            let counts = !self.oracle.is_answered(id) && !self.oracle.plan(id).tls;
            counts.then(|| (id, upstream.address(), upstream.in_flight_max()))
        });
        let requests: Vec<_> = requests.collect();
        let of_service = (self.policies.in_flight, requests.len());
        // A target that was gone in between counts as a new one, and one that is gone as none: a
        // request that was routed before it went may still be sent there.
        let targets = self.gateway.proxy.targets().iter();
        let present: Vec<_> = targets.map(|key| u64::from(*key)).collect();
        let is_present =
            |limit: &Option<(u64, u32)>| limit.is_some_and(|(key, _)| present.contains(&key));
        let limited = requests.iter().filter(|(_, _, limit)| is_present(limit));
        let of_addresses = limited.map(|(_, address, limit)| {
            let there = requests.iter();
            let there = there.filter(|(_, other, of)| (other, of) == (address, limit));
            (limit.map(|(_, limit)| limit as usize), there.count())
        });
        for (limit, count) in of_addresses.chain([of_service]) {
            assert!(
                limit.is_none_or(|limit| count <= limit),
                "I12: {count} requests are in flight, and {limit:?} may be: {requests:?}"
            );
        }
    }

    /// Checks what must hold after every step.
    fn check(&mut self) {
        assert_eq!(self.gateway.proxy.check(true), Ok(()));
        self.check_in_flight();
        for client in &mut self.clients {
            client.check_patience(&self.oracle);
            let Some(steps) = &mut client.broken_for else {
                continue;
            };
            *steps += 1;
            if *steps <= RESET_STEPS {
                continue;
            }
            assert!(
                client.stream.end.left().is_some(),
                "a client is gone, and the gateway holds its connection"
            );
            let asked: Vec<u64> = client.open_requests().collect();
            for upstream in self
                .upstreams
                .iter()
                .filter(|upstream| upstream.end().left().is_none())
            {
                let current_request = upstream
                    .current_request()
                    .filter(|id| asked.contains(id) && !self.oracle.is_answered(*id));
                assert_eq!(
                    current_request, None,
                    "the client of a request is gone, and its upstream connection is held"
                );
            }
            client.broken_for = None;
        }
    }

    /// Lets time pass while the remaining peers do nothing. The gateway must close all connections
    /// by itself (I8).
    fn wait_until_empty(&mut self) {
        self.faults = Faults::default();
        if self.checked {
            // Health checks end only with a shutdown.
            self.gateway.proxy.handle_shutdown();
            self.gateway.run_commands();
        }
        for _ in 0..20_000 {
            let quiet = self.gateway.proxy.holdings().clients == 0
                && self.gateway.proxy.holdings().upstreams == 0;
            if quiet && !self.gateway.is_busy() {
                break;
            }
            for upstream in &mut self.upstreams {
                upstream.act(&mut self.oracle, &mut self.rng);
            }
            for provider in &mut self.providers {
                provider.act(&mut self.rng);
            }
            self.move_bytes();
            self.oracle.note_heads();
            self.gateway.turn();
            self.listen_to_reports();
            self.take_dialed();
            self.log.append(self.gateway.proxy.access_lines());
            let pause = self.until_something_is_due().clamp(1, 2000);
            self.gateway.now = self.gateway.now.after(Duration::from_millis(pause));
            self.oracle.now = self.gateway.now;
        }
        let proxy = &self.gateway.proxy;
        let left = (
            proxy.holdings().clients,
            proxy.holdings().upstreams,
            proxy.holdings().buffers,
        );
        assert_eq!(
            left,
            (0, 0, 0),
            "I8: connections, upstream connections or buffers are left"
        );
        assert_eq!(
            proxy.holdings().accounts,
            0,
            "I8: a client is counted that has no connection"
        );
        assert_eq!(
            (self.gateway.sockets(), self.gateway.pipes_lent()),
            (0, 0),
            "I8: sockets or pipes are left"
        );
        // Rate windows and the last entries of the timer wheel end within two hours.
        self.gateway.now = self.gateway.now.after(Duration::from_secs(7200));
        self.gateway.proxy.handle_timeout(self.gateway.now);
        self.gateway.run_commands();
        let named = !std::mem::take(&mut self.gateway.lookups).is_empty();
        assert!(
            named || self.gateway.proxy.poll_timeout().is_none(),
            "I8: timers are left"
        );
    }
}

/// Peer that announces the clients of a world with the PROXY protocol.
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);

/// Returns the header of the PROXY protocol that announces a client: version 1 or 2.
fn header(client: Ipv4Addr) -> Vec<u8> {
    if client.octets()[3].is_multiple_of(2) {
        return format!("PROXY TCP4 {client} 10.0.9.1 1000 80\r\n").into_bytes();
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.octets());
    header.extend([10, 0, 9, 1, 3, 232, 0, 80]);
    header
}

/// Result of a world.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    pub stats: Stats,
    pub trace: Trace,
    /// Bytes on the wires.
    pub client_sent: usize,
    pub client_received: usize,
    pub upstream_sent: usize,
    pub upstream_received: usize,
    /// Bytes that were spliced, to upstreams and to clients.
    pub spliced: [usize; 2],
}

/// Returns the place of a target in the services of an edition.
fn destination_of<'s>(settings: &'s Settings, target: &Target) -> Option<&'s Destination> {
    let mut targets = settings.targets.iter();
    let target = targets.position(|other| other.name() == target.name())?;
    let services = settings.services.iter();
    let mut destinations = services.flat_map(|service| &service.destinations);
    destinations.find(|destination| destination.target == target)
}

/// Returns the path of a target, without a slash at its end.
fn base_of(destination: &Destination) -> String {
    destination.path.trim_end_matches('/').to_owned()
}

/// Returns the address of a target that is no name.
fn address_of(target: &Target) -> Option<SocketAddr> {
    match (&target.host, target.host.socket()) {
        (TargetHost::Address(ip), _) => Some(SocketAddr::new(*ip, target.port)),
        (_, Some(path)) => Some(of_socket(path)),
        (_, None) => None,
    }
}

/// Returns the names of all targets.
fn hosts_of(settings: &Settings) -> Vec<String> {
    let targets = settings.targets.iter();
    targets.map(|target| target.name().to_owned()).collect()
}

fn client_tls(roots: &[Vec<u8>]) -> ClientTls {
    ClientTls::new("tls.test", None, roots, None).expect("the root is good")
}
