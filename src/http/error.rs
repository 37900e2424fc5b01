//! What is wrong with a message, as facts about the peer that sent it.
//!
//! Each rule that a message can break has a variant of its own, whose text is for the log. A client is told the status alone.

use core::fmt;

use super::chunked::ChunkError;

/// Declares an error whose variants are texts; a variant with a value has the text of the value.
macro_rules! faults {
    (
        $(#[$docs:meta])* $name:ident {
            $($(#[$doc:meta])* $variant:ident = $text:literal,)*
            $(; $($(#[$inner_doc:meta])* $inner:ident($of:ty),)*)?
        }
    ) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            $($($(#[$inner_doc])* $inner($of),)*)?
        }

        impl $name {
            /// Text of the fault in the log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                    $($($name::$inner(fault) => fault.as_str(),)*)?
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

faults! {
    /// Which rule the lines of a head break (RFC 9112 2.2, 5).
    LineFault {
        /// A CR without its LF, or an LF without its CR (RFC 9112 2.2).
        BareLineEnd = "bare CR or LF",
        /// A line that goes on in the next one (RFC 9112 5.2).
        Folded = "folded field line",
        /// A field line without a colon.
        NoColon = "field line without a colon",
        /// Nothing stands before the colon.
        EmptyName = "empty field name",
        /// RFC 9112 5.1
        SpaceBeforeColon = "whitespace before the colon of a field line",
        /// A name that is no token (RFC 9110 5.1).
        Name = "byte in a field name",
        /// A control character in a value (RFC 9110 5.5).
        Value = "byte in a field value",
        /// Anything else that is no field line.
        Line = "field line",
    }
}

faults! {
    /// Which rule a malformed request breaks.
    RequestFault {
        /// The first byte begins no request line (RFC 9112 2.2).
        LineStart = "start of the request line",
        /// Not method, space, target, space, version (RFC 9112 3).
        RequestLine = "request line",
        /// The third part of the request line is no version (RFC 9112 2.3).
        Version = "HTTP version",
        /// A byte that no target has (RFC 3986 2).
        TargetByte = "byte in the target",
        /// None of the four forms (RFC 9112 3.2).
        TargetForm = "form of the target",
        /// The asterisk form with another method than OPTIONS (RFC 9112 3.2.4).
        Asterisk = "the target * is for OPTIONS alone",
        /// An absolute target names another host than Host does.
        HostDiffers = "target and Host differ",
        /// HTTP/1.1 without Host (RFC 9112 3.2).
        NoHost = "no Host field",
        /// More than one Host (RFC 9112 3.2).
        TwoHosts = "two Host fields",
        /// Host is no authority (RFC 9110 7.2).
        Host = "Host is no host and port",
        /// RFC 9112 6.1
        BothFramings = "Transfer-Encoding and Content-Length",
        /// RFC 9112 6.1
        OldTransferEncoding = "Transfer-Encoding in HTTP/1.0",
        /// Two lines, chunked twice or not at the end, or no list of codings (RFC 9112 6.1).
        TransferEncoding = "Transfer-Encoding",
        /// RFC 9112 6.3
        TwoContentLengths = "two Content-Length fields",
        /// Not digits without leading zeros (RFC 9110 8.6).
        ContentLength = "Content-Length is no number",
        /// An option that is no token, or too many of them (RFC 9110 7.6.1).
        ConnectionOptions = "Connection is no list of at most 64 tokens",
        /// An option of Connection names a field that frames or routes the message (RFC 9110 7.6.1).
        FramingOption = "Connection names a framing field",
        /// The bytes of plain HTTP on a listener for TLS.
        PlainOnTls = "plain HTTP on a TLS listener",
        /// Max-Forwards is no number (RFC 9110 7.6.2).
        MaxForwards = "Max-Forwards is no number",
        /// An HTTP/1.0 request without Host, which cannot be told where the TLS listener is.
        NothingToRedirect = "no Host field to redirect by",
        /// A credential is there twice.
        TwoCredentials = "two fields with credentials",
        ;
        /// Its field lines, or the ends of its lines.
        Lines(LineFault),
        /// Its chunked body.
        Body(ChunkError),
    }
}

/// What is wrong with a request. Each has its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The bytes are no HTTP/1.1 request (RFC 9112 2.2).
    Malformed(RequestFault),
    /// CONNECT and TRACE are not for a gateway (RFC 9110 9.3.6, 9.3.8).
    MethodNotAllowed,
    /// The request line is longer than allowed (RFC 9112 3).
    TargetTooLong,
    /// The head is longer than allowed (RFC 6585 5).
    HeadTooLarge,
    /// The head has more fields than allowed (RFC 6585 5).
    TooManyFields,
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
            RequestError::HeadTooLarge | RequestError::TooManyFields => 431,
            RequestError::UnknownCoding => 501,
            RequestError::Version => 505,
        }
    }

    /// Text of the fault in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            RequestError::Malformed(fault) => fault.as_str(),
            RequestError::MethodNotAllowed => "method not allowed",
            RequestError::TargetTooLong => "request line too long",
            RequestError::HeadTooLarge => "head too large",
            RequestError::TooManyFields => "too many fields",
            RequestError::UnknownCoding => "unknown transfer coding",
            RequestError::Version => "HTTP version not supported",
            RequestError::Expectation => "unknown expectation",
        }
    }
}

impl From<RequestFault> for RequestError {
    fn from(fault: RequestFault) -> RequestError {
        RequestError::Malformed(fault)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

faults! {
    /// What is wrong with an upstream's response; it is answered with a 502.
    ResponseError {
        /// The first byte begins no status line (RFC 9112 4).
        LineStart = "start of the status line",
        /// Not version, space, status, space, reason (RFC 9112 4).
        StatusLine = "status line",
        /// Neither HTTP/1.0 nor HTTP/1.1.
        Version = "HTTP version",
        /// A status below 100 or above 599 (RFC 9110 15).
        Status = "status code",
        /// A control character in the reason phrase (RFC 9112 4).
        Reason = "byte in the reason phrase",
        /// The head is longer than what is read of one.
        HeadTooLarge = "head too large",
        /// The head has more fields than what is read of one.
        TooManyFields = "too many fields",
        /// RFC 9112 6.1
        OldTransferEncoding = "Transfer-Encoding in HTTP/1.0",
        /// Two lines, chunked twice or not at the end, or no list of codings (RFC 9112 6.1).
        TransferEncoding = "Transfer-Encoding",
        /// A transfer coding other than chunked (RFC 9112 6.1).
        UnknownCoding = "unknown transfer coding",
        /// RFC 9112 6.3
        ContentLengths = "two different Content-Length values",
        /// Not digits (RFC 9110 8.6).
        ContentLength = "Content-Length is no number",
        /// An option that is no token, or too many of them (RFC 9110 7.6.1).
        ConnectionOptions = "Connection is no list of at most 64 tokens",
        /// Bytes came before any of the request was sent.
        Unasked = "bytes before the request was sent",
        /// A 101 without a request for it, or for another protocol (RFC 9110 7.8).
        Switch = "101 that was not asked for",
        /// More 1xx than is passed on.
        TooManyInterim = "too many 1xx responses",
        ;
        /// Its field lines, or the ends of its lines.
        Lines(LineFault),
        /// Its chunked body.
        Body(ChunkError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_rule() {
        for (text, expected) in [
            (
                RequestError::from(RequestFault::TwoContentLengths).to_string(),
                "two Content-Length fields",
            ),
            (
                RequestError::from(RequestFault::Lines(LineFault::Folded)).to_string(),
                "folded field line",
            ),
            (
                ResponseError::Body(ChunkError::Size).to_string(),
                "chunk size",
            ),
            (ResponseError::Status.to_string(), "status code"),
        ] {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn errors_are_small() {
        assert!(size_of::<RequestError>() <= 4 && size_of::<ResponseError>() <= 4);
    }
}
