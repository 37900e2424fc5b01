//! The end-of-exchange table: what becomes of both connections.

/// State of the request's body when its exchange ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum RequestEnd {
    Complete,
    Unfinished,
}

/// End of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum ResponseEnd {
    /// By its own framing, on a connection that stays open.
    Framed,
    /// By its own framing, on a connection that must not be used again; or by the end of the
    /// stream.
    Final,
    /// Before its head was complete. (Behind its head there is nothing to settle: both connections
    /// are cut.)
    Missing,
}

/// Fate of an upstream connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum UpstreamEnd {
    Pool,
    Close,
}

/// Fate of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum ClientEnd {
    /// The next request.
    Next,
    /// A clean close after the reply.
    Linger,
    /// A reply of our own in place of the one that is missing.
    LocalReply,
}

/// The end-of-exchange table: every pair of ends has its row, and every row a test.
pub(in crate::proxy) fn settle(
    upload: RequestEnd,
    reply: ResponseEnd,
    keep: bool,
) -> (UpstreamEnd, ClientEnd) {
    use {ClientEnd as Down, RequestEnd as U, ResponseEnd as R, UpstreamEnd as Up};
    match (upload, reply, keep) {
        (U::Complete, R::Framed, true) => (Up::Pool, Down::Next),
        (U::Complete, R::Framed, false) => (Up::Pool, Down::Linger),
        (U::Complete, R::Final, true) => (Up::Close, Down::Next),
        (U::Complete, R::Final, false) => (Up::Close, Down::Linger),
        // The rest of the request would be taken for the next one, on either side.
        (U::Unfinished, R::Framed | R::Final, _) => (Up::Close, Down::Linger),
        (_, R::Missing, _) => (Up::Close, Down::LocalReply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_exchange_table() {
        use {ClientEnd as Down, RequestEnd as U, ResponseEnd as R, UpstreamEnd as Up};
        for (upload, reply, keep, expected) in [
            (U::Complete, R::Framed, true, (Up::Pool, Down::Next)),
            (U::Complete, R::Framed, false, (Up::Pool, Down::Linger)),
            (U::Complete, R::Final, true, (Up::Close, Down::Next)),
            (U::Complete, R::Final, false, (Up::Close, Down::Linger)),
            (U::Complete, R::Missing, true, (Up::Close, Down::LocalReply)),
            (
                U::Complete,
                R::Missing,
                false,
                (Up::Close, Down::LocalReply),
            ),
            (U::Unfinished, R::Framed, true, (Up::Close, Down::Linger)),
            (U::Unfinished, R::Framed, false, (Up::Close, Down::Linger)),
            (U::Unfinished, R::Final, true, (Up::Close, Down::Linger)),
            (U::Unfinished, R::Final, false, (Up::Close, Down::Linger)),
            (
                U::Unfinished,
                R::Missing,
                true,
                (Up::Close, Down::LocalReply),
            ),
            (
                U::Unfinished,
                R::Missing,
                false,
                (Up::Close, Down::LocalReply),
            ),
        ] {
            assert_eq!(
                settle(upload, reply, keep),
                expected,
                "{upload:?} {reply:?} {keep}"
            );
        }
    }
}
