//! A world: the gateway, its clients and its upstreams, the network between them, and what goes wrong with it. One seed
//! decides all of it; nothing in it is real, the time neither.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tollgate::limits::BODY_GATHERED_BYTES;
use tollgate::net::io::raw_stream::Readiness;
use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::command::Report;
use tollgate::proxy::settings::Settings;
use tollgate::time::{Duration, UnixTime};
use tollgate::transport::client::ClientTls;

use super::client::{Client, ClientBehavior};
use super::client_stream::ClientStream;
use super::endpoints::Endpoints;
use super::gateway::{Dialed, Gateway};
use super::identity::Identity;
use super::link::{Cut, End, Left};
use super::oracle::{Oracle, Place, Stats};
use super::plan::{Plan, SECRET};
use super::provider::Provider;
use super::rng::Rng;
use super::signer::Signer;
use super::trace::Trace;
use super::upstream::{Unhealthy, Upstream};

/// Timeouts of the gateway, short enough for a stall to end soon and different enough to tell them apart.
const CONNECT: u64 = 500;
const RESPONSE: u64 = 1500;
const IDLE: u64 = 4000;
/// What a tick of the wheel may add (I10).
const GRACE: u64 = 250;

/// What goes wrong, each so often in a thousand steps (a step is a few ms of the world's time).
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A connection to an upstream is refused.
    pub refused: u32,
    /// It is neither made nor refused.
    pub unanswered: u32,
    /// No descriptor is left for it (F9).
    pub exhausted: u32,
    /// A lookup fails.
    pub unresolved: u32,
    /// A client, or an upstream, resets its connection, whatever it is busy with.
    pub reset: u32,
    /// The kernel reports readiness that is none (F3).
    pub spurious: u32,
    /// A call is interrupted (F4).
    pub interrupted: u32,
    /// Somebody's bytes do not move in this step.
    pub delayed: u32,
    /// The monotonic clock jumps by an hour, the time of day backwards (F13).
    pub jump: u32,
    /// An upstream that is checked is not well.
    pub ill: u32,
    /// No descriptor is left for a new client.
    pub shed: u32,
    /// The gateway is told to stop.
    pub stop: u32,
    /// The authorization server answers what is no answer.
    pub provider: u32,
    /// The configuration is replaced by its other edition.
    pub reload: u32,
}

/// What a world is made of.
pub struct Scenario {
    pub config: String,
    /// The other edition of it, where there are reloads.
    pub other: Option<String>,
    pub faults: Faults,
    /// Each client with its requests.
    pub clients: Vec<(VecDeque<Plan>, ClientBehavior)>,
    /// They speak TLS.
    pub secure: bool,
    /// Bytes still to come of a body that may pass unseen.
    pub splice_min_bytes: u64,
    /// Longest body that is read whole first.
    pub gathered_bytes: u64,
    /// What a socket's send buffer holds.
    pub window: usize,
    /// Every connection to a client, or to an upstream, is cut there.
    pub client_cut: Option<Cut>,
    pub upstream_cut: Option<Cut>,
    /// Bytes arrive in pieces of at most this size.
    pub piece: usize,
    /// Milliseconds that a thousand steps take.
    pub speed: u32,
    /// Nothing goes wrong, and everybody stays until the end: every request must be answered by its upstream.
    pub calm: bool,
    /// Addresses that clients come from.
    pub addresses: usize,
}

impl Scenario {
    /// Nothing goes wrong, everybody is quick.
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
        }
    }
}

/// The gateway's configuration: `/plain` with these keys, with `tls` also `/tls`, and what differs from world to world.
pub fn config(plain: &str, tls: bool, more: &str) -> String {
    let secure =
        r#", { "route": "/tls", "target": "https://tls.test/base", "tls": { "ca": "ca.pem" } }"#;
    format!(
        r#"{{ "services": [ {{ "route": "/plain", {plain} }}{} ],
          "timeouts": {{ "connect": {CONNECT}, "head": 2000, "response": {RESPONSE}, "idle": {IDLE}, "keepAlive": 8000,
            "upstreamKeepAlive": 3000, "tunnel": 5000, "shutdown": 10000 }}, {more} }}"#,
        if tls { secure } else { "" }
    )
}

/// The same where every service is guarded: by tokens that are signed, some with a key whose signatures are verified by the
/// helper thread, and by tokens that an authorization server knows.
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

