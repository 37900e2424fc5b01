//! From a request's head to an exchange, or to a reply of the gateway's own. Every request of a connection takes this way.
//!
//! What becomes of a request is decided in [`admission`], by the contract's order; this file carries the decision out. Authentication
//! is the last: a request that is let in gets an exchange.

use std::sync::Arc;

use super::auth::{Asking, AuthDecision, AuthEnv, Authenticator, Refusal, SuspendedRequest};
use super::client::{Client, Clients, LocalReply, Phase, Place, asks_for_head};
use super::command::ListenerKind;
use super::context::{Context, TimerKey};
use super::exchange::{
    Exchange, ExchangeStep, Exchanges, Persistence, Relay, Response, Sharing, Traits, Upload,
    WaitsFor,
};
use super::heads::{Content, HeadVariant, RequestParts};
use super::ids::{ClientId, ExchangeId};
use super::limiter::Limiter;
use super::log_entry::AccessLogEntry;
use super::outbox::Outbox;
use super::reason::Reason;
use super::transfer::{BodyReader, BodyWriter, Transfer};
use super::upstream::{AllDown, Attempts, Upstreams};
use crate::buffer::Buffer;
use crate::http::chunked::ChunkDecoder;
use crate::http::emit::Framing;
use crate::http::error::{RequestError, RequestFault};
use crate::http::field::Name;
use crate::http::framing::{RequestBody, wants_websocket};
use crate::http::head::{RequestHead, Version};
use crate::http::persistence::authenticates_connection;
use crate::limits::DRAIN_BYTES;
use crate::observe::access::Outcome;
use crate::policy::admission::{
    self, AdmissionRules, Counted, Decision, Refusal as Refused, Request, RouteMatch,
};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::redirect;
use crate::policy::reply::Reply;
use crate::time::Duration;

/// The answer to `Expect: 100-continue` (RFC 9110 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes of a malformed request's first line that are logged.
const MALFORMED_LINE_BYTES: usize = 1024;

/// The parts that a request's head concerns.
pub(super) struct Reception<'a> {
    pub(super) id: ClientId,
    pub(super) clients: &'a mut Clients,
    pub(super) exchanges: &'a mut Exchanges,
    pub(super) upstreams: &'a mut Upstreams,
    pub(super) auth: &'a mut Authenticator,
    pub(super) limiter: &'a mut Limiter,
    /// Number of further subrequests that there is room for.
    pub(super) room: usize,
    pub(super) ctx: &'a mut Context,
}

/// What became of a head.
pub(super) enum Received {
    /// The request was answered here.
    Replied,
    /// The request waits for a provider; its head stays.
    Suspended,
    /// The request has an exchange.
    Exchange(ExchangeId, ExchangeStep),
}

/// What let a request in has to say; nothing where everybody is let in.
#[derive(Default)]
struct Grants {
    /// To the upstream.
    grant: Option<Arc<Grant>>,
    /// To the client, with the final response.
    for_client: Option<Arc<Grant>>,
    /// Whether it was not an API key, so that `Authorization` may have been what let the request in.
    by_authorization: bool,
}

