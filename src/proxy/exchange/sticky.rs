//! The cookie of a sticky session, which goes to the client with the response.

use std::sync::Arc;

use super::super::command::ListenerKind;
use super::relay::Relay;
use crate::policy::auth::grant::Grant;

impl Relay<'_> {
    /// Returns the grant whose lines go to the client with the final head, with the cookie for a
    /// service that has one, unless the client's own names the endpoint that answers. The grant of
    /// the exchange stays without it: a reply in place of this head names no endpoint.
    #[cold]
    pub(super) fn with_cookie(&self) -> Option<Arc<Grant>> {
        let exchange = &*self.exchange;
        let known = || exchange.for_client.clone();
        let Some(sticky) = exchange.rules.service.sticky.as_deref() else {
            return known();
        };
        let (attempts, service) = (&exchange.attempts, exchange.rules.id);
        let name = attempts.upstream_id().and_then(|up| {
            let destination = attempts.destination as usize;
            self.upstreams.sticky_name(up, service, destination)
        });
        let Some(name) = name.filter(|name| attempts.sticky != Some(*name)) else {
            return known();
        };
        let is_secure = self.client.listener == ListenerKind::Secure;
        let line = sticky.cookie.line(name, is_secure);
        let grant = exchange.for_client.as_deref().cloned();
        let grant = grant.unwrap_or_default().with_client_lines(&line);
        Some(Arc::new(grant))
    }
}
