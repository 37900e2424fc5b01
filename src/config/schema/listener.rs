//! Keys of a listener.

use super::acme::LISTENER_ACME_KEY;
use super::kind::{Fallback, Key, Kind, Table};

/// Words after "must be" of an address.
pub const ADDRESS_EXPECTED: &str = r#"an address such as "0.0.0.0:5000", "[::]:5000" or "unix:/run/tollgate.sock", or a list of them"#;

/// Words after "must be" of a listener's name.
pub const NAME_EXPECTED: &str = r#"a name such as "public", of letters, digits, "-", "_" and ".""#;

/// An address, or a port of all IPv4 addresses.
const ADDRESS: Kind = Kind::Any(
    ADDRESS_EXPECTED,
    &[Kind::Text(ADDRESS_EXPECTED), Kind::Whole(0, 65535)],
);

/// Listener: an address, or an object with one.
pub(super) const LISTEN: Kind = Kind::Any(ADDRESS_EXPECTED, &[ADDRESS, Kind::Object(&LISTENER)]);

/// Keys of `listen[]`.
pub static LISTENER: Table = Table {
    name: "listen[]",
    expected: r#"an object with "address""#,
    keys: &[
        Key {
            name: "address",
            kind: ADDRESS,
            default: Fallback::Required,
            about: "Address and port, or the path of a unix socket.",
        },
        Key {
            name: "tls",
            kind: Kind::Any(
                LISTENER_TLS.expected,
                &[Kind::Object(&LISTENER_TLS), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "Certificates with which clients are served over TLS; without it plain HTTP is spoken.",
        },
        Key {
            name: "redirectToHttps",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether every request is redirected to the first listener with TLS.",
        },
        Key {
            name: "name",
            kind: Kind::Text(NAME_EXPECTED),
            default: Fallback::Nothing,
            about: "Name by which services choose this listener; several may have the same.",
        },
        Key {
            name: "proxyProtocol",
            kind: Kind::List(
                r#"a list of the balancers' networks such as ["10.0.0.0/8"]"#,
                &Kind::Text(
                    r#"a network such as "10.0.0.0/8", an address such as "10.0.0.1", or "unix""#,
                ),
            ),
            default: Fallback::Nothing,
            about: "Balancers whose connections must begin with a header of the PROXY protocol, which names the client.",
        },
        Key {
            name: "reusePort",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether other processes of the same user may listen on this port, too; the kernel spreads the clients.",
        },
    ],
};

/// `listeners` of a service.
pub(super) const LISTENERS_KEY: Key = Key {
    name: "listeners",
    kind: Kind::List(
        r#"a list of names of listeners such as ["public"]"#,
        &Kind::Text(r#"the "name" of a listener such as "public""#),
    ),
    default: Fallback::Nothing,
    about: "Names of the listeners that the service answers on; without it, all.",
};

/// `clientCertificate` of a service.
pub(super) const CLIENT_CERTIFICATE_KEY: Key = Key {
    name: "clientCertificate",
    kind: Kind::Word(&["required"]),
    default: Fallback::Nothing,
    about: "Whether requests of connections that showed no client certificate get 403.",
};

/// Keys of `listen[].tls`.
pub static LISTENER_TLS: Table = Table {
    name: "listen[].tls",
    expected: r#"an object such as { "certificates": [{ "cert": "site.pem", "key": "site.key" }] }"#,
    keys: &[
        Key {
            name: "certificates",
            kind: Kind::List(
                r#"a list such as [{ "cert": "site.pem", "key": "site.key" }]"#,
                &Kind::Object(&CERTIFICATE),
            ),
            default: Fallback::Nothing,
            about: "Pairs of PEM files; the name that the client asks for (SNI) chooses one.",
        },
        LISTENER_ACME_KEY,
        Key {
            name: "minVersion",
            kind: Kind::Any(
                r#"one of "1.2", "1.3""#,
                &[Kind::Word(&["1.2", "1.3"]), Kind::Null],
            ),
            default: Fallback::Json(r#""1.2""#),
            about: "Oldest version of TLS that is spoken.",
        },
        Key {
            name: "clientCa",
            kind: Kind::Any(
                "the path of a PEM file",
                &[Kind::Text("the path of a PEM file"), Kind::Null],
            ),
            default: Fallback::Nothing,
            about: "PEM file with authorities, one of which must have signed the client's certificate.",
        },
        Key {
            name: "clientAuth",
            kind: Kind::Word(&["required", "optional"]),
            default: Fallback::Json(r#""required""#),
            about: "Whether clients without a certificate are let in where clientCa is set.",
        },
    ],
};

/// Keys of `listen[].tls.certificates[]`.
pub static CERTIFICATE: Table = Table {
    name: "listen[].tls.certificates[]",
    expected: r#"an object with "cert" and "key""#,
    keys: &[
        Key {
            name: "cert",
            kind: Kind::Text("the path of a PEM file"),
            default: Fallback::Required,
            about: "PEM file with the certificate, and its chain behind it.",
        },
        Key {
            name: "key",
            kind: Kind::Text("the path of a PEM file"),
            default: Fallback::Required,
            about: "PEM file with the private key of the certificate.",
        },
    ],
};
