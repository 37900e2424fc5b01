//! Bytes that TLS has sealed for a client and not yet reported as written.

use super::Proxy;
use super::command::Side;

/// Notes that the socket of a side took no whole byte of what TLS has sealed of `pending`. The record
/// goes out as it is, so no other bytes may take their place.
#[cold]
pub fn held(proxy: &mut Proxy, side: Side) {
    if let Side::Client(id) = side
        && let Some(client) = proxy.clients.get_mut(id)
    {
        client.outbox.note_sealed();
    }
}
