//! The cookie of a sticky session, which goes to the client with the response.

use std::sync::Arc;

use super::super::command::ListenerKind;
use super::relay::Relay;

impl Relay<'_> {
    /// Adds the cookie to the lines for the client, unless the client's own names the endpoint that
    /// answers. Does nothing for other services.
    #[cold]
    pub(super) fn add_cookie(&mut self) {
        let exchange = &mut *self.exchange;
        let Some(sticky) = exchange.rules.service.sticky.as_deref() else {
            return;
        };
        let (attempts, service) = (&exchange.attempts, exchange.rules.id);
        let name = attempts.upstream_id().and_then(|up| {
            let destination = attempts.destination as usize;
            self.upstreams.sticky_name(up, service, destination)
        });
        let Some(name) = name.filter(|name| attempts.sticky != Some(*name)) else {
            return;
        };
        let is_secure = self.client.listener == ListenerKind::Secure;
        let line = sticky.cookie.line(name, is_secure);
        let grant = exchange.for_client.as_deref().cloned();
        let grant = grant.unwrap_or_default().with_client_lines(&line);
        exchange.for_client = Some(Arc::new(grant));
    }
}
