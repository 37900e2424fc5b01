//! Details of a request that JSON lines and header edits show, kept behind all else.

use super::{AccessLogEntry, Details, split};
use crate::buffer::{Buffer, joined_len};
use crate::http::emit::HeadTooLarge;
use crate::http::field::Name;
use crate::http::head::RequestHead;
use crate::http::{target, trace};
use crate::limits::{AUTH_SUBJECT_BYTES, HEADER_VARIABLE_BYTES};
use crate::policy::auth::grant::Grant;
use crate::policy::edits::{Facts, HeaderEdits};
use crate::policy::error_pages::names_html;
use crate::policy::forward::{self, Scheme};
use crate::proxy::heads::edit;

impl AccessLogEntry {
    /// Keeps what only JSON lines and header edits show of the head, behind all else. `is_trusted`:
    /// what the peer forwards is believed.
    #[cold]
    pub(in crate::proxy) fn note_details(&mut self, head: &RequestHead<'_>, is_trusted: bool) {
        let mut hosts = head.fields.get_all(Name::Host);
        let host = match (target::authority(head.target), hosts.next(), hosts.next()) {
            (Some(authority), ..) => authority,
            (None, Some(host), None) => host,
            _ => b"",
        };
        let trace = trace::id(&head.fields).unwrap_or_default();
        self.text
            .reserve_exact(joined_len([host.len(), trace.len(), AUTH_SUBJECT_BYTES]));
        if is_trusted {
            self.details.scheme = forward::scheme(&head.fields);
        }
        self.details.names_html = names_html(&head.fields);
        self.details.host = self.keep(host);
        self.details.trace = self.keep(trace);
    }

    /// Returns true if the client asks for HTML, where error pages are configured.
    pub(in crate::proxy) fn names_html(&self) -> bool {
        self.details.names_html
    }

    /// Keeps the subject of the token that let the request in, and the name of the consumer;
    /// `note_details` comes before.
    #[cold]
    pub(in crate::proxy) fn note_grant(&mut self, grant: &Grant) {
        if self.details.subject == 0 && self.details.consumer == 0 {
            self.details.subject = self.keep(grant.subject().as_bytes());
            let consumer = grant.consumer().unwrap_or_default();
            if consumer.len() <= HEADER_VARIABLE_BYTES {
                self.text.reserve_exact(consumer.len());
                self.details.consumer = self.keep(consumer.as_bytes());
            }
        }
    }

    /// Returns what header edits may say about the request. `scheme`: that of the connection.
    fn facts(&self, scheme: Scheme) -> Facts<'_> {
        let Details {
            host,
            trace,
            subject,
            consumer,
            scheme: forwarded,
            names_html: _,
        } = self.details;
        let fields = [self.user, self.referer, self.user_agent];
        let fields = fields.map(|length| length.get().unwrap_or(0));
        let before = fields.into_iter().chain([self.line]).map(usize::from);
        let (_, rest) = split(self.parts_of_text().1, joined_len(before));
        let (host, rest) = split(rest, host.into());
        let (_, rest) = split(rest, joined_len([trace, subject].map(usize::from)));
        Facts {
            client: self.numbers.client,
            host,
            scheme: Some(forwarded.unwrap_or(scheme)),
            id: self.id().unwrap_or_default(),
            service: self
                .service
                .as_ref()
                .map_or(&[], |rules| rules.label.as_bytes()),
            consumer: split(rest, consumer.into()).0,
        }
    }

    /// Edits the head of a response to the request, which begins at the byte `start` of what `out`
    /// has. `scheme`: that of the connection.
    ///
    /// # Errors
    /// The added lines do not fit.
    #[cold]
    pub(in crate::proxy) fn edit_response(
        &self,
        edits: &HeaderEdits,
        scheme: Scheme,
        (out, start): (&mut Buffer, usize),
    ) -> Result<(), HeadTooLarge> {
        edit(out, start, edits, &self.facts(scheme))
    }
}