impl Reception<'_> {
    /// Acts on a complete head; `behind`: bytes that came behind it. `suspended`: the request was looked at before.
    pub(super) fn on_head(
        &mut self,
        head: &RequestHead<'_>,
        behind: usize,
        mut suspended: Option<Box<SuspendedRequest>>,
    ) -> Received {
        let Some(client) = self.clients.get(self.id) else {
            return Received::Replied;
        };
        let (peer, listener) = (client.peer, client.listener);
        let rules = self.ctx.rules.clone();
        let forwarded = head.fields.get_all(Name::XForwardedFor);
        let client = rules.trusted.client_address(peer, forwarded);
        let mut entry = match &mut suspended {
            Some(suspended) => core::mem::take(&mut suspended.log_entry),
            None => {
                let mut entry = self.ctx.access_log.begin(client.ip(), self.ctx.now);
                entry.note_head(head);
                entry
            }
        };
        let request = match Request::read(head) {
            Ok(request) => request,
            Err(error) => {
                let refusal = LocalReply::refusal(error.into(), Outcome::BadRequest, error);
                let reply = LocalReply {
                    is_head: head.method == b"HEAD",
                    ..refusal
                };
                return self.reply(reply, entry, origin(head));
            }
        };
        let admission_rules = AdmissionRules {
            addresses: &rules.addresses,
            cors: rules.cors.as_ref(),
            routes: &rules.routes,
            body_bytes: rules.settings.limits.body_bytes,
        };
        let redirects = listener == ListenerKind::Redirect;
        let admission = admission::decide(&admission_rules, &request, client, redirects);
        if let Counted::For(service) = admission.counted
            && suspended.is_none()
            && let Err(wait) = self.limiter.count(service, client.ip(), self.ctx.now)
        {
            entry.service = service.map(|service| service as u32);
            let reply = LocalReply {
                retry_after: Some(wait.as_secs_ceil().max(1)),
                ..LocalReply::last(Reply::TooManyRequests, Outcome::RateLimited)
            };
            return self.reply_and_drain(&request, reply, entry);
        }
        let route = match admission.decision {
            Decision::Forward(route) => route,
            other => return self.answer(other, &request, entry),
        };
        entry.service = Some(route.service as u32);
        let row = rules.settings.services.get(route.service);
        let is_guarded = row.is_some_and(|row| !row.auth.providers.is_empty());
        // A browser sends no credentials with a preflight (Fetch standard, CORS-preflight fetch).
        if is_guarded && !request.is_preflight() {
            return self.authorize(&request, route, behind, entry, suspended);
        }
        self.begin_exchange(&request, route, behind, Grants::default(), entry)
    }

    /// Answers a request that goes no further.
    fn answer(
        &mut self,
        decision: Decision,
        request: &Request<'_>,
        mut entry: Box<AccessLogEntry>,
    ) -> Received {
        let asked = request.head.fields.first(Name::AccessControlRequestHeaders);
        let reply = match decision {
            Decision::Options => LocalReply::with(Content::Options(asked), Outcome::Ok),
            Decision::Redirect => redirect_reply(request, self.ctx.rules.settings.https_port),
            Decision::MethodNotAllowed { service, group } => {
                entry.service = Some(service as u32);
                LocalReply {
                    lines: self.ctx.rules.routes.allow_line(group),
                    ..LocalReply::last(Reply::MethodNotAllowed, Outcome::NoRoute)
                }
            }
            Decision::Refuse(refused, service) => {
                entry.service = service.map(|service| service as u32);
                refused_reply(refused)
            }
            Decision::Forward(_) => LocalReply::last(Reply::InternalError, Outcome::NoRoute),
        };
        self.reply_and_drain(request, reply, entry)
    }

    fn reply(
        &mut self,
        reply: LocalReply<'_>,
        entry: Box<AccessLogEntry>,
        origin: Option<&[u8]>,
    ) -> Received {
        self.clients.reply(self.id, reply, entry, origin, self.ctx);
        Received::Replied
    }

    /// Answers a well-formed request; the connection goes on, where the rest of the request can be dropped.
    fn reply_and_drain(
        &mut self,
        request: &Request<'_>,
        mut reply: LocalReply<'_>,
        entry: Box<AccessLogEntry>,
    ) -> Received {
        let drain = drainable(request);
        reply.is_head = request.head.method == b"HEAD";
        let is_served = self
            .clients
            .get(self.id)
            .is_some_and(|client| client.place == Place::Served);
        let is_over = matches!(reply.outcome, Outcome::BadRequest | Outcome::OverLimit);
        reply.keep = request.keep && drain.is_some() && is_served && !is_over;
        reply.drain = drain.flatten();
        self.reply(reply, entry, origin(request.head))
    }

    /// Answers bytes that are no request.
    pub(super) fn refuse_malformed(&mut self, bytes: &[u8], error: RequestError) {
        let client = self
            .clients
            .get(self.id)
            .and_then(|client| client.peer.ip());
        let mut entry = self.ctx.access_log.begin(client, self.ctx.now);
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        entry.note_start(bytes, MALFORMED_LINE_BYTES);
        let refusal = LocalReply::refusal(error.into(), Outcome::BadRequest, error);
        let reply = LocalReply {
            is_head: asks_for_head(bytes),
            ..refusal
        };
        self.reply(reply, entry, None);
    }

    // --- authentication ---

    /// Lets a request in to a service that does not take everybody, or refuses it, or lets it wait.
    fn authorize(
        &mut self,
        request: &Request<'_>,
        route: RouteMatch,
        behind: usize,
        mut entry: Box<AccessLogEntry>,
        suspended: Option<Box<SuspendedRequest>>,
    ) -> Received {
        let mut suspended = suspended.unwrap_or_default();
        let Some(client) = self.clients.get(self.id) else {
            return Received::Replied;
        };
        let asking = Asking {
            id: self.id,
            peer: client.peer,
            listener: client.listener,
            client: entry.client,
            request,
            service: route.service,
        };
        let mut env = AuthEnv {
            ctx: self.ctx,
            limiter: self.limiter,
            accounts: self.clients.accounts(),
            room: self.room,
        };
        let progress = suspended.progress();
        let refusal = match self.auth.authenticate(asking, progress, &mut env) {
            AuthDecision::Open {
                grant,
                by_authorization,
            } => {
                let grants = Grants {
                    grant,
                    for_client: suspended.progress().take_for_client(),
                    by_authorization,
                };
                return self.begin_exchange(request, route, behind, grants, entry);
            }
            AuthDecision::Wait(lookup, position) => {
                core::mem::swap(&mut suspended.log_entry, &mut entry);
                let span = suspended.wait((lookup, position), route.service, &env);
                if let Some(client) = self.clients.get_mut(self.id) {
                    client.phase = Phase::Suspended(suspended);
                    let key = TimerKey::Client(self.id);
                    self.ctx.arm(&mut client.timer, key, Some(span));
                }
                return Received::Suspended;
            }
            AuthDecision::Refused(refusal) => refusal,
        };
        let mut reply = unauthorized_reply(&refusal);
        if let Some(grant) = suspended.progress().take_for_client() {
            reply.lines.extend_from_slice(grant.client_lines());
        }
        self.reply_and_drain(request, reply, entry)
    }

    // --- an exchange ---

    fn begin_exchange(
        &mut self,
        request: &Request<'_>,
        route: RouteMatch,
        behind: usize,
        grants: Grants,
        mut entry: Box<AccessLogEntry>,
    ) -> Received {
        let (id, service) = (self.id, route.service);
        let Some(client) = self.clients.get_mut(id) else {
            return Received::Replied;
        };
        let private = client.has_private.then_some(id);
        let chosen = self
            .upstreams
            .choose(service, entry.client, private, self.ctx);
        let selection = match chosen {
            Ok(selection) => selection,
            Err(AllDown(wait)) => {
                let reply = all_down_reply(request, &grants, wait);
                return self.reply(reply, entry, origin(request.head));
            }
        };
        entry.sent_to = Some(selection.target as u32);
        let is_websocket = wants_websocket(request.head, &request.body);
        let headers = self.auth.dropped(service, grants.by_authorization);
        let destination = selection.destination;
        let upstream_head = UpstreamHead {
            request,
            route,
            destination,
            grant: grants.grant.as_deref(),
            gateway_headers: headers,
            is_websocket,
        };
        let Some((head, variant)) = upstream_head.write(client, self.ctx) else {
            let refusal = LocalReply::refusal(
                Reply::FieldsTooLarge,
                Outcome::OverLimit,
                Reason::HeadOutgrown,
            );
            let reply = LocalReply {
                is_head: request.head.method == b"HEAD",
                lines: client_lines(&grants),
                ..refusal
            };
            return self.reply(reply, entry, origin(request.head));
        };
        let upload = upload_of(&request.body, is_websocket);
        let traits = traits_of(request, matches!(upload, Upload::NotStarted));
        let is_copied = matches!(upload, Upload::Copy(_));
        let sharing = if authenticates_connection(&request.head.fields) {
            Sharing::Private
        } else {
            Sharing::Shared
        };
        let exchange = self.exchanges.insert(Exchange {
            client: id,
            log_entry: entry,
            attempts: Attempts {
                service: service as u32,
                destination: destination as u32,
                ..Attempts::default()
            },
            upload,
            pace: None,
            response: Response::Awaited,
            traits,
            persistence: Persistence::from_bool(request.keep && !self.ctx.draining),
            sharing,
            waits_for: WaitsFor::Connect,
            variant,
            interim: 0,
            interim_bytes: 0,
            origin: self.kept_origin(request.head),
            for_client: grants.for_client,
        });
        let Some(client) = self.clients.get_mut(id) else {
            return Received::Replied;
        };
        client.phase = Phase::Exchange(exchange);
        client.timer.clear();
        let Some((state, timer)) = self.exchanges.with_timer(exchange) else {
            return Received::Replied;
        };
        let mut relay = Relay {
            id: exchange,
            exchange: state,
            timer,
            client,
            upstreams: self.upstreams,
            ctx: self.ctx,
        };
        if request.expects && behind == 0 && is_copied {
            relay.write_to_client(CONTINUE);
        }
        let outbox = Outbox::retain_head(head);
        let step = relay.begin(selection, outbox, &request.body, behind);
        Received::Exchange(exchange, step)
    }

    /// Returns the `Origin` where the response needs it again: only where it is echoed.
    fn kept_origin(&self, head: &RequestHead<'_>) -> Box<[u8]> {
        match &self.ctx.rules.cors {
            Some(cors) if cors.echoes_origin() => origin(head).unwrap_or_default().into(),
            _ => Box::default(),
        }
    }
}

