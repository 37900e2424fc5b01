//! From a request head to an exchange, or to a reply of our own. Every request of a connection takes this way.
//!
//! The order is the contract's: syntax, framing and Host (400 and its kin), the client's address, OPTIONS, the way to the TLS
//! listener, route and path safety, rate limit, no route, body size, authentication. What is refused before the rate limit is
//! not counted by it.

use core::net::IpAddr;
use std::sync::Arc;

use super::Proxy;
use super::auth::{AuthDecision, Refusal, SuspendedRequest};
use super::balancing::AllDown;
use super::client::{Admission, Phase};
use super::command::{ClientId, ListenerKind};
use super::exchange::{Exchange, Reply as ReplyState, Upload};
use super::forward::RequestParts;
use super::local_reply::{Content, LocalReply};
use super::log_entry::AccessLogEntry;
use super::outbox::Outbox;
use super::reason::Reason;
use super::relay::{BodyReader, BodyWriter, Transfer};
use super::retarget::HeadVariant;
use crate::buffer::Buffer;
use crate::digits;
use crate::http::chunked::ChunkDecoder;
use crate::http::connection::Connection;
use crate::http::emit::Framing;
use crate::http::error::{RequestError, RequestFault};
use crate::http::field::Name;
use crate::http::framing::{
    RequestBody, expects_continue, keeps_alive, request_body, wants_websocket,
};
use crate::http::head::{HeadScan, RequestHead, Version, parse_request};
use crate::http::persistence::authenticates_connection;
use crate::http::target::{Form, Target, parse_target};
use crate::limits::{DRAIN_BYTES, VIA_LOOPS_MAX};
use crate::observe::access::Outcome;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::forward::Peer;
use crate::policy::redirect;
use crate::policy::reply::Reply;
use crate::policy::router::Refusal as RouteRefusal;
use crate::time::{Duration, Instant};

/// What was read out of an acceptable head.
pub(super) struct Request<'a> {
    pub(super) head: &'a RequestHead<'a>,
    pub(super) target: Target<'a>,
    body: RequestBody,
    pub(super) connection: Connection<'a>,
    expects: bool,
    keep: bool,
}

impl<'a> Request<'a> {
    /// The host that the client asked for (RFC 9112 3.2.2: an absolute target counts, whatever Host says).
    pub(super) fn asked_host(&self) -> Option<&'a [u8]> {
        match self.target.form {
            Form::Absolute { authority } => Some(authority),
            _ => self.head.fields.first(Name::Host),
        }
    }
}

/// What becomes of a request.
enum Decision {
    Forward {
        service: usize,
        taken: usize,
        max_forwards: Option<u64>,
    },
    Options,
    Redirect,
    /// Where only the method differs.
    MethodNotAllowed {
        service: usize,
        group: usize,
    },
    Refuse {
        reply: Reply,
        end: Outcome,
        retry_after: Option<u64>,
        /// Index of the service, where a route was found.
        service: Option<usize>,
        reason: Option<Reason>,
    },
}

/// Where a request goes.
#[derive(Clone, Copy)]
struct RouteMatch {
    service: usize,
    /// Bytes of its path that the route takes.
    taken: usize,
    max_forwards: Option<u64>,
    /// Bytes that have come behind its head.
    behind: usize,
}

/// What let a request in has to say; nothing where everybody is let in.
#[derive(Default)]
struct Grants {
    /// To the upstream.
    grant: Option<Arc<Grant>>,
    /// To the client, with the final response.
    for_client: Option<Arc<Grant>>,
    /// It was not an API key, so that `Authorization` may have been what let it in.
    by_authorization: bool,
}

impl Decision {
    fn refuse(reply: Reply, end: Outcome, reason: impl Into<Reason>) -> Decision {
        Decision::Refuse {
            reply,
            end,
            retry_after: None,
            service: None,
            reason: Some(reason.into()),
        }
    }

    /// The same where the request has a route.
    fn refuse_routed(service: usize, reply: Reply, end: Outcome, reason: Reason) -> Decision {
        Decision::Refuse {
            reply,
            end,
            retry_after: None,
            service: Some(service),
            reason: Some(reason),
        }
    }
}

