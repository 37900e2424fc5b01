//! Keys of `rateLimit`, `authFailures`, `timeouts` and `limits`.

use crate::limits as bound;
use crate::time::Duration;

use super::kind::{Fallback, Key, Kind, Table};
use super::replies::NETWORKS;

/// A shortest duration that is more than zero.
const MORE_THAN_ZERO: Kind = Kind::Duration(Duration::from_millis(1));

/// `requests` of the limits that count in windows.
const REQUESTS: Kind = Kind::Whole(1, bound::RATE_REQUESTS_MAX as u64);

/// Keys of `authFailures`.
pub static AUTH_FAILURES: Table = Table {
    name: "authFailures",
    expected: "an object or false",
    keys: &[
        Key {
            name: "requests",
            kind: REQUESTS,
            default: Fallback::Number(bound::AUTH_FAILURES_DEFAULT as u64),
            about: "Credentials within the window.",
        },
        Key {
            name: "window",
            kind: MORE_THAN_ZERO,
            default: Fallback::Duration(bound::AUTH_FAILURES_WINDOW_DEFAULT),
            about: "Time within which they are counted together.",
        },
    ],
};

/// Words after "must be" of `rateLimit`.
const RATE_LIMITS_EXPECTED: &str =
    r#"an object such as { "requests": 20, "window": "60s" }, a list of them, or false"#;

/// Words after "must be" of `rateLimit.key`.
pub const RATE_KEY_EXPECTED: &str = r#""ip", "header:NAME", "consumer" or "claim:NAME""#;

/// `rateLimit`: one limit, or several.
pub(super) const RATE_LIMITS: Kind = Kind::Any(
    RATE_LIMITS_EXPECTED,
    &[
        Kind::Off,
        Kind::Object(&RATE_LIMIT),
        Kind::List(RATE_LIMITS_EXPECTED, &Kind::Object(&RATE_LIMIT)),
    ],
);

