//! Connections of clients: who gets one, what the protocol's phases are between and around
//! exchanges, and the gateway's own replies.
//!
//! | file | duty |
//! |---|---|
//! | `connection` | one connection and its phases |
//! | `accept` | who gets a connection |
//! | `announce` | connections whose client a balancer announces |
//! | `idle` | the list of connections between two requests |
//! | `http1` | from one request of a connection to the next, and its end |
//! | `local_reply` | replies of the gateway's own |

mod accept;
mod announce;
mod connection;
mod http1;
mod idle;
mod local_reply;

pub(super) use self::connection::{Client, Phase, Place, Subject};
pub(super) use self::http1::ClientStep;
use self::idle::IdleClients;
pub(super) use self::local_reply::{LocalReply, asks_for_head};
use super::auth::{Resolved, SuspendedRequest};
use super::bounds::ClientCounts;
use super::command::{Command, Side};
use super::context::{Context, TimerKey};
use super::ids::{ClientId, OfClient};
use super::log_entry::AccessLogEntry;
use crate::policy::accounts::Accounts;
use crate::slab::Slab;
use crate::time::Duration;
use crate::wheel::Wheel;

/// All client connections.
pub(super) struct Clients {
    connections: Slab<Client, OfClient>,
    idle: IdleClients,
    /// Served connections of each client.
    accounts: Accounts,
    /// Key of the hash of the clients' addresses.
    seed: u64,
    /// Connections beyond `limits.connections`, those of denied peers included.
    overflow: usize,
    /// Connections of denied peers.
    denied: usize,
}

impl Clients {
    /// No connections. Clients in one IPv6 network of `ipv6_prefix` bits are one; `seed` keys the
    /// hash of their addresses.
    pub(super) fn new(ipv6_prefix: u8, seed: u64) -> Clients {
        Clients {
            connections: Slab::new(),
            idle: IdleClients::default(),
            accounts: Accounts::new(ipv6_prefix, seed),
            seed,
            overflow: 0,
            denied: 0,
        }
    }

    /// Returns a connection.
    #[inline]
    pub(super) fn get(&self, id: ClientId) -> Option<&Client> {
        self.connections.get(id)
    }

    /// Returns a connection.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.connections.get_mut(id)
    }

    /// Returns the keys of all connections.
    pub(super) fn keys(&self) -> Vec<ClientId> {
        self.connections.keys().collect()
    }

    /// Number of connections.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Sets the deadline of a connection; `None` turns it off.
    #[inline]
    pub(super) fn arm(&mut self, id: ClientId, span: Option<Duration>, ctx: &mut Context) {
        if let Some(client) = self.connections.get_mut(id) {
            ctx.arm(&mut client.timer, TimerKey::Client(id), span);
        }
    }

    /// Leaves one reminder for each timer of this part.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for id in self.keys() {
            if let Some(client) = self.connections.get_mut(id) {
                timers.renew(&mut client.timer, TimerKey::Client(id));
            }
        }
    }

    /// Has the loop look at a connection again.
    #[inline]
    pub(super) fn mark_ready(&mut self, id: ClientId, ctx: &mut Context) {
        if let Some(client) = self.connections.get_mut(id) {
            ctx.mark_ready(&mut client.queued, Side::Client(id));
        }
    }

    /// Closes a connection that has no exchange; `abort`: with a reset, so that what was sent
    /// cannot be taken for complete.
    pub(super) fn close(&mut self, id: ClientId, abort: bool, ctx: &mut Context) {
        if let Some(mut client) = self.connections.remove(id) {
            if client.has_private {
                ctx.gone_clients.push(id);
            }
            ctx.buffers.give_back(&mut client.inbox);
            client.outbox.clear(&mut ctx.buffers);
            self.discount(&client, ctx);
            if let Some(recorder) = &mut ctx.recorder {
                recorder.forget(id);
            }
            ctx.command(Command::Close {
                side: Side::Client(id),
                abort,
            });
        }
    }

    /// Takes the requests out that waited for a look-up, each with what was found.
    pub(super) fn take_waiting(
        &mut self,
        resolved: &Resolved,
    ) -> Vec<(ClientId, Box<SuspendedRequest>)> {
        let waiting = resolved.waiting.iter().filter_map(|&id| {
            let client = self.connections.get_mut(id)?;
            let waits = match &client.phase {
                Phase::Suspended(suspended) => suspended.waits_for(resolved),
                _ => false,
            };
            if !waits {
                return None;
            }
            let mut suspended = client.take_suspended()?;
            suspended.answer(resolved);
            Some((id, suspended))
        });
        waiting.collect()
    }

    /// Log entries of the requests that wait for authentication.
    pub(super) fn suspended_entries(&mut self) -> impl Iterator<Item = &mut AccessLogEntry> {
        let clients = self.connections.values_mut();
        clients.filter_map(|client| match &mut client.phase {
            Phase::Suspended(suspended) => Some(&mut *suspended.log_entry),
            _ => None,
        })
    }

    /// Closes the connection that was idle for the longest time. Returns whether there was one.
    pub(super) fn shed_idle(&mut self, ctx: &mut Context) -> bool {
        let oldest = self.oldest_idle();
        if let Some(id) = oldest {
            self.close(id, false, ctx);
        }
        oldest.is_some()
    }

    /// Numbers of connections and clients, for the bounds of memory.
    pub(super) fn counts(&self) -> ClientCounts {
        ClientCounts {
            served: self.served(),
            overflow: self.overflow.saturating_sub(self.denied),
            denied: self.denied,
            accounts: self.accounts.clients(),
            counted: self.accounts.connections(),
        }
    }

    /// Returns the accounts of clients.
    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}
