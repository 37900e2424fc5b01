//! Requests of the gateway's own: to see whether a target is well, to fetch a key set, to ask an identity provider.
//!
//! An inquiry goes to a row of the settings' targets and so has its pool, its names and its TLS settings; it is relayed to
//! nobody. Who asked gets one answer, later, through [`Proxy::answered`]: what was found, or why nothing was. Never from within
//! [`Proxy::ask`] itself, so that the asker has noted down that it waits.
//!
//! ```text
//! ask --> (Resolving --> Dialing -->) head (1xx skipped) --> body, collected up to its limit --> answered
//!                                     `-- a pooled connection was dead: once more on a fresh one
//! ```

use core::net::SocketAddr;

use super::Proxy;
use super::command::{Command, Fault, UpstreamId};
use super::endpoints::{EndpointId, Waiter};
use super::exchange::UpstreamRef;
use super::outbox::Outbox;
use super::reason::{Failure, Reason};
use super::relay::{BodyReader, BodyWriter, Progress, Transfer};
use super::upstream::{Owner, Stage, Upstream};
use super::{RESPONSE_LIMITS, TimerKey};
use crate::http::chunked::ChunkDecoder;
use crate::http::connection::Connection;
use crate::http::error::ResponseError;
use crate::http::field::tokens;
use crate::http::framing::{ResponseBody, keeps_alive, response_body};
use crate::http::head::{ResponseHead, parse_response};
use crate::http::persistence::{
    head_authenticates_connection, idle_seconds, offers_connection_scheme,
};
use crate::limits::INTERIM_RESPONSES_MAX;
use crate::observe::access::Outcome;
use crate::slab::Key;
use crate::time::{Duration, Instant};
use crate::upstream::addresses::Candidate;
use crate::wheel::Timer;

/// Names an inquiry.
pub(super) type SubrequestId = Key<Subrequest>;

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Requester {
    /// The check of an endpoint.
    Health {
        service: u32,
        destination: u32,
        endpoint: EndpointId,
    },
    /// Authentication.
    Auth(super::auth::LookupId),
    /// A test.
    #[cfg(test)]
    Test(u8),
}

/// What is asked, of whom, and for how long an answer is waited for.
pub(super) struct SubrequestSpec {
    pub(super) requester: Requester,
    /// Index into the settings' targets.
    pub(super) target: usize,
    /// This address of the target and no other; `None`: as an exchange would choose.
    pub(super) address: Option<SocketAddr>,
    /// The whole request, head and body. It must be one that may be sent twice.
    pub(super) request: Vec<u8>,
    /// From now to the last byte of the answer; connecting included.
    pub(super) within: Duration,
    /// The status and the fields are all that counts: the body is not waited for, and the connection closes.
    pub(super) head_only: bool,
    /// Bytes of a body above which the answer is none.
    pub(super) body_bytes: usize,
    /// How long the connection may idle in the pool afterwards; `None`: it comes from no pool and goes to none.
    pub(super) keep: Option<Duration>,
}

/// A field's name and value, as they came.
pub(super) type OwnedField = (Box<[u8]>, Box<[u8]>);

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SubResponse {
    pub(super) status: u16,
    pub(super) fields: Vec<OwnedField>,
    pub(super) body: Vec<u8>,
}

/// A question under way.
pub(super) struct Subrequest {
    requester: Requester,
    pub(super) target: usize,
    pub(super) address: Option<SocketAddr>,
    keep: Option<Duration>,
    pub(super) link: Option<UpstreamRef>,
    pub(super) attempts: usize,
    pub(super) first_address: usize,
    retried_same_endpoint: bool,
    interim: u32,
    answer: Option<Body>,
    head_only: bool,
    body_bytes: usize,
    /// It cannot be answered, and who asked is told when the timer fires.
    pending_error: Option<Failure>,
    pub(super) timer: Timer,
}

/// A final head that came, and its body on the way.
struct Body {
    sub_response: SubResponse,
    transfer: Transfer,
    reusable: bool,
}

