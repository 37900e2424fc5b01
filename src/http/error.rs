//! What is wrong with a message, as facts about the peer that sent it.

use core::fmt;

/// What is wrong with a request. Each has its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The bytes are no HTTP/1.1 request (RFC 9112 2.2).
    Malformed(&'static str),
    /// CONNECT and TRACE are not for a gateway (RFC 9110 9.3.6, 9.3.8).
    MethodNotAllowed,
    /// The request line is longer than allowed (RFC 9112 3).
    TargetTooLong,
    /// The head is longer, or has more fields, than allowed (RFC 6585 5).
    HeadTooLarge,
    /// A transfer coding other than chunked (RFC 9112 6.1).
    UnknownCoding,
    /// Not HTTP/1.0 or HTTP/1.1 (RFC 9110 15.6.6).
    Version,
    /// An expectation other than 100-continue (RFC 9110 10.1.1).
    Expectation,
}

impl RequestError {
    /// The status that answers it.
    pub fn status(self) -> u16 {
        match self {
            RequestError::Malformed(_) => 400,
            RequestError::MethodNotAllowed => 405,
            RequestError::TargetTooLong => 414,
            RequestError::Expectation => 417,
            RequestError::HeadTooLarge => 431,
            RequestError::UnknownCoding => 501,
            RequestError::Version => 505,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestError::Malformed(why) => why,
            RequestError::MethodNotAllowed => "method not allowed",
            RequestError::TargetTooLong => "request line too long",
            RequestError::HeadTooLarge => "head too large",
            RequestError::UnknownCoding => "unknown transfer coding",
            RequestError::Version => "HTTP version not supported",
            RequestError::Expectation => "unknown expectation",
        })
    }
}

/// What is wrong with an upstream's response; it is answered with a 502.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseError(pub &'static str);

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