/// What the head for the upstream is made of.
struct UpstreamHead<'a> {
    request: &'a Request<'a>,
    route: RouteMatch,
    /// Which of the service's targets.
    destination: usize,
    grant: Option<&'a Grant>,
    gateway_headers: &'a [String],
    is_websocket: bool,
}

impl UpstreamHead<'_> {
    /// Writes the head; `None`: it outgrows every buffer.
    fn write(&self, client: &Client, ctx: &mut Context) -> Option<(Buffer, HeadVariant)> {
        let rules = &ctx.rules;
        let (request, service) = (self.request, self.route.service);
        let row = rules.settings.services.get(service)?;
        let target = row.destinations.get(self.destination)?.target;
        let target = rules.settings.targets.get(target)?;
        let rewrite = rules.rewrites.get(service)?.get(self.destination)?;
        let [first, rest] = rewrite.parts(request.target.path, self.route.taken);
        let asked_host = request.asked_host();
        let variant = HeadVariant {
            is_bare: rest.is_empty(),
            keeps_host: row.preserve_host && asked_host.is_some(),
        };
        let parts = RequestParts {
            target: [first, rest, request.target.query],
            host: asked_host
                .filter(|_| row.preserve_host)
                .unwrap_or(target.authority.as_bytes()),
            connection: &request.connection,
            peer: client.peer.ip(),
            trusted: rules.trusted.is_trusted(client.peer),
            secure: client.listener == ListenerKind::Secure,
            subject: client.subject.as_deref(),
            asked_host,
            websocket: self.is_websocket,
            max_forwards: self.route.max_forwards,
            framing: match request.body {
                // An upgrade announces no body, not even one of length 0.
                RequestBody::Empty => Framing::None,
                RequestBody::Sized(_) if self.is_websocket => Framing::None,
                RequestBody::Sized(bytes) => Framing::Length(bytes),
                RequestBody::Chunked => Framing::Chunked,
            },
            gateway_headers: self.gateway_headers,
            lines: self.grant.map_or(&[], Grant::lines),
        };
        let mut head = ctx.buffers.lend(parts.bound(request.head));
        if parts.write(request.head, &mut head).is_err() {
            ctx.buffers.give_back(&mut head);
            return None;
        }
        Some((head, variant))
    }
}

