//! Entries of the access log, collected while a request is in flight.
//!
//! The request's bytes are gone by the time its line is written, so what the line shows of them is
//! kept here, in one string that is reused from request to request.

mod details;
mod line;

use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::ids::EndpointId;
use super::reason::{Failure, Reason};
use super::rules::ServiceRules;
use super::settings::Target;
use super::tries::{Tries, Verdict};
use crate::buffer::joined_len;
use crate::http::field::{Name, is_tchar};
use crate::http::head::RequestHead;
use crate::limits::{ACCESS_FIELD_BYTES, ACCESS_FIELDS_RETAINED_BYTES};
use crate::observe::access::{Entrance, Outcome};
use crate::observe::basic_user::basic_user;
use crate::observe::metrics::numbers::Ended;
use crate::optional::{OptionalU16, OptionalU32};
use crate::policy::forward::Scheme;
use crate::policy::rate_fields::Quota;
use crate::policy::request_id::{IdField, IdShape, RequestIds};
use crate::time::Instant;

/// A line of the access log in the making.
#[derive(Default)]
pub(super) struct AccessLogEntry {
    /// Field line with the id of the request, request line, user, Referer and User-Agent, one behind
    /// the other; for a JSON line or header edits also the host, the trace id, the subject of a
    /// token and the name of the consumer.
    text: Vec<u8>,
    /// Layout of the first of them.
    id: IdShape,
    line: u16,
    method: u16,
    target: u16,
    user: OptionalU16,
    referer: OptionalU16,
    user_agent: OptionalU16,
    details: Details,
    pub(super) numbers: Numbers,
    /// Rules of the service that the request has a route to: those of the edition that the request
    /// was judged by.
    pub(super) service: Option<Rc<ServiceRules>>,
    /// Reason why the request was refused or failed, where its outcome does not say it all. In a
    /// box: most requests have none.
    pub(super) reason: Option<Box<Reason>>,
    /// Failed attempts.
    pub(super) tries: Option<Box<Tries>>,
}

/// Facts about a request that are not text. The ring of decisions copies them as one value.
#[derive(Clone, Copy, Default)]
pub(super) struct Numbers {
    pub(super) entrance: Entrance,
    pub(super) client: Option<IpAddr>,
    pub(super) started: Instant,
    pub(super) status: Option<u16>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Requests that the client has left behind this one.
    pub(super) quota: Option<Quota>,
    /// Number of the destination that the request went to last.
    pub(super) sent_to: OptionalU32,
    pub(super) upstream_status: Option<u16>,
    /// Milliseconds from the start until the request went up last, at most 49 days.
    pub(super) went_up: OptionalU32,
    pub(super) upstream_millis: OptionalU32,
    pub(super) reused: bool,
    pub(super) retries: u32,
    pub(super) verdict: Verdict,
    /// Address that answered.
    pub(super) endpoint: Option<EndpointId>,
}

/// Bytes of the texts that only JSON lines and header edits show; 0 without one.
#[derive(Clone, Copy, Default)]
struct Details {
    host: u16,
    trace: u16,
    subject: u16,
    consumer: u16,
    scheme: Option<Scheme>,
    /// True if `Accept` names `text/html`.
    names_html: bool,
}

impl AccessLogEntry {
    /// Empties it for the next request; the string keeps its storage.
    #[inline(always)]
    pub(super) fn restart(&mut self, client: Option<IpAddr>, entrance: Entrance, now: Instant) {
        let mut text = core::mem::take(&mut self.text);
        text.clear();
        if self.service.is_some() || self.reason.is_some() || self.tries.is_some() {
            self.release();
        }
        // Nothing is left that would have to be dropped, which takes several calls.
        core::mem::forget(core::mem::replace(
            self,
            AccessLogEntry {
                text,
                numbers: Numbers {
                    client,
                    entrance,
                    started: now,
                    ..Numbers::default()
                },
                ..AccessLogEntry::default()
            },
        ));
    }

    /// Drops what its storage does not keep for the next request.
    #[inline(never)]
    fn release(&mut self) {
        (self.service, self.reason, self.tries) = (None, None, None);
    }

    /// Sets the id of a request of which nothing is noted yet.
    #[inline]
    pub(super) fn set_id(&mut self, (line, shape): (&[u8], IdShape)) {
        self.text.extend_from_slice(line);
        self.id = shape;
    }

    /// Replaces that id by the one that a trusted proxy gave to the request.
    pub(super) fn set_given_id(&mut self, ids: &RequestIds, id: &[u8]) {
        self.text.clear();
        self.id = ids.write_given(id, &mut self.text);
    }

    /// Returns the number of the listener's name; 0 without one.
    pub(super) fn listener(&self) -> u16 {
        self.numbers.entrance.listener
    }

