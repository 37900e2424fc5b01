//! A request that goes to a service: its head for the upstream, and its exchange.

use std::rc::Rc;
use std::sync::Arc;

use super::super::client::{Client, Phase};
use super::super::command::ListenerKind;
use super::super::context::Context;
use super::super::exchange::{
    Exchange, KeptText, Persistence, Relay, Response, Sharing, Traits, Upload, WaitsFor,
};
use super::super::heads::{HeadVariant, RequestParts, edit_request};
use super::super::log_entry::AccessLogEntry;
use super::super::outbox::Outbox;
use super::super::rules::ServiceRules;
use super::super::transfer::{BodyReader, BodyWriter, Transfer};
use super::super::upstream::{Attempts, Selection};
use super::replies::{no_endpoint_reply, origin, outgrown_reply};
use super::{Grants, Received, Reception};
use crate::buffer::Buffer;
use crate::http::chunked::ChunkDecoder;
use crate::http::emit::Framing;
use crate::http::field::Name;
use crate::http::framing::{RequestBody, wants_websocket};
use crate::http::head::{RequestHead, Version};
use crate::http::persistence::authenticates_connection;
use crate::http::target::is_authority;
use crate::optional::OptionalU32;
use crate::policy::admission::RouteMatch;
use crate::policy::auth::grant::Grant;
use crate::policy::edits::Facts;
use crate::policy::forward;
use crate::policy::request::Request;

/// Longest host of a request that a rewritten URL may have; for a longer one the URL is a path.
const REWRITE_HOST_BYTES: usize = 300;

/// The answer to `Expect: 100-continue` (RFC 9110 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Reception<'_> {
    /// Chooses where a request goes and gives it an exchange.
    pub(super) fn begin_exchange(
        &mut self,
        request: &Request<'_>,
        (route, rules): (RouteMatch, Rc<ServiceRules>),
        behind: usize,
        grants: Grants,
        mut entry: Box<AccessLogEntry>,
    ) -> Received {
        let id = self.id;
        let Some(client) = self.clients.get_mut(id) else {
            return Received::Replied;
        };
        let private = client.has_private.then_some(id);
        let mut name = None;
        let mut for_client = grants.for_client.clone();
        let address = entry.numbers.client;
        let mut chosen = None;
        if let Some(sticky) = rules.service.sticky.as_deref() {
            // The response may bring a cookie.
            for_client.get_or_insert_default();
            name = sticky.cookie.find(&request.head.fields);
            let named = name.filter(|_| private.is_none());
            chosen = named.and_then(|name| {
                let (upstreams, ctx) = (&mut *self.upstreams, &mut *self.ctx);
                upstreams.choose_named(&rules, address, name, ctx)
            });
        }
        let chosen = match chosen {
            Some(selection) => Ok(selection),
            None => self.upstreams.choose(&rules, address, private, self.ctx),
        };
        let selection = match chosen {
            Ok(selection) => selection,
            Err(no_endpoint) => {
                // A service with a reply of its own has no destination.
                if rules.service.reply.is_some() {
                    return self.reply_fixed(request, (&rules, route.taken), &grants, entry);
                }
                let reply = no_endpoint_reply(request, &grants, no_endpoint);
                return self.reply(reply, entry, origin(request.head));
            }
        };
        entry.numbers.sent_to = OptionalU32::some(selection.destination as u32);
        let is_websocket = wants_websocket(request.head, &request.body);
        let headers = rules.dropped(grants.by_authorization);
        let destination = selection.destination;
        let upstream_head = UpstreamHead {
            request,
            route,
            rules: &rules,
            destination,
            grant: grants.grant.as_deref(),
            gateway_headers: headers,
            is_websocket,
            entry: &entry,
        };
        let Some((head, variant)) = upstream_head.write(client, self.ctx) else {
            let reply = outgrown_reply(request, &grants);
            return self.reply(reply, entry, origin(request.head));
        };
        let (place, form) = ((rules, selection), (variant, is_websocket));
        let mut exchange = self.exchange_of(request, place, form, for_client, entry);
        exchange.attempts.sticky = name;
        self.start(exchange, request, behind, (selection, head))
    }

    /// Returns the exchange of a request that goes to `selection`.
    fn exchange_of(
        &self,
        request: &Request<'_>,
        (rules, selection): (Rc<ServiceRules>, Selection),
        (variant, is_websocket): (HeadVariant, bool),
        for_client: Option<Arc<Grant>>,
        log_entry: Box<AccessLogEntry>,
    ) -> Exchange {
        let kept = self.kept_text(&rules, request);
        let upload = upload_of(&request.body, is_websocket);
        let traits = traits_of(request, matches!(upload, Upload::NotStarted));
        let sharing = if authenticates_connection(&request.head.fields) {
            Sharing::Private
        } else {
            Sharing::Shared
        };
        Exchange {
            client: self.id,
            log_entry,
            rules,
            attempts: Attempts::at(selection.destination as u32),
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
            kept,
            for_client,
        }
    }

    /// Returns what the response needs of the request.
    fn kept_text(&self, rules: &ServiceRules, request: &Request<'_>) -> KeptText {
        let kept = match &rules.headers.cors {
            Some(cors) if cors.echoes_origin() => {
                KeptText::of_origin(origin(request.head).unwrap_or_default())
            }
            _ => KeptText::default(),
        };
        match rules.service.headers.rewrites.location {
            true => kept.with_url(self.url_of_client(request)),
            false => kept,
        }
    }

    /// Returns scheme and host as the client asked for them, by a trusted proxy's word where there is
    /// one; empty if there is no host to name.
    #[cold]
    #[inline(never)]
    fn url_of_client<'r>(&self, request: &Request<'r>) -> [&'r [u8]; 2] {
        let Some(client) = self.clients.get(self.id) else {
            return [b"", b""];
        };
        let is_trusted = self.ctx.rules.trusted.is_trusted(client.peer);
        let said = |name| request.head.fields.first(name).filter(|_| is_trusted);
        let scheme: &[u8] = match said(Name::XForwardedProto) {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => b"https://",
            Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => b"http://",
            _ if client.listener == ListenerKind::Secure => b"https://",
            _ => b"http://",
        };
        let hosts = [said(Name::XForwardedHost), request.asked_host()];
        let is_good = |host: &&[u8]| host.len() <= REWRITE_HOST_BYTES && is_authority(host);
        match hosts.into_iter().flatten().find(is_good) {
            Some(host) => [scheme, host],
            None => [b"", b""],
        }
    }

    /// Puts an exchange in its place and begins it. `head`: the head for the upstream.
    fn start(
        &mut self,
        exchange: Exchange,
        request: &Request<'_>,
        behind: usize,
        (selection, head): (Selection, Buffer),
    ) -> Received {
        let is_copied = matches!(exchange.upload, Upload::Copy(_));
        let id = self.exchanges.insert(exchange);
        let Some(client) = self.clients.get_mut(self.id) else {
            return Received::Replied;
        };
        client.phase = Phase::Exchange(id);
        client.timer.clear();
        let Some((exchange, timer)) = self.exchanges.with_timer(id) else {
            return Received::Replied;
        };
        let mut relay = Relay {
            id,
            exchange,
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
        Received::Exchange(id, step)
    }
}