/// The start of a request head of the gateway's own: the request line and the fields that each of them has, each with its CRLF.
/// The caller adds what only its own has, and the empty line. An answer in a content coding could not be read here, and without
/// `Accept-Encoding` any coding may be chosen (RFC 9110 12.5.3).
pub(super) fn subrequest_head(
    method: &str,
    path: &str,
    authority: &str,
    accept: &str,
    agent: &str,
) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\n\
         User-Agent: {agent}\r\n"
    )
}

impl SubResponse {
    /// Whether the body is in a content coding, although none was asked for (RFC 9110 8.4). `identity` is no coding.
    pub(super) fn is_coded(&self) -> bool {
        let codings = self
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"Content-Encoding"));
        let mut codings = codings.flat_map(|(_, value)| tokens(value));
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    }
}

impl Proxy {
    /// Sends a question off. `None`: as many are under way as may be.
    pub(super) fn start_subrequest(
        &mut self,
        question: SubrequestSpec,
        now: Instant,
    ) -> Option<SubrequestId> {
        if self.subrequests.len() >= self.bounds.subrequests {
            return None;
        }
        let SubrequestSpec {
            requester,
            target,
            address,
            request,
            within,
            head_only,
            body_bytes,
            keep,
        } = question;
        // What authenticates a connection as a whole would count for the questions behind it, too.
        let keep = keep.filter(|_| !head_authenticates_connection(&request));
        let id = self.subrequests.insert(Subrequest {
            requester,
            target,
            address,
            keep,
            link: None,
            attempts: 0,
            first_address: 0,
            retried_same_endpoint: false,
            interim: 0,
            answer: None,
            head_only,
            body_bytes,
            pending_error: None,
            timer: Timer::default(),
        });
        if let Some(subrequest) = self.subrequests.get_mut(id) {
            self.wheel.arm(
                &mut subrequest.timer,
                TimerKey::Subrequest(id),
                now.after(within),
            );
        }
        let mut head = self.pool.lend(request.len());
        let _ = head.push(&request);
        let outbox = Outbox::retain_head(head);
        let pooled = if keep.is_some() && address.is_none() {
            self.take_any_idle(target)
        } else {
            None
        };
        match pooled {
            Some(up) => self.subrequest_pooled(id, up, outbox, now),
            None => self.subrequest_fresh(id, target, outbox, now),
        }
        Some(id)
    }

    /// Nobody wants to know any more.
    pub(super) fn drop_subrequest(&mut self, id: SubrequestId) {
        if let Some(link) = self
            .subrequests
            .remove(id)
            .and_then(|subrequest| subrequest.link)
        {
            self.close_up(link.id);
        }
    }

    /// Drops all that are under way; nobody is told.
    pub(super) fn drop_subrequests(&mut self) {
        for id in self.subrequests.keys().collect::<Vec<_>>() {
            self.drop_subrequest(id);
        }
    }

    /// A question came to its end. Who asked may ask again.
    fn subrequest_done(
        &mut self,
        requester: Requester,
        answer: Result<SubResponse, Failure>,
        now: Instant,
    ) {
        let reason = answer
            .as_ref()
            .err()
            .and_then(|failure| failure.reason.clone());
        let answer = answer.map_err(|failure| failure.end);
        match requester {
            Requester::Health {
                service,
                destination,
                endpoint,
            } => {
                self.health_answered(
                    (service as usize, destination as usize, endpoint),
                    answer,
                    reason,
                    now,
                );
            }
            Requester::Auth(question) => self.provider_replied(question, answer, reason, now),
            #[cfg(test)]
            Requester::Test(_) => self.answers.push((requester, answer, now)),
        }
    }

    // --- a connection for it ---

    fn subrequest_pooled(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        outbox: Outbox,
        now: Instant,
    ) {
        if let Some(upstream) = self.upstreams.get_mut(up) {
            upstream.engage(Owner::Subrequest(id), outbox, now);
        }
        self.set_subrequest_upstream(
            id,
            UpstreamRef {
                id: up,
                reused: true,
            },
        );
        self.mark_upstream_ready(up);
    }