impl Proxy {
    /// Looks for a complete head in what has arrived, and acts on it.
    pub(super) fn read_head(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if !client.outbox.is_sent() {
            return;
        }
        let Phase::ReadHead { scan, begun } = &mut client.phase else {
            return;
        };
        if client.inbox.is_empty() {
            return;
        }
        let starts = !core::mem::replace(begun, true);
        let scan = core::mem::take(scan);
        self.look_for_head(id, scan, starts, None, now);
    }

    /// The same once more for a head that is known to be complete, with what became of it in the meantime.
    pub(super) fn read_suspended_head(
        &mut self,
        id: ClientId,
        held: Box<SuspendedRequest>,
        now: Instant,
    ) {
        self.look_for_head(id, HeadScan::default(), false, Some(held), now);
    }

    /// `starts`: these are its first bytes.
    fn look_for_head(
        &mut self,
        id: ClientId,
        mut scan: HeadScan,
        starts: bool,
        held: Option<Box<SuspendedRequest>>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        // The head borrows these two while the engine works on it.
        let mut inbox = core::mem::take(&mut client.inbox);
        let mut table = core::mem::take(&mut self.table);
        let consumed = match parse_request(
            inbox.filled(),
            &mut scan,
            &mut table,
            &self.policy.request_limits,
        ) {
            Ok(Some(head)) => {
                self.on_request(id, &head, inbox.len().saturating_sub(head.len), held, now);
                // One that waits is looked at again.
                match self.clients.get(id).map(|client| &client.phase) {
                    Some(Phase::Suspended(_)) => 0,
                    _ => head.len,
                }
            }
            Ok(None) => {
                if let Some(Phase::ReadHead { scan: kept, .. }) =
                    self.clients.get_mut(id).map(|client| &mut client.phase)
                {
                    *kept = scan;
                }
                if starts {
                    self.arm_client(id, self.settings.timeouts.head, now);
                }
                0
            }
            Err(error) => {
                self.refuse_malformed(id, inbox.filled(), error, now);
                inbox.len()
            }
        };
        self.table = table;
        inbox.consume(consumed);
        match self.clients.get_mut(id) {
            Some(client) => client.inbox = inbox,
            None => self.pool.give_back(&mut inbox),
        }
        self.begin_body(id, now);
    }

    /// Moves what followed the head in the same read.
    fn begin_body(&mut self, id: ClientId, now: Instant) {
        match self.clients.get(id).map(|client| &client.phase) {
            Some(Phase::Relay(_)) => self.pump_upload(id, now),
            Some(Phase::Reply { .. }) => self.drain(id, now),
            _ => {}
        }
    }

    fn on_request(
        &mut self,
        id: ClientId,
        head: &RequestHead<'_>,
        behind: usize,
        mut held: Option<Box<SuspendedRequest>>,
        now: Instant,
    ) {
        let Some((peer, listener)) = self
            .clients
            .get(id)
            .map(|client| (client.peer, client.listener))
        else {
            return;
        };
        let client = self
            .policy
            .trusted
            .client_address(peer, head.fields.get_all(Name::XForwardedFor));
        let mut log_entry = match &mut held {
            Some(held) => core::mem::take(&mut held.log_entry),
            None => {
                let mut log_entry = self.new_log_entry(client.ip(), now);
                log_entry.note_head(head);
                log_entry
            }
        };
        let request = match self.validate(head) {
            Ok(request) => request,
            Err(error) => {
                let refusal = LocalReply::refusal(error.into(), Outcome::BadRequest, error);
                let answer = LocalReply {
                    is_head: head.method == b"HEAD",
                    ..refusal
                };
                return self.reply(id, answer, log_entry, origin(head), now);
            }
        };
        match self.decide(&request, client, listener, held.is_some(), now) {
            Decision::Forward {
                service,
                taken,
                max_forwards,
            } => {
                log_entry.service = Some(service as u32);
                let route = RouteMatch {
                    service,
                    taken,
                    max_forwards,
                    behind,
                };
                // A browser sends no credentials with a preflight (Fetch standard, CORS-preflight fetch).
                if self.is_guarded(service) && !is_preflight(&request) {
                    self.authorize(id, &request, route, log_entry, held, now);
                } else {
                    self.begin_exchange(id, &request, route, Grants::default(), log_entry, now);
                }
            }
            Decision::Options => self.answer_options(id, &request, log_entry, now),
            Decision::Redirect => self.redirect(id, &request, log_entry, now),
            Decision::MethodNotAllowed { service, group } => {
                log_entry.service = Some(service as u32);
                self.refuse_method(id, &request, group, log_entry, now);
            }
            Decision::Refuse {
                reply,
                end,
                retry_after,
                service,
                reason,
            } => {
                log_entry.service = service.map(|service| service as u32);
                let answer = LocalReply {
                    retry_after,
                    reason,
                    ..LocalReply::last(reply, end)
                };
                self.reply_and_drain(id, &request, answer, log_entry, now);
            }
        }
    }

