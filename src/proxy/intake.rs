//! From a request head to an exchange, or to a reply of our own. Every request of a connection takes this way.
//!
//! The order is the contract's: syntax, framing and Host (400 and its kin), the client's address, OPTIONS, the way to the TLS
//! listener, route and path safety, rate limit, no route, body size, authentication. What is refused before the rate limit is
//! not counted by it.

use core::net::IpAddr;
use std::sync::Arc;

use super::Proxy;
use super::answer::{Answer, Content};
use super::auth::{Entry, Held, Refusal};
use super::balancing::AllDown;
use super::command::{DownstreamId, Entrance};
use super::downstream::{Admission, Phase};
use super::draft::Draft;
use super::exchange::{Exchange, Reply as ReplyState, Upload};
use super::forward::RequestParts;
use super::outbox::Outbox;
use super::reason::Reason;
use super::relay::{BodyReader, BodyWriter, Transfer};
use super::respell::Wording;
use crate::buffer::Buffer;
use crate::digits;
use crate::http::chunked::ChunkDecoder;
use crate::http::emit::Framing;
use crate::http::error::{RequestError, RequestFault};
use crate::http::field::Name;
use crate::http::framing::{
    Connection, RequestBody, expects_continue, keeps_alive, request_body, wants_websocket,
};
use crate::http::head::{HeadScan, RequestHead, Version, parse_request};
use crate::http::persistence::authenticates_connection;
use crate::http::target::{Form, Target, parse_target};
use crate::limits::{DRAIN_BYTES, VIA_LOOPS_MAX};
use crate::observe::access::End;
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
enum Verdict {
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
        end: End,
        retry_after: Option<u64>,
        /// Index of the service, where a route was found.
        service: Option<usize>,
        reason: Option<Reason>,
    },
}

/// Where a request goes.
#[derive(Clone, Copy)]
struct Way {
    service: usize,
    /// Bytes of its path that the route takes.
    taken: usize,
    max_forwards: Option<u64>,
    /// Bytes that have come behind its head.
    behind: usize,
}

/// What let a request in has to say; nothing where everybody is let in.
#[derive(Default)]
struct Passport {
    /// To the upstream.
    grant: Option<Arc<Grant>>,
    /// To the client, with the final response.
    for_client: Option<Arc<Grant>>,
    /// It was not an API key, so that `Authorization` may have been what let it in.
    by_authorization: bool,
}

impl Verdict {
    fn refuse(reply: Reply, end: End, reason: impl Into<Reason>) -> Verdict {
        Verdict::Refuse {
            reply,
            end,
            retry_after: None,
            service: None,
            reason: Some(reason.into()),
        }
    }

