//! World around the engine: clients and upstreams made of byte vectors, driven through the public
//! contract only.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tollgate::http::proxy_header::{Announced, HeaderFault};
use tollgate::policy::auth::basic::Verification;
use tollgate::policy::auth::signature::CostlySignature;
use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::announcements;
use tollgate::proxy::command::TargetId;
use tollgate::proxy::command::{
    ClientId, Command, Fault, ListenerKind, LookupId, Report, Side, UpstreamId, Work,
};
use tollgate::proxy::end_others;
use tollgate::proxy::settings::Settings;
use tollgate::proxy::upgrade::{Export, import};
use tollgate::time::{Instant, UnixTime};

/// 2026-11-24T12:00:00Z
const WALL: u64 = 1_795_521_600_000;

/// State of a connection, seen by its peer.
#[derive(Default)]
struct Wire {
    /// Bytes that the engine has written and no test has taken.
    received: Vec<u8>,
    /// Bytes on their way to the engine, which it has not read.
    unread: Vec<u8>,
    /// Bytes that bypass the engine on their way to this peer, and that are not written yet.
    bypassing: Vec<u8>,
    /// True if the peer has ended its direction.
    ended: bool,
    end_told: bool,
    /// True if the engine has ended its direction.
    shut: bool,
    closed: Option<Closed>,
    /// True if the peer does not read: no byte can be written to it.
    stalled: bool,
}

/// Ways in which the engine closes a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    Clean,
    Aborted,
}

/// Gateway with its clients and upstreams.
pub struct World {
    pub proxy: Proxy,
    pub now: Instant,
    clients: HashMap<u32, (ClientId, Wire)>,
    next_client: u32,
    upstreams: Vec<(UpstreamId, SocketAddr, Wire)>,
    pub dials: Vec<(UpstreamId, SocketAddr)>,
    pub lookups: Vec<usize>,
    pub reports: Vec<Report>,
    /// Recordings of failed requests.
    pub recordings: Vec<tollgate::proxy::recorder::Recording>,
    /// Passwords that wait for verification.
    pub passwords: Vec<(LookupId, Box<Verification>)>,
    /// Signatures that wait for verification.
    pub signatures: Vec<(LookupId, Arc<CostlySignature>)>,
    /// Largest number of bytes in one call; small values exercise every split.
    pub step: usize,
    /// True if bytes may bypass the engine.
    pub splices: bool,
    /// Number of bytes that have bypassed the engine.
    pub spliced: usize,
}

/// Client of a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client(u32);

/// Upstream connection of a [`World`], by its place in the order of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin(pub usize);

/// Returns the settings of a configuration text. Request ids are off unless the text has
/// `requestId`, so that the fields that the gateway adds are the same in every run.
#[track_caller]
pub fn settings(config: &str) -> Settings {
    let env = |_: &str| None;
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = tollgate::config::load(config.as_bytes(), "test.json", &env, &read);
    let mut settings = loaded
        .unwrap_or_else(|errors| panic!("{errors:?}"))
        .settings;
    if !config.contains("requestId") {
        settings.request_id = None;
    }
    settings
}

impl World {
    pub fn new(settings: Settings) -> World {
        let mut world = World {
            proxy: Proxy::new(settings, 7),
            now: Instant::from_millis(1000),
            clients: HashMap::new(),
            next_client: 0,
            upstreams: Vec::new(),
            dials: Vec::new(),
            lookups: Vec::new(),
            reports: Vec::new(),
            recordings: Vec::new(),
            passwords: Vec::new(),
            signatures: Vec::new(),
            step: usize::MAX,
            splices: false,
            spliced: 0,
        };
        world
            .proxy
            .handle_clock(world.now, UnixTime::from_millis(WALL));
        world.settle();
        world
    }

    /// Returns a gateway with this configuration.
    pub fn with(config: &str) -> World {
        World::new(settings(config))
    }

    /// Replaces the configuration, as a reload does.
    #[track_caller]
    pub fn reload(&mut self, config: &str) {
        assert!(self.try_reload(config), "too many editions");
    }

