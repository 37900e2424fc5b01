//! Events of a connection whose client a balancer announces: it is accepted, its header of the PROXY
//! protocol comes, and from there on it is a client connection as any other.

use super::Proxy;
use super::command::ListenerKind;
use super::ids::ClientId;
use crate::http::proxy_header::{Announced, HeaderFault};
use crate::policy::forward::Peer;
use crate::time::Instant;

/// A peer in `proxyProtocol` connected. [`announced`] or [`unannounced`] follows, unless the engine
/// closes the connection before. `None`: it must be closed at once.
#[cold]
pub fn accepted(
    proxy: &mut Proxy,
    sender: Peer,
    listener: ListenerKind,
    now: Instant,
) -> Option<ClientId> {
    proxy.ctx.now = now;
    let ctx = &mut proxy.ctx;
    let id = proxy.clients.accept_unannounced(sender, listener, ctx);
    proxy.drive(None);
    id
}

/// The header of a connection was read. Returns false if the connection is closed: no byte of it
/// may be read or written any more.
#[cold]
pub fn announced(proxy: &mut Proxy, id: ClientId, announced: Announced, now: Instant) -> bool {
    proxy.ctx.now = now;
    let peer = match announced {
        Announced::Address(address) => Some(Peer::Ip(address)),
        Announced::Unix => Some(Peer::Unix),
        Announced::Sender => None,
    };
    let is_open = proxy.clients.announced(id, peer, &mut proxy.ctx);
    proxy.drive(None);
    is_open
}

/// A connection does not begin with a header. `fault` is `None` if its peer closed it before the
/// first byte.
#[cold]
pub fn unannounced(proxy: &mut Proxy, id: ClientId, fault: Option<HeaderFault>, now: Instant) {
    proxy.ctx.now = now;
    proxy.clients.unannounced(id, fault, &mut proxy.ctx);
    proxy.drive(None);
}