/// Parts of the head for the upstream.
struct UpstreamHead<'a> {
    request: &'a Request<'a>,
    route: RouteMatch,
    rules: &'a ServiceRules,
    /// Number of the destination within the service.
    destination: usize,
    grant: Option<&'a Grant>,
    gateway_headers: &'a [String],
    is_websocket: bool,
    entry: &'a AccessLogEntry,
}

impl UpstreamHead<'_> {
    /// Writes the head; `None`: it outgrows every buffer.
    fn write(&self, client: &Client, ctx: &mut Context) -> Option<(Buffer, HeadVariant)> {
        let request = self.request;
        let keeps_host = self.rules.service.preserve_host;
        let destination = self.rules.destination(self.destination)?;
        let [first, rest] = destination
            .rewrite
            .parts(request.target.path, self.route.taken);
        let asked_host = request.asked_host();
        let trusted = ctx.rules.trusted.is_trusted(client.peer);
        let mut prefix_line = &destination.prefix_line[..];
        let says_prefix = !(trusted && is_prefix_said(request.head));
        if !says_prefix {
            prefix_line = b"";
        }
        let mut variant = HeadVariant {
            says_prefix,
            is_bare: rest.is_empty(),
            keeps_host: keeps_host && asked_host.is_some(),
        };
        let parts = RequestParts {
            target: [first, rest, request.target.query],
            host: asked_host
                .filter(|_| keeps_host)
                .unwrap_or(destination.target.authority.as_bytes()),
            connection: &request.connection,
            peer: client.peer.ip(),
            trusted,
            secure: client.listener == ListenerKind::Secure,
            subject: client.subject.as_ref().map(|subject| &*subject.0),
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
            id: self.entry.id_field(),
            prefix_line,
            gateway_headers: self.gateway_headers,
            lines: self.grant.map_or(&[], Grant::lines),
        };
        let edits = self.rules.service.edits.as_deref();
        let mut bound = parts.bound(request.head);
        if let Some(edits) = edits {
            bound = bound.saturating_add(edits.request_bound());
        }
        let mut head = ctx.buffers.lend(bound);
        let mut written = parts.write(request.head, &mut head);
        if let Some(edits) = edits
            && written.is_ok()
        {
            variant.keeps_host |= edits.host.is_some();
            let facts = self.facts(client, parts.trusted);
            written = edit_request(&mut head, edits, &facts);
        }
        if written.is_err() {
            ctx.buffers.give_back(&mut head);
            return None;
        }
        Some((head, variant))
    }
}

impl UpstreamHead<'_> {
    /// Returns what header edits may say about the request.
    #[cold]
    fn facts(&self, client: &Client, is_trusted: bool) -> Facts<'_> {
        let fields = &self.request.head.fields;
        let forwarded = forward::scheme(fields).filter(|_| is_trusted);
        let consumer = self.grant.and_then(Grant::consumer);
        Facts {
            client: self.entry.numbers.client,
            host: self.request.asked_host().unwrap_or_default(),
            scheme: Some(forwarded.unwrap_or(client.listener.scheme())),
            id: self.entry.id().unwrap_or_default(),
            service: self.rules.label.as_bytes(),
            consumer: consumer.unwrap_or_default().as_bytes(),
        }
    }
}

/// Returns whether a request says `X-Forwarded-Prefix`.
fn is_prefix_said(head: &RequestHead<'_>) -> bool {
    head.fields.has(Name::XForwardedOther)
        && head
            .fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(b"X-Forwarded-Prefix"))
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

/// Returns whether a method means the same when it arrives twice (RFC 9110 9.2.2).
fn is_idempotent(method: &[u8]) -> bool {
    [&b"GET"[..], b"HEAD", b"PUT", b"DELETE", b"OPTIONS"].contains(&method)
}

/// Returns whether the content of a method has no meaning: upstreams may ignore it, and not even
/// read it (RFC 9110 9.3).
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
