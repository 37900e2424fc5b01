//! Fixed replies of the gateway.

macro_rules! replies {
    ($($variant:ident = $status:literal $message:literal,)*) => {
        /// A fixed reply of the gateway.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each variant is the status of that name")]
        pub enum Reply {
            $($variant,)*
        }

        impl Reply {
            /// Every reply.
            pub const ALL: &[Reply] = &[$(Reply::$variant,)*];

            /// Returns the status code.
            pub const fn status(self) -> u16 {
                match self {
                    $(Reply::$variant => $status,)*
                }
            }

            /// Returns the body, which is constant JSON.
            pub const fn body(self) -> &'static [u8] {
                match self {
                    $(Reply::$variant => concat!(
                        "{\"code\":", $status, ",\"status\":\"Error\",\"message\":\"", $message, "\",\"data\":null}"
                    ).as_bytes(),)*
                }
            }
        }
    };
}

replies! {
    BadRequest = 400 "Bad request.",
    PlainOnTls = 400 "Plain HTTP was sent to a TLS port: use https.",
    ProxyHeader = 400 "A PROXY header was sent to a port that reads none.",
    Unauthorized = 401 "Unauthorized.",
    Forbidden = 403 "Forbidden.",
    NotFound = 404 "Route not found.",
    MethodNotAllowed = 405 "Method not allowed.",
    RequestTimeout = 408 "Request timeout.",
    PayloadTooLarge = 413 "Payload too large.",
    UriTooLong = 414 "URI too long.",
    ExpectationFailed = 417 "Expectation failed.",
    TooManyRequests = 429 "Rate limit exceeded.",
    FieldsTooLarge = 431 "Request header fields too large.",
    InternalError = 500 "Internal error.",
    NotImplemented = 501 "Not implemented.",
    BadGateway = 502 "Bad gateway.",
    ServiceUnavailable = 503 "Service unavailable.",
    GatewayTimeout = 504 "Gateway timeout.",
    VersionNotSupported = 505 "HTTP version not supported.",
}

impl From<crate::http::error::RequestError> for Reply {
    fn from(error: crate::http::error::RequestError) -> Reply {
        use crate::http::error::{RequestError as E, RequestFault as F};
        match error {
            E::Malformed(F::PlainOnTls) => Reply::PlainOnTls,
            E::Malformed(F::ProxyHeader) => Reply::ProxyHeader,
            E::Malformed(_) => Reply::BadRequest,
            E::MethodNotAllowed => Reply::MethodNotAllowed,
            E::TargetTooLong => Reply::UriTooLong,
            E::HeadTooLarge | E::TooManyFields => Reply::FieldsTooLarge,
            E::UnknownCoding => Reply::NotImplemented,
            E::Version => Reply::VersionNotSupported,
            E::Expectation => Reply::ExpectationFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_are_the_contracts() {
        let not_found =
            br#"{"code":404,"status":"Error","message":"Route not found.","data":null}"#;
        assert_eq!(Reply::NotFound.body(), not_found);
        for (reply, len) in [
            (Reply::NotFound, 70),
            (Reply::TooManyRequests, 74),
            (Reply::GatewayTimeout, 70),
        ] {
            assert_eq!(reply.body().len(), len);
        }
        // Clients depend on these bodies byte for byte.
        let table = [
            (404, "Route not found."),
            (429, "Rate limit exceeded."),
            (504, "Gateway timeout."),
            (502, "Bad gateway."),
            (503, "Service unavailable."),
            (500, "Internal error."),
            (501, "Not implemented."),
            (505, "HTTP version not supported."),
            (400, "Bad request."),
            (400, "Plain HTTP was sent to a TLS port: use https."),
            (400, "A PROXY header was sent to a port that reads none."),
            (405, "Method not allowed."),
            (408, "Request timeout."),
            (413, "Payload too large."),
            (414, "URI too long."),
            (417, "Expectation failed."),
            (431, "Request header fields too large."),
            (401, "Unauthorized."),
            (403, "Forbidden."),
        ];
        assert_eq!(Reply::ALL.len(), table.len());
        for (status, message) in table {
            let body = format!(
                "{{\"code\":{status},\"status\":\"Error\",\"message\":\"{message}\",\"data\":null}}"
            );
            let reply = Reply::ALL
                .iter()
                .find(|reply| reply.body() == body.as_bytes())
                .expect("a reply with this body");
            assert_eq!(reply.status(), status);
        }
    }

    #[test]
    fn every_refusal_of_the_parser_has_its_reply() {
        use crate::http::error::RequestError as E;
        for error in [
            E::Malformed(crate::http::error::RequestFault::RequestLine),
            E::MethodNotAllowed,
            E::TargetTooLong,
            E::HeadTooLarge,
            E::TooManyFields,
            E::UnknownCoding,
            E::Version,
            E::Expectation,
        ] {
            assert_eq!(Reply::from(error).status(), error.status());
        }
    }
}