    /// Answers a well-formed request that goes no further.
    fn reply_and_drain(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        mut answer: LocalReply<'_>,
        log_entry: Box<AccessLogEntry>,
        now: Instant,
    ) {
        let drain = drainable(request);
        answer.is_head = request.head.method == b"HEAD";
        let is_served = self
            .clients
            .get(id)
            .is_some_and(|client| client.admission == Admission::Served);
        let is_over = answer.end == Outcome::BadRequest || answer.end == Outcome::OverLimit;
        answer.keep = request.keep && drain.is_some() && is_served && !is_over;
        answer.drain = drain.flatten();
        self.reply(id, answer, log_entry, origin(request.head), now);
    }

    /// Lets a request in to a service that does not take everybody, or refuses it, or lets it wait.
    fn authorize(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        route: RouteMatch,
        log_entry: Box<AccessLogEntry>,
        held: Option<Box<SuspendedRequest>>,
        now: Instant,
    ) {
        let mut held = held.unwrap_or_default();
        let refusal = match self.authenticate(
            id,
            request,
            (route.service, log_entry.client),
            held.progress(),
            now,
        ) {
            AuthDecision::Open {
                grant,
                by_authorization,
            } => {
                let for_client = held.progress().take_for_client();
                let passport = Grants {
                    grant,
                    for_client,
                    by_authorization,
                };
                return self.begin_exchange(id, request, route, passport, log_entry, now);
            }
            AuthDecision::Wait(question, position) => {
                held.log_entry = log_entry;
                return self.suspend(id, held, (question, position), route.service, now);
            }
            AuthDecision::Refused(refusal) => refusal,
        };
        let mut answer = match refusal {
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
            Refusal::Down(end) => {
                LocalReply::refusal(Reply::ServiceUnavailable, end, Reason::ProviderDown)
            }
            Refusal::Unauthorized(lines, fault) => LocalReply {
                lines,
                ..LocalReply::refusal(Reply::Unauthorized, Outcome::Unauthorized, fault)
            },
            Refusal::Forbidden(lines) => LocalReply {
                lines,
                ..LocalReply::refusal(
                    Reply::Forbidden,
                    Outcome::Unauthorized,
                    CredentialFault::Scope,
                )
            },
            Refusal::Denied(ref denial) => {
                let (content, lines) = denial.parts();
                let reason = Some(CredentialFault::Denied.into());
                LocalReply {
                    lines: lines.to_vec(),
                    reason,
                    ..LocalReply::with(content, Outcome::Unauthorized)
                }
            }
        };
        if let Some(grant) = held.progress().take_for_client() {
            answer.lines.extend_from_slice(grant.client_lines());
        }
        self.reply_and_drain(id, request, answer, log_entry, now);
    }

    /// Whether a service has providers.
    fn is_guarded(&self, service: usize) -> bool {
        self.settings
            .services
            .get(service)
            .is_some_and(|row| !row.auth.providers.is_empty())
    }

    /// Everything that makes a request acceptable in itself.
    fn validate<'a>(&self, head: &'a RequestHead<'a>) -> Result<Request<'a>, RequestError> {
        let target = parse_target(head)?;
        let body = request_body(head)?;
        let connection = Connection::of(&head.fields);
        connection.check_request()?;
        let expects = expects_continue(head)?;
        let keep = keeps_alive(head.version, &head.fields) && !self.draining;
        Ok(Request {
            head,
            target,
            body,
            connection,
            expects,
            keep,
        })
    }

