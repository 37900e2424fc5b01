//! From a request's head to an exchange, or to a reply of the gateway's own. Every request of a
//! connection takes this way.
//!
//! The decision about a request is made in [`admission`], in a fixed order; this file
//! carries the decision out. Authentication is the last: a request that is let in gets an exchange.

mod authorize;
mod forwarding;
mod limits;
mod replies;

use core::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use self::limits::Stopped;
use self::replies::{
    certificate_reply, drainable, origin, rate_limited_reply, redirect_reply, refused_reply,
};
use super::auth::{Authenticator, SuspendedRequest};
use super::challenges;
use super::client::{Clients, LocalReply, Phase, Place, asks_for_head};
use super::command::ListenerKind;
use super::context::{Context, TimerKey};
use super::exchange::{ExchangeStep, Exchanges};
use super::heads::Content;
use super::ids::{ClientId, ExchangeId};
use super::limiter::Limiter;
use super::log_entry::AccessLogEntry;
use super::rules::Rules;
use super::tries::Verdict;
use super::upstream::Upstreams;
use crate::http::error::RequestError;
use crate::http::field::Name;
use crate::http::head::RequestHead;
use crate::observe::access::{Entrance, Outcome};
use crate::policy::admission::{self, Admission, Answer, Counted, Decision};
use crate::policy::auth::grant::Grant;
use crate::policy::entrance::ServiceEntrance;
use crate::policy::forward::Peer;
use crate::policy::rate_fields::Quota;
use crate::policy::reply::Reply;
use crate::policy::request::Request;
use crate::policy::router::Router;
use crate::time::Duration;

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

/// Result of a head.
pub(super) enum Received {
    /// The request was answered here.
    Replied,
    /// The request waits for a provider; its head stays.
    Suspended,
    /// The request has an exchange.
    Exchange(ExchangeId, ExchangeStep),
}

/// Grants of the credential that let a request in; empty for services without providers.
#[derive(Default)]
struct Grants {
    /// To the upstream.
    grant: Option<Arc<Grant>>,
    /// To the client, with the final response.
    for_client: Option<Arc<Grant>>,
    /// True if it was not an API key, so that `Authorization` may have been what let the request
    /// in.
    by_authorization: bool,
}

