//! The real engine, without a network: it gets the request, and what it would send is kept.

use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::request::Arrival;
use crate::observe::report;
use crate::policy::auth::credentials::is_bearer_token;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::{Grant, Leeway};
use crate::policy::auth::json::Json;
use crate::policy::auth::provider::{Kind, Provider};
use crate::proxy::command::{ClientId, Command, ListenerKind, Side, UpstreamId, Work};
use crate::proxy::inspect;
use crate::proxy::{Proxy, settings::Settings};
use crate::time::{Instant, UnixTime};

/// Response of an upstream that says nothing: what the client gets of it comes from the gateway.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Rounds after which the engine is stopped.
const ROUNDS_MAX: u32 = 100_000;

/// Time at which the request comes.
const NOW: Instant = Instant::from_millis(1000);

/// The engine, one client, and what it sends.
pub(super) struct World {
    pub(super) proxy: Proxy,
    wall: UnixTime,
    client: Option<ClientId>,
    upstream: Option<UpstreamId>,
    pub(super) run: Run,
}

/// Result of a request in the engine.
#[derive(Default)]
pub(super) struct Run {
    /// Number of the destination, if a connection to it was opened.
    pub(super) destination: Option<usize>,
    /// Bytes for the upstream.
    pub(super) up: Vec<u8>,
    /// A 100 for the client.
    pub(super) interim: Vec<u8>,
    /// Reply of the gateway's own to the client.
    pub(super) reply: Vec<u8>,
    /// Bytes for the client once the upstream has answered [`RESPONSE`].
    pub(super) response: Vec<u8>,
    /// Providers that would be asked over the network.
    pub(super) asked: Vec<Rc<Provider>>,
    /// True if a password was verified and is right; `None`: none was verified.
    pub(super) password: Option<bool>,
    /// Line of the JSON access log about a request that the gateway answers itself.
    pub(super) line: Vec<u8>,
    /// True if the connection is closed before the request is read, and before a TLS handshake.
    pub(super) is_turned_away: bool,
}

/// Credential of the request, for providers that are not asked.
#[derive(Default)]
pub(super) struct Credential {
    /// Token of `Authorization`; empty without one.
    pub(super) token: Vec<u8>,
    /// Scopes that the service asks for.
    pub(super) scopes: Vec<String>,
}

impl World {
    /// Starts the engine with these settings. Nothing is asked over the network, so the stores of rate
    /// limits never answer: no request is refused for that.
    pub(super) fn new(mut settings: Settings, wall: UnixTime) -> World {
        for store in &mut settings.stores {
            store.is_closed = false;
        }
        let mut world = World {
            proxy: Proxy::new(settings, 1),
            wall,
            client: None,
            upstream: None,
            run: Run::default(),
        };
        world.proxy.handle_clock(NOW, wall);
        world.run_commands();
        world
    }

    /// Sends the request, and then the response to it.
    pub(super) fn send(&mut self, arrival: &Arrival, credential: &Credential) {
        self.client = self.proxy.handle_accepted(arrival.peer, arrival.kind, NOW);
        self.run.is_turned_away = self.client.is_none();
        let Some(client) = self.client else { return };
        let mut number = None;
        let listener = Some((arrival.address.as_str(), &mut number));
        self.proxy.note_entrance(client, listener, None);
        if arrival.kind == ListenerKind::Secure {
            let subject = arrival.subject.map(Box::from);
            self.proxy.handle_secured(client, subject, NOW);
        }
        self.exchange(Side::Client(client), &arrival.bytes, credential);
        let said = core::mem::take(&mut self.run.response);
        let (interim, reply) = said
            .split_at_checked(interim_bytes(&said))
            .unwrap_or_default();
        self.run.interim = interim.to_vec();
        self.run.reply = reply.to_vec();
        if let Some(upstream) = self.upstream
            && reply.is_empty()
        {
            self.exchange(Side::Upstream(upstream), RESPONSE, credential);
        }
        self.run.line = core::mem::take(self.proxy.access_lines());
    }

