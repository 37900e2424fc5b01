//! Connections of balancers that announce their clients (PROXY protocol). Such a connection is within
//! `limits.connections` from the start. It is admitted as any other once the address is known.
//!
//! ```text
//! accepted ── a place is free ─────> Unannounced ──header──> Served, Denied (403), Overflow (503), or closed
//!     `────── all are in use ──────> Overflow    ──header──> 503
//!                  no header, a malformed one, or timeouts.head is over ──> closed without a reply
//! ```
//!
//! Out of scope: the bytes of the header, which the event loop reads in front of TLS and HTTP.

use super::super::command::{ListenerKind, Refused};
use super::super::context::Context;
use super::super::ids::ClientId;
use super::super::reason::Reason;
use super::Clients;
use super::accept::{Judged, account_of};
use super::connection::{Client, Place};
use super::local_reply::LocalReply;
use crate::http::proxy_header::HeaderFault;
use crate::observe::access::Outcome;
use crate::policy::forward::Peer;
use crate::policy::reply::Reply;

impl Clients {
    /// Takes a connection in whose client will be announced. `sender`: peer of the socket. `None`:
    /// the connection must be closed at once.
    #[cold]
    pub(in crate::proxy) fn accept_unannounced(
        &mut self,
        sender: Peer,
        listener: ListenerKind,
        ctx: &mut Context,
    ) -> Option<ClientId> {
        let has_place = self.served() < ctx.rules.settings.limits.connections;
        let idle = self.oldest_idle().filter(|_| !has_place);
        let place = if has_place || idle.is_some() {
            Place::Unannounced
        } else {
            ctx.count_refused(Refused::Full);
            ctx.report_full(None);
            if !self.has_overflow_place(ctx) {
                return None;
            }
            self.overflow = self.overflow.saturating_add(1);
            Place::Overflow
        };
        // The new one comes first: the loop still has a socket in the other one's slot.
        let id = self
            .connections
            .insert(Client::new(sender, listener, place));
        if let Some(idle) = idle {
            self.close(idle, false, ctx);
        }
        self.arm(id, ctx.rules.settings.timeouts.head, ctx);
        Some(id)
    }

    /// Takes the announced client of a connection, `None` for the balancer itself, and admits it.
    /// Returns false if the connection is closed.
    #[cold]
    pub(in crate::proxy) fn announced(
        &mut self,
        id: ClientId,
        announced: Option<Peer>,
        ctx: &mut Context,
    ) -> bool {
        let Some(client) = self.connections.get_mut(id) else {
            return false;
        };
        client.peer = announced.unwrap_or(client.peer);
        let (peer, listener) = (client.peer, client.listener);
        if client.place == Place::Overflow {
            self.tell_unavailable(id, Reason::ConnectionsFull, ctx);
            return true;
        }
        let place = match self.judge(peer, ctx) {
            Judged::Admitted => Place::Served,
            Judged::InsteadOf(own) => {
                self.close(own, false, ctx);
                Place::Served
            }
            Judged::Denied if self.has_denied_place(listener, ctx) => Place::Denied,
            Judged::HasShare
                if listener != ListenerKind::Secure && self.has_overflow_place(ctx) =>
            {
                Place::Overflow
            }
            Judged::Denied | Judged::HasShare => {
                self.close(id, false, ctx);
                return false;
            }
        };
        if let Some(client) = self.connections.get_mut(id) {
            client.place = place;
        }
        match place {
            Place::Served => {
                if let Some(address) = account_of(peer, ctx) {
                    self.accounts.add(address);
                }
            }
            Place::Denied => {
                self.overflow = self.overflow.saturating_add(1);
                self.denied = self.denied.saturating_add(1);
            }
            Place::Overflow | Place::Unannounced => {
                self.overflow = self.overflow.saturating_add(1);
                self.tell_unavailable(id, Reason::ClientShare, ctx);
            }
        }
        true
    }

    /// Closes a connection that does not begin with a header. `None`: its peer closed it before the
    /// first byte, as a check of a port does.
    #[cold]
    pub(in crate::proxy) fn unannounced(
        &mut self,
        id: ClientId,
        fault: Option<HeaderFault>,
        ctx: &mut Context,
    ) {
        let sender = self.connections.get(id).map(|client| client.peer);
        if let (Some(sender), Some(fault)) = (sender, fault) {
            ctx.count_refused(Refused::ProxyHeader);
            ctx.report_unannounced(sender.ip(), fault);
        }
        self.close(id, false, ctx);
    }

    /// Answers 503 before a request has come.
    fn tell_unavailable(&mut self, id: ClientId, reason: Reason, ctx: &mut Context) {
        let Some(client) = self.connections.get(id) else {
            return;
        };
        let (address, entrance) = (client.peer.ip(), client.entrance);
        let entry = ctx.access_log.begin(address, entrance, ctx.now);
        let reply = LocalReply::refusal(Reply::ServiceUnavailable, Outcome::OverLimit, reason);
        self.reply(id, reply, entry, None, ctx);
    }
}
