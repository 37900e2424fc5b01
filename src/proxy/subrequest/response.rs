//! The response to a request of the gateway's own: heads until the final one, then the body,
//! collected up to its limit.

use super::super::context::Context;
use super::super::heads::RESPONSE_LIMITS;
use super::super::ids::{SubrequestId, UpstreamId};
use super::super::outbox::Outbox;
use super::super::reason::{Failure, Reason};
use super::super::transfer::{BodyReader, BodyWriter, Progress, Transfer};
use super::super::upstream::Upstreams;
use super::{Done, Expects, SubResponse, Subrequests};
use crate::http::connection::Connection;
use crate::http::error::ResponseError;
use crate::http::framing::{keeps_alive, response_body};
use crate::http::head::{ResponseHead, parse_response};
use crate::http::persistence::{idle_seconds, offers_connection_scheme};
use crate::limits::INTERIM_RESPONSES_MAX;
use crate::observe::access::Outcome;

/// A final head that came, and its body on the way.
pub(super) struct Body {
    response: SubResponse,
    transfer: Transfer,
    /// True if the connection may serve another request afterwards.
    reusable: bool,
}

impl Subrequests {
    /// Takes bytes that came from the upstream.
    pub(in crate::proxy) fn on_upstream_bytes(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let subrequest = self.slab.get(id)?;
        let is_unasked = subrequest.dialing.upstream.is_some_and(|used| used.reused)
            && upstreams
                .get(up)
                .is_some_and(|upstream| !upstream.outbox.any_sent());
        if is_unasked {
            return self.lost(id, up, ResponseError::Unasked.into(), upstreams, ctx);
        }
        while self.slab.get(id)?.response.is_none() {
            match self.read_head(id, up, upstreams, ctx) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return self.finish(id, Err(error.into()), upstreams, ctx),
            }
        }
        let subrequest = self.slab.get_mut(id)?;
        match subrequest.expects {
            Expects::Head => {
                let body = subrequest.response.take()?;
                self.finish(id, Ok(body.response), upstreams, ctx)
            }
            Expects::Body(most) => self.collect(id, up, most, upstreams, ctx),
        }
    }

    /// Reads one head; false: it is not complete.
    fn read_head(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Result<bool, ResponseError> {
        let (Some(subrequest), Some(upstream)) = (self.slab.get_mut(id), upstreams.get_mut(up))
        else {
            return Ok(false);
        };
        if upstream.inbox.is_empty() {
            return Ok(false);
        }
        let (bytes, scan) = (upstream.inbox.filled(), &mut upstream.scan);
        let parsed = parse_response(bytes, scan, &mut ctx.fields, &RESPONSE_LIMITS);
        let Some(head) = parsed? else {
            return Ok(false);
        };
        Connection::of(&head.fields).check_response()?;
        let len = head.len;
        match head.status {
            // No other protocol was asked for.
            101 => return Err(ResponseError::Switch),
            100..=199 => {
                subrequest.interim = subrequest.interim.saturating_add(1);
                if subrequest.interim > INTERIM_RESPONSES_MAX {
                    return Err(ResponseError::TooManyInterim);
                }
            }
            _ => {
                subrequest.response = Some(Body::behind(&head)?);
                if let Some(seconds) = idle_seconds(&head.fields) {
                    upstream.note_idle(seconds);
                }
            }
        }
        upstream.scan = Default::default();
        upstream.inbox.consume(len);
        Ok(true)
    }

    /// Moves what is there of the body to the response, of which a body has at most `most` bytes.
    fn collect(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        most: usize,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let body = self.slab.get_mut(id)?.response.as_mut()?;
        let upstream = upstreams.get_mut(up)?;
        let mut through = Outbox::default();
        loop {
            let before = body.transfer.moved();
            let buffers = &mut ctx.buffers;
            let step = body
                .transfer
                .step(&mut upstream.inbox, &mut through, buffers);
            let room = most.saturating_sub(body.response.body.len());
            let bytes = through.pending().1;
            let fits = bytes.len() <= room;
            let taken = bytes.get(..room).unwrap_or(bytes);
            body.response.body.extend_from_slice(taken);
            through.clear(buffers);
            let failure = match step {
                _ if !fits => Failure::new(Outcome::OverLimit, Reason::AnswerTooLong),
                Err(error) => Failure::response_body(error),
                Ok(Progress::Complete) => {
                    let is_clean = upstream.inbox.is_empty();
                    return self.complete(id, is_clean, upstreams, ctx);
                }
                Ok(Progress::More) if body.transfer.moved() > before => continue,
                Ok(Progress::More) => return None,
            };
            return self.finish(id, Err(failure), upstreams, ctx);
        }
    }

    fn complete(
        &mut self,
        id: SubrequestId,
        is_clean: bool,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let subrequest = self.slab.get_mut(id)?;
        let body = subrequest.response.take()?;
        let keep = subrequest.keep;
        if let Some(upstream) = subrequest.dialing.upstream.take() {
            upstreams.put_back(upstream.id, body.reusable && is_clean, keep, ctx);
        }
        self.finish(id, Ok(body.response), upstreams, ctx)
    }

    /// Notes the end of the upstream's direction.
    pub(in crate::proxy) fn on_upstream_end(
        &mut self,
        id: SubrequestId,
        up: UpstreamId,
        upstreams: &mut Upstreams,
        ctx: &mut Context,
    ) -> Option<Done> {
        let failure = Failure::ended_early();
        match &self.slab.get(id)?.response {
            None => self.lost(id, up, failure, upstreams, ctx),
            Some(body) if body.transfer.ends_with_stream() => {
                self.complete(id, false, upstreams, ctx)
            }
            Some(_) => self.finish(id, Err(failure), upstreams, ctx),
        }
    }
}

impl Body {
    fn behind(head: &ResponseHead<'_>) -> Result<Body, ResponseError> {
        let incoming = response_body(head, false)?;
        let from = BodyReader::of_response(&incoming.body);
        let owned = |bytes: &[u8]| bytes.to_vec().into_boxed_slice();
        let fields = head.fields.iter();
        let fields = fields.map(|field| (owned(field.name), owned(field.value)));
        let authenticates =
            matches!(head.status, 401 | 407) && offers_connection_scheme(&head.fields);
        Ok(Body {
            response: SubResponse {
                status: head.status,
                fields: fields.collect(),
                body: Vec::new(),
            },
            transfer: Transfer::new(from, BodyWriter::Plain),
            reusable: incoming.reusable
                && keeps_alive(head.version, &head.fields)
                && !authenticates,
        })
    }
}
