//! Inputs for the flight recorder: what happens to a request and its connections, from the places
//! where the engine learns of it.

use core::net::SocketAddr;

use super::Proxy;
use super::command::{Command, ListenerKind, Side};
use super::context::Context;
use super::ids::{ClientId, UpstreamId};
use super::log_entry::AccessLogEntry;
use super::recorder::{Recording, What};
use super::upstream::Owner;
use crate::limits::RECORDS_WAITING;
use crate::observe::access::Outcome;

/// Returns the next recording that is to be written, after everything secret in it is blanked.
pub fn take(proxy: &mut Proxy) -> Option<Recording> {
    proxy.ctx.recorder.as_mut()?.done.pop()
}

impl Context {
    /// Begins the recording of a client's request, whose first bytes are these.
    #[cold]
    pub(super) fn record_start(&mut self, client: ClientId, listener: ListenerKind, bytes: &[u8]) {
        let times = (self.now, self.wall());
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(client, listener, bytes, times);
        }
    }

    /// Ends the recording of a client's request, and hands it to the loop if it is to be kept.
    #[cold]
    pub(super) fn record_end(
        &mut self,
        client: ClientId,
        entry: &AccessLogEntry,
        outcome: Outcome,
    ) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let Some(recording) = recorder.finish(client, entry, outcome, &self.rules)
            && recorder.done.len() < RECORDS_WAITING
        {
            recorder.done.push(recording);
            self.command(Command::Record);
        }
    }
}

/// Returns the client whose request a side serves.
fn client_of(proxy: &Proxy, side: Side) -> Option<ClientId> {
    let up = match side {
        Side::Client(id) => return Some(id),
        Side::Upstream(up) => up,
    };
    match proxy.upstreams.requester(up)? {
        Owner::Exchange(id) => Some(proxy.exchanges.get(id)?.client),
        _ => None,
    }
}

/// Returns the recording of the request that a side serves, and the number of the side's connection.
fn recording_of(proxy: &mut Proxy, side: Side) -> Option<(&mut Recording, u16)> {
    let client = client_of(proxy, side)?;
    let now = proxy.ctx.now;
    let recording = proxy.ctx.recorder.as_mut()?.of(client)?;
    let number = match side {
        Side::Client(_) => 0,
        Side::Upstream(up) => recording.number(up, now),
    };
    Some((recording, number))
}

/// Notes an input of a side. `what`: makes the input of the connection's number.
#[cold]
pub(super) fn note(proxy: &mut Proxy, side: Side, what: &dyn Fn(u16) -> What) {
    let now = proxy.ctx.now;
    if let Some((recording, number)) = recording_of(proxy, side) {
        recording.note(now, what(number));
    }
}

/// Notes `n` bytes that were put into the room of a side.
#[cold]
pub(super) fn note_received(proxy: &mut Proxy, side: Side, n: usize) {
    let bytes = match side {
        Side::Client(id) => proxy.clients.get_mut(id).map(|client| &mut client.inbox),
        Side::Upstream(id) => proxy.upstreams.get_mut(id).map(|up| &mut up.inbox),
    };
    // A copy: the recording is another part of the engine.
    let bytes = bytes.and_then(|inbox| inbox.room().get(..n).map(<[u8]>::to_vec));
    let bytes = bytes.unwrap_or_default();
    note_bytes(proxy, side, &bytes, n);
}

/// Notes bytes that a side sent; `length`: their number, of which `bytes` were read.
#[cold]
pub(super) fn note_bytes(proxy: &mut Proxy, side: Side, bytes: &[u8], length: usize) {
    let now = proxy.ctx.now;
    let most = proxy
        .ctx
        .recorder
        .as_ref()
        .map_or(0, |recorder| recorder.rule.bytes);
    if length > 0
        && let Some((recording, number)) = recording_of(proxy, side)
    {
        recording.note_bytes(now, number, bytes, length, most);
    }
}

/// Notes that a client took bytes.
#[cold]
pub(super) fn note_sent(proxy: &mut Proxy, side: Side) {
    let now = proxy.ctx.now;
    if let (Side::Client(id), Some(recorder)) = (side, &mut proxy.ctx.recorder) {
        let client = proxy.clients.get(id);
        let is_first = client.is_some_and(|client| !client.outbox.any_sent());
        recorder.took(id, is_first, now);
    }
}

impl Context {
    /// Notes that an exchange goes to a connection. `addresses`: those that its target's name has.
    #[cold]
    pub(super) fn record_attempt(
        &mut self,
        client: ClientId,
        up: Option<UpstreamId>,
        is_kept: bool,
        addresses: &[SocketAddr],
    ) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let (Some(recording), Some(up)) = (recorder.of(client), up) {
            recording.note(now, What::Names(addresses.to_vec()));
            recording.attempt(up, is_kept, now);
        }
    }

    /// Notes the addresses that a name has now, for an exchange that waited for them.
    #[cold]
    pub(super) fn record_names(&mut self, client: ClientId, addresses: &[SocketAddr]) {
        let now = self.now;
        if let Some(recorder) = &mut self.recorder {
            recorder.note(client, now, What::Names(addresses.to_vec()));
        }
    }
}
