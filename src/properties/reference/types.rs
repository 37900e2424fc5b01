//! Messages as the reference reads them.

/// Reason why the bytes do not begin with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The bytes end before the message does.
    More,
    /// Invalid, whatever follows.
    Bad,
}

/// Parsed value, and the remaining bytes.
pub type Read<'a, T> = Result<(T, &'a [u8]), Stop>;

/// Name and value of a field line. The value has no white space around it.
pub type Line = (Vec<u8>, Vec<u8>);

/// Framing of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No body.
    None,
    /// Length in bytes.
    Length(u64),
    /// Chunked, with a last chunk and trailers.
    Chunked,
    /// The body ends when the connection closes.
    UntilClose,
}

/// Head of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Vec<u8>,
    /// Target as sent.
    pub target: Vec<u8>,
    /// Path of the target: `/` for an absolute form without one, empty for `*`.
    pub path: Vec<u8>,
    /// Query of the target, with the `?`.
    pub query: Vec<u8>,
    /// Minor version of HTTP/1.
    pub minor: u8,
    /// Field lines, in order.
    pub fields: Vec<Line>,
    /// Framing of the body.
    pub framing: Framing,
}

/// Complete request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Head of the request.
    pub head: RequestHead,
    /// Decoded body.
    pub body: Vec<u8>,
}

/// Head of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// Minor version of HTTP/1.
    pub minor: u8,
    /// Status, 100 to 599.
    pub status: u16,
    /// Reason phrase.
    pub reason: Vec<u8>,
    /// Field lines, in order.
    pub fields: Vec<Line>,
    /// Framing of the body.
    pub framing: Framing,
}

/// Response, complete or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Head of the response.
    pub head: ResponseHead,
    /// Decoded body, as far as it arrived.
    pub body: Vec<u8>,
    /// The body is complete according to its framing.
    pub complete: bool,
}