    /// Replaces the configuration, unless requests of too many earlier editions have no response
    /// yet.
    #[track_caller]
    pub fn try_reload(&mut self, config: &str) -> bool {
        let taken = self
            .proxy
            .handle_settings(settings(config), self.now)
            .is_ok();
        self.settle();
        taken
    }

    /// Returns a gateway that takes over the state of this one, as the new process of an upgrade
    /// does. Its clock starts again.
    pub fn upgrade(&self, config: &str) -> World {
        let mut new = World::with(config);
        let mut export = Export::begin(&self.proxy, self.now);
        while let Some(piece) = export.next(&self.proxy) {
            import(&mut new.proxy, piece, new.now);
        }
        new.settle();
        new
    }

    /// Returns the usual gateway: `/auth` on `http://10.0.0.1/auth`, without rate limit, access log
    /// and added headers.
    pub fn plain() -> World {
        World::with(PLAIN)
    }

    /// Returns the usual gateway, with splicing of bodies of which at least `least` bytes are still
    /// to come.
    pub fn splicing(least: u64) -> World {
        let mut settings = settings(PLAIN);
        settings.limits.splice_min_bytes = least;
        settings.limits.gathered_bytes = 0;
        World {
            splices: true,
            ..World::new(settings)
        }
    }

    /// Returns a gateway that also forwards short request bodies before they are complete.
    pub fn streaming(config: &str) -> World {
        let mut settings = settings(config);
        settings.limits.gathered_bytes = 0;
        World::new(settings)
    }

    // --- clients ---

    pub fn connect(&mut self) -> Client {
        self.connect_from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }

    pub fn connect_from(&mut self, address: IpAddr) -> Client {
        self.try_connect(Peer::Ip(address))
            .expect("the gateway takes the connection")
    }

    pub fn try_connect(&mut self, peer: Peer) -> Option<Client> {
        self.try_connect_by(peer, ListenerKind::Plain)
    }

    /// Connects a client to another kind of listener.
    pub fn connect_by(&mut self, entrance: ListenerKind) -> Client {
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        self.try_connect_by(peer, entrance)
            .expect("the gateway takes the connection")
    }

    /// Connects a peer whose connections begin with a header of the PROXY protocol. It can be read
    /// and written from [`announce`](Self::announce) on.
    pub fn connect_unannounced(&mut self, sender: Peer, entrance: ListenerKind) -> Option<Client> {
        let id = announcements::accepted(&mut self.proxy, sender, entrance, self.now)?;
        let wire = Wire {
            stalled: true,
            ..Wire::default()
        };
        self.next_client += 1;
        self.clients.insert(self.next_client, (id, wire));
        self.settle();
        Some(Client(self.next_client))
    }

    /// Completes the header of a connection. Returns false if the engine closes the connection.
    pub fn announce(&mut self, client: Client, announced: Announced) -> bool {
        let id = self.clients[&client.0].0;
        let is_open = announcements::announced(&mut self.proxy, id, announced, self.now);
        self.settle();
        if is_open {
            self.stall(client, false);
        }
        is_open
    }

    /// Reports that a connection does not begin with a header.
    pub fn unannounced(&mut self, client: Client, fault: Option<HeaderFault>) {
        let id = self.clients[&client.0].0;
        announcements::unannounced(&mut self.proxy, id, fault, self.now);
        self.settle();
    }

    /// Completes the TLS handshake of a client.
    pub fn secured(&mut self, client: Client, subject: Option<&str>) {
        let id = self.clients[&client.0].0;
        self.proxy
            .handle_secured(id, subject.map(|text| text.as_bytes().into()), self.now);
        self.settle();
    }

    /// Names how a client came in, for the access log.
    pub fn note_entrance(
        &mut self,
        client: Client,
        listener: Option<&str>,
        tls: Option<tollgate::observe::access::TlsVersion>,
    ) {
        let id = self.clients[&client.0].0;
        let mut number = None;
        let listener = listener.map(|name| (name, &mut number));
        self.proxy.note_entrance(id, listener, tls);
    }

