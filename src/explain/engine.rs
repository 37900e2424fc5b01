//! The real engine, without a network: it gets the request, and what it would send is kept.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;

use super::request::Arrival;
use crate::observe::report;
use crate::policy::auth::credentials::is_bearer_token;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::{Grant, Leeway};
use crate::policy::auth::json::Json;
use crate::policy::auth::provider::{Kind, Provider};
use crate::proxy::command::{ClientId, ListenerKind, Side, UpstreamId};
use crate::proxy::inspect;
use crate::proxy::{Proxy, settings::Settings};
use crate::record::world::World;
use crate::time::{Instant, UnixTime};

/// Response of an upstream that says nothing: what the client gets of it comes from the gateway.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Time at which the request comes.
const NOW: Instant = Instant::from_millis(1000);

/// Address that all names have: nothing that is sent depends on it.
const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 80));

/// The engine, one client, and what it sends.
pub(super) struct Asking {
    pub(super) world: World,
    wall: UnixTime,
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

impl Asking {
    /// Starts the engine with these settings. Nothing is asked over the network, so the stores of rate
    /// limits never answer: no request is refused for that.
    pub(super) fn new(mut settings: Settings, wall: UnixTime) -> Asking {
        for store in &mut settings.stores {
            store.is_closed = false;
        }
        let names = Some(vec![ADDRESS]);
        let mut world = World::new(Proxy::new(settings, 1), NOW, names);
        world.proxy.handle_clock(NOW, wall);
        world.settle();
        // Requests of the gateway's own stay unsent: health checks, questions.
        world.chosen.clear();
        Asking {
            world,
            wall,
            run: Run::default(),
        }
    }

    /// Sends the request, and then the response to it.
    pub(super) fn send(&mut self, arrival: &Arrival, credential: &Credential) {
        let proxy = &mut self.world.proxy;
        let client = proxy.handle_accepted(arrival.peer, arrival.kind, NOW);
        self.run.is_turned_away = client.is_none();
        let Some(client) = client else { return };
        let mut number = None;
        let listener = Some((arrival.address.as_str(), &mut number));
        proxy.note_entrance(client, listener, None);
        if arrival.kind == ListenerKind::Secure {
            let subject = arrival.subject.map(Box::from);
            proxy.handle_secured(client, subject, NOW);
        }
        let side = Side::Client(client);
        self.world.add(side, None, true);
        self.world.send(side, &arrival.bytes);
        while self.answer_for_provider(client, credential) {
            self.world.settle();
        }
        let upstream = self.connect();
        let said = core::mem::take(&mut self.world.to_client);
        let (interim, reply) = said
            .split_at_checked(interim_bytes(&said))
            .unwrap_or_default();
        self.run.interim = interim.to_vec();
        self.run.reply = reply.to_vec();
        if let Some(upstream) = upstream
            && reply.is_empty()
        {
            self.world.send(Side::Upstream(upstream), RESPONSE);
        }
        self.run.response = core::mem::take(&mut self.world.to_client);
        self.run.up = core::mem::take(&mut self.world.to_upstream);
        self.run.password = self.world.verified;
        self.run.line = core::mem::take(self.world.proxy.access_lines());
    }

    /// Makes the connection of the request, if it goes to a target.
    fn connect(&mut self) -> Option<UpstreamId> {
        let chosen = core::mem::take(&mut self.world.chosen);
        let number = |upstream| inspect::destination(&self.world.proxy, upstream);
        let mut found = chosen
            .into_iter()
            .map(|upstream| (upstream, number(upstream)));
        let (upstream, number) = found.find(|(_, number)| number.is_some())?;
        self.run.destination = number;
        self.world.connect(upstream);
        Some(upstream)
    }

    /// Answers in place of a provider, as it would if nothing that it alone knows is against the
    /// request.
    fn answer_for_provider(&mut self, client: ClientId, credential: &Credential) -> bool {
        let proxy = &mut self.world.proxy;
        let Some(provider) = inspect::awaited(proxy, client) else {
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
            Kind::Introspection { .. }
            | Kind::ApiKey { .. }
            | Kind::Basic { .. }
            | Kind::Forward { .. } => Ok(Grant::default()),
        };
        self.run.asked.push(Rc::clone(&provider));
        inspect::answer(proxy, client, grant, NOW);
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
