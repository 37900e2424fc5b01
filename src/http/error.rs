//! Faults of messages, as facts about their sender.
//!
//! Each rule that a message can break has its own variant, whose text is for the log. A client gets
//! only the status.

use core::fmt;

use super::chunked::ChunkError;

/// Declares an error whose variants have texts; a variant with a value has the text of the value.
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
            /// Texts of the faults without a value.
            pub const TEXTS: &[&str] = &[$($text,)*];

            /// Returns the text of the fault for the log.
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
    /// Fault of the lines of a head (RFC 9112 2.2, 5).
    LineFault {
        /// A CR without its LF, or an LF without its CR (RFC 9112 2.2).
        BareLineEnd = "bare CR or LF",
        /// Obsolete line folding (RFC 9112 5.2).
        Folded = "folded field line",
        /// A field line without a colon.
        NoColon = "field line without a colon",
        /// A field line without a name.
        EmptyName = "empty field name",
        /// White space between name and colon (RFC 9112 5.1).
        SpaceBeforeColon = "whitespace before the colon of a field line",
        /// A field name that is not a token (RFC 9110 5.1).
        Name = "byte in a field name",
        /// A control character in a field value (RFC 9110 5.5).
        Value = "byte in a field value",
        /// Any other invalid field line.
        Line = "field line",
    }
}

faults! {
    /// Fault of a malformed request.
    RequestFault {
        /// The first byte does not begin a request line (RFC 9112 2.2).
        LineStart = "start of the request line",
        /// The request line is not method, space, target, space, version (RFC 9112 3).
        RequestLine = "request line",
        /// The third part of the request line is not a version (RFC 9112 2.3).
        Version = "HTTP version",
        /// The target has a byte that is not allowed (RFC 3986 2).
        TargetByte = "byte in the target",
        /// The target has none of the four forms (RFC 9112 3.2).
        TargetForm = "form of the target",
        /// The asterisk form with a method other than OPTIONS (RFC 9112 3.2.4).
        Asterisk = "the target * is for OPTIONS alone",
        /// The absolute form names a host other than Host.
        HostDiffers = "target and Host differ",
        /// HTTP/1.1 without Host (RFC 9112 3.2).
        NoHost = "no Host field",
        /// More than one Host (RFC 9112 3.2).
        TwoHosts = "two Host fields",
        /// Host is not an authority (RFC 9110 7.2).
        Host = "Host is no host and port",
        /// Both Content-Length and Transfer-Encoding (RFC 9112 6.1).
        BothFramings = "Transfer-Encoding and Content-Length",
        /// Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1).
        OldTransferEncoding = "Transfer-Encoding in HTTP/1.0",
        /// Transfer-Encoding has two lines, `chunked` twice or not last, or an invalid list
        /// (RFC 9112 6.1).
        TransferEncoding = "Transfer-Encoding",
        /// Different Content-Length values (RFC 9112 6.3).
        TwoContentLengths = "two Content-Length fields",
        /// Content-Length is not digits without leading zeros (RFC 9110 8.6).
        ContentLength = "Content-Length is no number",
        /// An option of Connection is not a token, or there are too many (RFC 9110 7.6.1).
        ConnectionOptions = "Connection is no list of at most 64 tokens",
        /// An option of Connection names a field that frames or routes the message
        /// (RFC 9110 7.6.1).
        FramingOption = "Connection names a framing field",
        /// Plain HTTP on a TLS listener.
        PlainOnTls = "plain HTTP on a TLS listener",
        /// TLS on a plain listener.
        TlsOnPlain = "TLS on a plain listener",
        /// A header of the PROXY protocol where none is read.
        ProxyHeader = "PROXY header from an address that is not in proxyProtocol",
        /// Max-Forwards is not a number (RFC 9110 7.6.2).
        MaxForwards = "Max-Forwards is no number",
        /// HTTP/1.0 without Host, so that no redirect to the TLS listener is possible.
        NothingToRedirect = "no Host field to redirect by",
        /// A credential is present twice.
        TwoCredentials = "two fields with credentials",
        ;
        /// Fault of the field lines or line ends.
        Lines(LineFault),
        /// Fault of the chunked body.
        Body(ChunkError),
    }
}

/// Fault of a request, with its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// Malformed request (RFC 9112 2.2).
    Malformed(RequestFault),
    /// CONNECT or TRACE, which a gateway does not accept (RFC 9110 9.3.6, 9.3.8).
    MethodNotAllowed,
    /// Request line too long (RFC 9112 3).
    TargetTooLong,
    /// Head too long (RFC 6585 5).
    HeadTooLarge,
    /// Too many fields (RFC 6585 5).
    TooManyFields,
    /// Transfer coding other than chunked (RFC 9112 6.1).
    UnknownCoding,
    /// Version other than HTTP/1.0 or HTTP/1.1 (RFC 9110 15.6.6).
    Version,
    /// Expectation other than 100-continue (RFC 9110 10.1.1).
    Expectation,
}

impl RequestError {
    /// Returns the status of the response.
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

    /// Returns the text of the fault for the log.
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
    /// Fault of an upstream's response. The client gets 502.
    ResponseError {
        /// The first byte does not begin a status line (RFC 9112 4).
        LineStart = "start of the status line",
        /// TLS in place of HTTP.
        Tls = "TLS; write https:// in the target",
        /// HTTP/2 in place of HTTP/1.1.
        Http2 = "HTTP/2; the target must speak HTTP/1.1",
        /// The status line is not version, space, status, space, reason (RFC 9112 4).
        StatusLine = "status line",
        /// Version other than HTTP/1.0 or HTTP/1.1.
        Version = "HTTP version",
        /// Status below 100 or above 599 (RFC 9110 15).
        Status = "status code",
        /// Control character in the reason phrase (RFC 9112 4).
        Reason = "byte in the reason phrase",
        /// Head too long.
        HeadTooLarge = "head too large",
        /// Too many fields.
        TooManyFields = "too many fields",
        /// Both Content-Length and Transfer-Encoding (RFC 9112 6.1).
        OldTransferEncoding = "Transfer-Encoding in HTTP/1.0",
        /// Transfer-Encoding has two lines, `chunked` twice or not last, or an invalid list
        /// (RFC 9112 6.1).
        TransferEncoding = "Transfer-Encoding",
        /// Transfer coding other than chunked (RFC 9112 6.1).
        UnknownCoding = "unknown transfer coding",
        /// Different Content-Length values (RFC 9112 6.3).
        ContentLengths = "two different Content-Length values",
        /// Content-Length is not digits (RFC 9110 8.6).
        ContentLength = "Content-Length is no number",
        /// An option of Connection is not a token, or there are too many (RFC 9110 7.6.1).
        ConnectionOptions = "Connection is no list of at most 64 tokens",
        /// Bytes arrived before any byte of the request was sent.
        Unasked = "bytes before the request was sent",
        /// A 101 that was not requested, or for another protocol (RFC 9110 7.8).
        Switch = "101 that was not asked for",
        /// Too many 1xx responses.
        TooManyInterim = "too many 1xx responses",
        ;
        /// Fault of the field lines or line ends.
        Lines(LineFault),
        /// Fault of the chunked body.
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
