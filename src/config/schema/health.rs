//! Keys of the health of targets.

use crate::limits as bound;
use crate::time::Duration;

use super::kind::{Fallback, Key, Kind, Table};

/// Keys of `services[].healthCheck`.
pub static HEALTH_CHECK: Table = Table {
    name: "services[].healthCheck",
    expected: r#"an object such as { "path": "/health" }, or false"#,
    keys: &[
        Key {
            name: "path",
            kind: Kind::Text(r#"a path such as "/health""#),
            default: Fallback::Required,
            about: "Path, perhaps with a query, that every address of a target is asked for.",
        },
        Key {
            name: "host",
            kind: Kind::Text(r#"a host such as "app.example.com""#),
            default: Fallback::Nothing,
            about: "Value of `Host` in a check, for targets that answer to some names alone; without it that of the target.",
        },
        Key {
            name: "interval",
            kind: Kind::Duration(bound::CHECK_INTERVAL_MIN),
            default: Fallback::Duration(bound::CHECK_INTERVAL_DEFAULT),
            about: "Time between two checks of an address.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration(bound::CHECK_INTERVAL_MIN),
            default: Fallback::Duration(bound::CHECK_TIMEOUT_DEFAULT),
            about: "Time that an answer to a check may take.",
        },
        Key {
            name: "rise",
            kind: Kind::Whole(1, bound::CHECK_RUN_MAX as u64),
            default: Fallback::Number(bound::CHECK_RISE_DEFAULT as u64),
            about: "Good answers in a row that bring an address back.",
        },
        Key {
            name: "fall",
            kind: Kind::Whole(1, bound::CHECK_RUN_MAX as u64),
            default: Fallback::Number(bound::CHECK_FALL_DEFAULT as u64),
            about: "Bad answers in a row that take an address out.",
        },
        Key {
            name: "status",
            kind: Kind::Any(
                r#"a range of statuses such as "200-399", or one such as "204""#,
                &[
                    Kind::Text(r#"a range of statuses such as "200-399""#),
                    Kind::Whole(200, 599),
                ],
            ),
            default: Fallback::Json(r#""200-399""#),
            about: "Statuses of a good answer.",
        },
    ],
};

/// Keys of `services[].passiveHealth`.
pub static PASSIVE_HEALTH: Table = Table {
    name: "services[].passiveHealth",
    expected: r#"an object such as { "failures": 5 }, or false"#,
    keys: &[
        Key {
            name: "failures",
            kind: Kind::Whole(1, bound::PASSIVE_FAILURES_MAX as u64),
            default: Fallback::Number(bound::PASSIVE_FAILURES_DEFAULT as u64),
            about: "Failures within the window that eject an address.",
        },
        Key {
            name: "window",
            kind: Kind::Duration(Duration::from_millis(1)),
            default: Fallback::Duration(bound::PASSIVE_SPAN_DEFAULT),
            about: "Time within which failures are counted together.",
        },
        Key {
            name: "eject",
            kind: Kind::Duration(bound::PASSIVE_EJECT_MIN),
            default: Fallback::Duration(bound::PASSIVE_SPAN_DEFAULT),
            about: "Time for which an address is ejected.",
        },
    ],
};
