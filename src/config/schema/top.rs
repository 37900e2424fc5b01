//! Keys of the top level, and of the objects that stand there.

use super::acme::ACME_KEY;
use super::auth::PROVIDER;
use super::header_edits::{REQUEST_HEADERS_KEY, RESPONSE_HEADERS_KEY};
use super::headers::{
    CORS_KEY, PRESERVE_HOST_KEY, REWRITE_COOKIE_PATH_KEY, REWRITE_LOCATION_KEY,
    SECURITY_HEADERS_KEY,
};
use super::kind::{Fallback, Key, Kind, Table};
use super::limits::{AUTH_FAILURES, LIMITS, RATE_LIMITS, RECORD, TIMEOUTS};
use super::listener::{ADDRESS_EXPECTED, LISTEN};
use super::replies::{ACCESS_LOG_KEY, ERROR_PAGES_KEY, MAINTENANCE_KEY, NETWORKS};
use super::services::{
    BALANCE_KEY, ENCODED_SLASHES_KEY, FORWARD_CONSUMER_KEY, FORWARD_CREDENTIALS_KEY,
    HEALTH_CHECK_KEY, PASSIVE_HEALTH_KEY, PROVIDERS_EXPECTED, RETRIES_KEY, SERVICE, STICKY_KEY,
    STRIP_PREFIX_KEY,
};
use super::stores::STORES_KEY;
use crate::limits::WORKERS_MAX;

/// The whole file.
pub static ROOT: Kind = Kind::Any(
    "an object or a list of services",
    &[Kind::Object(&TOP), SERVICE_LIST],
);

/// Words after "must be" of the services.
const SERVICES_EXPECTED: &str = r#"a list such as [{ "route": "/x", "target": "http://..." }]"#;

/// A service, or a path of files with services.
const SERVICE_ENTRY: Kind = Kind::Any(SERVICE.expected, &[Kind::Object(&SERVICE), SERVICE_FILES]);