    /// The same where the request has a route.
    fn refuse_routed(service: usize, reply: Reply, end: End, reason: Reason) -> Verdict {
        Verdict::Refuse {
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
    pub(super) fn read_head(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        if !down.outbox.is_sent() {
            return;
        }
        let Phase::ReadHead { scan, begun } = &mut down.phase else {
            return;
        };
        if down.inbox.is_empty() {
            return;
        }
        let starts = !core::mem::replace(begun, true);
        let scan = core::mem::take(scan);
        self.look_for_head(id, scan, starts, None, now);
    }

    /// The same once more for a head that is known to be complete, with what became of it in the meantime.
    pub(super) fn read_head_again(&mut self, id: DownstreamId, held: Box<Held>, now: Instant) {
        self.look_for_head(id, HeadScan::default(), false, Some(held), now);
    }

    /// `starts`: these are its first bytes.
    fn look_for_head(
        &mut self,
        id: DownstreamId,
        mut scan: HeadScan,
        starts: bool,
        held: Option<Box<Held>>,
        now: Instant,
    ) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        // The head borrows these two while the engine works on it.
        let mut inbox = core::mem::take(&mut down.inbox);
        let mut table = core::mem::take(&mut self.table);
        let consumed = match parse_request(
            inbox.filled(),
            &mut scan,
            &mut table,
            &self.policy.request_limits,
        ) {
            Ok(Some(head)) => {
                self.admit(id, &head, inbox.len().saturating_sub(head.len), held, now);
                // One that waits is looked at again.
                match self.downs.get(id).map(|down| &down.phase) {
                    Some(Phase::Held(_)) => 0,
                    _ => head.len,
                }
            }
            Ok(None) => {
                if let Some(Phase::ReadHead { scan: kept, .. }) =
                    self.downs.get_mut(id).map(|down| &mut down.phase)
                {
                    *kept = scan;
                }
                if starts {
                    self.arm_down(id, self.settings.timeouts.head, now);
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
        match self.downs.get_mut(id) {
            Some(down) => down.inbox = inbox,
            None => self.pool.give_back(&mut inbox),
        }
        self.begin_body(id, now);
    }

    /// Moves what followed the head in the same read.
    fn begin_body(&mut self, id: DownstreamId, now: Instant) {
        match self.downs.get(id).map(|down| &down.phase) {
            Some(Phase::Relay(_)) => self.pump_upload(id, now),
            Some(Phase::Answer { .. }) => self.drain(id, now),
            _ => {}
        }
    }

    fn admit(
        &mut self,
        id: DownstreamId,
        head: &RequestHead<'_>,
        behind: usize,
        mut held: Option<Box<Held>>,
        now: Instant,
    ) {
        let Some((peer, entrance)) = self.downs.get(id).map(|down| (down.peer, down.entrance))
        else {
            return;
        };
        let client = self
            .policy
            .trusted
            .client_address(peer, head.fields.get_all(Name::XForwardedFor));
        let mut draft = match &mut held {
            Some(held) => core::mem::take(&mut held.draft),
            None => {
                let mut draft = self.new_draft(client.ip(), now);
                draft.note_head(head);
                draft
            }
        };
        let request = match self.examine(head) {
            Ok(request) => request,
            Err(error) => {
                let refusal = Answer::refusal(error.into(), End::BadRequest, error);
                let answer = Answer {
                    is_head: head.method == b"HEAD",
                    ..refusal
                };
                return self.answer(id, answer, draft, origin(head), now);
            }
        };
        match self.judge(&request, client, entrance, held.is_some(), now) {
            Verdict::Forward {
                service,
                taken,
                max_forwards,
            } => {
                draft.service = Some(service as u32);
                let way = Way {
                    service,
                    taken,
                    max_forwards,
                    behind,
                };
                // A browser sends no credentials with a preflight (Fetch standard, CORS-preflight fetch).
                if self.is_guarded(service) && !is_preflight(&request) {
                    self.let_in(id, &request, way, draft, held, now);
                } else {
                    self.begin_exchange(id, &request, way, Passport::default(), draft, now);
                }
            }
            Verdict::Options => self.answer_options(id, &request, draft, now),
            Verdict::Redirect => self.redirect(id, &request, draft, now),
            Verdict::MethodNotAllowed { service, group } => {
                draft.service = Some(service as u32);
                self.refuse_method(id, &request, group, draft, now);
            }
            Verdict::Refuse {
                reply,
                end,
                retry_after,
                service,
                reason,
            } => {
                draft.service = service.map(|service| service as u32);
                let answer = Answer {
                    retry_after,
                    reason,
                    ..Answer::last(reply, end)
                };
                self.answer_here(id, &request, answer, draft, now);
            }
        }
    }

    /// Answers a well-formed request that goes no further.
    fn answer_here(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        mut answer: Answer<'_>,
        draft: Box<Draft>,
        now: Instant,
    ) {
        let drain = drainable(request);
        answer.is_head = request.head.method == b"HEAD";
        let is_served = self
            .downs
            .get(id)
            .is_some_and(|down| down.admission == Admission::Served);
        let is_over = answer.end == End::BadRequest || answer.end == End::OverLimit;
        answer.keep = request.keep && drain.is_some() && is_served && !is_over;
        answer.drain = drain.flatten();
        self.answer(id, answer, draft, origin(request.head), now);
    }

    /// Lets a request in to a service that does not take everybody, or refuses it, or lets it wait.
    fn let_in(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        way: Way,
        draft: Box<Draft>,
        held: Option<Box<Held>>,
        now: Instant,
    ) {
        let mut held = held.unwrap_or_default();
        let refusal =
            match self.authenticate(id, request, (way.service, draft.client), held.trail(), now) {
                Entry::Open {
                    grant,
                    by_authorization,
                } => {
                    let for_client = held.trail().take_for_client();
                    let passport = Passport {
                        grant,
                        for_client,
                        by_authorization,
                    };
                    return self.begin_exchange(id, request, way, passport, draft, now);
                }
                Entry::Wait(question, position) => {
                    held.draft = draft;
                    return self.hold(id, held, (question, position), way.service, now);
                }
                Entry::Refused(refusal) => refusal,
            };
        let mut answer = match refusal {
            Refusal::Ambiguous => Answer::refusal(
                Reply::BadRequest,
                End::BadRequest,
                RequestFault::TwoCredentials,
            ),
            Refusal::Throttled(wait) => Answer {
                retry_after: Some(wait.as_secs_ceil().max(1)),
                ..Answer::refusal(
                    Reply::TooManyRequests,
                    End::RateLimited,
                    Reason::FailureBudget,
                )
            },
            Refusal::Down(end) => {
                Answer::refusal(Reply::ServiceUnavailable, end, Reason::ProviderDown)
            }
            Refusal::Unauthorized(lines, fault) => Answer {
                lines,
                ..Answer::refusal(Reply::Unauthorized, End::Unauthorized, fault)
            },
            Refusal::Forbidden(lines) => Answer {
                lines,
                ..Answer::refusal(Reply::Forbidden, End::Unauthorized, CredentialFault::Scope)
            },
            Refusal::Denied(ref denial) => {
                let (content, lines) = denial.parts();
                let reason = Some(CredentialFault::Denied.into());
                Answer {
                    lines: lines.to_vec(),
                    reason,
                    ..Answer::with(content, End::Unauthorized)
                }
            }
        };
        if let Some(grant) = held.trail().take_for_client() {
            answer.lines.extend_from_slice(grant.client_lines());
        }
        self.answer_here(id, request, answer, draft, now);
    }

    /// Whether a service has providers.
    fn is_guarded(&self, service: usize) -> bool {
        self.settings
            .services
            .get(service)
            .is_some_and(|row| !row.auth.providers.is_empty())
    }

    /// Everything that makes a request acceptable in itself.
    fn examine<'a>(&self, head: &'a RequestHead<'a>) -> Result<Request<'a>, RequestError> {
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
    fn judge(
        &mut self,
        request: &Request<'_>,
        client: Peer,
        entrance: Entrance,
        again: bool,
        now: Instant,
    ) -> Verdict {
        let head = request.head;
        if !self.policy.addresses.admit(client) {
            return Verdict::refuse(Reply::Forbidden, End::Unauthorized, Reason::AddressDenied);
        }
        let mut max_forwards = None;
        if head.method == b"OPTIONS" {
            let ours = self
                .policy
                .cors
                .as_ref()
                .is_some_and(|cors| cors.answers_options(is_preflight(request)));
            if ours || matches!(request.target.form, Form::Asterisk) {
                return Verdict::Options;
            }
            // RFC 9110 7.6.2: the last hop answers, every other counts down.
            match head.fields.first(Name::MaxForwards).map(digits::parse) {
                Some(Some(0)) => return Verdict::Options,
                Some(Some(left)) => max_forwards = left.checked_sub(1),
                Some(None) => {
                    return Verdict::refuse(
                        Reply::BadRequest,
                        End::BadRequest,
                        RequestFault::MaxForwards,
                    );
                }
                None => {}
            }
        }
        if entrance == Entrance::Redirect {
            return Verdict::Redirect;
        }
        let route =
            self.policy
                .routes
                .resolve(request.asked_host(), request.target.path, head.method);
        let service = match &route {
            Err(RouteRefusal::Unsafe) => {
                return Verdict::refuse(Reply::BadRequest, End::BadRequest, Reason::UnsafePath);
            }
            Err(RouteRefusal::NotFound) => None,
            Err(RouteRefusal::Method { service, .. }) => Some(*service),
            Ok(found) => Some(found.service),
        };
        if !again && let Err(wait) = self.rates.count(service, client, now) {
            return Verdict::Refuse {
                reply: Reply::TooManyRequests,
                end: End::RateLimited,
                retry_after: Some(wait.as_secs_ceil().max(1)),
                service,
                reason: None,
            };
        }
        let found = match route {
            Ok(found) => found,
            Err(RouteRefusal::Method { service, group }) => {
                return Verdict::MethodNotAllowed { service, group };
            }
            Err(_) => {
                let (reply, end) = (Reply::NotFound, End::NoRoute);
                return Verdict::Refuse {
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
            let (reply, end) = (Reply::PayloadTooLarge, End::OverLimit);
            return Verdict::refuse_routed(found.service, reply, end, Reason::BodyTooLong);
        }
        if passed_here_too_often(head) {
            return Verdict::refuse_routed(
                found.service,
                Reply::BadGateway,
                End::OverLimit,
                Reason::Loop,
            );
        }
        Verdict::Forward {
            service: found.service,
            taken: found.taken,
            max_forwards,
        }
    }

    fn begin_exchange(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        way: Way,
        passport: Passport,
        mut draft: Box<Draft>,
        now: Instant,
    ) {
        let Way {
            service, behind, ..
        } = way;
        let Passport {
            grant,
            for_client,
            by_authorization,
        } = passport;
        let is_head = request.head.method == b"HEAD";
        let spot = match self.choose_for(id, service, draft.client, now) {
            Ok(spot) => spot,
            Err(AllDown(wait)) => {
                let lines = client_lines(for_client.as_deref());
                return self.answer_all_down(id, request, (draft, lines), wait, now);
            }
        };
        draft.sent_to = Some(spot.target as u32);
        let websocket = wants_websocket(request.head, &request.body);
        let written = self.upstream_head(
            id,
            request,
            (way, spot.destination),
            (grant.as_deref(), by_authorization),
            websocket,
        );
        let Some((head, wording)) = written else {
            let lines = client_lines(for_client.as_deref());
            let refusal =
                Answer::refusal(Reply::FieldsTooLarge, End::OverLimit, Reason::HeadOutgrown);
            let answer = Answer {
                is_head,
                lines,
                ..refusal
            };
            return self.answer(id, answer, draft, origin(request.head), now);
        };
        let (upload, websocket) = match &request.body {
            RequestBody::Empty | RequestBody::Sized(0) if websocket => (Upload::Held, true),
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
            draft,
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
            destination: spot.destination as u32,
            retried: 0,
            tried: Vec::new(),
            replayed: false,
            wording,
            answered: false,
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
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        down.phase = Phase::Relay(exchange);
        if continues {
            let room = down.outbox.head_room(CONTINUE.len(), &mut self.pool);
            let _ = room.push(CONTINUE);
            self.attend_down(id);
        }
        self.connect_for(
            id,
            (spot, Outbox::keeping(head)),
            &request.body,
            behind,
            now,
        );
    }

    /// The checks of all targets fail: not even a try is made.
    fn answer_all_down(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        (draft, lines): (Box<Draft>, Vec<u8>),
        wait: Duration,
        now: Instant,
    ) {
        let drain = drainable(request);
        let answer = Answer {
            lines,
            retry_after: Some(wait.as_secs_ceil().max(1)),
            is_head: request.head.method == b"HEAD",
            keep: request.keep && drain.is_some(),
            drain: drain.flatten(),
            ..Answer::refusal(
                Reply::ServiceUnavailable,
                End::UpstreamRefused,
                Reason::AllTargetsDown,
            )
        };
        self.answer(id, answer, draft, origin(request.head), now);
    }

    /// The head that goes to one of the service's targets, or `None` when it outgrows every buffer.
    fn upstream_head(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        (
            Way {
                service,
                taken,
                max_forwards,
                ..
            },
            destination,
        ): (Way, usize),
        (grant, by_authorization): (Option<&Grant>, bool),
        websocket: bool,
    ) -> Option<(Buffer, Wording)> {
        let down = self.downs.get(id)?;
        let row = self.settings.services.get(service)?;
        let target = self
            .settings
            .targets
            .get(row.destinations.get(destination)?.target)?;
        let rewrite = self.policy.rewrites.get(service)?.get(destination)?;
        let [first, rest] = rewrite.parts(request.target.path, taken);
        let asked_host = request.asked_host();
        let wording = Wording {
            is_bare: rest.is_empty(),
            keeps_host: row.preserve_host && asked_host.is_some(),
        };
        let parts = RequestParts {
            target: [first, rest, request.target.query],
            host: asked_host
                .filter(|_| row.preserve_host)
                .unwrap_or(target.authority.as_bytes()),
            connection: &request.connection,
            peer: down.peer.ip(),
            trusted: self.policy.trusted.is_trusted(down.peer),
            secure: down.entrance == Entrance::Secure,
            subject: down.subject.as_deref(),
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
            said: self.auth.dropped(service, by_authorization),
            lines: grant.map_or(&[], Grant::lines),
        };
        let mut head = self.pool.lend(parts.bound(request.head));
        if parts.write(request.head, &mut head).is_err() {
            self.pool.give_back(&mut head);
            return None;
        }
        Some((head, wording))
    }

    pub(super) fn refuse_malformed(
        &mut self,
        id: DownstreamId,
        bytes: &[u8],
        error: RequestError,
        now: Instant,
    ) {
        let client = self.downs.get(id).and_then(|down| down.peer.ip());
        let mut draft = self.new_draft(client, now);
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        draft.note_start(bytes, MALFORMED_LINE_BYTES);
        let refusal = Answer::refusal(error.into(), End::BadRequest, error);
        let answer = Answer {
            is_head: asks_for_head(bytes),
            ..refusal
        };
        self.answer(id, answer, draft, None, now);
    }

    fn answer_options(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        draft: Box<Draft>,
        now: Instant,
    ) {
        let asked = request.head.fields.first(Name::AccessControlRequestHeaders);
        self.answer_here(
            id,
            request,
            Answer::with(Content::Options(asked), End::Ok),
            draft,
            now,
        );
    }

    /// The same request, on the TLS listener (RFC 9110 15.4.9: with the same method and body).
    fn redirect(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        draft: Box<Draft>,
        now: Instant,
    ) {
        let answer = match request.asked_host().filter(|host| !host.is_empty()) {
            Some(host) => Answer {
                lines: redirect::location(
                    host,
                    self.settings.https_port,
                    request.target.path,
                    request.target.query,
                ),
                ..Answer::with(Content::Bare(308), End::Ok)
            },
            // An HTTP/1.0 client that names no host cannot be told where it is.
            None => Answer::refusal(
                Reply::BadRequest,
                End::BadRequest,
                RequestFault::NothingToRedirect,
            ),
        };
        self.answer_here(id, request, answer, draft, now);
    }

    fn refuse_method(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        group: usize,
        draft: Box<Draft>,
        now: Instant,
    ) {
        let lines = self.policy.routes.allow_line(group);
        let answer = Answer {
            lines,
            ..Answer::last(Reply::MethodNotAllowed, End::NoRoute)
        };
        self.answer_here(id, request, answer, draft, now);
    }

    /// Turns a connection away that is one too many.
    pub(super) fn turn_away(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get(id) else {
            return;
        };
        let client = down.peer.ip();
        let draft = self.new_draft(client, now);
        self.answer(
            id,
            Answer::last(Reply::ServiceUnavailable, End::OverLimit),
            draft,
            None,
            now,
        );
    }

    pub(super) fn new_draft(&mut self, client: Option<IpAddr>, now: Instant) -> Box<Draft> {
        let mut draft = self.drafts.pop().unwrap_or_default();
        draft.restart(client, now);
        draft
    }

    fn boxed(&mut self, exchange: Exchange) -> Box<Exchange> {
        match self.spare.pop() {
            Some(mut spare) => {
                self.drafts
                    .push(core::mem::replace(&mut *spare, exchange).draft);
                spare
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
