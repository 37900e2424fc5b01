//! Tokens of the poll: which socket an event is about.
//!
//! Low tokens are fixed. A connection's token holds its side, slot and generation:
//! `(slot << 1 | side) + CONNECTIONS` in the low bits, the generation above. On a 32-bit machine
//! twelve bits of generation remain, which is enough to tell the events of one batch apart.

use mio::Token;

use super::io::connection::Connection;
use super::io::socket::Socket;
use super::io::sockets::Sockets;
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_LISTENERS_MAX, LISTENERS_MAX};
use crate::proxy::command::Side;

/// Token of the waker of the helper threads.
pub(super) const WAKER: Token = Token(0);
/// Token of the signals.
pub(super) const SIGNALS: Token = Token(1);
/// First token of the listeners.
pub(super) const LISTENERS: usize = 2;
/// Listeners that are open at once: those of a configuration, and earlier ones where clients wait.
pub(super) const LISTENER_SLOTS: usize = 2 * LISTENERS_MAX;
/// First token of the admin listener: its sockets that accept, and then its connections.
pub(super) const ADMIN: usize = LISTENERS + LISTENER_SLOTS;
/// First token of the connections.
pub(super) const CONNECTIONS: usize = ADMIN + ADMIN_LISTENERS_MAX + ADMIN_CONNECTIONS;

const SLOT_BITS: u32 = usize::BITS / 2 + 4;

/// Returns the token of a connection.
pub(super) fn token_of(side: Side) -> Token {
    let (index, generation, bit) = match side {
        Side::Client(id) => (id.index(), id.generation(), 0),
        Side::Upstream(id) => (id.index(), id.generation(), 1),
    };
    let low = (index as usize) << 1 | bit;
    Token(
        ((generation as usize) << SLOT_BITS)
            .wrapping_add(low)
            .wrapping_add(CONNECTIONS),
    )
}

/// Returns `true` if a connection's token is of an upstream.
pub(super) fn is_upstream(token: Token) -> bool {
    low_bits(token) & 1 == 1
}

fn low_bits(token: Token) -> usize {
    (token.0 & ((1 << SLOT_BITS) - 1)).wrapping_sub(CONNECTIONS)
}

/// Returns the slot of a connection to the admin listener; `None`: the token is of a socket that
/// accepts.
pub(super) fn admin_connection(token: Token) -> Option<usize> {
    token.0.checked_sub(ADMIN + ADMIN_LISTENERS_MAX)
}

/// Returns the connection of a token, unless that connection is closed and its slot has another.
pub(super) fn connection_of(
    token: Token,
    sockets: &mut Sockets<Socket>,
) -> Option<(Side, &mut Connection<Socket>)> {
    let low = low_bits(token);
    sockets
        .occupant(u32::try_from(low >> 1).ok()?, low & 1 == 1)
        .filter(|(side, _)| token_of(*side) == token)
}