const SERVICE_FILES: Kind = Kind::Text(r#"the path of files such as "services.d/*.json""#);

pub(super) const SERVICE_LIST: Kind = Kind::List(SERVICES_EXPECTED, &SERVICE_ENTRY);

const SERVICES: Kind = Kind::Any(SERVICES_EXPECTED, &[SERVICE_LIST, SERVICE_FILES]);

/// Words after "must be" of an address of the admin listener.
pub const ADMIN_EXPECTED: &str =
    r#"an address such as "unix:/run/tollgate/admin.sock" or "127.0.0.1:5001", or a list of them"#;

/// Words after "must be" of the number of workers.
pub const WORKERS_EXPECTED: &str = r#"a number from 1 to 64, or "auto" for one on each core"#;

/// Address of the admin listener.
const ADMIN_ADDRESS: Kind = Kind::Text(ADMIN_EXPECTED);

/// Addresses of the admin listener.
const ADMIN_ADDRESSES: Kind = Kind::Any(
    ADMIN_EXPECTED,
    &[ADMIN_ADDRESS, Kind::List(ADMIN_EXPECTED, &ADMIN_ADDRESS)],
);

/// Keys of the file.
pub static TOP: Table = Table {
    name: "",
    expected: "an object or a list of services",
    keys: &[
        Key {
            name: "$schema",
            kind: Kind::Text("a string"),
            default: Fallback::Nothing,
            about: "Schema that editors check the file by; nothing else follows from it.",
        },
        Key {
            name: "listen",
            kind: Kind::Any(
                ADDRESS_EXPECTED,
                &[LISTEN, Kind::List(ADDRESS_EXPECTED, &LISTEN)],
            ),
            default: Fallback::Json(r#""0.0.0.0:5000""#),
            about: "Addresses where clients are accepted; PORT in the environment overrides the first port.",
        },
        ACME_KEY,
        Key {
            name: "services",
            kind: SERVICES,
            default: Fallback::Required,
            about: "Routes, and where they lead.",
        },
        BALANCE_KEY,
        HEALTH_CHECK_KEY,
        PASSIVE_HEALTH_KEY,
        RETRIES_KEY,
        STRIP_PREFIX_KEY,
        PRESERVE_HOST_KEY,
        ENCODED_SLASHES_KEY,
        FORWARD_CREDENTIALS_KEY,
        FORWARD_CONSUMER_KEY,
        STICKY_KEY,
        REQUEST_HEADERS_KEY,
        RESPONSE_HEADERS_KEY,
        Key {
            name: "requireAuth",
            kind: Kind::Any(
                PROVIDERS_EXPECTED,
                &[
                    Kind::Text("the name of a provider"),
                    Kind::List(PROVIDERS_EXPECTED, &Kind::Text("the name of a provider")),
                    Kind::Off,
                ],
            ),
            default: Fallback::Flag(false),
            about: "Providers of which one must let a request in, for all services without an \"auth\" of their own.",
        },
        Key {
            name: "auth",
            kind: Kind::Map(
                r#"an object such as { "main": { "type": "jwt", ... } }"#,
                &PROVIDER,
            ),
            default: Fallback::Nothing,
            about: "Providers that let requests in, by the names that services use.",
        },
        Key {
            name: "authFailures",
            kind: Kind::Any(
                "an object or false",
                &[Kind::Off, Kind::Object(&AUTH_FAILURES)],
            ),
            default: Fallback::OfKeys,
            about: "How many credentials of one client may turn out not to be authentic; then 429.",
        },
        Key {
            name: "rateLimit",
            kind: RATE_LIMITS,
            default: Fallback::OfKeys,
            about: "Requests that one client may send; then 429.",
        },
        STORES_KEY,
        Key {
            name: "timeouts",
            kind: Kind::Object(&TIMEOUTS),
            default: Fallback::OfKeys,
            about: "Times after which a phase is over.",
        },
        Key {
            name: "limits",
            kind: Kind::Object(&LIMITS),
            default: Fallback::OfKeys,
            about: "Sizes of a message and numbers of connections.",
        },
        Key {
            name: "halfClose",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether a client that ended its direction still gets its response.",
        },
        CORS_KEY,
        SECURITY_HEADERS_KEY,
        REWRITE_LOCATION_KEY,
        REWRITE_COOKIE_PATH_KEY,
        ACCESS_LOG_KEY,
        Key {
            name: "requestId",
            kind: Kind::Any(
                r#"a header name such as "X-Request-Id", or false"#,
                &[Kind::Text("a header name"), Kind::Off, Kind::Null],
            ),
            default: Fallback::Json(r#""X-Request-Id""#),
            about: "Field with the id of a request: at the client, at the upstream, in the log.",
        },
        Key {
            name: "record",
            kind: Kind::Any("an object or false", &[Kind::Off, Kind::Object(&RECORD)]),
            default: Fallback::Flag(false),
            about: "Flight recorder: files with the inputs of failed requests, for tollgate replay.",
        },
        Key {
            name: "trustedProxies",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Peers whose forwarded fields are believed; \"unix\" for peers on unix sockets.",
        },
        Key {
            name: "allow",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Networks whose clients are served; an empty list allows all.",
        },
        Key {
            name: "deny",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Networks whose clients get 403, also where \"allow\" has them.",
        },
        MAINTENANCE_KEY,
        ERROR_PAGES_KEY,
        Key {
            name: "logLevel",
            kind: Kind::Word(&["error", "warn", "info", "debug", "trace"]),
            default: Fallback::Json(r#""info""#),
            about: "Least severity of the messages on stderr.",
        },
        Key {
            name: "admin",
            kind: Kind::Any(
                ADMIN_EXPECTED,
                &[ADMIN_ADDRESSES, Kind::Off, Kind::Object(&ADMIN)],
            ),
            default: Fallback::Nothing,
            about: "Addresses of the admin listener; without them there is none.",
        },
        Key {
            name: "workers",
            kind: Kind::Any(
                WORKERS_EXPECTED,
                &[Kind::Whole(1, WORKERS_MAX as u64), Kind::Word(&["auto"])],
            ),
            default: Fallback::Json("1"),
            about: "Number of processes that serve, or \"auto\" for one on each core; above 1 the gateway supervises them.",
        },
        Key {
            name: "watch",
            kind: Kind::Flag,
            default: Fallback::Flag(false),
            about: "Whether the file is looked at every 2 s, and read again after a change.",
        },
    ],
};

/// Keys of `admin`.
pub static ADMIN: Table = Table {
    name: "admin",
    expected: r#"an object such as { "listen": "127.0.0.1:5001", "hosts": ["status.lan"] }"#,
    keys: &[
        Key {
            name: "listen",
            kind: ADMIN_ADDRESSES,
            default: Fallback::Required,
            about: "Addresses of the admin listener.",
        },
        Key {
            name: "hosts",
            kind: Kind::List(
                r#"a list of host names such as ["status.lan"]"#,
                &Kind::Text(r#"a host name such as "status.lan""#),
            ),
            default: Fallback::Json("[]"),
            about: "Names in Host that are accepted over TCP, beside localhost and addresses.",
        },
    ],
};