    fn subrequest_fresh(&mut self, id: SubrequestId, target: usize, outbox: Outbox, now: Instant) {
        self.make_room_upstream();
        let up = self
            .upstreams
            .insert(Upstream::new(target, Owner::Subrequest(id), outbox, now));
        self.set_subrequest_upstream(
            id,
            UpstreamRef {
                id: up,
                reused: false,
            },
        );
        self.dial_subrequest(id, up, now);
    }

    /// Connects to the one address it is about, or to the next that it has not tried.
    pub(super) fn dial_subrequest(&mut self, id: SubrequestId, up: UpstreamId, now: Instant) {
        let Some(subrequest) = self.subrequests.get_mut(id) else {
            return;
        };
        let target = subrequest.target;
        let (Some(state), Some(upstream)) =
            (self.targets.get_mut(target), self.upstreams.get_mut(up))
        else {
            return;
        };
        if subrequest.attempts == 0 {
            subrequest.first_address = state.addresses.start();
        }
        let candidate = match subrequest.address {
            Some(address) if subrequest.attempts == 0 => Candidate::Address(address),
            Some(_) => Candidate::None,
            None => state
                .addresses
                .candidate(subrequest.first_address, subrequest.attempts),
        };
        match candidate {
            Candidate::Address(address) => {
                subrequest.attempts = subrequest.attempts.saturating_add(1);
                upstream.stage = Stage::Dialing(address);
                self.commands.push_back(Command::Dial {
                    upstream: up,
                    target,
                    address,
                });
                let endpoint = self.endpoint_at(target, address);
                if let Some(upstream) = self.upstreams.get_mut(up) {
                    upstream.endpoint = endpoint;
                }
                if self
                    .subrequests
                    .get(id)
                    .is_some_and(|subrequest| subrequest.address.is_none())
                {
                    self.arm_race(up, now);
                }
            }
            Candidate::Wait => self.wait_for_name(Waiter::Subrequest(id), target),
            Candidate::None if subrequest.attempts == 0 && self.awaits_name(target, now) => {
                self.wait_for_name(Waiter::Subrequest(id), target);
            }
            Candidate::None => self.fail_later(id, Failure::no_address(), now),
        }
    }

    /// The answer will be that there is none, but not before the call that found out has returned.
    fn fail_later(&mut self, id: SubrequestId, failure: Failure, now: Instant) {
        if let Some(subrequest) = self.subrequests.get_mut(id) {
            subrequest.pending_error = Some(failure);
            self.wheel
                .arm(&mut subrequest.timer, TimerKey::Subrequest(id), now);
        }
    }