    /// `again`: it was judged before, and counted.
    fn decide(
        &mut self,
        request: &Request<'_>,
        client: Peer,
        listener: ListenerKind,
        again: bool,
        now: Instant,
    ) -> Decision {
        let head = request.head;
        if !self.policy.addresses.admit(client) {
            return Decision::refuse(
                Reply::Forbidden,
                Outcome::Unauthorized,
                Reason::AddressDenied,
            );
        }
        let mut max_forwards = None;
        if head.method == b"OPTIONS" {
            let ours = self
                .policy
                .cors
                .as_ref()
                .is_some_and(|cors| cors.answers_options(is_preflight(request)));
            if ours || matches!(request.target.form, Form::Asterisk) {
                return Decision::Options;
            }
            // RFC 9110 7.6.2: the last hop answers, every other counts down.
            match head.fields.first(Name::MaxForwards).map(digits::parse) {
                Some(Some(0)) => return Decision::Options,
                Some(Some(left)) => max_forwards = left.checked_sub(1),
                Some(None) => {
                    return Decision::refuse(
                        Reply::BadRequest,
                        Outcome::BadRequest,
                        RequestFault::MaxForwards,
                    );
                }
                None => {}
            }
        }
        if listener == ListenerKind::Redirect {
            return Decision::Redirect;
        }
        let route =
            self.policy
                .routes
                .resolve(request.asked_host(), request.target.path, head.method);
        let service = match &route {
            Err(RouteRefusal::Unsafe) => {
                return Decision::refuse(
                    Reply::BadRequest,
                    Outcome::BadRequest,
                    Reason::UnsafePath,
                );
            }
            Err(RouteRefusal::NotFound) => None,
            Err(RouteRefusal::Method { service, .. }) => Some(*service),
            Ok(found) => Some(found.service),
        };
        if !again && let Err(wait) = self.rates.count(service, client, now) {
            return Decision::Refuse {
                reply: Reply::TooManyRequests,
                end: Outcome::RateLimited,
                retry_after: Some(wait.as_secs_ceil().max(1)),
                service,
                reason: None,
            };
        }
        let found = match route {
            Ok(found) => found,
            Err(RouteRefusal::Method { service, group }) => {
                return Decision::MethodNotAllowed { service, group };
            }
            Err(_) => {
                let (reply, end) = (Reply::NotFound, Outcome::NoRoute);
                return Decision::Refuse {
                    reply,
                    end,
                    retry_after: None,
                    service: None,
                    reason: None,
                };
            }
        };
        if let (RequestBody::Sized(bytes), Some(limit)) =
            (&request.body, self.settings.limits.body_bytes)
            && *bytes > limit
        {
            let (reply, end) = (Reply::PayloadTooLarge, Outcome::OverLimit);
            return Decision::refuse_routed(found.service, reply, end, Reason::BodyTooLong);
        }
        if passed_here_too_often(head) {
            return Decision::refuse_routed(
                found.service,
                Reply::BadGateway,
                Outcome::OverLimit,
                Reason::Loop,
            );
        }
        Decision::Forward {
            service: found.service,
            taken: found.taken,
            max_forwards,
        }
    }

