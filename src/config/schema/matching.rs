//! Keys of `match`: conditions of a service.

use super::kind::{Fallback, Key, Kind, Table};

/// `match`: a key of a service.
pub(super) const MATCH_KEY: Key = Key {
    name: "match",
    kind: Kind::Object(&MATCH),
    default: Fallback::Nothing,
    about: "What a request must have beside the route; a service of the same route without it takes the rest.",
};

const VALUES: Kind = Kind::Map(
    r#"an object such as { "X-Beta": "1" }"#,
    &Kind::Text(r#"a string such as "1""#),
);

/// Keys of `services[].match`.
pub static MATCH: Table = Table {
    name: "services[].match",
    expected: r#"an object such as { "headers": { "X-Beta": "1" } }"#,
    keys: &[
        Key {
            name: "headers",
            kind: VALUES,
            default: Fallback::Nothing,
            about: "Headers with the value that each must have.",
        },
        Key {
            name: "cookies",
            kind: VALUES,
            default: Fallback::Nothing,
            about: "Cookies with the value that each must have, as sent.",
        },
        Key {
            name: "query",
            kind: VALUES,
            default: Fallback::Nothing,
            about: "Parameters of the query with the value that each must have, percent-decoded.",
        },
    ],
};
