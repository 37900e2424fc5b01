//! Keys of the gateway's own replies, and of who gets them.

use crate::time::Duration;

use super::kind::{Fallback, Key, Kind, Table};

/// Words after "must be" of `redirect`.
const REDIRECT_EXPECTED: &str = r#"an object such as { "to": "/new" }"#;

/// Words after "must be" of `respond`.
const RESPOND_EXPECTED: &str = r#"an object such as { "status": 200, "body": "ok" }"#;

/// Words after "must be" of a network.
pub const NETWORK_EXPECTED: &str =
    r#"a network such as "10.0.0.0/8" or "fd00::/8", an address such as "10.0.0.1", or "unix""#;

/// A list of networks.
pub(super) const NETWORKS: Kind = Kind::List(
    r#"a list of networks such as ["10.0.0.0/8"]"#,
    &Kind::Text(NETWORK_EXPECTED),
);

/// `accessLog`: a default at the top level, and a key of a service.
pub(super) const ACCESS_LOG_KEY: Key = Key {
    name: "accessLog",
    kind: Kind::Word(&["combined", "json", "off"]),
    default: Fallback::Json(r#""combined""#),
    about: "Form of the access log on stdout.",
};

/// `maintenance`: a default at the top level, and a key of a service.
pub(super) const MAINTENANCE_KEY: Key = Key {
    name: "maintenance",
    kind: Kind::Any(
        MAINTENANCE.expected,
        &[Kind::Flag, Kind::Object(&MAINTENANCE)],
    ),
    default: Fallback::Flag(false),
    about: "Whether requests are answered 503, before authentication.",
};

/// Keys of `maintenance`.
pub static MAINTENANCE: Table = Table {
    name: "maintenance",
    expected: r#"true, false or an object such as { "allow": ["10.0.0.0/8"] }"#,
    keys: &[
        Key {
            name: "allow",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Networks whose clients are served all the same.",
        },
        Key {
            name: "retryAfter",
            kind: Kind::Duration(Duration::from_secs(1)),
            default: Fallback::Nothing,
            about: "Time that clients are asked to wait (Retry-After), in whole seconds.",
        },
    ],
};

/// `errorPages`: a default at the top level, and a key of a service.
pub(super) const ERROR_PAGES_KEY: Key = Key {
    name: "errorPages",
    kind: Kind::Any(
        r#"an object such as { "502": "502.html", "5xx": "error.html" }, or false"#,
        &[
            Kind::Off,
            Kind::Map(
                r#"an object such as { "502": "502.html", "5xx": "error.html" }, or false"#,
                &Kind::Text("the path of a file"),
            ),
        ],
    ),
    default: Fallback::Flag(false),
    about: "HTML pages in place of the gateway's own JSON, for clients whose Accept names text/html.",
};

/// `redirect` of a service.
pub(super) const REDIRECT_KEY: Key = Key {
    name: "redirect",
    kind: Kind::Object(&REDIRECT),
    default: Fallback::Nothing,
    about: "Another place that clients are sent to, in place of a target.",
};

/// `respond` of a service.
pub(super) const RESPOND_KEY: Key = Key {
    name: "respond",
    kind: Kind::Object(&RESPOND),
    default: Fallback::Nothing,
    about: "One response for all requests, in place of a target.",
};

/// Keys of `services[].redirect`.
pub static REDIRECT: Table = Table {
    name: "services[].redirect",
    expected: REDIRECT_EXPECTED,
    keys: &[
        Key {
            name: "to",
            kind: Kind::Text(
                r#"a path such as "/new", or a URL such as "https://www.example.com""#,
            ),
            default: Fallback::Required,
            about: "Path or URL that clients are sent to; the query of the request is kept.",
        },
        Key {
            name: "status",
            kind: Kind::Whole(301, 308),
            default: Fallback::Number(308),
            about: "Status: 301, 302, 303, 307 or 308; the last two keep method and body.",
        },
        Key {
            name: "keepPath",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether the path behind the route is appended.",
        },
    ],
};

/// Keys of `services[].respond`.
pub static RESPOND: Table = Table {
    name: "services[].respond",
    expected: RESPOND_EXPECTED,
    keys: &[
        Key {
            name: "status",
            kind: Kind::Whole(200, 599),
            default: Fallback::Number(200),
            about: "Status of the response.",
        },
        Key {
            name: "body",
            kind: Kind::Text("a string"),
            default: Fallback::Nothing,
            about: "Text of the response, at most 64 KB.",
        },
        Key {
            name: "file",
            kind: Kind::Text("the path of a file"),
            default: Fallback::Nothing,
            about: "File of at most 64 KB in place of \"body\", read when the configuration is loaded.",
        },
        Key {
            name: "type",
            kind: Kind::Text(r#"a media type such as "text/plain""#),
            default: Fallback::Nothing,
            about: "Media type; without it that of the file's name, or text/plain in UTF-8.",
        },
    ],
};