    fn begin_exchange(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        route: RouteMatch,
        passport: Grants,
        mut log_entry: Box<AccessLogEntry>,
        now: Instant,
    ) {
        let RouteMatch {
            service, behind, ..
        } = route;
        let Grants {
            grant,
            for_client,
            by_authorization,
        } = passport;
        let is_head = request.head.method == b"HEAD";
        let selection = match self.choose_for(id, service, log_entry.client, now) {
            Ok(selection) => selection,
            Err(AllDown(wait)) => {
                let lines = client_lines(for_client.as_deref());
                return self.answer_all_down(id, request, (log_entry, lines), wait, now);
            }
        };
        log_entry.sent_to = Some(selection.target as u32);
        let websocket = wants_websocket(request.head, &request.body);
        let written = self.upstream_head(
            id,
            request,
            (route, selection.destination),
            (grant.as_deref(), by_authorization),
            websocket,
        );
        let Some((head, variant)) = written else {
            let lines = client_lines(for_client.as_deref());
            let refusal = LocalReply::refusal(
                Reply::FieldsTooLarge,
                Outcome::OverLimit,
                Reason::HeadOutgrown,
            );
            let answer = LocalReply {
                is_head,
                lines,
                ..refusal
            };
            return self.reply(id, answer, log_entry, origin(request.head), now);
        };
        let (upload, websocket) = match &request.body {
            RequestBody::Empty | RequestBody::Sized(0) if websocket => (Upload::NotStarted, true),
            RequestBody::Empty | RequestBody::Sized(0) => (Upload::Done, false),
            RequestBody::Sized(bytes) => (
                Upload::Copy(Transfer::new(BodyReader::Sized(*bytes), BodyWriter::Plain)),
                false,
            ),
            RequestBody::Chunked => {
                let from = BodyReader::Chunked(ChunkDecoder::new());
                (
                    Upload::Copy(Transfer::new(from, BodyWriter::Chunked)),
                    false,
                )
            }
        };
        let exchange = Exchange {
            log_entry,
            service,
            link: None,
            upload,
            pace: None,
            reply: ReplyState::Await,
            keep: request.keep,
            is_head,
            idempotent: is_idempotent(request.head.method),
            http10: request.head.version == Version::Http10,
            websocket,
            private: authenticates_connection(&request.head.fields),
            odd_content: matches!(
                &request.body,
                RequestBody::Sized(1..) | RequestBody::Chunked
            ) && has_content_without_meaning(request.head.method),
            destination: selection.destination as u32,
            retried: 0,
            tried: Vec::new(),
            retried_same_endpoint: false,
            variant,
            subrequest_done: false,
            interim: 0,
            interim_bytes: 0,
            origin: self.kept_origin(request.head),
            for_client,
            client_ended: Default::default(),
            upstream_ended: Default::default(),
        };
        let continues =
            request.expects && behind == 0 && matches!(exchange.upload, Upload::Copy(_));
        let exchange = self.boxed(exchange);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.phase = Phase::Relay(exchange);
        if continues {
            let room = client.outbox.head_room(CONTINUE.len(), &mut self.pool);
            let _ = room.push(CONTINUE);
            self.mark_client_ready(id);
        }
        self.connect_for(
            id,
            (selection, Outbox::retain_head(head)),
            &request.body,
            behind,
            now,
        );
    }

    /// The checks of all targets fail: not even a try is made.
    fn answer_all_down(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        (log_entry, lines): (Box<AccessLogEntry>, Vec<u8>),
        wait: Duration,
        now: Instant,
    ) {
        let drain = drainable(request);
        let answer = LocalReply {
            lines,
            retry_after: Some(wait.as_secs_ceil().max(1)),
            is_head: request.head.method == b"HEAD",
            keep: request.keep && drain.is_some(),
            drain: drain.flatten(),
            ..LocalReply::refusal(
                Reply::ServiceUnavailable,
                Outcome::UpstreamRefused,
                Reason::AllTargetsDown,
            )
        };
        self.reply(id, answer, log_entry, origin(request.head), now);
    }

