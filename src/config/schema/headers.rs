//! Keys for headers: defaults at the top level, and keys of a service.

use crate::time::Duration;

use super::kind::{Fallback, Key, Kind, Table};

/// `cors`.
pub(super) const CORS_KEY: Key = Key {
    name: "cors",
    kind: Kind::Any(
        r#"true, false or an object such as { "origins": ["https://app.example.com"] }"#,
        &[Kind::Flag, Kind::Object(&CORS)],
    ),
    default: Fallback::Flag(true),
    about: "Answers to preflights, and the CORS headers of responses.",
};

/// `securityHeaders`.
pub(super) const SECURITY_HEADERS_KEY: Key = Key {
    name: "securityHeaders",
    kind: Kind::Any(
        r#"true, false or an object such as { "X-Frame-Options": "DENY" }"#,
        &[
            Kind::Flag,
            Kind::Map(
                r#"true, false or an object such as { "X-Frame-Options": "DENY" }"#,
                &Kind::Any(
                    "a string, or null to leave the header out",
                    &[Kind::Text("a string"), Kind::Null],
                ),
            ),
        ],
    ),
    default: Fallback::Flag(true),
    about: "Headers that helmet sends, or changes to them.",
};

/// `preserveHost`: a default at the top level, and a key of a service.
pub(super) const PRESERVE_HOST_KEY: Key = Key {
    name: "preserveHost",
    kind: Kind::Flag,
    default: Fallback::Flag(false),
    about: "Whether the client's Host is sent upstream in place of the target's.",
};

/// `rewriteLocation`: a default at the top level, and a key of a service.
pub(super) const REWRITE_LOCATION_KEY: Key = Key {
    name: "rewriteLocation",
    kind: Kind::Flag,
    default: Fallback::Flag(false),
    about: "Whether the target's own URLs in Location, Content-Location and Refresh become the client's.",
};

/// `rewriteCookiePath`: a default at the top level, and a key of a service.
pub(super) const REWRITE_COOKIE_PATH_KEY: Key = Key {
    name: "rewriteCookiePath",
    kind: Kind::Flag,
    default: Fallback::Flag(false),
    about: "Whether a Path of Set-Cookie under the target's path becomes the route.",
};

/// Keys of `cors`.
pub static CORS: Table = Table {
    name: "cors",
    expected: r#"true, false or an object such as { "origins": ["https://app.example.com"] }"#,
    keys: &[
        Key {
            name: "origins",
            kind: Kind::List(
                r#"a list such as ["https://app.example"], or ["*"] for any"#,
                &Kind::Text(r#"an origin such as "https://app.example""#),
            ),
            default: Fallback::Json(r#"["*"]"#),
            about: "Origins whose scripts may read responses.",
        },
        Key {
            name: "methods",
            kind: Kind::List(
                r#"a list such as ["GET", "POST"]"#,
                &Kind::Text("a method name"),
            ),
            default: Fallback::Json(r#"["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]"#),
            about: "Methods that preflights allow.",
        },
        Key {
            name: "headers",
            kind: Kind::Any(
                r#""reflect" or a list such as ["X-Token"]"#,
                &[
                    Kind::Word(&["reflect"]),
                    Kind::List(
                        r#""reflect" or a list such as ["X-Token"]"#,
                        &Kind::Text("a header name"),
                    ),
                ],
            ),
            default: Fallback::Json(r#""reflect""#),
            about: "Request headers that preflights allow; \"reflect\" allows those that are asked for.",
        },
        Key {
            name: "exposeHeaders",
            kind: Kind::List(
                r#"a list such as ["X-Total"]"#,
                &Kind::Text("a header name"),
            ),
            default: Fallback::Json("[]"),
            about: "Response headers that scripts may read.",
        },
        Key {
            name: "credentials",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether scripts may send cookies and the like; origins must be named then.",
        },
        Key {
            name: "maxAge",
            kind: Kind::Any(
                "a duration, or null",
                &[Kind::Duration(Duration::ZERO), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "Whole seconds for which browsers remember a preflight; without it they decide.",
        },
        Key {
            name: "forwardOptions",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether OPTIONS requests are passed on that are no preflights.",
        },
    ],
};