fn upload_of(body: &RequestBody, is_websocket: bool) -> Upload {
    match body {
        RequestBody::Empty | RequestBody::Sized(0) if is_websocket => Upload::NotStarted,
        RequestBody::Empty | RequestBody::Sized(0) => Upload::Done,
        RequestBody::Sized(bytes) => {
            let from = BodyReader::Sized(*bytes);
            Upload::Copy(Transfer::new(from, BodyWriter::Plain))
        }
        RequestBody::Chunked => {
            let from = BodyReader::Chunked(ChunkDecoder::new());
            Upload::Copy(Transfer::new(from, BodyWriter::Chunked))
        }
    }
}

fn traits_of(request: &Request<'_>, is_websocket: bool) -> Traits {
    let method = request.head.method;
    let has_content = matches!(
        &request.body,
        RequestBody::Sized(1..) | RequestBody::Chunked
    );
    Traits::default()
        .with(Traits::HEAD, method == b"HEAD")
        .with(Traits::IDEMPOTENT, is_idempotent(method))
        .with(Traits::HTTP_1_0, request.head.version == Version::Http10)
        .with(Traits::WEBSOCKET, is_websocket)
        .with(
            Traits::CONTENT_WITHOUT_MEANING,
            has_content && has_content_without_meaning(method),
        )
}

// --- replies ---

fn refused_reply(refused: Refused) -> LocalReply<'static> {
    let refuse = |reply, outcome, reason: Reason| LocalReply::refusal(reply, outcome, reason);
    match refused {
        Refused::AddressDenied => refuse(
            Reply::Forbidden,
            Outcome::Unauthorized,
            Reason::AddressDenied,
        ),
        Refused::MaxForwards => refuse(
            Reply::BadRequest,
            Outcome::BadRequest,
            RequestFault::MaxForwards.into(),
        ),
        Refused::UnsafePath => refuse(Reply::BadRequest, Outcome::BadRequest, Reason::UnsafePath),
        Refused::NoRoute => LocalReply::last(Reply::NotFound, Outcome::NoRoute),
        Refused::BodyTooLong => refuse(
            Reply::PayloadTooLarge,
            Outcome::OverLimit,
            Reason::BodyTooLong,
        ),
        Refused::Loop => refuse(Reply::BadGateway, Outcome::OverLimit, Reason::Loop),
    }
}