    /// The head that goes to one of the service's targets, or `None` when it outgrows every buffer.
    fn upstream_head(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        (
            RouteMatch {
                service,
                taken,
                max_forwards,
                ..
            },
            destination,
        ): (RouteMatch, usize),
        (grant, by_authorization): (Option<&Grant>, bool),
        websocket: bool,
    ) -> Option<(Buffer, HeadVariant)> {
        let client = self.clients.get(id)?;
        let row = self.settings.services.get(service)?;
        let target = self
            .settings
            .targets
            .get(row.destinations.get(destination)?.target)?;
        let rewrite = self.policy.rewrites.get(service)?.get(destination)?;
        let [first, rest] = rewrite.parts(request.target.path, taken);
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
            trusted: self.policy.trusted.is_trusted(client.peer),
            secure: client.listener == ListenerKind::Secure,
            subject: client.subject.as_deref(),
            asked_host,
            websocket,
            max_forwards,
            framing: match request.body {
                // An upgrade announces no body, not even one of length 0.
                RequestBody::Empty => Framing::None,
                RequestBody::Sized(_) if websocket => Framing::None,
                RequestBody::Sized(bytes) => Framing::Length(bytes),
                RequestBody::Chunked => Framing::Chunked,
            },
            gateway_headers: self.auth.dropped(service, by_authorization),
            lines: grant.map_or(&[], Grant::lines),
        };
        let mut head = self.pool.lend(parts.bound(request.head));
        if parts.write(request.head, &mut head).is_err() {
            self.pool.give_back(&mut head);
            return None;
        }
        Some((head, variant))
    }

    pub(super) fn refuse_malformed(
        &mut self,
        id: ClientId,
        bytes: &[u8],
        error: RequestError,
        now: Instant,
    ) {
        let client = self.clients.get(id).and_then(|client| client.peer.ip());
        let mut log_entry = self.new_log_entry(client, now);
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        log_entry.note_start(bytes, MALFORMED_LINE_BYTES);
        let refusal = LocalReply::refusal(error.into(), Outcome::BadRequest, error);
        let answer = LocalReply {
            is_head: asks_for_head(bytes),
            ..refusal
        };
        self.reply(id, answer, log_entry, None, now);
    }

    fn answer_options(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        log_entry: Box<AccessLogEntry>,
        now: Instant,
    ) {
        let asked = request.head.fields.first(Name::AccessControlRequestHeaders);
        self.reply_and_drain(
            id,
            request,
            LocalReply::with(Content::Options(asked), Outcome::Ok),
            log_entry,
            now,
        );
    }

    /// The same request, on the TLS listener (RFC 9110 15.4.9: with the same method and body).
    fn redirect(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        log_entry: Box<AccessLogEntry>,
        now: Instant,
    ) {
        let answer = match request.asked_host().filter(|host| !host.is_empty()) {
            Some(host) => LocalReply {
                lines: redirect::location(
                    host,
                    self.settings.https_port,
                    request.target.path,
                    request.target.query,
                ),
                ..LocalReply::with(Content::Bare(308), Outcome::Ok)
            },
            // An HTTP/1.0 client that names no host cannot be told where it is.
            None => LocalReply::refusal(
                Reply::BadRequest,
                Outcome::BadRequest,
                RequestFault::NothingToRedirect,
            ),
        };
        self.reply_and_drain(id, request, answer, log_entry, now);
    }

    fn refuse_method(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        group: usize,
        log_entry: Box<AccessLogEntry>,
        now: Instant,
    ) {
        let lines = self.policy.routes.allow_line(group);
        let answer = LocalReply {
            lines,
            ..LocalReply::last(Reply::MethodNotAllowed, Outcome::NoRoute)
        };
        self.reply_and_drain(id, request, answer, log_entry, now);
    }

    /// Turns a connection away that is one too many.
    pub(super) fn reject_overloaded(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let client = client.peer.ip();
        let log_entry = self.new_log_entry(client, now);
        self.reply(
            id,
            LocalReply::last(Reply::ServiceUnavailable, Outcome::OverLimit),
            log_entry,
            None,
            now,
        );
    }

    pub(super) fn new_log_entry(
        &mut self,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Box<AccessLogEntry> {
        let mut log_entry = self.free_entries.pop().unwrap_or_default();
        log_entry.restart(client, now);
        log_entry
    }

    fn boxed(&mut self, exchange: Exchange) -> Box<Exchange> {
        match self.free_exchanges.pop() {
            Some(mut free_exchanges) => {
                self.free_entries
                    .push(core::mem::replace(&mut *free_exchanges, exchange).log_entry);
                free_exchanges
            }
            None => Box::new(exchange),
        }
    }

    /// The `Origin` is needed again for the response only where it is echoed.
    fn kept_origin(&self, head: &RequestHead<'_>) -> Box<[u8]> {
        match &self.policy.cors {
            Some(cors) if cors.echoes_origin() => origin(head).unwrap_or_default().into(),
            _ => Box::default(),
        }
    }
}

