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
use super::exchange::Link;
use super::outbox::Outbox;
use super::reason::{Failure, Reason};
use super::relay::{BodyReader, BodyWriter, Progress, Transfer};
use super::upstream::{Stage, Upstream, Work};
use super::{Owner, RESPONSE_LIMITS};
use crate::http::chunked::ChunkDecoder;
use crate::http::error::ResponseError;
use crate::http::field::tokens;
use crate::http::framing::{Connection, ResponseBody, keeps_alive, response_body};
use crate::http::head::{ResponseHead, parse_response};
use crate::http::persistence::{
    head_authenticates_connection, idle_seconds, offers_connection_scheme,
};
use crate::limits::INTERIM_RESPONSES_MAX;
use crate::observe::access::End;
use crate::slab::Key;
use crate::time::{Duration, Instant};
use crate::upstream::addresses::Candidate;
use crate::wheel::Timer;

/// Names an inquiry.
pub(super) type InquiryId = Key<Inquiry>;

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// The check of an endpoint.
    Health {
        service: u32,
        destination: u32,
        endpoint: EndpointId,
    },
    /// Authentication.
    Auth(super::auth::QuestionId),
    /// A test.
    #[cfg(test)]
    Test(u8),
}

/// What is asked, of whom, and for how long an answer is waited for.
pub(super) struct Question {
    pub(super) asker: Asker,
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
pub(super) struct Finding {
    pub(super) status: u16,
    pub(super) fields: Vec<OwnedField>,
    pub(super) body: Vec<u8>,
}

/// A question under way.
pub(super) struct Inquiry {
    asker: Asker,
    pub(super) target: usize,
    pub(super) address: Option<SocketAddr>,
    keep: Option<Duration>,
    pub(super) link: Option<Link>,
    pub(super) attempts: usize,
    pub(super) first_address: usize,
    replayed: bool,
    interim: u32,
    answer: Option<Body>,
    head_only: bool,
    body_bytes: usize,
    /// It cannot be answered, and who asked is told when the timer fires.
    hopeless: Option<Failure>,
    pub(super) timer: Timer,
}

/// A final head that came, and its body on the way.
struct Body {
    finding: Finding,
    transfer: Transfer,
    reusable: bool,
}

/// The start of a request head of the gateway's own: the request line and the fields that each of them has, each with its CRLF.
/// The caller adds what only its own has, and the empty line. An answer in a content coding could not be read here, and without
/// `Accept-Encoding` any coding may be chosen (RFC 9110 12.5.3).
pub(super) fn own_request(
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

impl Finding {
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
    pub(super) fn ask(&mut self, question: Question, now: Instant) -> Option<InquiryId> {
        if self.inquiries.len() >= self.bounds.inquiries {
            return None;
        }
        let Question {
            asker,
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
        let id = self.inquiries.insert(Inquiry {
            asker,
            target,
            address,
            keep,
            link: None,
            attempts: 0,
            first_address: 0,
            replayed: false,
            interim: 0,
            answer: None,
            head_only,
            body_bytes,
            hopeless: None,
            timer: Timer::default(),
        });
        if let Some(inquiry) = self.inquiries.get_mut(id) {
            self.wheel
                .arm(&mut inquiry.timer, Owner::Inquiry(id), now.after(within));
        }
        let mut head = self.pool.lend(request.len());
        let _ = head.push(&request);
        let outbox = Outbox::keeping(head);
        let pooled = if keep.is_some() && address.is_none() {
            self.take_any_idle(target)
        } else {
            None
        };
        match pooled {
            Some(up) => self.inquire_pooled(id, up, outbox, now),
            None => self.inquire_fresh(id, target, outbox, now),
        }
        Some(id)
    }

    /// Nobody wants to know any more.
    pub(super) fn drop_inquiry(&mut self, id: InquiryId) {
        if let Some(link) = self.inquiries.remove(id).and_then(|inquiry| inquiry.link) {
            self.close_up(link.id);
        }
    }

    /// Drops all that are under way; nobody is told.
    pub(super) fn drop_inquiries(&mut self) {
        for id in self.inquiries.keys().collect::<Vec<_>>() {
            self.drop_inquiry(id);
        }
    }

    /// A question came to its end. Who asked may ask again.
    fn answered(&mut self, asker: Asker, answer: Result<Finding, Failure>, now: Instant) {
        let reason = answer
            .as_ref()
            .err()
            .and_then(|failure| failure.reason.clone());
        let answer = answer.map_err(|failure| failure.end);
        match asker {
            Asker::Health {
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
            Asker::Auth(question) => self.provider_answered(question, answer, reason, now),
            #[cfg(test)]
            Asker::Test(_) => self.answers.push((asker, answer, now)),
        }
    }

    // --- a connection for it ---

    fn inquire_pooled(&mut self, id: InquiryId, up: UpstreamId, outbox: Outbox, now: Instant) {
        if let Some(upstream) = self.ups.get_mut(up) {
            upstream.engage(Work::Inquiry(id), outbox, now);
        }
        self.set_inquiry_link(
            id,
            Link {
                id: up,
                reused: true,
            },
        );
        self.attend_up(up);
    }

    fn inquire_fresh(&mut self, id: InquiryId, target: usize, outbox: Outbox, now: Instant) {
        self.make_room_upstream();
        let up = self
            .ups
            .insert(Upstream::new(target, Work::Inquiry(id), outbox, now));
        self.set_inquiry_link(
            id,
            Link {
                id: up,
                reused: false,
            },
        );
        self.dial_inquiry(id, up, now);
    }

    /// Connects to the one address it is about, or to the next that it has not tried.
    pub(super) fn dial_inquiry(&mut self, id: InquiryId, up: UpstreamId, now: Instant) {
        let Some(inquiry) = self.inquiries.get_mut(id) else {
            return;
        };
        let target = inquiry.target;
        let (Some(state), Some(upstream)) = (self.targets.get_mut(target), self.ups.get_mut(up))
        else {
            return;
        };
        if inquiry.attempts == 0 {
            inquiry.first_address = state.addresses.start();
        }
        let candidate = match inquiry.address {
            Some(address) if inquiry.attempts == 0 => Candidate::Address(address),
            Some(_) => Candidate::None,
            None => state
                .addresses
                .candidate(inquiry.first_address, inquiry.attempts),
        };
        match candidate {
            Candidate::Address(address) => {
                inquiry.attempts = inquiry.attempts.saturating_add(1);
                upstream.stage = Stage::Dialing(address);
                self.commands.push_back(Command::Dial {
                    upstream: up,
                    target,
                    address,
                });
                let endpoint = self.endpoint_at(target, address);
                if let Some(upstream) = self.ups.get_mut(up) {
                    upstream.endpoint = endpoint;
                }
                if self
                    .inquiries
                    .get(id)
                    .is_some_and(|inquiry| inquiry.address.is_none())
                {
                    self.arm_race(up, now);
                }
            }
            Candidate::Wait => self.wait_for_name(Waiter::Inquiry(id), target),
            Candidate::None if inquiry.attempts == 0 && self.awaits_name(target, now) => {
                self.wait_for_name(Waiter::Inquiry(id), target);
            }
            Candidate::None => self.despair(id, Failure::no_address(), now),
        }
    }

    /// The answer will be that there is none, but not before the call that found out has returned.
    fn despair(&mut self, id: InquiryId, failure: Failure, now: Instant) {
        if let Some(inquiry) = self.inquiries.get_mut(id) {
            inquiry.hopeless = Some(failure);
            self.wheel.arm(&mut inquiry.timer, Owner::Inquiry(id), now);
        }
    }

    pub(super) fn inquiry_refused(
        &mut self,
        id: InquiryId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        now: Instant,
    ) {
        let Some(upstream) = self.ups.get_mut(up) else {
            return;
        };
        let (target, stage) = (upstream.target, upstream.stage);
        let mut outbox = core::mem::take(&mut upstream.outbox);
        self.close_up(up);
        if let (Stage::Dialing(address), Some(state)) = (stage, self.targets.get_mut(target)) {
            state.addresses.refused(address);
        }
        let Some(inquiry) = self.inquiries.get_mut(id) else {
            return;
        };
        inquiry.link = None;
        let another = inquiry.address.is_none()
            && self.targets.get(target).is_some_and(|state| {
                matches!(
                    state
                        .addresses
                        .candidate(inquiry.first_address, inquiry.attempts),
                    Candidate::Address(_)
                )
            });
        if matches!(fault, Fault::Refused | Fault::Unreachable) && another {
            self.inquire_fresh(id, target, outbox, now);
        } else {
            outbox.clear(&mut self.pool);
            self.conclude(
                id,
                Err(Failure {
                    end: fault.end(),
                    reason,
                }),
                now,
            );
        }
    }

    fn set_inquiry_link(&mut self, id: InquiryId, link: Link) {
        if let Some(inquiry) = self.inquiries.get_mut(id) {
            inquiry.link = Some(link);
        }
    }

    // --- what the other side says ---

    pub(super) fn inquiry_heard(&mut self, id: InquiryId, up: UpstreamId, now: Instant) {
        let Some(inquiry) = self.inquiries.get(id) else {
            return self.close_up(up);
        };
        let unasked = inquiry.link.is_some_and(|link| link.reused)
            && self
                .ups
                .get(up)
                .is_some_and(|upstream| !upstream.outbox.touched());
        if unasked {
            return self.inquiry_lost(id, up, ResponseError::Unasked.into(), now);
        }
        while self
            .inquiries
            .get(id)
            .is_some_and(|inquiry| inquiry.answer.is_none())
        {
            match self.read_answer_head(id, up) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.conclude(id, Err(error.into()), now),
            }
        }
        match self.inquiries.get_mut(id) {
            Some(inquiry) if inquiry.head_only => {
                if let Some(body) = inquiry.answer.take() {
                    self.conclude(id, Ok(body.finding), now);
                }
            }
            _ => self.collect(id, up, now),
        }
    }

    /// Reads one head; false: it is not complete.
    fn read_answer_head(&mut self, id: InquiryId, up: UpstreamId) -> Result<bool, ResponseError> {
        let (Some(inquiry), Some(upstream)) = (self.inquiries.get_mut(id), self.ups.get_mut(up))
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
                inquiry.interim = inquiry.interim.saturating_add(1);
                if inquiry.interim > INTERIM_RESPONSES_MAX {
                    return Err(ResponseError::TooManyInterim);
                }
            }
            _ => {
                inquiry.answer = Some(Body::behind(&head)?);
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
    fn collect(&mut self, id: InquiryId, up: UpstreamId, now: Instant) {
        let (Some(inquiry), Some(upstream)) = (self.inquiries.get_mut(id), self.ups.get_mut(up))
        else {
            return;
        };
        let Some(body) = &mut inquiry.answer else {
            return;
        };
        let mut through = Outbox::default();
        loop {
            let before = body.transfer.moved();
            let step = body
                .transfer
                .step(&mut upstream.inbox, &mut through, &mut self.pool);
            let room = inquiry.body_bytes.saturating_sub(body.finding.body.len());
            let bytes = through.pending().1;
            let fits = bytes.len() <= room;
            body.finding
                .body
                .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            through.clear(&mut self.pool);
            match step {
                _ if !fits => {
                    return self.conclude(
                        id,
                        Err(Failure::new(End::OverLimit, Reason::AnswerTooLong)),
                        now,
                    );
                }
                Err(error) => return self.conclude(id, Err(Failure::response_body(error)), now),
                Ok(Progress::Complete) => {
                    return self.complete(id, upstream_is_clean(&self.ups, up), now);
                }
                Ok(Progress::More) if body.transfer.moved() > before => {}
                Ok(Progress::More) => return,
            }
        }
    }

    fn complete(&mut self, id: InquiryId, clean: bool, now: Instant) {
        let Some(inquiry) = self.inquiries.get_mut(id) else {
            return;
        };
        let Some(body) = inquiry.answer.take() else {
            return;
        };
        let (link, keep) = (inquiry.link.take(), inquiry.keep);
        if let Some(link) = link {
            self.put_back(link.id, body.reusable && clean, keep, now);
        }
        self.conclude(id, Ok(body.finding), now);
    }

    pub(super) fn inquiry_ended(&mut self, id: InquiryId, up: UpstreamId, now: Instant) {
        let Some(inquiry) = self.inquiries.get_mut(id) else {
            return self.close_up(up);
        };
        match &inquiry.answer {
            None => self.inquiry_lost(id, up, Failure::ended_early(), now),
            Some(body) if body.transfer.ends_with_stream() => self.complete(id, false, now),
            Some(_) => self.conclude(id, Err(Failure::ended_early()), now),
        }
    }

    /// The connection broke, or could take no more: what it said before is still read.
    pub(super) fn inquiry_failed(
        &mut self,
        id: InquiryId,
        up: UpstreamId,
        (fault, reason): (Fault, Option<Reason>),
        now: Instant,
    ) {
        match self.ups.get_mut(up) {
            Some(upstream) if fault == Fault::SendFailed => {
                upstream.deaf = true;
                self.attend_up(up);
            }
            _ => self.inquiry_lost(
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
    fn inquiry_lost(&mut self, id: InquiryId, up: UpstreamId, failure: Failure, now: Instant) {
        let (Some(inquiry), Some(upstream)) = (self.inquiries.get_mut(id), self.ups.get_mut(up))
        else {
            return;
        };
        let reused = inquiry.link.is_some_and(|link| link.reused);
        if !reused || inquiry.replayed || inquiry.answer.is_some() || !upstream.outbox.can_rewind()
        {
            return self.conclude(id, Err(failure), now);
        }
        inquiry.replayed = true;
        inquiry.interim = 0;
        let target = upstream.target;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        outbox.rewind();
        self.close_up(up);
        self.inquire_fresh(id, target, outbox, now);
    }

    /// Its time is over.
    pub(super) fn inquiry_due(&mut self, id: InquiryId, now: Instant) {
        let Some(inquiry) = self.inquiries.get(id) else {
            return;
        };
        let late = || Failure::new(End::UpstreamTimeout, Reason::AnswerTimeout);
        let failure = inquiry.hopeless.clone().unwrap_or_else(late);
        if let Some(link) = inquiry.link {
            // Where it waited in vain for a connection, the next one does not begin.
            self.note_address(link.id, false);
        }
        self.conclude(id, Err(failure), now);
    }

    fn conclude(&mut self, id: InquiryId, answer: Result<Finding, Failure>, now: Instant) {
        let Some(inquiry) = self.inquiries.remove(id) else {
            return;
        };
        if let Some(link) = inquiry.link {
            self.close_up(link.id);
        }
        self.answered(inquiry.asker, answer, now);
    }
}

/// Whether nothing is left on the connection behind the answer.
fn upstream_is_clean(ups: &crate::slab::Slab<Upstream>, up: UpstreamId) -> bool {
    ups.get(up)
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
            finding: Finding {
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
            surplus: 1,
            body_bytes: None,
            gathered_bytes: 0,
            passage_bytes: u64::MAX,
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
        proxy.bounds.inquiries = 2;
        proxy
    }

    fn literal() -> Proxy {
        gateway(TargetHost::Address([192, 0, 2, 1].into()))
    }

    fn question(tag: u8, keep: bool) -> Question {
        Question {
            asker: Asker::Test(tag),
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
        assert_eq!(proxy.pending(Side::Up(up)).0, REQUEST);
        proxy.handle_sent(Side::Up(up), REQUEST.len(), at(2));
        assert_eq!(proxy.pending(Side::Up(up)), (&b""[..], &b""[..]));
    }

    /// The other side says this.
    fn say(proxy: &mut Proxy, up: UpstreamId, bytes: &[u8]) {
        let room = proxy.room(Side::Up(up));
        room[..bytes.len()].copy_from_slice(bytes);
        proxy.handle_received(Side::Up(up), bytes.len(), at(3));
    }

    /// Asks on a fresh connection, and the request goes out.
    fn asked(proxy: &mut Proxy, tag: u8, keep: bool) -> UpstreamId {
        proxy
            .ask(question(tag, keep), at(1))
            .expect("room for a question");
        let up = dialed(proxy).expect("a connection");
        proxy.handle_connected(up, at(2));
        written(proxy, up);
        up
    }

    /// What was heard; then nothing may be left but `idle` connections.
    fn heard(proxy: &mut Proxy, idle: usize) -> Result<(u16, Vec<u8>), End> {
        assert_eq!(proxy.answers.len(), 1);
        let (_, answer, _) = proxy.answers.remove(0);
        assert_eq!(
            (
                proxy.inquiries.len(),
                proxy.upstreams(),
                proxy.buffers_lent()
            ),
            (0, idle, 0)
        );
        assert!(proxy.is_within_memory());
        answer.map(|finding| (finding.status, finding.body))
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
                Err(End::OverLimit),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
                true,
                0,
                Err(End::UpstreamClosed),
            ),
            (b"HTTP/1.1 200", true, 0, Err(End::UpstreamClosed)),
            (b"", true, 0, Err(End::UpstreamClosed)),
            (
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                false,
                0,
                Err(End::UpstreamMalformed),
            ),
            (b"200 OK\r\n\r\n", false, 0, Err(End::UpstreamMalformed)),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
                false,
                0,
                Err(End::UpstreamMalformed),
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
                    proxy.handle_end(Side::Up(up), at(4));
                }
                let idle = if answer.ends_with(b"\r\nHTTP") && cut == answer.len() - 4 {
                    proxy.upstreams()
                } else {
                    idle
                };
                assert_eq!(
                    heard(&mut proxy, idle),
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
        assert_eq!(heard(&mut proxy, 1), Ok((200, vec![])));
        proxy.ask(question(1, true), at(5)).expect("room");
        assert_eq!(dialed(&mut proxy), None, "the pooled one is taken");
        written(&mut proxy, up);
        proxy.handle_end(Side::Up(up), at(6));
        let fresh = dialed(&mut proxy).expect("a fresh connection");
        proxy.handle_connected(fresh, at(7));
        written(&mut proxy, fresh);
        proxy.handle_end(Side::Up(fresh), at(8));
        assert_eq!(heard(&mut proxy, 0), Err(End::UpstreamClosed));
    }

    #[test]
    fn what_was_said_before_the_question_is_no_answer() {
        let mut proxy = literal();
        let up = asked(&mut proxy, 0, true);
        say(&mut proxy, up, b"HTTP/1.1 204 No Content\r\n\r\n");
        heard(&mut proxy, 1).expect("an answer");
        proxy.ask(question(1, true), at(5)).expect("room");
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
            heard(&mut proxy, 0).expect("an answer");
        }
    }

    #[test]
    fn nothing_within_its_time() {
        let mut proxy = literal();
        asked(&mut proxy, 0, true);
        proxy.handle_timeout(at(1900));
        assert!(proxy.answers.is_empty());
        proxy.handle_timeout(at(2100));
        assert_eq!(heard(&mut proxy, 0), Err(End::UpstreamTimeout));
    }

    #[test]
    fn refused_unresolved_and_too_many() {
        let mut proxy = literal();
        proxy.ask(question(0, true), at(1)).expect("room");
        let up = dialed(&mut proxy).expect("a connection");
        proxy.handle_fault(Side::Up(up), Fault::Refused, at(2));
        assert_eq!(heard(&mut proxy, 0), Err(End::UpstreamRefused));

        let mut proxy = gateway(TargetHost::Name("b".to_owned()));
        for tag in 0..2 {
            proxy.ask(question(tag, true), at(1)).expect("room");
        }
        assert_eq!(
            proxy.ask(question(2, true), at(1)),
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
                .all(|(_, answer, _)| *answer == Err(End::UpstreamUnresolved))
        );
        assert_eq!(
            (
                proxy.inquiries.len(),
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
        proxy.ask(question(0, true), at(1)).expect("room");
        let first = dialed(&mut proxy).expect("the first address");
        proxy.handle_fault(Side::Up(first), Fault::Refused, at(2));
        let second = dialed(&mut proxy).expect("the second address");
        proxy.handle_fault(Side::Up(second), Fault::Refused, at(2));
        assert_eq!(heard(&mut proxy, 0), Err(End::UpstreamRefused));

        let [_, pinned] = addresses;
        while proxy.poll_command().is_some() {}
        proxy
            .ask(
                Question {
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
        proxy.handle_fault(Side::Up(upstream), Fault::Refused, at(4));
        assert_eq!(heard(&mut proxy, 0), Err(End::UpstreamRefused));
    }

    #[test]
    fn nobody_is_told_of_a_dropped_one() {
        let mut proxy = literal();
        let id = proxy.ask(question(0, true), at(1)).expect("room");
        proxy.drop_inquiry(id);
        proxy.handle_timeout(at(3000));
        assert!(proxy.answers.is_empty());
        assert_eq!(
            (
                proxy.inquiries.len(),
                proxy.upstreams(),
                proxy.buffers_lent()
            ),
            (0, 0, 0)
        );
    }
}