    pub(super) fn subrequest_refused(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        now: Instant,
    ) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        let (target, stage) = (upstream.target, upstream.stage);
        let mut outbox = core::mem::take(&mut upstream.outbox);
        self.close_up(up);
        if let (Stage::Dialing(address), Some(state)) = (stage, self.targets.get_mut(target)) {
            state.addresses.refused(address);
        }
        let Some(subrequest) = self.subrequests.get_mut(id) else {
            return;
        };
        subrequest.link = None;
        let another = subrequest.address.is_none()
            && self.targets.get(target).is_some_and(|state| {
                matches!(
                    state
                        .addresses
                        .candidate(subrequest.first_address, subrequest.attempts),
                    Candidate::Address(_)
                )
            });
        if matches!(fault, Fault::Refused | Fault::Unreachable) && another {
            self.subrequest_fresh(id, target, outbox, now);
        } else {
            outbox.clear(&mut self.pool);
            self.finish_subrequest(
                id,
                Err(Failure {
                    end: fault.end(),
                    reason,
                }),
                now,
            );
        }
    }

    fn set_subrequest_upstream(&mut self, id: SubrequestId, link: UpstreamRef) {
        if let Some(subrequest) = self.subrequests.get_mut(id) {
            subrequest.link = Some(link);
        }
    }

    // --- what the other side says ---

    pub(super) fn on_subresponse_bytes(&mut self, id: SubrequestId, up: UpstreamId, now: Instant) {
        let Some(subrequest) = self.subrequests.get(id) else {
            return self.close_up(up);
        };
        let unasked = subrequest.link.is_some_and(|link| link.reused)
            && self
                .upstreams
                .get(up)
                .is_some_and(|upstream| !upstream.outbox.any_sent());
        if unasked {
            return self.subrequest_lost(id, up, ResponseError::Unasked.into(), now);
        }
        while self
            .subrequests
            .get(id)
            .is_some_and(|subrequest| subrequest.answer.is_none())
        {
            match self.read_answer_head(id, up) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.finish_subrequest(id, Err(error.into()), now),
            }
        }
        match self.subrequests.get_mut(id) {
            Some(subrequest) if subrequest.head_only => {
                if let Some(body) = subrequest.answer.take() {
                    self.finish_subrequest(id, Ok(body.sub_response), now);
                }
            }
            _ => self.collect(id, up, now),
        }
    }

    /// Reads one head; false: it is not complete.
    fn read_answer_head(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
    ) -> Result<bool, ResponseError> {
        let (Some(subrequest), Some(upstream)) =
            (self.subrequests.get_mut(id), self.upstreams.get_mut(up))
        else {
            return Ok(false);
        };
        if upstream.inbox.is_empty() {
            return Ok(false);
        }
        let parsed = parse_response(
            upstream.inbox.filled(),
            &mut upstream.scan,
            &mut self.table,
            &RESPONSE_LIMITS,
        );
        let Some(head) = parsed? else {
            return Ok(false);
        };
        Connection::of(&head.fields).check_response()?;
        let len = head.len;
        match head.status {
            // Nobody asked for another protocol.
            101 => return Err(ResponseError::Switch),
            100..=199 => {
                subrequest.interim = subrequest.interim.saturating_add(1);
                if subrequest.interim > INTERIM_RESPONSES_MAX {
                    return Err(ResponseError::TooManyInterim);
                }
            }
            _ => {
                subrequest.answer = Some(Body::behind(&head)?);
                if let Some(seconds) = idle_seconds(&head.fields) {
                    upstream.note_idle(seconds);
                }
            }
        }
        upstream.scan = Default::default();
        upstream.inbox.consume(len);
        Ok(true)
    }

    /// Moves what is there of the body to the finding.
    fn collect(&mut self, id: SubrequestId, up: UpstreamId, now: Instant) {
        let (Some(subrequest), Some(upstream)) =
            (self.subrequests.get_mut(id), self.upstreams.get_mut(up))
        else {
            return;
        };
        let Some(body) = &mut subrequest.answer else {
            return;
        };
        let mut through = Outbox::default();
        loop {
            let before = body.transfer.moved();
            let step = body
                .transfer
                .step(&mut upstream.inbox, &mut through, &mut self.pool);
            let room = subrequest
                .body_bytes
                .saturating_sub(body.sub_response.body.len());
            let bytes = through.pending().1;
            let fits = bytes.len() <= room;
            body.sub_response
                .body
                .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            through.clear(&mut self.pool);
            match step {
                _ if !fits => {
                    return self.finish_subrequest(
                        id,
                        Err(Failure::new(Outcome::OverLimit, Reason::AnswerTooLong)),
                        now,
                    );
                }
                Err(error) => {
                    return self.finish_subrequest(id, Err(Failure::response_body(error)), now);
                }
                Ok(Progress::Complete) => {
                    return self.complete(id, upstream_is_clean(&self.upstreams, up), now);
                }
                Ok(Progress::More) if body.transfer.moved() > before => {}
                Ok(Progress::More) => return,
            }
        }
    }

    fn complete(&mut self, id: SubrequestId, clean: bool, now: Instant) {
        let Some(subrequest) = self.subrequests.get_mut(id) else {
            return;
        };
        let Some(body) = subrequest.answer.take() else {
            return;
        };
        let (link, keep) = (subrequest.link.take(), subrequest.keep);
        if let Some(link) = link {
            self.put_back(link.id, body.reusable && clean, keep, now);
        }
        self.finish_subrequest(id, Ok(body.sub_response), now);
    }

    pub(super) fn subrequest_ended(&mut self, id: SubrequestId, up: UpstreamId, now: Instant) {
        let Some(subrequest) = self.subrequests.get_mut(id) else {
            return self.close_up(up);
        };
        match &subrequest.answer {
            None => self.subrequest_lost(id, up, Failure::ended_early(), now),
            Some(body) if body.transfer.ends_with_stream() => self.complete(id, false, now),
            Some(_) => self.finish_subrequest(id, Err(Failure::ended_early()), now),
        }
    }

    /// The connection broke, or could take no more: what it said before is still read.
    pub(super) fn subrequest_failed(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        now: Instant,
    ) {
        match self.upstreams.get_mut(up) {
            Some(upstream) if fault == Fault::SendFailed => {
                upstream.write_failed = true;
                self.mark_upstream_ready(up);
            }
            _ => self.subrequest_lost(
                id,
                up,
                Failure {
                    end: fault.end(),
                    reason,
                },
                now,
            ),
        }
    }

    /// A pooled connection may have died unnoticed: once more on a fresh one.
    fn subrequest_lost(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        failure: Failure,
        now: Instant,
    ) {
        let (Some(subrequest), Some(upstream)) =
            (self.subrequests.get_mut(id), self.upstreams.get_mut(up))
        else {
            return;
        };
        let reused = subrequest.link.is_some_and(|link| link.reused);
        if !reused
            || subrequest.retried_same_endpoint
            || subrequest.answer.is_some()
            || !upstream.outbox.can_rewind()
        {
            return self.finish_subrequest(id, Err(failure), now);
        }
        subrequest.retried_same_endpoint = true;
        subrequest.interim = 0;
        let target = upstream.target;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        outbox.rewind();
        self.close_up(up);
        self.subrequest_fresh(id, target, outbox, now);
    }

    /// Its time is over.
    pub(super) fn subrequest_due(&mut self, id: SubrequestId, now: Instant) {
        let Some(subrequest) = self.subrequests.get(id) else {
            return;
        };
        let late = || Failure::new(Outcome::UpstreamTimeout, Reason::AnswerTimeout);
        let failure = subrequest.pending_error.clone().unwrap_or_else(late);
        if let Some(link) = subrequest.link {
            // Where it waited in vain for a connection, the next one does not begin.
            self.note_address(link.id, false);
        }
        self.finish_subrequest(id, Err(failure), now);
    }

    fn finish_subrequest(
        &mut self,
        id: SubrequestId,
        answer: Result<SubResponse, Failure>,
        now: Instant,
    ) {
        let Some(subrequest) = self.subrequests.remove(id) else {
            return;
        };
        if let Some(link) = subrequest.link {
            self.close_up(link.id);
        }
        self.subrequest_done(subrequest.requester, answer, now);
    }
}