/// Keys of `rateLimit`.
pub static RATE_LIMIT: Table = Table {
    name: "rateLimit",
    expected: "an object or false",
    keys: &[
        Key {
            name: "requests",
            kind: REQUESTS,
            default: Fallback::Number(bound::RATE_REQUESTS_DEFAULT as u64),
            about: "Requests of one client within the window.",
        },
        Key {
            name: "window",
            kind: MORE_THAN_ZERO,
            default: Fallback::Duration(bound::RATE_WINDOW_DEFAULT),
            about: "Time within which requests are counted together, from the client's first one.",
        },
        Key {
            name: "ipv6Prefix",
            kind: Kind::Whole(1, 128),
            default: Fallback::Number(bound::RATE_IPV6_PREFIX_DEFAULT as u64),
            about: "Bits of an IPv6 address that make a client.",
        },
        Key {
            name: "maxClients",
            kind: Kind::Whole(1, bound::RATE_CLIENTS_MAX as u64),
            default: Fallback::Number(bound::RATE_CLIENTS_DEFAULT as u64),
            about: "Clients that are counted at once.",
        },
        Key {
            name: "headers",
            kind: Kind::Any(
                r#"one of "draft", "x", or false"#,
                &[Kind::Word(&["draft", "x"]), Kind::Off],
            ),
            default: Fallback::Flag(false),
            about: "Fields that tell clients what they have left: RateLimit and RateLimit-Policy, or X-RateLimit-*.",
        },
        Key {
            name: "key",
            kind: Kind::Text(RATE_KEY_EXPECTED),
            default: Fallback::Json(r#""ip""#),
            about: "What makes a client: the address, the value of a header, the consumer of a credential, or a claim of a token.",
        },
        Key {
            name: "algorithm",
            kind: Kind::Word(&["fixed", "sliding", "bucket"]),
            default: Fallback::Json(r#""fixed""#),
            about: "How requests are counted: in windows, in windows that weigh the last one in, or in a bucket.",
        },
        Key {
            name: "burst",
            kind: Kind::Any("a whole number, or null", &[REQUESTS, Kind::Null]),
            default: Fallback::Nothing,
            about: "Requests that a bucket holds, of which \"requests\" come back in each window; without it \"requests\".",
        },
        Key {
            name: "exempt",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Networks whose clients are not counted.",
        },
        Key {
            name: "store",
            kind: Kind::Any(
                "the name of a store, or null",
                &[Kind::Text("the name of a store"), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "Store through which gateways share the counts; without it each gateway counts by itself.",
        },
        Key {
            name: "exact",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether a request waits, at most 50 ms, until the store has counted it, so that none is too many.",
        },
    ],
};

/// Words after "must be" of `record.on`.
const ENDS: &str = r#"a list such as ["5xx", "upstream_malformed"]"#;

/// Keys of `record`.
pub static RECORD: Table = Table {
    name: "record",
    expected: "an object or false",
    keys: &[
        Key {
            name: "on",
            kind: Kind::List(
                ENDS,
                &Kind::Text("a word of \"end\", a status, or a class such as \"5xx\""),
            ),
            default: Fallback::Json(r#"["5xx"]"#),
            about: "Requests that are kept: classes of statuses, statuses, and words of \"end\" in the access log.",
        },
        Key {
            name: "bytes",
            kind: Kind::Size(1024, bound::RECORD_BYTES_MAX as u64),
            default: Fallback::Number(bound::RECORD_BYTES_DEFAULT as u64),
            about: "Bytes that are kept of a request and its response.",
        },
        Key {
            name: "keep",
            kind: Kind::Whole(1, bound::RECORD_KEEP_MAX as u64),
            default: Fallback::Number(bound::RECORD_KEEP_DEFAULT as u64),
            about: "Files that are kept; the oldest goes.",
        },
        Key {
            name: "dir",
            kind: Kind::Text("the path of a directory"),
            default: Fallback::Required,
            about: "Directory of the files, which must exist.",
        },
    ],
};

const OR_FALSE: &str = r#"a duration such as "15s", "250ms", "1m" or "1h", or a whole number of milliseconds from 1000, or false"#;

const fn timeout(name: &'static str, default: Duration, about: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Any(OR_FALSE, &[MORE_THAN_ZERO, Kind::Off]),
        default: Fallback::Duration(default),
        about,
    }
}

/// Keys of `timeouts`.
pub static TIMEOUTS: Table = Table {
    name: "timeouts",
    expected: r#"an object such as { "response": "15s" }"#,
    keys: &[
        timeout(
            "connect",
            bound::CONNECT_TIMEOUT_DEFAULT,
            "Time to resolve the target's name, connect and finish the TLS handshake; then 504.",
        ),
        timeout(
            "head",
            bound::HEAD_TIMEOUT_DEFAULT,
            "Time for a whole request head; then 408.",
        ),
        Key {
            name: "body",
            kind: Kind::Any(OR_FALSE, &[MORE_THAN_ZERO, Kind::Off]),
            default: Fallback::Flag(false),
            about: "Time for all of a request body; then 408.",
        },
        timeout(
            "response",
            bound::RESPONSE_TIMEOUT_DEFAULT,
            "Silence of the upstream before its head is complete; then 504.",
        ),
        timeout(
            "idle",
            bound::IDLE_TIMEOUT_DEFAULT,
            "Silence of both sides after the response head; then both are closed.",
        ),
        timeout(
            "keepAlive",
            bound::KEEP_ALIVE_DEFAULT,
            "Time that a client connection may be idle.",
        ),
        timeout(
            "upstreamKeepAlive",
            bound::UPSTREAM_KEEP_ALIVE_DEFAULT,
            "Time that a pooled upstream connection may be idle.",
        ),
        timeout(
            "tunnel",
            bound::TUNNEL_TIMEOUT_DEFAULT,
            "Silence of both sides of a WebSocket; then both are closed.",
        ),
        timeout(
            "shutdown",
            bound::SHUTDOWN_TIMEOUT_DEFAULT,
            "Time that requests in flight get at a stop, and WebSockets at an upgrade, too.",
        ),
    ],
};

/// Bounds of a head, and of the request line in it.
const HEAD_SIZE: Kind = Kind::Size(bound::HEAD_BYTES_MIN as u64, bound::HEAD_BYTES_MAX as u64);

/// `limits.inFlight`: a default of each service at the top level, and a key of a service.
const IN_FLIGHT_KEY: Key = Key {
    name: "inFlight",
    kind: Kind::Any(
        "a whole number, or null",
        &[Kind::Whole(1, bound::IN_FLIGHT_MAX as u64), Kind::Null],
    ),
    default: Fallback::Nothing,
    about: "Requests at the targets of a service at once, of each service by itself; then 503 with Retry-After.",
};

/// Keys of `limits`.
pub static LIMITS: Table = Table {
    name: "limits",
    expected: r#"an object such as { "bodyBytes": "10MB" }"#,
    keys: &[
        Key {
            name: "headBytes",
            kind: HEAD_SIZE,
            default: Fallback::Number(bound::HEAD_BYTES_DEFAULT as u64),
            about: "Size of a request head; then 431.",
        },
        Key {
            name: "requestLine",
            kind: HEAD_SIZE,
            default: Fallback::Number(bound::REQUEST_LINE_BYTES_DEFAULT as u64),
            about: "Size of a request line, which is part of the head; then 414.",
        },
        Key {
            name: "headers",
            kind: Kind::Whole(1, bound::FIELDS_MAX as u64),
            default: Fallback::Number(bound::FIELDS_DEFAULT as u64),
            about: "Fields of a request head; then 431.",
        },
        Key {
            name: "connections",
            kind: Kind::Whole(1, bound::CONNECTIONS_MAX as u64),
            default: Fallback::Number(bound::CONNECTIONS_DEFAULT as u64),
            about: "Client connections at once; then 503.",
        },
        Key {
            name: "connectionsPerClient",
            kind: Kind::Any(
                "a whole number, or null",
                &[
                    Kind::Whole(1, bound::CONNECTIONS_PER_CLIENT_MAX as u64),
                    Kind::Null,
                ],
            ),
            default: Fallback::Nothing,
            about: "Connections of one client; without it an eighth of all, while more than half of all are in use.",
        },
        Key {
            name: "bodyBytes",
            kind: Kind::Any(
                "a size, or null",
                &[Kind::Size(1, bound::BODY_BYTES_MAX), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "Size of a request body, then 413; without it any size.",
        },
        IN_FLIGHT_KEY,
    ],
};

/// Keys of `services[].limits`.
pub static SERVICE_LIMITS: Table = Table {
    name: "services[].limits",
    expected: r#"an object such as { "inFlight": 100 }"#,
    keys: &[
        Key {
            default: Fallback::Inherited,
            ..IN_FLIGHT_KEY
        },
        Key {
            name: "bodyBytes",
            kind: Kind::Any(
                "a size, or false for any size",
                &[Kind::Size(1, bound::BODY_BYTES_MAX), Kind::Off, Kind::Null],
            ),
            default: Fallback::Inherited,
            about: "Size of a request body, then 413; it may be greater than that of the top level.",
        },
    ],
};