impl Reception<'_> {
    /// Acts on a complete head; `behind`: bytes that came behind it. `suspended`: the request was
    /// looked at before.
    pub(super) fn on_head(
        &mut self,
        head: &RequestHead<'_>,
        behind: usize,
        mut suspended: Option<Box<SuspendedRequest>>,
    ) -> Received {
        let Some(client) = self.clients.get(self.id) else {
            return Received::Replied;
        };
        let (peer, listener, entrance) = (client.peer, client.listener, client.entrance);
        let rules = self.ctx.rules.clone();
        let forwarded = head.fields.get_all(Name::XForwardedFor);
        let client = rules.trusted.client_address(peer, forwarded);
        if head.fields.has(Name::XForwardedFor) && client == peer {
            self.ctx.report_forwarded(peer);
        }
        let mut entry = match &mut suspended {
            Some(suspended) => core::mem::take(&mut suspended.log_entry),
            None => {
                let keeps_id = rules.trusted.is_trusted(peer);
                self.begin_entry(head, client.ip(), entrance, keeps_id)
            }
        };
        let request = match Request::read(head) {
            Ok(request) => request,
            Err(error) => return self.refuse_invalid(head, error, entry),
        };
        let redirects = listener == ListenerKind::Redirect;
        let routes = match rules.routes.single() {
            Some(routes) => routes,
            None => {
                if let Some(file) = challenges::answer(&request, listener, self.ctx) {
                    return self.reply_and_drain(&request, challenges::reply(&file), entry);
                }
                self.table(&rules, entrance)
            }
        };
        let admission = admission::decide(&rules.admission(routes), &request, client, redirects);
        let counted = match &mut suspended {
            Some(waited) => self.after_wait(waited, &request, &mut entry),
            None => self.count(&admission, client, &request, &mut entry),
        };
        if let Err(stopped) = counted {
            return self.stop(stopped, &request, entry, None);
        }
        let route = match admission.decision {
            Decision::Forward(route) => route,
            Decision::Answer(answer) => return self.answer(answer, &request, entry),
        };
        let Some(service) = rules.service(route.service) else {
            let reply = LocalReply::last(Reply::InternalError, Outcome::NoRoute);
            return self.reply_and_drain(&request, reply, entry);
        };
        entry.service = Some(Rc::clone(&service));
        if let Some(of_service) = &service.service.entrance
            && self.lacks_certificate(of_service, &request)
        {
            return self.reply_and_drain(&request, certificate_reply(), entry);
        }
        // By the settings: a provider without state must refuse requests, and not admit them.
        let is_guarded = !service.providers.is_empty();
        // A browser sends no credentials with a preflight (Fetch standard, CORS-preflight fetch).
        if is_guarded {
            if !request.is_preflight() {
                return self.authorize(&request, (route, service), behind, entry, suspended);
            }
            entry.numbers.verdict = Verdict::Preflight;
        }
        self.begin_exchange(&request, (route, service), behind, Grants::default(), entry)
    }

    /// Returns the routing table of the listener, where not all have the same.
    #[cold]
    fn table<'r>(&self, rules: &'r Rules, entrance: Entrance) -> &'r Router {
        let listener = || self.ctx.access_log.listener_name(entrance.listener);
        rules.routes.of(listener)
    }

    /// Returns true if the service wants a client certificate, and the connection has shown none. A
    /// browser shows none for a preflight (Fetch standard, CORS-preflight fetch).
    #[cold]
    fn lacks_certificate(&self, entrance: &ServiceEntrance, request: &Request<'_>) -> bool {
        let client = self.clients.get(self.id);
        let has_shown = client.is_some_and(|client| client.subject.is_some());
        entrance.needs_certificate && !has_shown && !request.is_preflight()
    }

    /// Opens the log entry of a request. `keeps_id`: the peer is trusted, so that an id that the
    /// request brings is kept.
    #[inline(always)]
    fn begin_entry(
        &mut self,
        head: &RequestHead<'_>,
        client: Option<IpAddr>,
        entrance: Entrance,
        keeps_id: bool,
    ) -> Box<AccessLogEntry> {
        let (access_log, now) = (&mut self.ctx.access_log, self.ctx.now);
        let mut entry = access_log.begin(client, entrance, now);
        if keeps_id {
            access_log.keep_given_id(&mut entry, head);
        }
        entry.note_head(head);
        access_log.note_details(&mut entry, head, keeps_id);
        entry
    }

    /// Counts a request of a service for the rate limit.
    ///
    /// # Errors
    /// The client has no request left, or the request waits for a store.
    #[inline(always)]
    fn count(
        &mut self,
        admission: &Admission,
        client: Peer,
        request: &Request<'_>,
        entry: &mut AccessLogEntry,
    ) -> Result<(), Stopped> {
        let Counted::For(service) = admission.counted else {
            return Ok(());
        };
        let rules = &self.ctx.rules;
        let table = rules.rate_table(service);
        match self.limiter.count(table, client.ip(), self.ctx.now) {
            Ok(None) if table.is_some() => {
                return self.count_listed((service, admission.decision), client, request, entry);
            }
            Ok(quota) => entry.numbers.quota = quota,
            Err(wait) => {
                entry.numbers.quota = Some(Quota::new(0, self.ctx.now.after(wait)));
                entry.service = service.and_then(|service| rules.service(service));
                self.ctx.report_rate_limited(entry);
                return Err(Stopped::Reply(rate_limited_reply(wait)));
            }
        }
        Ok(())
    }

    /// Answers a request that goes no further.
    fn answer(
        &mut self,
        answer: Answer,
        request: &Request<'_>,
        mut entry: Box<AccessLogEntry>,
    ) -> Received {
        let asked = request.head.fields.first(Name::AccessControlRequestHeaders);
        let reply = match answer {
            Answer::Options(service) => {
                entry.service = service.and_then(|service| self.ctx.rules.service(service));
                LocalReply::with(Content::Options(asked), Outcome::Ok)
            }
            Answer::Redirect => redirect_reply(request, self.ctx.rules.settings.https_port),
            Answer::MethodNotAllowed { service, group } => {
                entry.service = self.ctx.rules.service(service);
                let client = self.clients.get(self.id);
                let listener = client.map_or(0, |client| client.entrance.listener);
                let listener = || self.ctx.access_log.listener_name(listener);
                LocalReply {
                    lines: self.ctx.rules.routes.of(listener).allow_line(group),
                    ..LocalReply::last(Reply::MethodNotAllowed, Outcome::NoRoute)
                }
            }
            Answer::Refuse(refused, service) => {
                entry.service = service.and_then(|service| self.ctx.rules.service(service));
                refused_reply(refused)
            }
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

    /// Answers a well-formed request; the connection goes on, where the rest of the request can be
    /// dropped.
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
        let is_over = matches!(
            reply.outcome,
            Outcome::BadRequest | Outcome::OverLimit | Outcome::LoopDetected
        );
        reply.keep = request.keep && drain.is_some() && is_served && !is_over;
        reply.drain = drain.flatten();
        self.reply(reply, entry, origin(request.head))
    }

    /// Answers a head that can be read, but breaks a rule.
    fn refuse_invalid(
        &mut self,
        head: &RequestHead<'_>,
        error: RequestError,
        entry: Box<AccessLogEntry>,
    ) -> Received {
        let refusal = LocalReply::refusal(error.into(), Outcome::BadRequest, error);
        let reply = LocalReply {
            is_head: head.method == b"HEAD",
            ..refusal
        };
        self.reply(reply, entry, origin(head))
    }

    /// Answers bytes that are no request.
    pub(super) fn refuse_malformed(&mut self, bytes: &[u8], error: RequestError) {
        let client = self.clients.get(self.id);
        let entrance = client.map_or(Entrance::default(), |client| client.entrance);
        let client = client.and_then(|client| client.peer.ip());
        let mut entry = self.ctx.access_log.begin(client, entrance, self.ctx.now);
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        entry.note_start(bytes, MALFORMED_LINE_BYTES);
        let refusal = LocalReply::refusal(error.into(), Outcome::BadRequest, error);
        let reply = LocalReply {
            is_head: asks_for_head(bytes),
            ..refusal
        };
        self.reply(reply, entry, None);
    }

    /// Lets a request wait for so long. Its head stays.
    fn suspend(
        &mut self,
        mut suspended: Box<SuspendedRequest>,
        entry: Box<AccessLogEntry>,
        span: Duration,
    ) -> Received {
        suspended.log_entry = entry;
        if let Some(client) = self.clients.get_mut(self.id) {
            client.phase = Phase::Suspended(suspended);
            let key = TimerKey::Client(self.id);
            self.ctx.arm(&mut client.timer, key, Some(span));
        }
        Received::Suspended
    }
}