    /// Moves bytes until nothing moves any more. `says`: what this side sends.
    fn exchange(&mut self, side: Side, mut says: &[u8], credential: &Credential) {
        for _ in 0..ROUNDS_MAX {
            self.run_commands();
            let mut moved = self.answer_for_provider(credential);
            moved |= self.take(self.upstream.map(Side::Upstream));
            moved |= self.take(self.client.map(Side::Client));
            moved |= self.give(side, &mut says);
            if !moved {
                return;
            }
        }
    }

    fn give(&mut self, side: Side, says: &mut &[u8]) -> bool {
        if says.is_empty() {
            return false;
        }
        let room = self.proxy.room(side);
        let n = room.len().min(says.len());
        let Some((bytes, rest)) = says.split_at_checked(n).filter(|_| n > 0) else {
            return false;
        };
        if let Some(to) = room.get_mut(..n) {
            to.copy_from_slice(bytes);
        }
        *says = rest;
        self.proxy.handle_received(side, n, NOW);
        true
    }

    fn take(&mut self, side: Option<Side>) -> bool {
        let Some(side) = side else { return false };
        let (head, body) = self.proxy.pending(side);
        let bytes = [head, body].concat();
        if bytes.is_empty() {
            return false;
        }
        match side {
            Side::Client(_) => self.run.response.extend_from_slice(&bytes),
            Side::Upstream(_) => self.run.up.extend_from_slice(&bytes),
        }
        self.proxy.handle_sent(side, bytes.len(), NOW);
        true
    }

    fn run_commands(&mut self) {
        while let Some(command) = self.proxy.poll_command() {
            match command {
                // Any address: nothing that is sent depends on it.
                Command::Resolve { target, name } => {
                    let address = SocketAddr::new(IpAddr::from([192, 0, 2, 1]), name.port);
                    self.proxy.handle_resolved(target, &[address], NOW);
                }
                // Requests of the gateway's own are not sent: health checks, questions.
                Command::Dial { upstream, .. } => {
                    if let Some(number) = inspect::destination(&self.proxy, upstream) {
                        self.run.destination = Some(number);
                        self.upstream = Some(upstream);
                        self.proxy.handle_connected(upstream, NOW);
                    }
                }
                Command::Verify { verification, work } => {
                    let is_good = match work {
                        Work::Password(work) => *self.run.password.insert(work.run()),
                        Work::Signature(work) => work.verify(),
                    };
                    self.proxy.handle_verified(verification, is_good, NOW);
                }
                Command::Close { side, .. } => self.forget(side),
                Command::Shut(_) | Command::Report(_) | Command::Record | Command::Errand => {}
            }
        }
        while self.proxy.poll_ready().is_some() {}
    }

    fn forget(&mut self, side: Side) {
        match side {
            Side::Client(id) => self.client = self.client.filter(|client| *client != id),
            Side::Upstream(id) => self.upstream = self.upstream.filter(|known| *known != id),
        }
    }

    /// Answers in place of a provider, as it would if nothing that it alone knows is against the
    /// request.
    fn answer_for_provider(&mut self, credential: &Credential) -> bool {
        let Some(client) = self.client else {
            return false;
        };
        let Some(provider) = inspect::awaited(&self.proxy, client) else {
            return false;
        };
        let grant = match &provider.kind {
            Kind::Jwt { rules, .. } => rules.grant_if_signed(&credential.token, self.wall),
            Kind::Introspection { .. } if is_bearer_token(&credential.token) => {
                let mut claims = b"{\"scope\":".to_vec();
                report::json(&credential.scopes.join(" "), &mut claims);
                claims.push(b'}');
                let claims = Json::parse(&claims);
                let grant =
                    claims.and_then(|claims| Grant::from_claims(&claims, &[], Leeway::default()));
                grant.ok_or(CredentialFault::Claims)
            }
            _ => Ok(Grant::default()),
        };
        self.run.asked.push(Rc::clone(&provider));
        inspect::answer(&mut self.proxy, client, grant, NOW);
        true
    }
}

/// Returns the number of bytes of a 100 in front of the response (RFC 9110 15.2.1).
fn interim_bytes(bytes: &[u8]) -> usize {
    if !bytes.starts_with(b"HTTP/1.1 100 ") {
        return 0;
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(0, |end| end.saturating_add(4))
}