    /// Returns the id of the request; `None` if ids are off.
    pub(super) fn id(&self) -> Option<&[u8]> {
        self.id.id(self.parts_of_text().0)
    }

    /// Returns the field line with the id of the request.
    #[inline]
    pub(super) fn id_field(&self) -> IdField<'_> {
        self.id.field(self.parts_of_text().0)
    }

    /// Returns the field line with the id, and the rest of the text.
    #[inline]
    fn parts_of_text(&self) -> (&[u8], &[u8]) {
        split(&self.text, self.id.bytes())
    }

    /// Keeps what a line may show of the head.
    pub(super) fn note_head(&mut self, head: &RequestHead<'_>) {
        let [credentials, referer, user_agent] =
            [Name::Authorization, Name::Referer, Name::UserAgent]
                .map(|name| head.fields.first(name));
        // Exactly, or a large head would be kept with as much room again behind it.
        let shown = [Some(head.line), credentials, referer, user_agent];
        let needed = joined_len(shown.map(|part| part.map_or(0, <[u8]>::len)));
        // An entry that was used before mostly has the room, and to ask for it is a call.
        if needed > self.text.capacity().saturating_sub(self.text.len()) {
            self.text.reserve_exact(needed);
        }
        self.note_line(head.line);
        let cut = |bytes: &[u8], most: u16| bytes.len().min(most.into()) as u16;
        self.method = cut(head.method, self.line);
        self.target = cut(
            head.target,
            self.line.saturating_sub(self.method).saturating_sub(1),
        );
        if let Some(credentials) = credentials {
            let before = self.text.len();
            if basic_user(credentials, &mut self.text) {
                self.text
                    .truncate(before.saturating_add(ACCESS_FIELD_BYTES));
                let bytes = self.text.len().saturating_sub(before);
                self.user = OptionalU16::some(bytes as u16);
            } else {
                self.text.truncate(before);
            }
        }
        self.referer = self.keep_if_any(referer);
        self.user_agent = self.keep_if_any(user_agent);
    }

    /// Notes that the request goes to an upstream, on a `reused` connection or a fresh one.
    pub(super) fn goes_up(&mut self, reused: bool, now: Instant) {
        self.numbers.reused = reused;
        self.numbers.went_up = OptionalU32::some(self.millis_since_start(now));
    }

    /// The final head of the upstream, or its 101, has come.
    pub(super) fn is_answered(&mut self, status: u16, now: Instant) {
        self.numbers.status = Some(status);
        self.numbers.upstream_status = Some(status);
        if let Some(at) = self.numbers.went_up.get() {
            let millis = self.millis_since_start(now).saturating_sub(at);
            self.numbers.upstream_millis = OptionalU32::some(millis);
        }
    }

    /// Returns true if the name in Basic credentials may stand in a JSON line: a provider accepted
    /// the credentials, or the service asks for none, so that its upstream judges them. Others are
    /// what anybody may claim.
    fn may_name_user(&self) -> bool {
        let is_open = |rules: &Rc<ServiceRules>| rules.providers.is_empty();
        self.service.as_ref().is_none_or(is_open) || self.numbers.verdict == Verdict::Credential
    }

    /// Returns the target that the request went to last.
    #[inline(always)]
    pub(super) fn target(&self) -> Option<&Rc<Target>> {
        let destination = self
            .service
            .as_ref()?
            .destination(self.numbers.sent_to.get()? as usize)?;
        Some(&destination.target)
    }

    /// Returns the facts that are counted when the request ends.
    #[inline(always)]
    pub(super) fn ended(&self, outcome: Outcome, now: Instant) -> Ended {
        Ended {
            status: self.numbers.status,
            outcome,
            millis: now.since(self.numbers.started).as_millis(),
            upstream_millis: self.numbers.upstream_millis.get(),
            request_bytes: self.numbers.bytes_in,
            response_bytes: self.numbers.bytes_out,
            retries: self.numbers.retries,
        }
    }

    /// Returns the text from the id of the request on; `None` if ids are off.
    #[inline(always)]
    pub(super) fn text_from_id(&self) -> Option<&[u8]> {
        let start = self.id.value_start()?;
        self.text.get(start..)
    }

    /// Returns the bytes of the id, of the method and of the target.
    #[inline(always)]
    pub(super) fn lengths(&self) -> (usize, u16, u16) {
        (self.id.value_bytes(), self.method, self.target)
    }

    /// Notes a failed attempt. `address`: where it went, if that is known. `made`: its connection was
    /// made.
    #[cold]
    pub(super) fn note_try(
        &mut self,
        (address, made): (Option<SocketAddr>, bool),
        failure: &Failure,
        now: Instant,
    ) {
        let at = self.millis_since_start(now);
        let destination = self.numbers.sent_to.get().unwrap_or(0);
        let kept = made.then_some(self.numbers.reused);
        let tries = self.tries.get_or_insert_default();
        tries.note(at, destination, (address, kept), failure);
    }

    fn millis_since_start(&self, now: Instant) -> u32 {
        u32::try_from(now.since(self.numbers.started).as_millis()).unwrap_or(u32::MAX)
    }

    /// Gives back storage that few requests need.
    #[inline(always)]
    pub(super) fn shrink(&mut self) {
        self.reason = None;
        self.service = None;
        self.tries = None;
        if self.text.capacity() > ACCESS_FIELDS_RETAINED_BYTES {
            self.text = Vec::new();
        }
    }

    /// Keeps what can be read of the start of a head that was not parsed: at most `most` bytes of
    /// its first line, and where the whole method and the whole target are in it.
    pub(super) fn note_start(&mut self, bytes: &[u8], most: usize) {
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let line = bytes
            .split(|&byte| byte == b'\r' || byte == b'\n')
            .next()
            .unwrap_or_default();
        self.note_line(line.get(..most).unwrap_or(line));
        let (_, kept) = split(&self.text, self.id.bytes());
        let (kept, _) = split(kept, self.line.into());
        // What ends with a space was not cut.
        let mut parts = kept.split(|&byte| byte == b' ');
        let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
            return;
        };
        if method.is_empty() || !method.iter().all(|&byte| is_tchar(byte)) {
            return;
        }
        self.method = method.len() as u16;
        if parts.next().is_some() && target.iter().all(u8::is_ascii_graphic) {
            self.target = target.len() as u16;
        }
    }

    #[inline(always)]
    fn note_line(&mut self, line: &[u8]) {
        self.line = self.keep(line);
    }

    /// The method and the target, each empty where it is not known.
    pub(super) fn method_and_path(&self) -> (&[u8], &[u8]) {
        let (line, _) = split(self.parts_of_text().1, self.line.into());
        let (method, after) = split(line, self.method.into());
        (
            method,
            split(after.get(1..).unwrap_or_default(), self.target.into()).0,
        )
    }

    /// Returns the method and the target without its query, which may have secrets; each empty where
    /// it is not known.
    pub(super) fn method_and_bare_path(&self) -> (&[u8], &[u8]) {
        let (method, path) = self.method_and_path();
        let bare = path.split(|&byte| byte == b'?').next();
        (method, bare.unwrap_or_default())
    }

    /// The method, the target and the version, each empty where it is not known.
    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let (method, path) = self.method_and_path();
        // Behind a whole method and a whole target, and whole itself.
        let (line, _) = split(self.parts_of_text().1, self.line.into());
        let behind = line
            .get(joined_len([method.len(), 1, path.len(), 1])..)
            .unwrap_or_default();
        let is_version = matches!(behind, [b'H', b'T', b'T', b'P', b'/', a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit());
        let proto = if is_version && !method.is_empty() && !path.is_empty() {
            behind
        } else {
            b""
        };
        (method, path, proto)
    }

    /// Keeps at most [`ACCESS_FIELD_BYTES`] of a text. Returns how many bytes that is.
    #[inline(always)]
    fn keep(&mut self, bytes: &[u8]) -> u16 {
        let bytes = bytes.get(..ACCESS_FIELD_BYTES).unwrap_or(bytes);
        self.text.extend_from_slice(bytes);
        bytes.len() as u16
    }

    #[inline(always)]
    fn keep_if_any(&mut self, bytes: Option<&[u8]>) -> OptionalU16 {
        bytes.map_or(OptionalU16::NONE, |bytes| {
            OptionalU16::some(self.keep(bytes))
        })
    }
}

const _: () = assert!(
    ACCESS_FIELD_BYTES < u16::MAX as usize,
    "lengths have 16 bits"
);

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_at_rest_keeps_little_and_a_line_is_cut() {
        let mut log_entry = AccessLogEntry::default();
        log_entry.note_line(&[b'x'; 3 * ACCESS_FIELD_BYTES]);
        assert_eq!(log_entry.text.len(), ACCESS_FIELD_BYTES);
        log_entry.shrink();
        assert!(log_entry.text.capacity() <= ACCESS_FIELDS_RETAINED_BYTES);
        log_entry.restart(None, Entrance::default(), Instant::ZERO);
        log_entry.note_line(b"GET / HTTP/1.1");
        let kept = log_entry.text.capacity();
        log_entry.shrink();
        assert_eq!(
            log_entry.text.capacity(),
            kept,
            "the storage that most requests need stays"
        );
    }
}