impl super::Rates {
    fn count(
        &mut self,
        service: Option<usize>,
        client: Peer,
        now: Instant,
    ) -> Result<(), Duration> {
        let table = match service {
            Some(service) => self.by_service.get(service).copied().flatten(),
            None => self.default,
        };
        match table.and_then(|table| self.tables.get_mut(table)) {
            Some(table) => table.count(counted(client.ip()), now),
            None => Ok(()),
        }
    }

    /// Counts a credential that is not authentic.
    pub(super) fn count_failure(&mut self, client: Option<IpAddr>, now: Instant) {
        if let Some(table) = self.failures.and_then(|table| self.tables.get_mut(table)) {
            // One that was under way when the budget ran out counts for nothing more.
            let _ = table.count(counted(client), now);
        }
    }

    /// Whether a client's credentials are verified: the budget for those that are not authentic has something left.
    ///
    /// # Errors
    /// It has not; the value is the time until the client's window ends.
    pub(super) fn admit_credential(
        &self,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        self.failures
            .and_then(|table| self.tables.get(table))
            .map_or(Ok(()), |table| table.peek(counted(client), now))
    }
}

/// All clients of a unix socket are one: its peer has no address.
fn counted(client: Option<IpAddr>) -> IpAddr {
    client.unwrap_or(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED))
}

/// The answer to `Expect: 100-continue` (RFC 9110 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes of a malformed request's first line that are logged.
const MALFORMED_LINE_BYTES: usize = 1024;

/// The lines for the client, for a reply of ours.
fn client_lines(grant: Option<&Grant>) -> Vec<u8> {
    grant.map_or_else(Vec::new, |grant| grant.client_lines().to_vec())
}

fn origin<'a>(head: &RequestHead<'a>) -> Option<&'a [u8]> {
    head.fields.first(Name::Origin)
}

/// A browser's question whether it may ask (Fetch standard, CORS-preflight fetch). One with content or credentials is none: no
/// browser sends them, and an upstream may act on them.
fn is_preflight(request: &Request<'_>) -> bool {
    let Request { head, body, .. } = request;
    let fields = &head.fields;
    head.method == b"OPTIONS"
        && fields.says(Name::Origin)
        && fields.says(Name::AccessControlRequestMethod)
        && body.is_empty()
        && !fields.has(Name::Authorization)
        && !fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(b"cookie"))
}

/// Methods that mean the same when they arrive twice (RFC 9110 9.2.2).
fn is_idempotent(method: &[u8]) -> bool {
    [&b"GET"[..], b"HEAD", b"PUT", b"DELETE", b"OPTIONS"].contains(&method)
}

/// Methods whose content has no meaning: upstreams may ignore it, and not even read it (RFC 9110 9.3).
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

/// Whether these bytes begin a HEAD request, although the rest of it is no head: what answers it has no body either.
pub(super) fn asks_for_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HEAD ")
}

/// How the body of a request that is answered here can be dropped: `None` when the connection must close instead, because
/// it is long, or because nobody knows whether the client sends it at all.
fn drainable(request: &Request<'_>) -> Option<Option<Box<Transfer>>> {
    match &request.body {
        RequestBody::Empty | RequestBody::Sized(0) => Some(None),
        _ if request.expects => None,
        RequestBody::Sized(bytes) if *bytes <= DRAIN_BYTES => Some(Some(Box::new(Transfer::new(
            BodyReader::Sized(*bytes),
            BodyWriter::Discard,
        )))),
        RequestBody::Sized(_) => None,
        RequestBody::Chunked => Some(Some(Box::new(Transfer::new(
            BodyReader::Chunked(ChunkDecoder::new()),
            BodyWriter::Discard,
        )))),
    }
}

/// Whether `Via` shows that the request runs in a circle (RFC 9110 7.6.3).
fn passed_here_too_often(head: &RequestHead<'_>) -> bool {
    head.fields.has(Name::Via)
        && head
            .fields
            .get_all(Name::Via)
            .flat_map(crate::http::field::tokens)
            .filter(|member| member.ends_with(b" tollgate"))
            .count()
            >= VIA_LOOPS_MAX
}
