//! One request and its response: two one-way transfers that end on their own, and the table that says what follows.

use std::sync::Arc;

use super::command::UpstreamId;
use super::endpoints::EndpointId;
use super::log_entry::AccessLogEntry;
use super::relay::Transfer;
use super::request_body::{Gathering, Pace};
use super::retarget::HeadVariant;
use super::tunnel::Ended;
use super::upstream::Upstream;
use crate::policy::auth::grant::Grant;

/// A request in flight.
pub(super) struct Exchange {
    /// In a box, because it changes hands more often than it is written to.
    pub(super) log_entry: Box<AccessLogEntry>,
    pub(super) service: usize,
    /// The upstream connection; `None` once the response was read to its end.
    pub(super) link: Option<UpstreamRef>,
    pub(super) upload: Upload,
    /// How fast the request's body comes, where that is watched.
    pub(super) pace: Option<Box<Pace>>,
    pub(super) reply: Reply,
    /// Whether the client's connection may serve another request.
    pub(super) keep: bool,
    pub(super) is_head: bool,
    /// RFC 9110 9.2.2: may be sent again when nobody knows whether it was executed.
    pub(super) idempotent: bool,
    /// An HTTP/1.0 client: no chunks, no 1xx.
    pub(super) http10: bool,
    /// The client asked for a WebSocket and we passed that on.
    pub(super) websocket: bool,
    /// The request, or the answer to it, authenticates the upstream connection as a whole.
    pub(super) private: bool,
    /// The request has content that its method gives no meaning to. An upstream that does not read it takes it for the next
    /// request (RFC 9110 9.3.1), so its connection serves no further one.
    pub(super) odd_content: bool,
    /// Which of the service's targets the head is written for.
    pub(super) destination: u32,
    /// How often it went to another target.
    pub(super) retried: u32,
    /// Endpoints where it came to nothing.
    pub(super) tried: Vec<EndpointId>,
    /// Whether it was sent again to the endpoint that it is at now.
    pub(super) retried_same_endpoint: bool,
    pub(super) variant: HeadVariant,
    /// Whether the upstream sent any byte.
    pub(super) subrequest_done: bool,
    /// 1xx heads seen.
    pub(super) interim: u32,
    /// Their bytes.
    pub(super) interim_bytes: u32,
    /// The client's `Origin`, for a CORS policy with named origins; empty otherwise.
    pub(super) origin: Box<[u8]>,
    /// What let it in has lines for the client ([`Grant::client_lines`]); until a final head, or a reply of ours, has them.
    pub(super) for_client: Option<Arc<Grant>>,
    /// In a tunnel: whether the client ended its direction.
    pub(super) client_ended: Ended,
    /// In a tunnel: whether the upstream ended its direction.
    pub(super) upstream_ended: Ended,
}

/// The upstream connection of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UpstreamRef {
    pub(super) id: UpstreamId,
    /// It came from the pool: it may have died unnoticed, and then one replay is allowed.
    pub(super) reused: bool,
}

/// The request body's way.
pub(super) enum Upload {
    /// Not begun: bytes behind the head may not belong to HTTP (an upgrade without its 101 yet).
    NotStarted,
    /// All of it is read before a connection is taken: it is small.
    Gather(Box<Gathering>),
    /// Under way.
    Copy(Transfer),
    /// All of it was handed to the upstream connection.
    Done,
    /// Given up: the upstream takes no more.
    Abandoned,
}

/// The response's way.
pub(super) enum Reply {
    /// The final head has not come.
    Await,
    /// The head was passed on, the body follows.
    Copy { transfer: Transfer, reusable: bool },
    /// All of it waits in the client's outbox.
    Done,
}

/// How an upload stands when its exchange ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UploadEnd {
    Complete,
    Unfinished,
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReplyEnd {
    /// By its own framing, on a connection that stays open.
    Framed,
    /// By its own framing, on a connection that must not be used again; or by the end of the stream.
    Final,
    /// Before its head was complete. (Behind its head there is nothing to settle: both connections are cut.)
    Missing,
}

