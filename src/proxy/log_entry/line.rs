//! The record of an entry, which a line of the access log is written from.

use super::{AccessLogEntry, split};
use crate::observe::access::{AccessRecord, Outcome};
use crate::optional::OptionalU16;
use crate::proxy::reason::of_outcome;
use crate::time::{Duration, Instant, UnixTime};

impl AccessLogEntry {
    /// The record, for the renderer. `in_parts`: the request line is needed in its parts, too.
    /// `listener`: name of the listener.
    #[inline(always)]
    pub(in crate::proxy) fn record<'a>(
        &'a self,
        in_parts: bool,
        listener: Option<&'a str>,
        outcome: Outcome,
        now: Instant,
        wall: UnixTime,
    ) -> AccessRecord<'a> {
        let [user_bytes, referer_bytes, user_agent_bytes] =
            [self.user, self.referer, self.user_agent].map(OptionalU16::get);
        let bytes = |length: Option<u16>| length.unwrap_or(0).into();
        let (line, rest) = split(self.parts_of_text().1, self.line.into());
        let (user, rest) = split(rest, bytes(user_bytes));
        let (referer, rest) = split(rest, bytes(referer_bytes));
        let (user_agent, rest) = split(rest, bytes(user_agent_bytes));
        let (host, rest) = split(rest, self.details.host.into());
        let (trace, rest) = split(rest, self.details.trace.into());
        let (subject, rest) = split(rest, self.details.subject.into());
        let (consumer, _) = split(rest, self.details.consumer.into());
        let some = |text| Some(text).filter(|text: &&[u8]| !text.is_empty());
        let (method, path, proto) = if in_parts {
            self.parts()
        } else {
            Default::default()
        };
        AccessRecord {
            client: self.numbers.client,
            id: self.id(),
            user: user_bytes
                .filter(|_| !in_parts || self.may_name_user())
                .map(|_| user),
            subject: some(subject).or(some(consumer)),
            host: some(host),
            trace: some(trace),
            listener,
            tls: self.numbers.entrance.tls,
            wall,
            request_line: line,
            method,
            path,
            proto,
            status: self.numbers.status,
            bytes_in: self.numbers.bytes_in,
            bytes_out: self.numbers.bytes_out,
            duration: now.since(self.numbers.started),
            service: self.service.as_deref().map(|rules| &*rules.label),
            target: self.target().map(|target| target.name()),
            upstream_status: self.numbers.upstream_status,
            upstream_time: self
                .numbers
                .upstream_millis
                .get()
                .map(|millis| Duration::from_millis(millis.into())),
            reused: self.numbers.reused,
            retries: self.numbers.retries,
            referer: referer_bytes.map(|_| referer),
            user_agent: user_agent_bytes.map(|_| user_agent),
            outcome,
            reason: match &self.reason {
                Some(reason) => Some(reason.as_str()),
                None => of_outcome(outcome, self.numbers.status),
            },
        }
    }
}
