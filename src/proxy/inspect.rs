//! View into the engine for `tollgate explain` and tests: decisions that the engine's own rules make
//! about a head, what a request waits for, and answers in place of providers that are not asked.

use std::rc::Rc;

use super::Proxy;
use super::client::Phase;
use super::command::{ClientId, TargetId, UpstreamId};
use super::settings::Provider;
use super::step::Step;
use super::upstream::Owner;
use crate::http::error::RequestError;
use crate::http::head::{FieldTable, HeadScan, parse_request};
use crate::policy::admission::{self, Admission};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::forward::Peer;
use crate::policy::request::Request;
use crate::time::Instant;

/// Decision about a head.
pub struct Judged<'a, 'b> {
    /// The request.
    pub request: &'b Request<'a>,
    /// The client behind trusted proxies.
    pub client: Peer,
    /// Decision of the checks before authentication.
    pub admission: Admission,
}

/// Returns the number of targets, services and destinations whose state is kept, those of earlier
/// editions included. Looks at each service.
pub fn upstream_states(proxy: &Proxy) -> usize {
    proxy.upstreams.states()
}

/// Has the rules of the moment decide about a request that begins with `bytes`. Nothing is counted
/// and nothing is sent. `redirects`: it comes in on a listener that redirects; `listener`: address
/// of that listener.
///
/// # Errors
/// The bytes are no head, or one that breaks a rule; `None`: the head is not complete.
pub fn judge<R>(
    proxy: &Proxy,
    bytes: &[u8],
    (peer, redirects, listener): (Peer, bool, Option<&str>),
    look: impl FnOnce(Judged<'_, '_>) -> R,
) -> Result<R, Option<RequestError>> {
    let rules = &proxy.ctx.rules;
    let (mut scan, mut fields) = (HeadScan::default(), FieldTable::default());
    let head = parse_request(bytes, &mut scan, &mut fields, &rules.request_limits)?;
    let head = head.ok_or(None)?;
    let request = Request::read(&head)?;
    let forwarded = head.fields.get_all(crate::http::field::Name::XForwardedFor);
    let client = rules.trusted.client_address(peer, forwarded);
    let routes = rules.routes.of(|| listener);
    let admission = admission::decide(&rules.admission(routes), &request, client, redirects);
    Ok(look(Judged {
        request: &request,
        client,
        admission,
    }))
}

/// Returns the provider that the request of a client waits for.
pub fn awaited(proxy: &Proxy, client: ClientId) -> Option<Rc<Provider>> {
    let Phase::Suspended(suspended) = &proxy.clients.get(client)?.phase else {
        return None;
    };
    proxy.auth.provider_of_lookup(suspended.lookup()?)
}

/// Answers what the request of a client waits for: its credential is worth `grant`, or it is not
/// good.
pub fn answer(
    proxy: &mut Proxy,
    client: ClientId,
    grant: Result<Grant, CredentialFault>,
    now: Instant,
) {
    proxy.ctx.now = now;
    let lookup = match proxy.clients.get(client).map(|client| &client.phase) {
        Some(Phase::Suspended(suspended)) => suspended.lookup(),
        _ => None,
    };
    let resolved = lookup.and_then(|lookup| proxy.auth.answer_in_place(lookup, grant));
    proxy.drive(resolved.map(Step::Resolved));
}

/// Returns the path of the unix socket that a target is.
pub fn socket_of(proxy: &Proxy, target: TargetId) -> Option<&str> {
    proxy.upstreams.socket_of(target)
}

/// Returns the number of the destination that a client's request goes to, if the upstream
/// connection serves it. In the first edition of the rules the number is the place of the
/// destination in its service.
pub fn destination(proxy: &Proxy, upstream: UpstreamId) -> Option<usize> {
    let Owner::Exchange(exchange) = proxy.upstreams.get(upstream)?.owner else {
        return None;
    };
    let exchange = proxy.exchanges.get(exchange)?;
    Some(exchange.attempts.destination as usize)
}
