//! Keys of certificates that the gateway orders itself (ACME, RFC 8555).

use super::kind::{Fallback, Key, Kind, Table};

/// `acme` of the top level.
pub(super) const ACME_KEY: Key = Key {
    name: "acme",
    kind: Kind::Any(ACME.expected, &[Kind::Object(&ACME), Kind::Null]),
    default: Fallback::Nothing,
    about: "Authority that certificates are ordered from, for the listeners with tls.acme.",
};

/// `acme` of a listener.
pub(super) const LISTENER_ACME_KEY: Key = Key {
    name: "acme",
    kind: Kind::Any(
        LISTENER_ACME.expected,
        &[Kind::Object(&LISTENER_ACME), Kind::Null],
    ),
    default: Fallback::Nothing,
    about: "Names whose certificate the gateway orders and renews itself.",
};

const PEM_FILE: &str = "the path of a PEM file";

const CONTACT: &str = r#"an address such as "ops@example.com""#;

/// Keys of `acme`.
pub static ACME: Table = Table {
    name: "acme",
    expected: r#"an object such as { "agree": true }"#,
    keys: &[
        Key {
            name: "directory",
            kind: Kind::Text("an https URL"),
            default: Fallback::Json(r#""https://acme-v02.api.letsencrypt.org/directory""#),
            about: "URL where the authority says how it is used.",
        },
        Key {
            name: "ca",
            kind: Kind::Any(PEM_FILE, &[Kind::Text(PEM_FILE), Kind::Null]),
            default: Fallback::Nothing,
            about: "PEM file with roots that the authority's server is verified by, beside the public ones.",
        },
        Key {
            name: "state",
            kind: Kind::Text("the path of a directory"),
            default: Fallback::Json(r#""/var/lib/tollgate""#),
            about: "Directory of the account's key, the certificates and their keys.",
        },
        Key {
            name: "agree",
            kind: Kind::Flag,
            default: Fallback::Required,
            about: "Agreement to the terms of the authority; must be true.",
        },
        Key {
            name: "profile",
            kind: Kind::Any(
                r#"the name of a profile such as "shortlived""#,
                &[
                    Kind::Text(r#"the name of a profile such as "shortlived""#),
                    Kind::Null,
                ],
            ),
            default: Fallback::Nothing,
            about: "Profile of the certificates, as the authority names it.",
        },
        Key {
            name: "eab",
            kind: Kind::Any(ACME_EAB.expected, &[Kind::Object(&ACME_EAB), Kind::Null]),
            default: Fallback::Nothing,
            about: "Account at the authority that the orders belong to (external account binding).",
        },
        Key {
            name: "challenge",
            kind: Kind::Word(&["auto", "http-01", "tls-alpn-01"]),
            default: Fallback::Json(r#""auto""#),
            about: "How names are proven; auto: tls-alpn-01 where TLS is on port 443, else http-01.",
        },
    ],
};

/// Keys of `acme.eab`.
pub static ACME_EAB: Table = Table {
    name: "acme.eab",
    expected: r#"an object with "kid" and "key""#,
    keys: &[
        Key {
            name: "kid",
            kind: Kind::Text("the id that the authority gave"),
            default: Fallback::Required,
            about: "Id of the key, from the authority.",
        },
        Key {
            name: "key",
            kind: Kind::Secret("the key that the authority gave, in base64url"),
            default: Fallback::Required,
            about: "Key of the binding in base64url, from the authority.",
        },
    ],
};

/// Keys of `listen[].tls.acme`.
pub static LISTENER_ACME: Table = Table {
    name: "listen[].tls.acme",
    expected: r#"an object such as { "names": ["api.example.com"] }"#,
    keys: &[
        Key {
            name: "names",
            kind: Kind::List(
                r#"a list of names such as ["api.example.com"]"#,
                &Kind::Text(r#"a name such as "api.example.com", or an address"#),
            ),
            default: Fallback::Required,
            about: "Names and addresses that the certificate is for.",
        },
        Key {
            name: "email",
            kind: Kind::Any(CONTACT, &[Kind::Text(CONTACT), Kind::Null]),
            default: Fallback::Nothing,
            about: "Contact for the authority; most send nothing to it.",
        },
    ],
};