/// One connection that an upstream has not answered yet.
struct Arriving {
    dialed: Dialed,
    /// Steps until it is made or refused.
    steps: usize,
    made: bool,
}

pub struct World {
    chance: Rng,
    faults: Faults,
    gateway: Gateway,
    ledger: Oracle,
    /// The settings of the upstream that speaks TLS, where there is one.
    server: Option<Arc<ServerConfig>>,
    /// The settings of clients that speak TLS.
    client_tls: Option<Arc<ClientConfig>>,
    /// Both editions of the settings; the second is the first where there are no reloads.
    editions: [Settings; 2],
    /// The edition of the moment.
    edition: usize,
    /// The authority of each target that there ever was, under the number of its key, its paths, and whether it speaks TLS.
    places: HashMap<u64, (String, [Option<String>; 2], bool)>,
    waiting: Vec<(VecDeque<Plan>, ClientBehavior)>,
    clients: Vec<Client>,
    arriving: Vec<Arriving>,
    upstreams: Vec<Upstream>,
    /// The target that is the authorization server, and the connections to it.
    provider: Option<String>,
    providers: Vec<Provider>,
    /// All there ever were, of clients and of upstreams.
    client_ends: Vec<End>,
    upstream_ends: Vec<End>,
    client_cut: Option<Cut>,
    upstream_cut: Option<Cut>,
    piece: usize,
    speed: u32,
    calm: bool,
    /// Addresses that clients come from.
    addresses: usize,
    /// The gateway asks how its upstreams are.
    checked: bool,
    stopping: bool,
    log: Vec<u8>,
    /// Steps in which nothing moved.
    still: u32,
}

/// Steps in which the reset of a client must have reached its upstream: a turn that others have filled may come before.
const RESET_STEPS: u32 = 3;

/// Steps after which a world that has not ended never will.
const STEPS_MAX: usize = 200_000;

