//! States of a connection. The head of the folder's own file draws their changes.

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// TCP is connecting.
    Connecting,
    /// TCP could not connect; the socket keeps the error.
    ConnectFailed,
    /// The header of the PROXY protocol is awaited; its bytes stay in the socket until it can be read.
    AwaitingHeader,
    /// Number of bytes of the header that are still to be read.
    SkippingHeader(u16),
    /// The first message of a TLS client is awaited; its bytes stay in the socket until it tells what
    /// the connection is for.
    AwaitingHello,
    /// TLS is shaking hands to prove a name; the connection ends behind that.
    Proving,
    /// TLS is shaking hands.
    Handshaking,
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadState {
    /// A read would block.
    Drained,
    /// A read may return bytes, an end or an error.
    Readable,
}

/// Size of the last read: a sender of large reads is worth a pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadSize {
    Small,
    Large,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteState {
    /// The send buffer of the socket is full.
    Blocked,
    /// A write may succeed.
    Writable,
}

/// Events that the socket is registered for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// Readable only: a client until its first short write.
    Reading,
    /// Readable and writable.
    Both,
}

/// The end of the gateway's direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    /// Nothing is to be ended, or the end was sent.
    Unscheduled,
    /// FIN is sent after the last ciphertext.
    AfterCiphertext,
}

/// The peer's direction, as far as events of the kernel tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Sending,
    /// A FIN has come, and the engine was not told yet.
    Fin,
    FinReported,
    /// A reset has come, and the engine was not told yet.
    Reset,
    ResetReported,
}

/// Meaning of a read that returns 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EndOfStream {
    /// A FIN of the peer.
    Clean,
    /// A reset. The kernel reports a reset once; if a write gets the report, the next read returns 0
    /// as after a FIN.
    Reset,
}
