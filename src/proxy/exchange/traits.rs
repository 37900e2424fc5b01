//! Small facts of an exchange.

/// Facts of a request that matter once its head is gone. Known when the exchange begins, and never
/// changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::proxy) struct Traits(u8);

impl Traits {
    /// The request is a HEAD: its response has no content.
    pub(in crate::proxy) const HEAD: Traits = Traits(1);
    /// The method may be sent again when it is not known whether it was executed (RFC 9110 9.2.2).
    pub(in crate::proxy) const IDEMPOTENT: Traits = Traits(2);
    /// The client speaks HTTP/1.0: no chunks, no 1xx.
    pub(in crate::proxy) const HTTP_1_0: Traits = Traits(4);
    /// The client asked for a WebSocket and that was passed on.
    pub(in crate::proxy) const WEBSOCKET: Traits = Traits(8);
    /// The request has content that its method gives no meaning to. An upstream that does not read
    /// it takes it for the next request (RFC 9110 9.3.1), so its connection serves no further one.
    pub(in crate::proxy) const CONTENT_WITHOUT_MEANING: Traits = Traits(16);

    /// Adds a trait where `is_so`.
    #[inline]
    pub(in crate::proxy) fn with(self, one: Traits, is_so: bool) -> Traits {
        if is_so { Traits(self.0 | one.0) } else { self }
    }

    /// Returns whether the request has a trait.
    #[inline]
    pub(in crate::proxy) fn has(self, one: Traits) -> bool {
        self.0 & one.0 != 0
    }
}

/// True if the client's connection may serve another request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Persistence {
    KeepAlive,
    Close,
}

impl Persistence {
    /// Returns `KeepAlive` where `keeps`.
    pub(in crate::proxy) fn from_bool(keeps: bool) -> Persistence {
        if keeps {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }
}

/// Clients that may use the upstream connection afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Sharing {
    /// Any client.
    Shared,
    /// Only this client: the request, or the answer to it, authenticates the connection as a whole.
    Private,
}

/// Reasons of a deadline: what an exchange waits for, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum WaitsFor {
    /// The rest of a small request body: `timeouts.head`, or `timeouts.body` where that is shorter.
    RequestBody,
    /// An upstream connection: `timeouts.connect`.
    Connect,
    /// The response's head: `timeouts.response`.
    Response,
    /// Progress in either direction: `timeouts.idle`.
    Progress,
    /// Bytes of a tunnel: `timeouts.tunnel`.
    Tunnel,
    /// A client that takes what came of an upstream that is gone: `timeouts.idle`.
    TunnelEnd,
}