/// What becomes of an upstream connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UpstreamFate {
    Pool,
    Close,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClientFate {
    /// The next request.
    Next,
    /// A clean close after the reply.
    Linger,
    /// A reply of our own in place of the one that is missing.
    LocalReply,
}

/// The end-of-exchange table: every pair of ends has its row, and every row a test.
pub(super) fn settle(upload: UploadEnd, reply: ReplyEnd, keep: bool) -> (UpstreamFate, ClientFate) {
    use {ClientFate as Down, ReplyEnd as R, UploadEnd as U, UpstreamFate as Up};
    match (upload, reply, keep) {
        (U::Complete, R::Framed, true) => (Up::Pool, Down::Next),
        (U::Complete, R::Framed, false) => (Up::Pool, Down::Linger),
        (U::Complete, R::Final, true) => (Up::Close, Down::Next),
        (U::Complete, R::Final, false) => (Up::Close, Down::Linger),
        // The rest of the request would be taken for the next one, on either side.
        (U::Unfinished, R::Framed | R::Final, _) => (Up::Close, Down::Linger),
        (_, R::Missing, _) => (Up::Close, Down::LocalReply),
    }
}

impl Exchange {
    /// Whether what `upstream` says cannot be the answer: the connection comes from the pool, and not a byte of this request
    /// has gone out on it. The last exchange's upstream said too much, or says 408 to an idle connection.
    pub(super) fn is_unasked(&self, upstream: &Upstream) -> bool {
        self.link.is_some_and(|link| link.reused) && !upstream.outbox.any_sent()
    }

    /// Whether what went to `upstream` may be sent again, there or elsewhere: not a byte of the answer came, all of the request
    /// is still here, and the method is idempotent or nothing of it was written (RFC 9110 9.2.2).
    pub(super) fn may_go_again(&self, upstream: &Upstream) -> bool {
        let safe = self.idempotent || !upstream.outbox.any_sent();
        let whole = upstream.outbox.can_rewind() && !matches!(self.upload, Upload::Abandoned);
        safe && whole && !self.subrequest_done
    }

    /// How the upload stands.
    pub(super) fn upload_end(&self) -> UploadEnd {
        match self.upload {
            Upload::Done => UploadEnd::Complete,
            Upload::NotStarted | Upload::Gather(_) | Upload::Copy(_) | Upload::Abandoned => {
                UploadEnd::Unfinished
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_exchange_table() {
        use {ClientFate as Down, ReplyEnd as R, UploadEnd as U, UpstreamFate as Up};
        for (upload, reply, keep, expected) in [
            (U::Complete, R::Framed, true, (Up::Pool, Down::Next)),
            (U::Complete, R::Framed, false, (Up::Pool, Down::Linger)),
            (U::Complete, R::Final, true, (Up::Close, Down::Next)),
            (U::Complete, R::Final, false, (Up::Close, Down::Linger)),
            (U::Complete, R::Missing, true, (Up::Close, Down::LocalReply)),
            (
                U::Complete,
                R::Missing,
                false,
                (Up::Close, Down::LocalReply),
            ),
            (U::Unfinished, R::Framed, true, (Up::Close, Down::Linger)),
            (U::Unfinished, R::Framed, false, (Up::Close, Down::Linger)),
            (U::Unfinished, R::Final, true, (Up::Close, Down::Linger)),
            (U::Unfinished, R::Final, false, (Up::Close, Down::Linger)),
            (
                U::Unfinished,
                R::Missing,
                true,
                (Up::Close, Down::LocalReply),
            ),
            (
                U::Unfinished,
                R::Missing,
                false,
                (Up::Close, Down::LocalReply),
            ),
        ] {
            assert_eq!(
                settle(upload, reply, keep),
                expected,
                "{upload:?} {reply:?} {keep}"
            );
        }
    }
}
