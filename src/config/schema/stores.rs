//! Keys of `stores`.

use super::kind::{Fallback, Key, Kind, Table};
use super::targets::UPSTREAM_TLS;

/// Words after "must be" of `stores`.
const STORES_EXPECTED: &str = r#"an object such as { "main": { "url": "redis://valkey:6379" } }"#;

/// `stores`.
pub(super) const STORES_KEY: Key = Key {
    name: "stores",
    kind: Kind::Map(STORES_EXPECTED, &Kind::Object(&STORE)),
    default: Fallback::Nothing,
    about: "Valkey or Redis servers through which gateways share counts, by the names that limits use.",
};

/// Keys of `stores.NAME`.
pub static STORE: Table = Table {
    name: "stores.NAME",
    expected: r#"an object such as { "url": "redis://valkey:6379" }"#,
    keys: &[
        Key {
            name: "url",
            kind: Kind::Secret("a string"),
            default: Fallback::Required,
            about: "Server: \"redis://host:6379\", rediss:// for TLS, with user, password and database number if needed.",
        },
        Key {
            name: "prefix",
            kind: Kind::Text("a string of visible ASCII characters"),
            default: Fallback::Json(r#""tollgate:""#),
            about: "Start of all keys in the store.",
        },
        Key {
            name: "onFailure",
            kind: Kind::Word(&["local", "closed"]),
            default: Fallback::Json(r#""local""#),
            about: "What limits do while the store is down: count in this gateway alone, or answer 503.",
        },
        Key {
            name: "tls",
            kind: Kind::Object(&UPSTREAM_TLS),
            default: Fallback::Nothing,
            about: "How a rediss server is verified, beside the public authorities.",
        },
    ],
};
