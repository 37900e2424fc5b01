//! Challenges of an authority that the gateway answers while an order is open (RFC 8555 8.3).
//!
//! The answer comes before `deny`, redirects, routes and rate limits: the authority asks from anywhere,
//! and a path that only it knows tells nobody anything. While no challenge is open, requests take no
//! look at this.

use super::Proxy;
use super::client::{LocalReply, Place};
use super::command::ListenerKind;
use super::context::Context;
use super::heads::Content;
use super::ids::ClientId;
pub use super::open_challenges::Challenges;
use crate::observe::access::Outcome;
use crate::policy::request::Request;
use crate::time::Instant;

/// Front of the paths that are answered.
const FOLDER: &[u8] = b"/.well-known/acme-challenge/";

/// Field line of the answers (RFC 8555 8.3).
const TYPE_LINE: &[u8] = b"Content-Type: application/octet-stream\r\n";

/// Replaces the open challenges; `None`: none is open.
#[cold]
pub fn set(proxy: &mut Proxy, challenges: Option<Challenges>) {
    proxy.ctx.rules.routes.watch(challenges.is_some());
    proxy.ctx.challenges = challenges.map(Box::new);
}

/// Returns true if a connection is one that `deny` refuses: it is only there to prove a name.
#[cold]
pub fn is_denied(proxy: &Proxy, id: ClientId) -> bool {
    let client = proxy.clients.get(id);
    client.is_none_or(|client| client.place == Place::Denied)
}

/// Closes a connection that has proved a name, or may do nothing else.
#[cold]
pub fn close(proxy: &mut Proxy, id: ClientId, now: Instant) {
    proxy.ctx.now = now;
    proxy.clients.close(id, false, &mut proxy.ctx);
    proxy.drive(None);
}

/// Returns the answer to a request that is for an open challenge.
#[cold]
pub(super) fn answer(
    request: &Request<'_>,
    listener: ListenerKind,
    ctx: &Context,
) -> Option<Vec<u8>> {
    let challenges = ctx.challenges.as_deref()?;
    let is_read = matches!(request.head.method, b"GET" | b"HEAD");
    let token = request.target.path.strip_prefix(FOLDER)?;
    if !is_read || listener == ListenerKind::Secure {
        return None;
    }
    let mut files = challenges.files.iter();
    let (_, content) = files.find(|(name, _)| name.as_bytes() == token)?;
    Some(content.as_bytes().to_vec())
}

/// Answers a client of a TLS listener that speaks plain HTTP and asks for a file: the gateway asks
/// itself so, before the first order, whether its names lead to it. Returns false for anything else.
#[cold]
pub fn answer_plain(proxy: &mut Proxy, id: ClientId, bytes: &[u8], now: Instant) -> bool {
    proxy.ctx.now = now;
    let Some(challenges) = proxy.ctx.challenges.as_deref() else {
        return false;
    };
    let asked = bytes.strip_prefix(b"GET ");
    let token = asked.and_then(|rest| rest.strip_prefix(FOLDER));
    let is_asked = |name: &str| {
        let rest = token.and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b" HTTP/1.1\r\n"))
    };
    let mut files = challenges.files.iter();
    let Some((_, content)) = files.find(|(name, _)| is_asked(name)) else {
        return false;
    };
    let content = content.clone();
    let Some(client) = proxy.clients.get(id) else {
        return false;
    };
    let (address, entrance) = (client.peer.ip(), client.entrance);
    let mut entry = proxy.ctx.access_log.begin(address, entrance, proxy.ctx.now);
    entry.note_start(bytes, FOLDER.len().saturating_add(content.len()));
    let ctx = &mut proxy.ctx;
    proxy
        .clients
        .reply(id, reply(content.as_bytes()), entry, None, ctx);
    true
}

/// Returns the reply with this answer.
pub(super) fn reply(answer: &[u8]) -> LocalReply<'_> {
    let content = Content::Response {
        status: 200,
        type_line: TYPE_LINE,
        body: answer,
    };
    LocalReply::with(content, Outcome::Ok)
}