impl World {
    pub fn new(seed: u64, cast: Scenario) -> World {
        let identity = Identity::shared();
        let mut chance = Rng::new(seed);
        let read = |_: &std::path::Path| Ok(identity.pem.clone().into_bytes());
        let load = |text: &str| {
            let config = tollgate::config::load(text.as_bytes(), "sim.json", &|_| None, &read);
            let mut config = config.unwrap_or_else(|errors| panic!("{errors:?}"));
            config.settings.limits.splice_min_bytes = cast.splice_min_bytes;
            config.settings.limits.gathered_bytes = cast.gathered_bytes;
            config
        };
        let config = load(&cast.config);
        let other = cast.other.as_ref().map(|text| load(text).settings);
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
                .filter_map(|one| settings.targets[one.target].authority.parse().ok())
                .collect(),
        };
        // Where a reload replaces targets, the oracle does not know which endpoints there are.
        let hosts = editions.each_ref().map(hosts_of);
        let endpoints: Vec<Ipv4Addr> = if hosts[0] == hosts[1] {
            endpoints
        } else {
            Vec::new()
        };
        let provider = settings
            .auth
            .iter()
            .find_map(|provider| Some(provider.kind.endpoint()?.target));
        let provider = provider.map(|target| settings.targets[target].authority.clone());
        let proxy = Proxy::new(settings, chance.number().into());
        let mut gateway = Gateway::new(proxy, tls, Rng::new(chance.number()));
        gateway.listener = cast.secure.then(|| identity.listener());
        gateway.window = cast.window;
        gateway.exhausted = cast.faults.exhausted;
        let plans = cast
            .clients
            .iter()
            .flat_map(|(plans, _)| plans.iter().cloned());
        // Looking up, connecting and shaking hands, each try's replay included; then the longer of the other two.
        let tries = u64::from(retries) + 1;
        let patience = Duration::from_millis(2 * tries * (CONNECT + GRACE) + RESPONSE.max(IDLE));
        let mut ledger = Oracle::new(plans, gateway.now, patience);
        ledger.forged_ends = cast.upstream_cut.is_some();
        ledger.arrivals_max = 2 * (retries + 1);
        let addresses = endpoints
            .into_iter()
            .map(|address| SocketAddr::from((address, 80)))
            .collect();
        let connects = (
            cast.faults.refused,
            cast.faults.unanswered,
            cast.faults.exhausted,
        ) == (0, 0, 0);
        ledger.endpoints = Endpoints::new(addresses, connects);
        ledger.calm = cast.calm;
        ledger.marked = marked;
        let mut world = World {
            chance,
            faults: cast.faults,
            gateway,
            ledger,
            server: secure.then(|| identity.server()),
            client_tls: cast.secure.then(|| identity.client()),
            editions,
            edition: 0,
            places: HashMap::new(),
            checked,
            waiting: cast.clients,
            clients: Vec::new(),
            arriving: Vec::new(),
            upstreams: Vec::new(),
            provider,
            providers: Vec::new(),
            client_ends: Vec::new(),
            upstream_ends: Vec::new(),
            client_cut: cast.client_cut,
            upstream_cut: cast.upstream_cut,
            piece: cast.piece,
            speed: cast.speed,
            calm: cast.calm,
            addresses: cast.addresses,
            stopping: false,
            log: Vec::new(),
            still: 0,
        };
        world.note_places();
        world
    }

    /// Takes note of the targets of the edition of the moment.
    fn note_places(&mut self) {
        let keys = self.gateway.proxy.targets().iter();
        let targets = &self.editions[self.edition].targets;
        for (key, target) in keys.zip(targets) {
            let bases = self
                .editions
                .each_ref()
                .map(|settings| base_of(settings, &target.authority));
            let place = (target.authority.clone(), bases, target.tls);
            self.places.insert(u64::from(*key), place);
        }
    }

    /// Replaces the configuration by its other edition; where too many are alive, not.
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
        self.ledger.tally.reloads += 1;
        let targets = &self.editions[other].targets;
        self.ledger.endpoints.keep(|address| {
            targets
                .iter()
                .any(|target| target.authority.parse() == Ok(address.ip()))
        });
        // The target that speaks TLS is the same in both.
        let after = self.gateway.proxy.targets().iter();
        for key in after.filter(|key| !before.contains(key)) {
            self.gateway.tls.insert(u64::from(*key), None);
        }
        self.note_places();
        self.gateway.run_commands();
        self.listen_to_reports();
    }

    /// Runs to its end and checks what must hold then.
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
        self.quiesce();
        self.ledger
            .check_log(std::str::from_utf8(&self.log).expect("the log is ASCII"));
        if self.calm {
            // What should work does: but for requests without a route, every one is answered by an upstream.
            assert_eq!(
                self.ledger.unserved(),
                Vec::<String>::new(),
                "requests that no upstream answered in a calm world"
            );
        }
        let total = |ends: &[End], count: fn(&End) -> usize| ends.iter().map(count).sum();
        Outcome {
            tally: self.ledger.tally,
            trace: self.gateway.trace,
            client_said: total(&self.client_ends, End::said),
            client_heard: total(&self.client_ends, End::heard),
            upstream_said: total(&self.upstream_ends, End::said),
            upstream_heard: total(&self.upstream_ends, End::heard),
            passed: [
                total(&self.client_ends, End::passed),
                total(&self.upstream_ends, End::passed),
            ],
        }
    }

    fn step(&mut self) {
        let before = self.progress();
        self.misbehave();
        self.connect_clients();
        self.act();
        self.move_bytes();
        self.gateway.turn();
        self.gateway.verify();
        self.listen_to_reports();
        self.take_over();
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
            // Of the service that has several targets; the other's name may have the same addresses.
            if let Report::Health {
                route,
                address,
                change,
                ..
            } = report
                && &*route == "/plain"
            {
                self.ledger.told(address, change);
            }
        }
    }

    // --- what goes wrong ---

    fn misbehave(&mut self) {
        let faults = self.faults.clone();
        if self.chance.hits(faults.spurious)
            && let Some(end) = self.any_end()
        {
            let bits = self.chance.below(4);
            end.report(Readiness {
                readable: bits & 1 > 0,
                writable: bits & 2 > 0,
                ..Readiness::default()
            });
        }
        if self.chance.hits(faults.interrupted)
            && let Some(end) = self.any_end()
        {
            end.interrupt_in(1 + self.chance.below(4) as u32);
        }
        if faults.reset > 0 && self.chance.hits(faults.reset) && !self.clients.is_empty() {
            let index = self.chance.below(self.clients.len());
            self.clients[index].break_off(&mut self.chance);
        }
        if faults.reset > 0 && self.chance.hits(faults.reset) && !self.upstreams.is_empty() {
            let index = self.chance.below(self.upstreams.len());
            self.upstreams[index].break_off(&mut self.ledger, &mut self.chance);
        }
        if self.chance.hits(faults.jump) {
            self.gateway.now = self.gateway.now.after(Duration::from_secs(3600));
            self.gateway
                .proxy
                .handle_clock(self.gateway.now, UnixTime::from_millis(1_700_000_000_000));
            self.gateway.turn();
            self.ledger.now = self.gateway.now;
            self.ledger.touch_all();
            self.ledger.endpoints.jumped(self.gateway.now);
            // What was chosen in this turn may arrive before the next one.
            self.listen_to_reports();
        }
        if self.chance.hits(faults.shed) {
            self.gateway.proxy.handle_exhausted();
            self.gateway.run_commands();
        }
        if faults.reload > 0 && !self.stopping && self.chance.hits(faults.reload) {
            self.reload();
        }
        if self.chance.hits(faults.stop) && !std::mem::replace(&mut self.stopping, true) {
            self.gateway.proxy.handle_shutdown();
            self.gateway.run_commands();
        }
    }

    fn any_end(&mut self) -> Option<End> {
        let ends = self
            .clients
            .iter()
            .map(|client| &client.voice.end)
            .chain(self.upstreams.iter().map(Upstream::end));
        let ends: Vec<_> = ends.collect();
        (!ends.is_empty()).then(|| ends[self.chance.below(ends.len())].clone())
    }

    // --- who comes ---

    fn connect_clients(&mut self) {
        if self.stopping {
            self.waiting.clear();
        }
        if self.waiting.is_empty() || !(self.clients.is_empty() || self.chance.hits(200)) {
            return;
        }
        let (plans, manners) = self.waiting.remove(0);
        // Some clients have several connections.
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(
            192,
            0,
            2,
            1 + (self.clients.len() % self.addresses) as u8,
        )));
        // Without a place for it the gateway leaves it in the kernel's queue; it gives up.
        let Some(end) = self.gateway.accept(peer) else {
            return;
        };
        if let Some(cut) = self.client_cut {
            end.cut(cut);
        }
        self.client_ends.push(end.clone());
        let voice = ClientStream::new(end, self.client_tls.as_ref());
        self.clients.push(Client::new(voice, plans, manners));
    }

    /// Connections and lookups that the gateway has asked for.
    fn take_over(&mut self) {
        for dialed in std::mem::take(&mut self.gateway.dialed) {
            let slow = self.chance.hits(self.faults.unanswered);
            let made = !self.chance.hits(self.faults.refused);
            let steps = if slow {
                usize::MAX
            } else {
                self.chance.below(3)
            };
            self.arriving.push(Arriving {
                dialed,
                steps,
                made,
            });
        }
        for mut arriving in std::mem::take(&mut self.arriving) {
            match arriving.steps {
                _ if arriving.dialed.end.left().is_some() => self.ledger.tally.raced += 1,
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
            self.chance.shuffle(&mut addresses);
            addresses.truncate(1 + self.chance.below(3));
            if self.chance.hits(self.faults.unresolved) {
                addresses.clear();
            }
            self.gateway
                .proxy
                .handle_resolved(target, &addresses, self.gateway.now);
            self.gateway.run_commands();
        }
    }

    /// A connection is made, or refused.
    fn arrive(&mut self, arriving: &Arriving) {
        let end = &arriving.dialed.end;
        end.settle(arriving.made);
        let (authority, bases, is_tls) = self.places[&u64::from(arriving.dialed.target)].clone();
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
            };
            let tls = self.server.as_ref().filter(|_| is_tls);
            let ill = self
                .chance
                .hits(self.faults.ill)
                .then(|| self.chance.pick(&[Unhealthy::Says, Unhealthy::Silent]));
            self.upstream_ends.push(end.clone());
            self.upstreams
                .push(Upstream::new(end.clone(), place, ill, tls));
        }
    }

    // --- what moves ---

    fn act(&mut self) {
        self.ledger.endpoints.note_held(self.ledger.now);
        for client in &mut self.clients {
            if !self.chance.hits(self.faults.delayed) {
                client.act(&mut self.ledger, &mut self.chance);
            }
        }
        for upstream in &mut self.upstreams {
            if !self.chance.hits(self.faults.delayed) {
                upstream.act(&mut self.ledger, &mut self.chance);
            }
        }
        self.upstreams.retain(|upstream| !upstream.is_gone());
        for provider in &mut self.providers {
            if !self.chance.hits(self.faults.delayed) {
                provider.act(&mut self.chance);
            }
        }
        self.providers.retain(|provider| !provider.is_gone());
    }

    /// Something that changes whenever anything does.
    fn progress(&self) -> (Trace, usize, usize) {
        let clients = self.clients.iter().map(|client| &client.voice.end);
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
        let clients = self.clients.iter().map(|client| &client.voice.end);
        let others = self
            .upstreams
            .iter()
            .map(Upstream::end)
            .chain(self.providers.iter().map(Provider::end));
        for end in clients.chain(others) {
            if !self.chance.hits(self.faults.delayed) {
                end.arrive(self.chance.size(256 << 10).min(self.piece));
            }
            // A reset overtakes what was not read (RFC 9293 3.10.7.4); sometimes it does not.
            if end.left() == Some(Left::Reset) && end.unheard() > 0 && self.chance.hits(300) {
                end.lose();
            }
        }
    }

    // --- time ---

    fn pass_time(&mut self) {
        let pause = if self.still > 20 {
            self.until_something_is_due()
        } else {
            u64::from(self.chance.hits(self.speed))
        };
        self.gateway.now = self.gateway.now.after(Duration::from_millis(pause));
        self.ledger.now = self.gateway.now;
    }

    fn until_something_is_due(&mut self) -> u64 {
        self.still = 0;
        let wakes = self
            .clients
            .iter()
            .filter(|client| !client.is_gone())
            .filter_map(|client| client.wakes);
        match self
            .gateway
            .proxy
            .poll_timeout()
            .into_iter()
            .chain(wakes.filter(|at| *at > self.gateway.now))
            .min()
        {
            Some(due) => due.since(self.gateway.now).as_millis(),
            None => 1,
        }
    }

    /// What must hold after every step.
    fn check(&mut self) {
        assert_eq!(self.gateway.proxy.check(true), Ok(()));
        for client in &mut self.clients {
            client.check_patience(&self.ledger);
            let Some(steps) = &mut client.broken_for else {
                continue;
            };
            *steps += 1;
            if *steps <= RESET_STEPS {
                continue;
            }
            assert!(
                client.voice.end.left().is_some(),
                "a client is gone, and the gateway holds its connection"
            );
            let asked: Vec<u64> = client.asked().collect();
            for upstream in self
                .upstreams
                .iter()
                .filter(|upstream| upstream.end().left().is_none())
            {
                let works_for = upstream
                    .works_for()
                    .filter(|id| asked.contains(id) && !self.ledger.is_answered(*id));
                assert_eq!(
                    works_for, None,
                    "the client of a request is gone, and its upstream connection is held"
                );
            }
            client.broken_for = None;
        }
    }

    /// Whoever is left stays as it is, and time passes: the gateway must end all of it by itself (I8).
    fn quiesce(&mut self) {
        self.faults = Faults::default();
        if self.checked {
            // Nothing else ends the checks.
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
                upstream.act(&mut self.ledger, &mut self.chance);
            }
            for provider in &mut self.providers {
                provider.act(&mut self.chance);
            }
            self.move_bytes();
            self.gateway.turn();
            self.listen_to_reports();
            self.take_over();
            self.log.append(self.gateway.proxy.access_lines());
            let pause = self.until_something_is_due().clamp(1, 2000);
            self.gateway.now = self.gateway.now.after(Duration::from_millis(pause));
            self.ledger.now = self.gateway.now;
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
        // The rate windows, the last reminders of the wheel.
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

/// How a world ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    pub tally: Stats,
    pub trace: Trace,
    /// Bytes on the wires.
    pub client_said: usize,
    pub client_heard: usize,
    pub upstream_said: usize,
    pub upstream_heard: usize,
    /// Bytes that passed unseen, up and down.
    pub passed: [usize; 2],
}

/// The path of a target in an edition, without a slash at its end.
fn base_of(settings: &Settings, authority: &str) -> Option<String> {
    let target = settings
        .targets
        .iter()
        .position(|target| target.authority == authority)?;
    let services = settings.services.iter();
    let mut destinations = services.flat_map(|service| &service.destinations);
    let found = destinations.find(|destination| destination.target == target);
    let path = found.map_or("", |found| found.path.as_str());
    Some(path.trim_end_matches('/').to_owned())
}

/// The authorities of all targets.
fn hosts_of(settings: &Settings) -> Vec<String> {
    let targets = settings.targets.iter();
    targets.map(|target| target.authority.clone()).collect()
}

fn client_tls(roots: &[Vec<u8>]) -> ClientTls {
    ClientTls::new("tls.test", None, roots).expect("the root is good")
}