    /// Makes a client send plain HTTP to a TLS listener.
    pub fn not_tls(&mut self, client: Client, bytes: &str) {
        let id = self.clients[&client.0].0;
        self.proxy.handle_not_tls(id, bytes.as_bytes(), self.now);
        self.settle();
    }

    /// Connects a client that takes no byte yet, because its handshake is not complete.
    pub fn connect_stalled(&mut self, entrance: ListenerKind) -> Client {
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let wire = Wire {
            stalled: true,
            ..Wire::default()
        };
        self.try_connect_as(peer, entrance, wire)
            .expect("the gateway takes the connection")
    }

    fn try_connect_by(&mut self, peer: Peer, entrance: ListenerKind) -> Option<Client> {
        self.try_connect_as(peer, entrance, Wire::default())
    }

    fn try_connect_as(&mut self, peer: Peer, entrance: ListenerKind, wire: Wire) -> Option<Client> {
        let id = self.proxy.handle_accepted(peer, entrance, self.now)?;
        self.next_client += 1;
        self.clients.insert(self.next_client, (id, wire));
        self.settle();
        Some(Client(self.next_client))
    }

    pub fn send(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        self.client(client).unread.extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// Checks that the client has received exactly these bytes.
    #[track_caller]
    pub fn expect(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        let received = std::mem::take(&mut self.client(client).received);
        same(&received, bytes.as_ref());
    }

    /// Takes all bytes that the client has received, as text.
    pub fn received(&mut self, client: Client) -> String {
        String::from_utf8_lossy(&self.take(client)).into_owned()
    }

    /// Takes all bytes that the client has received.
    pub fn take(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.client(client).received)
    }

