//! Keys of the targets of a service: where they are, how they are checked and verified.

use crate::limits as bound;
use crate::time::Duration;

use super::kind::{Fallback, Key, Kind, Table};

/// A target's URL.
pub(super) const URL: Kind = Kind::Text(r#"a URL such as "http://127.0.0.1:9000/""#);

/// Keys of `services[].sticky`.
pub static STICKY: Table = Table {
    name: "services[].sticky",
    expected: r#"an object such as { "cookie": "tg", "ttl": "1h" }, or false"#,
    keys: &[
        Key {
            name: "cookie",
            kind: Kind::Text("the name of a cookie"),
            default: Fallback::Json(r#""tg""#),
            about: "Name of the cookie.",
        },
        Key {
            name: "ttl",
            kind: Kind::Any(
                "a duration, or null",
                &[Kind::Duration(Duration::from_secs(1)), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "Time that browsers keep the cookie; without it, until they are closed.",
        },
        Key {
            name: "key",
            kind: Kind::Secret("a string"),
            default: Fallback::Nothing,
            about: "Secret of the cookie's values, so that nobody can test guesses of addresses against them.",
        },
    ],
};

/// Keys of `services[].targets[]`.
pub static TARGET: Table = Table {
    name: "services[].targets[]",
    expected: r#"an object such as { "url": "http://10.0.0.1" }"#,
    keys: &[
        Key {
            name: "url",
            kind: URL,
            default: Fallback::Required,
            about: "URL that requests are sent to.",
        },
        Key {
            name: "weight",
            kind: Kind::Whole(1, bound::WEIGHT_MAX as u64),
            default: Fallback::Number(1),
            about: "Share of the requests, beside the weights of the other targets.",
        },
        Key {
            name: "backup",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether the target gets requests only while no other target can take one.",
        },
        Key {
            name: "maxInFlight",
            kind: Kind::Any(
                "a whole number, or null",
                &[Kind::Whole(1, bound::IN_FLIGHT_MAX as u64), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "Requests at one address of the target at once; then other targets get them, or 503.",
        },
    ],
};

/// Keys of `tls` where a target is named: in a service and in a provider.
pub static UPSTREAM_TLS: Table = Table {
    name: "services[].tls",
    expected: r#"an object such as { "ca": "ca.pem" }"#,
    keys: &[
        Key {
            name: "ca",
            kind: Kind::Any(
                "the path of a PEM file, or null",
                &[Kind::Text("the path of a PEM file"), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "PEM file with authorities, or certificates, that are trusted beside the public authorities.",
        },
        Key {
            name: "serverName",
            kind: Kind::Any(
                r#"a host name such as "backend.example" or an address, or null"#,
                &[
                    Kind::Text("a host name such as \"backend.example\" or an address"),
                    Kind::Null,
                ],
            ),
            default: Fallback::Nothing,
            about: "Name to ask for (SNI) and to verify, in place of the target's host.",
        },
        Key {
            name: "cert",
            kind: Kind::Any(
                "the path of a PEM file, or null",
                &[Kind::Text("the path of a PEM file"), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "PEM file with the certificate that the upstream is shown when it asks for one, and its chain.",
        },
        Key {
            name: "key",
            kind: Kind::Any(
                "the path of a PEM file, or null",
                &[Kind::Text("the path of a PEM file"), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "PEM file with the private key of \"cert\".",
        },
    ],
};
