//! Keys of a service.

use crate::limits as bound;

use super::header_edits::{REQUEST_HEADERS_KEY, RESPONSE_HEADERS_KEY};
use super::headers::{
    CORS_KEY, PRESERVE_HOST_KEY, REWRITE_COOKIE_PATH_KEY, REWRITE_LOCATION_KEY,
    SECURITY_HEADERS_KEY,
};
use super::health::{HEALTH_CHECK, PASSIVE_HEALTH};
use super::kind::{Fallback, Key, Kind, Table};
use super::limits::{RATE_LIMITS, SERVICE_LIMITS, TIMEOUTS};
use super::listener::{CLIENT_CERTIFICATE_KEY, LISTENERS_KEY, NAME_EXPECTED};
use super::matching::MATCH_KEY;
use super::replies::{
    ACCESS_LOG_KEY, ERROR_PAGES_KEY, MAINTENANCE_KEY, NETWORKS, REDIRECT_KEY, RESPOND_KEY,
};
use super::targets::{STICKY, TARGET, UPSTREAM_TLS, URL};

/// Words after "must be" of providers.
pub(super) const PROVIDERS_EXPECTED: &str = "the name of a provider, a list of names, or false";

/// `balance`: a default at the top level, and a key of a service.
pub(super) const BALANCE_KEY: Key = Key {
    name: "balance",
    kind: Kind::Word(&["round-robin", "least-connections", "random-two", "ip-hash"]),
    default: Fallback::Json(r#""round-robin""#),
    about: "Rule that chooses the target of a request.",
};

/// `healthCheck`: a default at the top level, and a key of a service.
pub(super) const HEALTH_CHECK_KEY: Key = Key {
    name: "healthCheck",
    kind: Kind::Any(
        HEALTH_CHECK.expected,
        &[Kind::Off, Kind::Null, Kind::Object(&HEALTH_CHECK)],
    ),
    default: Fallback::Flag(false),
    about: "Requests of the gateway's own that find out which targets are up.",
};

/// `passiveHealth`: a default at the top level, and a key of a service.
pub(super) const PASSIVE_HEALTH_KEY: Key = Key {
    name: "passiveHealth",
    kind: Kind::Any(
        "an object or false",
        &[Kind::Off, Kind::Null, Kind::Object(&PASSIVE_HEALTH)],
    ),
    default: Fallback::OfKeys,
    about: "Failures of requests that eject a target for a time.",
};

/// `retries`: a default at the top level, and a key of a service.
pub(super) const RETRIES_KEY: Key = Key {
    name: "retries",
    kind: Kind::Whole(0, bound::RETRIES_MAX as u64),
    default: Fallback::Number(bound::RETRIES_DEFAULT as u64),
    about: "How often a request may go on to another target.",
};

/// `stripPrefix`: a default at the top level, and a key of a service.
pub(super) const STRIP_PREFIX_KEY: Key = Key {
    name: "stripPrefix",
    kind: Kind::Flag,
    default: Fallback::Flag(true),
    about: "Whether the route is removed from the path that is sent upstream.",
};

/// `encodedSlashes`: a default at the top level, and a key of a service.
pub(super) const ENCODED_SLASHES_KEY: Key = Key {
    name: "encodedSlashes",
    kind: Kind::Word(&["reject", "keep"]),
    default: Fallback::Json(r#""reject""#),
    about: "Whether a path with %2F is refused with 400, or passed on as it is.",
};

/// `forwardCredentials`: a default at the top level, and a key of a service.
pub(super) const FORWARD_CREDENTIALS_KEY: Key = Key {
    name: "forwardCredentials",
    kind: Kind::Flag,
    default: Fallback::Flag(true),
    about: "Whether the credential that let a request in is sent upstream.",
};

/// `forwardConsumer`: a default at the top level, and a key of a service.
pub(super) const FORWARD_CONSUMER_KEY: Key = Key {
    name: "forwardConsumer",
    kind: Kind::Flag,
    default: Fallback::Flag(false),
    about: "Whether the name of the consumer that was let in is sent upstream as X-Consumer.",
};

/// `sticky`: a default at the top level, and a key of a service.
pub(super) const STICKY_KEY: Key = Key {
    name: "sticky",
    kind: Kind::Any(STICKY.expected, &[Kind::Off, Kind::Object(&STICKY)]),
    default: Fallback::Flag(false),
    about: "A cookie that keeps a client at one address of the targets, as long as that is up.",
};

/// Returns the key of a service whose default stands at the top level.
const fn inherited(key: Key) -> Key {
    Key {
        default: Fallback::Inherited,
        ..key
    }
}

/// Keys of `services[]`.
pub static SERVICE: Table = Table {
    name: "services[]",
    expected: r#"an object with "route" and "target""#,
    keys: &[
        Key {
            name: "route",
            kind: Kind::Text(r#"a path prefix such as "/users""#),
            default: Fallback::Required,
            about: "Path prefix that leads here, matched on whole segments and raw bytes; the longest wins. \"= /login\" is that path alone.",
        },
        Key {
            name: "name",
            kind: Kind::Text(NAME_EXPECTED),
            default: Fallback::Nothing,
            about: "Name in place of the route in metrics, logs and reports; services with one name are counted together.",
        },
        Key {
            name: "hosts",
            kind: Kind::List(
                r#"a list of host names such as ["api.example.com", "*.example.com"]"#,
                &Kind::Text(r#"a host name such as "api.example.com""#),
            ),
            default: Fallback::Nothing,
            about: "Hosts whose requests are taken; without it, those of any host.",
        },
        Key {
            name: "methods",
            kind: Kind::List(
                r#"a list of methods such as ["GET", "POST"]"#,
                &Kind::Text(r#"a method such as "GET""#),
            ),
            default: Fallback::Nothing,
            about: "Methods that are taken, GET with HEAD; without it, any method.",
        },
        MATCH_KEY,
        LISTENERS_KEY,
        CLIENT_CERTIFICATE_KEY,
        Key {
            name: "target",
            kind: URL,
            default: Fallback::Nothing,
            about: "URL, also http://unix:/run/app.sock:/base; its path stands before what follows the route.",
        },
        Key {
            name: "targets",
            kind: Kind::List(
                r#"a list such as ["http://10.0.0.1/", { "url": "http://10.0.0.2/", "weight": 2 }]"#,
                &Kind::Any(
                    r#"a URL such as "http://10.0.0.1/", or an object such as { "url": "http://10.0.0.1/", "weight": 2 }"#,
                    &[URL, Kind::Object(&TARGET)],
                ),
            ),
            default: Fallback::Nothing,
            about: "Several targets in place of \"target\", which share the requests.",
        },
        REDIRECT_KEY,
        RESPOND_KEY,
        inherited(BALANCE_KEY),
        inherited(HEALTH_CHECK_KEY),
        inherited(PASSIVE_HEALTH_KEY),
        inherited(RETRIES_KEY),
        inherited(STRIP_PREFIX_KEY),
        inherited(PRESERVE_HOST_KEY),
        inherited(ENCODED_SLASHES_KEY),
        inherited(REQUEST_HEADERS_KEY),
        inherited(RESPONSE_HEADERS_KEY),
        inherited(CORS_KEY),
        inherited(SECURITY_HEADERS_KEY),
        inherited(REWRITE_LOCATION_KEY),
        inherited(REWRITE_COOKIE_PATH_KEY),
        Key {
            name: "tls",
            kind: Kind::Object(&UPSTREAM_TLS),
            default: Fallback::Nothing,
            about: "How https targets are verified, beside the public authorities.",
        },
        Key {
            name: "rateLimit",
            kind: RATE_LIMITS,
            default: Fallback::Inherited,
            about: "Limit for the requests of this service, in a table of its own; missing keys are those of a single top-level limit.",
        },
        Key {
            name: "timeouts",
            kind: Kind::Object(&TIMEOUTS),
            default: Fallback::Inherited,
            about: "Timeouts of this service; missing keys are the top level's.",
        },
        inherited(STICKY_KEY),
        Key {
            name: "limits",
            kind: Kind::Object(&SERVICE_LIMITS),
            default: Fallback::Inherited,
            about: "Limits of this service; missing keys are the top level's.",
        },
        Key {
            name: "allow",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Networks whose clients this service serves, of those that the top level serves.",
        },
        Key {
            name: "deny",
            kind: NETWORKS,
            default: Fallback::Json("[]"),
            about: "Networks whose clients this service refuses with 403, beside those of the top level.",
        },
        inherited(MAINTENANCE_KEY),
        inherited(ERROR_PAGES_KEY),
        inherited(ACCESS_LOG_KEY),
        Key {
            name: "auth",
            kind: Kind::Any(
                PROVIDERS_EXPECTED,
                &[
                    Kind::Text("the name of a provider"),
                    Kind::List(PROVIDERS_EXPECTED, &Kind::Text("the name of a provider")),
                    Kind::Off,
                ],
            ),
            default: Fallback::Inherited,
            about: "Providers of which one must let a request in; without it, those of \"requireAuth\".",
        },
        Key {
            name: "scopes",
            kind: Kind::List(
                r#"a list of scopes such as ["read:users"]"#,
                &Kind::Text(r#"a scope such as "read:users""#),
            ),
            default: Fallback::Nothing,
            about: "Scopes that a token must have, all of them.",
        },
        inherited(FORWARD_CREDENTIALS_KEY),
        inherited(FORWARD_CONSUMER_KEY),
    ],
};