/// Whether nothing is left on the connection behind the answer.
fn upstream_is_clean(upstreams: &crate::slab::Slab<Upstream>, up: UpstreamId) -> bool {
    upstreams
        .get(up)
        .is_some_and(|upstream| upstream.inbox.is_empty())
}

impl Body {
    fn behind(head: &ResponseHead<'_>) -> Result<Body, ResponseError> {
        let incoming = response_body(head, false)?;
        let from = match incoming.body {
            ResponseBody::Empty => BodyReader::Sized(0),
            ResponseBody::Sized(bytes) => BodyReader::Sized(bytes),
            ResponseBody::Chunked => BodyReader::Chunked(ChunkDecoder::new()),
            ResponseBody::UntilClose => BodyReader::UntilClose,
        };
        let owned = |bytes: &[u8]| bytes.to_vec().into_boxed_slice();
        let fields = head
            .fields
            .iter()
            .map(|field| (owned(field.name), owned(field.value)))
            .collect();
        Ok(Body {
            sub_response: SubResponse {
                status: head.status,
                fields,
                body: Vec::new(),
            },
            transfer: Transfer::new(from, BodyWriter::Plain),
            reusable: incoming.reusable
                && keeps_alive(head.version, &head.fields)
                && !(matches!(head.status, 401 | 407) && offers_connection_scheme(&head.fields)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::Side;
    use super::*;
    use crate::proxy::settings::{
        AccessLog, ConnectionTimeouts, Limits, Settings, Target, TargetHost,
    };

    const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: b\r\n\r\n";

    /// A gateway whose one target `host` is.
    fn gateway(host: TargetHost) -> Proxy {
        let limits = Limits {
            head_bytes: 4096,
            request_line_bytes: 2048,
            fields: 50,
            connections: 4,
            connections_per_client: None,
            overflow: 1,
            body_bytes: None,
            gathered_bytes: 0,
            splice_min_bytes: u64::MAX,
        };
        let settings = Settings {
            auth: Vec::new(),
            services: Vec::new(),
            targets: vec![Target {
                host,
                port: 80,
                tls: false,
                authority: "b".to_owned(),
            }],
            rate_limit: None,
            auth_failures: None,
            timeouts: ConnectionTimeouts {
                head: None,
                keep_alive: None,
                shutdown: None,
            },
            limits,
            half_close: false,
            cors: None,
            security_headers: None,
            trusted_proxies: Default::default(),
            allow: Default::default(),
            deny: Default::default(),
            https_port: None,
            access_log: AccessLog::Off,
        };
        let mut proxy = Proxy::new(settings, 0);
        proxy.bounds.subrequests = 2;
        proxy
    }

    fn literal() -> Proxy {
        gateway(TargetHost::Address([192, 0, 2, 1].into()))
    }

    fn question(tag: u8, keep: bool) -> SubrequestSpec {
        SubrequestSpec {
            requester: Requester::Test(tag),
            target: 0,
            address: None,
            request: REQUEST.to_vec(),
            within: Duration::from_secs(2),
            head_only: false,
            body_bytes: 10,
            keep: keep.then_some(Duration::from_secs(30)),
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// The connection that is being dialed.
    fn dialed(proxy: &mut Proxy) -> Option<UpstreamId> {
        let mut dialed = None;
        while let Some(command) = proxy.poll_command() {
            if let Command::Dial { upstream, .. } = command {
                dialed = Some(upstream);
            }
        }
        dialed
    }

    /// The request is written.
    fn written(proxy: &mut Proxy, up: UpstreamId) {
        assert_eq!(proxy.pending(Side::Upstream(up)).0, REQUEST);
        proxy.handle_sent(Side::Upstream(up), REQUEST.len(), at(2));
        assert_eq!(proxy.pending(Side::Upstream(up)), (&b""[..], &b""[..]));
    }

    /// The other side says this.
    fn say(proxy: &mut Proxy, up: UpstreamId, bytes: &[u8]) {
        let room = proxy.room(Side::Upstream(up));
        room[..bytes.len()].copy_from_slice(bytes);
        proxy.handle_received(Side::Upstream(up), bytes.len(), at(3));
    }

    /// Asks on a fresh connection, and the request goes out.
    fn asked(proxy: &mut Proxy, tag: u8, keep: bool) -> UpstreamId {
        proxy
            .start_subrequest(question(tag, keep), at(1))
            .expect("room for a question");
        let up = dialed(proxy).expect("a connection");
        proxy.handle_connected(up, at(2));
        written(proxy, up);
        up
    }

    /// What was heard; then nothing may be left but `idle` connections.
    fn head_outcome(proxy: &mut Proxy, idle: usize) -> Result<(u16, Vec<u8>), Outcome> {
        assert_eq!(proxy.answers.len(), 1);
        let (_, answer, _) = proxy.answers.remove(0);
        assert_eq!(
            (
                proxy.subrequests.len(),
                proxy.upstreams(),
                proxy.buffers_lent()
            ),
            (0, idle, 0)
        );
        assert!(proxy.is_within_memory());
        answer.map(|sub_response| (sub_response.status, sub_response.body))
    }

    #[test]
    fn answers_in_every_framing() {
        for (answer, ends, idle, expected) in [
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"[..],
                false,
                1,
                Ok((200, b"hi".to_vec())),
            ),
            (
                b"HTTP/1.1 204 No Content\r\n\r\n",
                false,
                1,
                Ok((204, vec![])),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                false,
                0,
                Ok((200, vec![])),
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                false,
                1,
                Ok((200, b"hi".to_vec())),
            ),
            (
                b"HTTP/1.1 200 OK\r\n\r\nhi",
                true,
                0,
                Ok((200, b"hi".to_vec())),
            ),
            (
                b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
                false,
                1,
                Ok((500, vec![])),
            ),
            // Bytes behind the answer: it stands, the connection does not.
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP",
                false,
                0,
                Ok((200, vec![])),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
                false,
                1,
                Ok((200, b"0123456789".to_vec())),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890",
                false,
                0,
                Err(Outcome::OverLimit),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
                true,
                0,
                Err(Outcome::UpstreamClosed),
            ),
            (b"HTTP/1.1 200", true, 0, Err(Outcome::UpstreamClosed)),
            (b"", true, 0, Err(Outcome::UpstreamClosed)),
            (
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                false,
                0,
                Err(Outcome::UpstreamMalformed),
            ),
            (b"200 OK\r\n\r\n", false, 0, Err(Outcome::UpstreamMalformed)),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
                false,
                0,
                Err(Outcome::UpstreamMalformed),
            ),
        ] {
            // Whole, and cut in two at every place.
            for cut in 0..answer.len().max(1) {
                let mut proxy = literal();
                let up = asked(&mut proxy, 0, true);
                if cut > 0 {
                    say(&mut proxy, up, &answer[..cut]);
                }
                // A head that is wrong may be known as such before it is complete.
                if proxy.answers.is_empty() && cut < answer.len() {
                    say(&mut proxy, up, &answer[cut..]);
                }
                if ends && proxy.answers.is_empty() {
                    proxy.handle_end(Side::Upstream(up), at(4));
                }
                let idle = if answer.ends_with(b"\r\nHTTP") && cut == answer.len() - 4 {
                    proxy.upstreams()
                } else {
                    idle
                };
                assert_eq!(
                    head_outcome(&mut proxy, idle),
                    expected,
                    "{} at {cut}",
                    answer.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_dead_pooled_connection_is_replaced_once() {
        let mut proxy = literal();
        let up = asked(&mut proxy, 0, true);
        say(
            &mut proxy,
            up,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(head_outcome(&mut proxy, 1), Ok((200, vec![])));
        proxy
            .start_subrequest(question(1, true), at(5))
            .expect("room");
        assert_eq!(dialed(&mut proxy), None, "the pooled one is taken");
        written(&mut proxy, up);
        proxy.handle_end(Side::Upstream(up), at(6));
        let fresh = dialed(&mut proxy).expect("a fresh connection");
        proxy.handle_connected(fresh, at(7));
        written(&mut proxy, fresh);
        proxy.handle_end(Side::Upstream(fresh), at(8));
        assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamClosed));
    }

    #[test]
    fn what_was_said_before_the_question_is_no_answer() {
        let mut proxy = literal();
        let up = asked(&mut proxy, 0, true);
        say(&mut proxy, up, b"HTTP/1.1 204 No Content\r\n\r\n");
        head_outcome(&mut proxy, 1).expect("an answer");
        proxy
            .start_subrequest(question(1, true), at(5))
            .expect("room");
        say(
            &mut proxy,
            up,
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        );
        assert!(
            proxy.answers.is_empty() && dialed(&mut proxy).is_some(),
            "a fresh connection is made"
        );
    }

    #[test]
    fn its_own_connection_when_it_wants_no_pooled_one() {
        let mut proxy = literal();
        for _ in 0..2 {
            let up = asked(&mut proxy, 0, false);
            say(&mut proxy, up, b"HTTP/1.1 204 No Content\r\n\r\n");
            head_outcome(&mut proxy, 0).expect("an answer");
        }
    }

    #[test]
    fn nothing_within_its_time() {
        let mut proxy = literal();
        asked(&mut proxy, 0, true);
        proxy.handle_timeout(at(1900));
        assert!(proxy.answers.is_empty());
        proxy.handle_timeout(at(2100));
        assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamTimeout));
    }

    #[test]
    fn refused_unresolved_and_too_many() {
        let mut proxy = literal();
        proxy
            .start_subrequest(question(0, true), at(1))
            .expect("room");
        let up = dialed(&mut proxy).expect("a connection");
        proxy.handle_fault(Side::Upstream(up), Fault::Refused, at(2));
        assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamRefused));

        let mut proxy = gateway(TargetHost::Name("b".to_owned()));
        for tag in 0..2 {
            proxy
                .start_subrequest(question(tag, true), at(1))
                .expect("room");
        }
        assert_eq!(
            proxy.start_subrequest(question(2, true), at(1)),
            None,
            "as many as may be"
        );
        assert_eq!(dialed(&mut proxy), None, "the name is not known yet");
        proxy.handle_resolved(0, &[], at(2));
        assert!(proxy.answers.is_empty(), "not from within another's call");
        proxy.handle_timeout(at(100));
        assert_eq!(proxy.answers.len(), 2);
        assert!(
            proxy
                .answers
                .iter()
                .all(|(_, answer, _)| *answer == Err(Outcome::UpstreamUnresolved))
        );
        assert_eq!(
            (
                proxy.subrequests.len(),
                proxy.upstreams(),
                proxy.buffers_lent()
            ),
            (0, 0, 0)
        );
    }

    #[test]
    fn addresses_in_turn_unless_it_is_about_one() {
        let addresses =
            ["192.0.2.1:80", "192.0.2.2:80"].map(|address| address.parse().expect("an address"));
        let mut proxy = gateway(TargetHost::Name("b".to_owned()));
        proxy.handle_resolved(0, &addresses, at(1));
        proxy
            .start_subrequest(question(0, true), at(1))
            .expect("room");
        let first = dialed(&mut proxy).expect("the first address");
        proxy.handle_fault(Side::Upstream(first), Fault::Refused, at(2));
        let second = dialed(&mut proxy).expect("the second address");
        proxy.handle_fault(Side::Upstream(second), Fault::Refused, at(2));
        assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamRefused));

        let [_, pinned] = addresses;
        while proxy.poll_command().is_some() {}
        proxy
            .start_subrequest(
                SubrequestSpec {
                    address: Some(pinned),
                    ..question(1, false)
                },
                at(3),
            )
            .expect("room");
        let up = proxy.poll_command();
        let Some(Command::Dial {
            upstream, address, ..
        }) = up
        else {
            panic!("{up:?}")
        };
        assert_eq!(address, pinned);
        proxy.handle_fault(Side::Upstream(upstream), Fault::Refused, at(4));
        assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamRefused));
    }

    #[test]
    fn nobody_is_told_of_a_dropped_one() {
        let mut proxy = literal();
        let id = proxy
            .start_subrequest(question(0, true), at(1))
            .expect("room");
        proxy.drop_subrequest(id);
        proxy.handle_timeout(at(3000));
        assert!(proxy.answers.is_empty());
        assert_eq!(
            (
                proxy.subrequests.len(),
                proxy.upstreams(),
                proxy.buffers_lent()
            ),
            (0, 0, 0)
        );
    }
}
