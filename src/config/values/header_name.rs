//! Names of headers: which ones are tokens, and which ones no key may set.

/// Headers that the gateway writes from what it knows; two of them would break the message
/// (RFC 9112 6.3).
const OWN: [&str; 20] = [
    "connection",
    "allow",
    "content-encoding",
    "content-range",
    "content-type",
    "retry-after",
    "x-powered-by",
    "content-length",
    "date",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
];

/// Tells whether the gateway writes a header of this lower-case name itself.
pub(crate) fn is_own(lower: &str) -> bool {
    OWN.contains(&lower) || lower.starts_with("x-forwarded-") || lower == "x-client-subject"
}

/// Tells whether a header of this lower-case name would be useless or misleading to an upstream
/// when it is set from what a provider says about a user: fields of responses, of content, of one
/// connection, and fields that tell where a request comes from.
pub(crate) fn is_no_request_field(lower: &str) -> bool {
    const NAMES: [&str; 30] = [
        "accept-ranges",
        "age",
        "alt-svc",
        "authentication-info",
        "cache-status",
        "clear-site-data",
        "digest",
        "etag",
        "expect",
        "expires",
        "forwarded",
        "http2-settings",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "proxy",
        "proxy-authentication-info",
        "range",
        "repr-digest",
        "server",
        "server-timing",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "www-authenticate",
    ];
    const STARTS: [&str; 4] = ["content-", "access-control-", "sec-", "cross-origin-"];
    let is_listed = NAMES.contains(&lower) || STARTS.iter().any(|start| lower.starts_with(start));
    is_listed && !is_own(lower)
}

/// Returns why header edits may not name a header of this lower-case name. The framing of a message
/// and the fields of one connection are the gateway's (RFC 9110 7.6.1, RFC 9112 6), and upstreams
/// believe what says where a request comes from.
pub(crate) fn edit_fault(lower: &str) -> Option<&'static str> {
    const CONNECTION: [&str; 15] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "http2-settings",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "max-forwards",
        "via",
    ];
    const HANDSHAKE: [&str; 3] = [
        "sec-websocket-key",
        "sec-websocket-accept",
        "sec-websocket-version",
    ];
    let is_forwarded = lower.starts_with("x-forwarded-")
        || matches!(lower, "forwarded" | "x-real-ip" | "x-client-subject");
    if lower.contains('_') {
        Some("has a \"_\", which many servers take for a \"-\"; write a \"-\"")
    } else if lower == "host" {
        Some(
            "is that of the target's URL; \"preserveHost\": true sends the client's, \"requestHeaders\": { \"set\": { \"Host\": \"app.example.com\" } } another one",
        )
    } else if CONNECTION.contains(&lower) {
        Some("belongs to the framing or to one connection, which are the gateway's; remove it")
    } else if HANDSHAKE.contains(&lower) {
        Some("belongs to the handshake of a WebSocket; remove it")
    } else if is_forwarded {
        Some(
            "says where a request comes from, as the gateway does in X-Forwarded-For, -Host and -Proto; remove it, or choose another name",
        )
    } else if lower == "x-consumer" {
        Some("is the consumer that was let in; \"forwardConsumer\": true sends it")
    } else if lower == "proxy" {
        Some("is dropped from all requests: CGI programs would take it for their proxy; remove it")
    } else {
        None
    }
}

/// Tells whether a text is a token (RFC 9110 5.6.2), as names of headers and methods are.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(crate::http::field::is_tchar)
}

/// Tells whether a header of this lower-case name must not be set to a fixed value, because it
/// would break responses.
pub(crate) fn is_reserved(lower: &str) -> bool {
    OWN.contains(&lower)
}
