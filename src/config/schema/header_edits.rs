//! Keys of header edits, at the top level and in a service.

use super::kind::{Fallback, Key, Kind, Table};

/// `requestHeaders`: a default at the top level, and a key of a service.
pub(super) const REQUEST_HEADERS_KEY: Key = Key {
    name: "requestHeaders",
    kind: Kind::Object(&HEADER_EDITS),
    default: Fallback::Nothing,
    about: "Changes of the headers that are sent upstream, after everything else that changes them.",
};

/// `responseHeaders`: a default at the top level, and a key of a service.
pub(super) const RESPONSE_HEADERS_KEY: Key = Key {
    name: "responseHeaders",
    kind: Kind::Object(&HEADER_EDITS),
    default: Fallback::Nothing,
    about: "Changes of the headers of every response, the gateway's own included, after everything else.",
};

/// Values of `set` and `add`.
const EDITED_EXPECTED: &str = r#"an object such as { "X-Env": "b", "X-Client": "${client.ip}" }"#;

const EDITED: Kind = Kind::Map(
    EDITED_EXPECTED,
    &Kind::Any(
        "a string, or null to leave the header as it is",
        &[
            Kind::Text("a string, or null to leave the header as it is"),
            Kind::Null,
        ],
    ),
);

/// Keys of `requestHeaders` and `responseHeaders`.
static HEADER_EDITS: Table = Table {
    name: "requestHeaders",
    expected: r#"an object such as { "set": { "X-Env": "b" }, "remove": ["Cookie"] }"#,
    keys: &[
        Key {
            name: "set",
            kind: EDITED,
            default: Fallback::Nothing,
            about: "Headers with one value each, which replaces all others; null takes an inherited one away.",
        },
        Key {
            name: "add",
            kind: EDITED,
            default: Fallback::Nothing,
            about: "Headers that are added beside others of their name; null takes an inherited one away.",
        },
        Key {
            name: "remove",
            kind: Kind::List(
                r#"a list of header names such as ["Cookie"]"#,
                &Kind::Text(r#"a header name such as "Cookie""#),
            ),
            default: Fallback::Nothing,
            about: "Headers that go; the list of a service replaces an inherited one.",
        },
    ],
};