/// The same request, on the TLS listener (RFC 9110 15.4.9: with the same method and body).
fn redirect_reply(request: &Request<'_>, https_port: Option<u16>) -> LocalReply<'static> {
    let target = &request.target;
    match request.asked_host().filter(|host| !host.is_empty()) {
        Some(host) => LocalReply {
            lines: redirect::location(host, https_port, target.path, target.query),
            ..LocalReply::with(Content::Bare(308), Outcome::Ok)
        },
        // An HTTP/1.0 client that names no host cannot be told where it is.
        None => LocalReply::refusal(
            Reply::BadRequest,
            Outcome::BadRequest,
            RequestFault::NothingToRedirect,
        ),
    }
}

fn unauthorized_reply(refusal: &Refusal) -> LocalReply<'_> {
    match refusal {
        Refusal::Ambiguous => LocalReply::refusal(
            Reply::BadRequest,
            Outcome::BadRequest,
            RequestFault::TwoCredentials,
        ),
        Refusal::Throttled(wait) => LocalReply {
            retry_after: Some(wait.as_secs_ceil().max(1)),
            ..LocalReply::refusal(
                Reply::TooManyRequests,
                Outcome::RateLimited,
                Reason::FailureBudget,
            )
        },
        Refusal::Down(outcome) => {
            LocalReply::refusal(Reply::ServiceUnavailable, *outcome, Reason::ProviderDown)
        }
        Refusal::Unauthorized(lines, fault) => LocalReply {
            lines: lines.clone(),
            ..LocalReply::refusal(Reply::Unauthorized, Outcome::Unauthorized, *fault)
        },
        Refusal::Forbidden(lines) => LocalReply {
            lines: lines.clone(),
            ..LocalReply::refusal(
                Reply::Forbidden,
                Outcome::Unauthorized,
                CredentialFault::Scope,
            )
        },
        Refusal::Denied(denial) => {
            let (content, lines) = denial.parts();
            LocalReply {
                lines: lines.to_vec(),
                reason: Some(CredentialFault::Denied.into()),
                ..LocalReply::with(content, Outcome::Unauthorized)
            }
        }
    }
}

/// The checks of all targets fail: not even a try is made.
fn all_down_reply(request: &Request<'_>, grants: &Grants, wait: Duration) -> LocalReply<'static> {
    let drain = drainable(request);
    LocalReply {
        lines: client_lines(grants),
        retry_after: Some(wait.as_secs_ceil().max(1)),
        is_head: request.head.method == b"HEAD",
        keep: request.keep && drain.is_some(),
        drain: drain.flatten(),
        ..LocalReply::refusal(
            Reply::ServiceUnavailable,
            Outcome::UpstreamRefused,
            Reason::AllTargetsDown,
        )
    }
}

/// The lines for the client, for a reply of the gateway's own.
fn client_lines(grants: &Grants) -> Vec<u8> {
    let grant = grants.for_client.as_ref();
    grant.map_or_else(Vec::new, |grant| grant.client_lines().to_vec())
}

// --- facts of a request ---

fn origin<'a>(head: &RequestHead<'a>) -> Option<&'a [u8]> {
    head.fields.first(Name::Origin)
}

/// Whether a method means the same when it arrives twice (RFC 9110 9.2.2).
fn is_idempotent(method: &[u8]) -> bool {
    [&b"GET"[..], b"HEAD", b"PUT", b"DELETE", b"OPTIONS"].contains(&method)
}

/// Whether the content of a method has no meaning: upstreams may ignore it, and not even read it (RFC 9110 9.3).
fn has_content_without_meaning(method: &[u8]) -> bool {
    [
        &b"GET"[..],
        b"HEAD",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
    ]
    .contains(&method)
}

/// How the body of a request that is answered here can be dropped: `None` when the connection must close instead, because
/// it is long, or because it is not known whether the client sends it at all.
fn drainable(request: &Request<'_>) -> Option<Option<Box<Transfer>>> {
    let from = match &request.body {
        RequestBody::Empty | RequestBody::Sized(0) => return Some(None),
        _ if request.expects => return None,
        RequestBody::Sized(bytes) if *bytes <= DRAIN_BYTES => BodyReader::Sized(*bytes),
        RequestBody::Sized(_) => return None,
        RequestBody::Chunked => BodyReader::Chunked(ChunkDecoder::new()),
    };
    Some(Some(Box::new(Transfer::new(from, BodyWriter::Discard))))
}
