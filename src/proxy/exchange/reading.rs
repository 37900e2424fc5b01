//! Reads of both sides of an exchange: only bytes that can be passed on, or that it waits for.

use super::super::client::{Client, Clients};
use super::super::upstream::{Upstream, Upstreams};
use super::{Exchange, Response, Upload};

impl Exchange {
    /// Returns whether bytes may be read from its client.
    pub(in crate::proxy) fn wants_from_client(
        &self,
        client: &Client,
        upstreams: &Upstreams,
    ) -> bool {
        let is_empty = client.inbox.is_empty();
        let upstream_accepts = || {
            let upstream = self.attempts.upstream_id().and_then(|up| upstreams.get(up));
            upstream.is_some_and(|upstream| upstream.outbox.accepts())
        };
        match (&self.upload, &self.response) {
            (_, Response::Tunnel(tunnel)) => {
                tunnel.client_is_open() && is_empty && upstream_accepts()
            }
            (Upload::Gather(_), _) => is_empty,
            (Upload::Copy(_), _) => is_empty && upstream_accepts(),
            (Upload::NotStarted | Upload::Done | Upload::Abandoned, _) => false,
        }
    }

    /// Returns whether bytes may be read from its upstream.
    #[inline]
    pub(in crate::proxy) fn wants_from_upstream(
        &self,
        upstream: &Upstream,
        clients: &Clients,
    ) -> bool {
        let can_take = || {
            let client = clients.get(self.client);
            upstream.inbox.is_empty() && client.is_some_and(|client| client.outbox.accepts())
        };
        match &self.response {
            Response::Awaited | Response::Begun => true,
            Response::Copy { .. } => can_take(),
            Response::Done => false,
            Response::Tunnel(tunnel) => tunnel.upstream_is_open() && can_take(),
        }
    }
}