    /// Checks that the client has received a reply with this status. Returns its text.
    #[track_caller]
    pub fn expect_status(&mut self, client: Client, status: u16) -> String {
        let text = self.received(client);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "expected {status}, got {text:?}"
        );
        text
    }

    /// Checks that the client has received nothing.
    #[track_caller]
    pub fn expect_silence(&mut self, client: Client) {
        self.expect(client, b"");
    }

    /// Ends the client's direction (FIN).
    pub fn finish(&mut self, client: Client) {
        self.client(client).ended = true;
        self.settle();
    }

    /// Resets the client's connection.
    pub fn reset(&mut self, client: Client) {
        let id = self.clients.get(&client.0).expect("a client").0;
        self.client(client).closed = Some(Closed::Aborted);
        self.proxy
            .handle_fault(Side::Client(id), Fault::Reset, None, self.now);
        self.settle();
    }

    /// Resets the client's connection in such a way that the kernel reports it although the engine
    /// has not read all bytes.
    pub fn reset_unread(&mut self, client: Client) {
        let id = self.clients[&client.0].0;
        self.proxy
            .handle_fault(Side::Client(id), Fault::SendFailed, None, self.now);
        self.settle();
    }

    /// Resets an upstream connection in the same way. The bytes in front of the reset can still be
    /// read.
    pub fn reset_upstream_unread(&mut self, origin: Origin) {
        let id = self.upstreams[origin.0].0;
        self.proxy
            .handle_fault(Side::Upstream(id), Fault::SendFailed, None, self.now);
        self.settle();
    }

    /// Reports a fault of the client's connection, which may stay open.
    pub fn fail(&mut self, client: Client, fault: Fault) {
        let id = self.clients[&client.0].0;
        self.proxy
            .handle_fault(Side::Client(id), fault, None, self.now);
        self.settle();
    }

    /// Reports a fault of the client's connection with a reason.
    pub fn fail_because(&mut self, client: Client, fault: Fault, why: &str) {
        let id = self.clients[&client.0].0;
        self.proxy
            .handle_fault(Side::Client(id), fault, Some(why.into()), self.now);
        self.settle();
    }

    /// Removes a client that is done, so that many can come and go.
    pub fn forget(&mut self, client: Client) {
        self.clients.remove(&client.0);
    }

    pub fn stall(&mut self, client: Client, stalled: bool) {
        self.client(client).stalled = stalled;
        self.settle();
    }

    /// Has a client that is stalled take this many bytes.
    pub fn take_some(&mut self, client: Client, count: usize) {
        let side = self.side(client);
        let (head, body) = self.proxy.pending(side);
        let bytes: Vec<u8> = head.iter().chain(body).copied().take(count).collect();
        self.client(client).received.extend_from_slice(&bytes);
        self.proxy.handle_sent(side, bytes.len(), self.now);
        self.settle();
    }

    /// Returns the side of a client.
    pub fn side(&self, client: Client) -> Side {
        Side::Client(self.clients[&client.0].0)
    }

    pub fn closed(&mut self, client: Client) -> Option<Closed> {
        self.client(client).closed
    }

    /// Checks that the gateway has ended its direction or closed the connection in order.
    #[track_caller]
    pub fn expect_closing(&mut self, client: Client) {
        let wire = self.client(client);
        assert!(
            wire.shut || wire.closed == Some(Closed::Clean),
            "the connection is open"
        );
    }

    #[track_caller]
    pub fn expect_open(&mut self, client: Client) {
        assert!(self.is_open(client), "the connection is closed");
    }

    pub fn is_open(&mut self, client: Client) -> bool {
        let wire = self.client(client);
        !wire.shut && wire.closed.is_none()
    }

    // --- upstreams ---

    /// Accepts the next connection of the engine.
    #[track_caller]
    pub fn accept(&mut self) -> Origin {
        self.accept_as(Wire::default())
    }

    /// Accepts the next connection of the engine. The upstream's socket takes no byte.
    #[track_caller]
    pub fn accept_stalled(&mut self) -> Origin {
        self.accept_as(Wire {
            stalled: true,
            ..Wire::default()
        })
    }

    #[track_caller]
    fn accept_as(&mut self, wire: Wire) -> Origin {
        assert!(!self.dials.is_empty(), "the engine makes no connection");
        let (id, address) = self.dials.remove(0);
        self.upstreams.push((id, address, wire));
        self.proxy.handle_connected(id, self.now);
        self.settle();
        Origin(self.upstreams.len() - 1)
    }

    /// Refuses the next connection of the engine.
    #[track_caller]
    pub fn refuse(&mut self, fault: Fault) -> SocketAddr {
        assert!(!self.dials.is_empty(), "the engine makes no connection");
        let (id, address) = self.dials.remove(0);
        self.proxy
            .handle_fault(Side::Upstream(id), fault, None, self.now);
        self.settle();
        address
    }

    /// Fails the next connection of the engine, with the reason of the system or of TLS.
    #[track_caller]
    pub fn refuse_because(&mut self, fault: Fault, why: &str) {
        assert!(!self.dials.is_empty(), "the engine makes no connection");
        let (id, _) = self.dials.remove(0);
        self.proxy
            .handle_fault(Side::Upstream(id), fault, Some(why.into()), self.now);
        self.settle();
    }

    #[track_caller]
    pub fn expect_no_dial(&self) {
        assert!(
            self.dials.is_empty(),
            "an upstream connection is being made"
        );
    }

    pub fn reply(&mut self, origin: Origin, bytes: impl AsRef<[u8]>) {
        self.origin(origin).unread.extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// Checks that the upstream has received exactly these bytes.
    #[track_caller]
    pub fn expect_upstream(&mut self, origin: Origin, bytes: impl AsRef<[u8]>) {
        let received = std::mem::take(&mut self.origin(origin).received);
        same(&received, bytes.as_ref());
    }

    pub fn received_upstream(&mut self, origin: Origin) -> String {
        String::from_utf8_lossy(&self.take_upstream(origin)).into_owned()
    }

    pub fn take_upstream(&mut self, origin: Origin) -> Vec<u8> {
        std::mem::take(&mut self.origin(origin).received)
    }

    /// Returns the number of bytes that the upstream has sent and the engine has not read.
    pub fn unread_upstream(&mut self, origin: Origin) -> usize {
        self.origin(origin).unread.len()
    }

    pub fn finish_upstream(&mut self, origin: Origin) {
        self.origin(origin).ended = true;
        self.settle();
    }

    pub fn fail_upstream(&mut self, origin: Origin, fault: Fault) {
        let id = self.upstreams[origin.0].0;
        if fault != Fault::SendFailed {
            self.origin(origin).closed = Some(Closed::Aborted);
        }
        self.proxy
            .handle_fault(Side::Upstream(id), fault, None, self.now);
        self.settle();
    }

    pub fn stall_upstream(&mut self, origin: Origin, stalled: bool) {
        self.origin(origin).stalled = stalled;
        self.settle();
    }

    pub fn closed_upstream(&mut self, origin: Origin) -> bool {
        self.origin(origin).closed.is_some()
    }

    pub fn shut_upstream(&mut self, origin: Origin) -> bool {
        self.origin(origin).shut
    }

    pub fn resolve(&mut self, target: usize, addresses: &[SocketAddr]) {
        let target = TargetId::from_parts(target as u32, 0);
        self.proxy.handle_resolved(target, addresses, self.now);
        self.settle();
    }

    /// Completes the verification of the first password that waits.
    #[track_caller]
    pub fn verify(&mut self) -> bool {
        assert!(!self.passwords.is_empty(), "no password is to be verified");
        let (verification, work) = self.passwords.remove(0);
        let good = work.run();
        self.proxy.handle_verified(verification, good, self.now);
        self.settle();
        good
    }

    /// Completes the verification of one of the signatures that wait.
    #[track_caller]
    pub fn verify_signature(&mut self, number: usize) -> bool {
        assert!(
            number < self.signatures.len(),
            "no signature is to be verified"
        );
        let (verification, work) = self.signatures.remove(number);
        let good = work.verify();
        self.proxy.handle_verified(verification, good, self.now);
        self.settle();
        good
    }

    pub fn shut_down(&mut self) {
        self.proxy.handle_shutdown();
        self.settle();
    }

    /// The grace time of an upgrade is over. Returns the number of tunnels that are cut.
    pub fn end_others(&mut self) -> usize {
        let tunnels = end_others(&mut self.proxy, self.now);
        self.settle();
        tunnels
    }

    pub fn abort(&mut self) {
        self.proxy.handle_abort(self.now);
        self.settle();
    }

    // --- time ---

    /// Lets time pass, one deadline at a time.
    pub fn wait(&mut self, millis: u64) {
        let until = Instant::from_millis(self.now.as_millis() + millis);
        while let Some(due) = self.proxy.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.proxy.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    // --- logs and leftovers ---

    /// Takes the new lines of the access log.
    pub fn log(&mut self) -> Vec<String> {
        let text =
            String::from_utf8(std::mem::take(self.proxy.access_lines())).expect("the log is ASCII");
        text.lines().map(str::to_owned).collect()
    }

    /// Checks that no buffer and no connection is left (invariant I8).
    #[track_caller]
    pub fn expect_quiet(&mut self) {
        self.leave();
        self.wait(120_000);
        self.expect_nothing_left();
    }

    /// Does the same for a gateway that resolves names. Its lookups never end, so they are answered
    /// meanwhile.
    #[track_caller]
    pub fn expect_quiet_but_lookups(&mut self) {
        self.leave();
        for _ in 0..4 {
            self.wait(30_100);
            for target in std::mem::take(&mut self.lookups) {
                self.resolve(target, &[]);
            }
        }
        self.expect_nothing_left();
    }

    fn leave(&mut self) {
        for client in self.clients.keys().copied().collect::<Vec<_>>() {
            if self.client(Client(client)).closed.is_none() {
                self.finish(Client(client));
            }
        }
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        assert_eq!(
            (
                self.proxy.holdings().clients,
                self.proxy.holdings().upstreams,
                self.proxy.holdings().buffers
            ),
            (0, 0, 0)
        );
        assert!(
            self.proxy.holdings().accounts == 0 && self.proxy.check(true).is_ok(),
            "connections are counted that are gone"
        );
    }

    // --- the driver ---

    fn client(&mut self, client: Client) -> &mut Wire {
        &mut self.clients.get_mut(&client.0).expect("a client").1
    }

    fn origin(&mut self, origin: Origin) -> &mut Wire {
        &mut self.upstreams[origin.0].2
    }

    /// Moves bytes and executes commands until nothing changes. A bound on the rounds detects a
    /// spin (invariant I7).
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1_000_000, "the engine spins");
            let changed = self.obey() || self.turn();
            assert!(
                self.proxy.check(false).is_ok(),
                "the engine holds more than its bound"
            );
            assert!(
                self.proxy.holdings().clients > 100 || self.proxy.check(true).is_ok(),
                "connections are counted wrong"
            );
            if !changed {
                return;
            }
        }
    }

    fn obey(&mut self) -> bool {
        let mut any = false;
        while let Some(command) = self.proxy.poll_command() {
            any = true;
            match command {
                Command::Dial {
                    upstream, address, ..
                } => self.dials.push((upstream, address)),
                Command::Resolve { target, .. } => self.lookups.push(target.index() as usize),
                Command::Shut(side) => {
                    if let Some(wire) = self.wire(side) {
                        assert!(!wire.shut, "shut twice");
                        wire.shut = true;
                    }
                }
                Command::Close { side, abort } => {
                    self.dials.retain(|(id, _)| Side::Upstream(*id) != side);
                    let how = if abort {
                        Closed::Aborted
                    } else {
                        Closed::Clean
                    };
                    if let Some(wire) = self.wire(side) {
                        wire.closed.get_or_insert(how);
                    }
                }
                Command::Verify { verification, work } => match work {
                    Work::Password(work) => self.passwords.push((verification, work)),
                    Work::Signature(work) => self.signatures.push((verification, work)),
                },
                Command::Report(report) => self.reports.push(report),
                Command::Errand => {}
                Command::Record => {
                    let recording = tollgate::proxy::inputs::take(&mut self.proxy);
                    self.recordings.extend(recording);
                }
            }
        }
        // Each round handles all sides.
        while self.proxy.poll_ready().is_some() {
            any = true;
        }
        any
    }

    fn wire(&mut self, side: Side) -> Option<&mut Wire> {
        match side {
            Side::Client(id) => self
                .clients
                .values_mut()
                .find(|(other, _)| *other == id)
                .map(|(_, wire)| wire),
            Side::Upstream(id) => self
                .upstreams
                .iter_mut()
                .find(|(other, ..)| *other == id)
                .map(|(_, _, wire)| wire),
        }
    }

    fn turn(&mut self) -> bool {
        let mut sides: Vec<Side> = self
            .upstreams
            .iter()
            .map(|(id, ..)| Side::Upstream(*id))
            .collect();
        let mut clients: Vec<u32> = self.clients.keys().copied().collect();
        clients.sort_unstable();
        sides.extend(
            clients
                .iter()
                .map(|client| Side::Client(self.clients[client].0)),
        );
        let mut moved = false;
        for side in sides {
            moved |= self.write(side) | self.read(side);
            moved |= self.obey();
        }
        moved
    }

    fn write(&mut self, side: Side) -> bool {
        let (head, body) = self.proxy.pending(side);
        let step = self.step;
        let bytes: Vec<u8> = head.iter().chain(body).copied().take(step).collect();
        let Some(wire) = self.wire(side) else {
            return false;
        };
        if wire.stalled || wire.closed.is_some() {
            return false;
        }
        if bytes.is_empty() {
            return self.write_bypassing(side);
        }
        assert!(
            !wire.shut,
            "bytes behind the end: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        wire.received.extend_from_slice(&bytes);
        self.proxy.handle_sent(side, bytes.len(), self.now);
        true
    }

    /// Bytes that bypass the engine are written after all bytes of the engine itself.
    fn write_bypassing(&mut self, side: Side) -> bool {
        let step = self.step;
        let Some(wire) = self.wire(side) else {
            return false;
        };
        let bytes: Vec<u8> = wire
            .bypassing
            .drain(..step.min(wire.bypassing.len()))
            .collect();
        wire.received.extend_from_slice(&bytes);
        if !bytes.is_empty() {
            self.proxy.handle_sent(side, bytes.len(), self.now);
        }
        !bytes.is_empty()
    }

    /// Moves bytes that may bypass the engine. Returns false if there are none, or if the engine
    /// must read them.
    fn splice(&mut self, side: Side) -> bool {
        let Some(offer) = self.proxy.splice_offer(side).filter(|_| self.splices) else {
            return false;
        };
        assert!(
            self.proxy.pending(offer.to) == (&[], &[]),
            "bytes of the engine itself are written first"
        );
        let most = usize::try_from(offer.most)
            .unwrap_or(usize::MAX)
            .min(self.step);
        let Some(wire) = self.wire(side) else {
            return false;
        };
        let bytes: Vec<u8> = wire.unread.drain(..most.min(wire.unread.len())).collect();
        let Some(to) = self.wire(offer.to) else {
            return false;
        };
        assert!(to.bypassing.is_empty(), "the earlier bytes were written");
        to.bypassing.extend_from_slice(&bytes);
        self.spliced += bytes.len();
        self.proxy.handle_spliced(side, bytes.len(), self.now);
        true
    }

    fn read(&mut self, side: Side) -> bool {
        let step = self.step;
        let Some(wire) = self.wire(side) else {
            return false;
        };
        if wire.closed.is_some() {
            return false;
        }
        if wire.unread.is_empty() {
            return wire.ended && !wire.end_told && self.end(side);
        }
        if self.splice(side) {
            return true;
        }
        let Some(wire) = self.wire(side) else {
            return false;
        };
        let unread = std::mem::take(&mut wire.unread);
        let room = self.proxy.room(side);
        let n = unread.len().min(room.len()).min(step);
        room[..n].copy_from_slice(&unread[..n]);
        let had_room = !room.is_empty();
        let Some(wire) = self.wire(side) else {
            return false;
        };
        wire.unread = unread[n..].to_vec();
        if had_room {
            self.proxy.handle_received(side, n, self.now);
        } else if self
            .wire(side)
            .is_some_and(|wire| wire.ended && !wire.end_told)
        {
            return self.hangup(side);
        }
        n > 0
    }

    /// Reports the end of the stream after all bytes were read, if the engine reads at all.
    fn end(&mut self, side: Side) -> bool {
        if self.proxy.room(side).is_empty() {
            return self.hangup(side);
        }
        self.proxy.handle_received(side, 0, self.now);
        if let Some(wire) = self.wire(side) {
            wire.end_told = true;
        }
        self.proxy.handle_end(side, self.now);
        true
    }

    fn hangup(&mut self, side: Side) -> bool {
        let before = self.proxy.holdings().clients;
        self.proxy.handle_hangup(side, self.now);
        self.obey();
        self.proxy.holdings().clients != before
    }
}

#[track_caller]
fn same(received: &[u8], expected: &[u8]) {
    assert!(
        received == expected,
        "\n received {:?}\n expected {:?}",
        String::from_utf8_lossy(received),
        String::from_utf8_lossy(expected)
    );
}

/// Configuration that adds nothing to responses.
pub const PLAIN: &str = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ],
    "rateLimit": false, "cors": false, "securityHeaders": false }"#;

/// Request that an upstream receives for `GET /auth` from the usual client.
pub const GET_UPSTREAM: &str = "GET /auth HTTP/1.1\r\nHost: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
    X-Forwarded-Host: gate\r\nVia: 1.1 tollgate\r\n\r\n";

/// Usual request.
pub const GET: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\n\r\n";

/// Whole response, and what the client receives for it.
pub const OK: &str =
    "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Length: 2\r\n\r\nhi";
