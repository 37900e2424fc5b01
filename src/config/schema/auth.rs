//! Keys of the providers under `auth`, a table for each `type`.

use crate::limits as bound;
use crate::time::Duration;

use super::kind::{Fallback, Key, Kind, Table};
use super::targets::UPSTREAM_TLS;

/// Tables of all providers, each with the name of its `type`.
pub static PROVIDERS: [&Table; 5] = [&JWT, &INTROSPECTION, &API_KEY, &BASIC, &FORWARD];

/// A provider under `auth`.
pub(super) static PROVIDER: Kind = Kind::Variants(r#"an object with "type""#, &PROVIDERS);

/// `type`, which every provider has.
pub static PROVIDER_TYPE: Key = TYPE;

const TYPE: Key = Key {
    name: "type",
    kind: Kind::Word(&["jwt", "introspection", "apiKey", "basic", "forward"]),
    default: Fallback::Required,
    about: "Kind of credential, and who verifies it.",
};

/// Name of a header that goes upstream.
const HEADER: Kind = Kind::Text(r#"the name of a header such as "X-User-Id""#);

/// `forwardClaims` of providers that take tokens.
const FORWARD_CLAIMS: Key = Key {
    name: "forwardClaims",
    kind: Kind::Map(r#"an object such as { "sub": "X-User-Id" }"#, &HEADER),
    default: Fallback::Nothing,
    about: "Claims of the token that are sent upstream, each in the header named for it.",
};

/// `url` of providers that ask another server.
const ENDPOINT: Key = Key {
    name: "url",
    kind: Kind::Text(r#"a URL such as "https://idp.example/introspect""#),
    default: Fallback::Required,
    about: "URL that is asked.",
};

/// `tls` of providers that ask another server.
const TLS: Key = Key {
    name: "tls",
    kind: Kind::Object(&UPSTREAM_TLS),
    default: Fallback::Nothing,
    about: "How the https server that is asked is verified, beside the public authorities.",
};

/// Keys of a provider of the type `jwt`.
pub static JWT: Table = Table {
    name: "jwt",
    expected: r#"an object with "type""#,
    keys: &[
        TYPE,
        Key {
            name: "secret",
            kind: Kind::Secret("a string"),
            default: Fallback::Nothing,
            about: "Secret of the HMAC algorithms; one of \"secret\", \"publicKey\" and \"jwks\" is needed.",
        },
        Key {
            name: "publicKey",
            kind: Kind::Text("the path of a PEM file"),
            default: Fallback::Nothing,
            about: "PEM file with a public key or a certificate, or its text.",
        },
        Key {
            name: "jwks",
            kind: Kind::Text("a URL or the path of a file"),
            default: Fallback::Nothing,
            about: "Key set: a URL that it is fetched from, or a file.",
        },
        Key {
            name: "algorithms",
            kind: Kind::List(
                r#"a list such as ["RS256", "ES256"]"#,
                &Kind::Word(&[
                    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384",
                    "PS512", "ES256", "ES384", "EdDSA", "Ed25519",
                ]),
            ),
            default: Fallback::Nothing,
            about: "Algorithms that are taken; without it all that the key has, and for a key set all but HS.",
        },
        Key {
            name: "issuer",
            kind: Kind::Any(
                "an issuer, or a list of them",
                &[
                    Kind::Text("a string"),
                    Kind::List("an issuer, or a list of them", &Kind::Text("a string")),
                ],
            ),
            default: Fallback::Nothing,
            about: "Value that \"iss\" must have; without it any.",
        },
        Key {
            name: "audience",
            kind: Kind::Any(
                "an audience, or a list of them",
                &[
                    Kind::Text("a string"),
                    Kind::List("an audience, or a list of them", &Kind::Text("a string")),
                ],
            ),
            default: Fallback::Nothing,
            about: "Value that \"aud\" must name; without it any.",
        },
        Key {
            name: "leeway",
            kind: Kind::Duration(Duration::ZERO),
            default: Fallback::Duration(bound::AUTH_LEEWAY_DEFAULT),
            about: "How far the issuer's clock may be from the gateway's.",
        },
        FORWARD_CLAIMS,
        TLS,
    ],
};

/// Keys of a provider of the type `introspection`.
pub static INTROSPECTION: Table = Table {
    name: "introspection",
    expected: r#"an object with "type""#,
    keys: &[
        TYPE,
        ENDPOINT,
        Key {
            name: "clientId",
            kind: Kind::Secret("a string"),
            default: Fallback::Nothing,
            about: "Name under which the gateway asks; with it \"clientSecret\" is needed.",
        },
        Key {
            name: "clientSecret",
            kind: Kind::Secret("a string"),
            default: Fallback::Nothing,
            about: "Secret with which the gateway asks; with it \"clientId\" is needed.",
        },
        Key {
            name: "cache",
            kind: Kind::Any(
                r#"a duration such as "15s", "250ms", "1m" or "1h", or a whole number of milliseconds"#,
                &[Kind::Off, Kind::Duration(Duration::ZERO)],
            ),
            default: Fallback::Duration(bound::INTROSPECTION_CACHE_DEFAULT),
            about: "Time for which an answer is remembered, or false.",
        },
        FORWARD_CLAIMS,
        TLS,
    ],
};

/// Keys of a provider of the type `apiKey`.
pub static API_KEY: Table = Table {
    name: "apiKey",
    expected: r#"an object with "type""#,
    keys: &[
        TYPE,
        Key {
            name: "header",
            kind: Kind::Text(r#"the name of a header such as "X-Api-Key""#),
            default: Fallback::Json(r#""X-Api-Key""#),
            about: "Header that has the key.",
        },
        Key {
            name: "keys",
            kind: Kind::Map(
                r#"an object such as { "billing": "sha256:..." }"#,
                &Kind::Secret(r#"a hash such as "sha256:...""#),
            ),
            default: Fallback::Required,
            about: "Hashes of the keys by the names of their holders, as \"tollgate hash --api-key\" prints them.",
        },
    ],
};

/// Keys of a provider of the type `basic`.
pub static BASIC: Table = Table {
    name: "basic",
    expected: r#"an object with "type""#,
    keys: &[
        TYPE,
        Key {
            name: "users",
            kind: Kind::Map(
                r#"an object such as { "ann": "pbkdf2-sha256:..." }"#,
                &Kind::Secret(r#"a hash such as "pbkdf2-sha256:...""#),
            ),
            default: Fallback::Required,
            about: "Hashes of the passwords by user, as \"tollgate hash\" prints them.",
        },
    ],
};

/// Keys of a provider of the type `forward`.
pub static FORWARD: Table = Table {
    name: "forward",
    expected: r#"an object with "type""#,
    keys: &[
        TYPE,
        ENDPOINT,
        Key {
            name: "copyHeaders",
            kind: Kind::List(
                r#"a list of headers such as ["X-Auth-Request-User"]"#,
                &HEADER,
            ),
            default: Fallback::Nothing,
            about: "Headers of the answer that are sent upstream.",
        },
        TLS,
    ],
};
