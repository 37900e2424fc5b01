//! Result of a read from the socket.

/// Result of a read from the socket, as a forecast of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketRead {
    /// The next read may bring more.
    More,
    /// The next read brings nothing now, unless a FIN follows.
    Short,
    /// The read would block.
    WouldBlock,
    /// The peer ended its direction.
    End,
}
