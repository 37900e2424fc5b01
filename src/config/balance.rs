//! `targets` and what goes with them: which one is next, and how it is known how they are.

use core::ops::RangeInclusive;

use crate::limits as bound;
use crate::proxy::settings::{HealthCheck, Hysteresis, PassiveHealth, Role, Strategy, Target};
use crate::time::Duration;

use super::document::Value;
use super::raw::{Object, Place, Report};
use super::{route, target, values};

const TARGET_KEYS: [&str; 3] = ["url", "weight", "backup"];
const CHECK_KEYS: [&str; 6] = ["path", "interval", "timeout", "rise", "fall", "status"];
const PASSIVE_KEYS: [&str; 3] = ["failures", "window", "eject"];

const STRATEGIES: [(&str, Strategy); 4] = [
    ("round-robin", Strategy::RoundRobin),
    ("least-connections", Strategy::LeastConnections),
    ("random-two", Strategy::RandomTwo),
    ("ip-hash", Strategy::IpHash),
];

const ALONE: Role = Role {
    weight: 1,
    backup: false,
};

/// One of a service's targets, as written.
pub(super) struct Listed {
    pub(super) target: Target,
    pub(super) path: String,
    pub(super) role: Role,
}

/// `target` or `targets`, whichever is there. `None`: an error about them was reported.
pub(super) fn targets(
    service: &Place<'_>,
    object: &Object<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Listed>> {
    match (object.get("target"), object.get("targets")) {
        (Some(place), None) => {
            let (target, path) = url(place, report)?;
            Some(vec![Listed {
                target,
                path,
                role: ALONE,
            }])
        }
        (None, Some(place)) => list(place, report),
        (Some(_), Some(place)) => {
            place.fail_bare(
                report,
                r#""target" is there, too; keep one of them, "targets" for several"#,
            );
            None
        }
        (None, None) => {
            service.fail(report, r#""target" is missing; add where the requests go, such as "http://127.0.0.1:9000/""#);
            None
        }
    }
}

fn list(place: &Place<'_>, report: &mut Report<'_>) -> Option<Vec<Listed>> {
    let items = place.list(
        report,
        r#"a list such as ["http://10.0.0.1/", { "url": "http://10.0.0.2/", "weight": 2 }]"#,
    )?;
    if items.is_empty() {
        place.fail(
            report,
            r#"is empty; add a target such as "http://127.0.0.1:9000/""#,
        );
        return None;
    }
    if items.len() > bound::TARGETS_MAX {
        place.fail(
            report,
            format!(
                "has {} targets; at most {} can stand here",
                items.len(),
                bound::TARGETS_MAX
            ),
        );
        return None;
    }
    let mut listed: Vec<Listed> = Vec::with_capacity(items.len());
    let mut sound = true;
    for item in &items {
        let Some(one) = one(item, report) else {
            sound = false;
            continue;
        };
        let identity = |listed: &Listed| (target::identity(&listed.target), listed.path.clone());
        if let Some(first) = listed
            .iter()
            .position(|other| identity(other) == identity(&one))
        {
            item.fail(
                report,
                format!(
                    r#"is the same as {}[{first}]; give that one a greater "weight" instead"#,
                    place.path
                ),
            );
            sound = false;
            continue;
        }
        listed.push(one);
    }
    if sound && listed.iter().all(|one| one.role.backup) {
        place.fail(report, "has backups only; at least one must be no backup, or nothing is what they stand in for");
        sound = false;
    }
    sound.then_some(listed)
}

fn one(place: &Place<'_>, report: &mut Report<'_>) -> Option<Listed> {
    if !matches!(place.node.value, Value::Object(_)) {
        let expected = r#"a URL such as "http://10.0.0.1/", or an object such as { "url": "http://10.0.0.1/", "weight": 2 }"#;
        place.text(report, expected)?;
        let (target, path) = url(place, report)?;
        return Some(Listed {
            target,
            path,
            role: ALONE,
        });
    }
    let object = place.object(report, "an object", &TARGET_KEYS)?;
    let weights = 1..=u64::from(bound::WEIGHT_MAX);
    let weight = match object.get("weight") {
        None => Some(1),
        Some(place) => small(place, weights, report),
    };
    let backup = object.flag("backup", false, report);
    let Some(address) = object.get("url") else {
        place.fail(
            report,
            r#""url" is missing; add where the requests go, such as "http://10.0.0.1/""#,
        );
        return None;
    };
    let (target, path) = url(address, report)?;
    Some(Listed {
        target,
        path,
        role: Role {
            weight: weight?,
            backup,
        },
    })
}

fn url(place: &Place<'_>, report: &mut Report<'_>) -> Option<(Target, String)> {
    let text = place.text(report, r#"a URL such as "http://127.0.0.1:9000/""#)?;
    target::parse(text)
        .map_err(|message| place.fail(report, message))
        .ok()
}

/// `balance`.
pub(super) fn strategy(place: Option<&Place<'_>>, report: &mut Report<'_>) -> Strategy {
    place
        .and_then(|place| place.choice(report, &STRATEGIES))
        .unwrap_or_default()
}

/// The word for a strategy.
pub(super) fn word(strategy: Strategy) -> &'static str {
    STRATEGIES
        .iter()
        .find(|(_, other)| *other == strategy)
        .map_or("", |(word, _)| word)
}

/// `retries`.
pub(super) fn retries(place: Option<&Place<'_>>, report: &mut Report<'_>) -> u32 {
    let most = u64::from(bound::RETRIES_MAX);
    place
        .and_then(|place| small(place, 0..=most, report))
        .unwrap_or(bound::RETRIES_DEFAULT)
}

/// `healthCheck`; without it, or with `false` or `null`, nobody is checked.
pub(super) fn health_check(
    place: Option<&Place<'_>>,
    report: &mut Report<'_>,
) -> Option<HealthCheck> {
    let place = place.filter(|place| !place.is_false() && !place.is_null())?;
    let object = place.object(report, "an object or false", &CHECK_KEYS)?;
    let path = match object.get("path") {
        None => {
            place.fail(
                report,
                r#""path" is missing; add what the targets are asked for, such as "/health""#,
            );
            None
        }
        Some(place) => check_path(place, report),
    };
    let mut span = |key, default| match object.get(key) {
        None => default,
        Some(place) => at_least(place, bound::CHECK_INTERVAL_MIN, report).unwrap_or(default),
    };
    let interval = span("interval", bound::CHECK_INTERVAL_DEFAULT);
    let timeout = span("timeout", bound::CHECK_TIMEOUT_DEFAULT);
    let mut run = |key, default| {
        let most = u64::from(bound::CHECK_RUN_MAX);
        object
            .get(key)
            .and_then(|place| small(place, 1..=most, report))
            .unwrap_or(default)
    };
    let rule = Hysteresis {
        rise: run("rise", bound::CHECK_RISE_DEFAULT),
        fall: run("fall", bound::CHECK_FALL_DEFAULT),
    };
    let status = match object.get("status") {
        None => Some(200..=399),
        Some(place) => statuses(place, report),
    };
    Some(HealthCheck {
        path: path?,
        interval,
        timeout,
        rule,
        status: status?,
    })
}

/// A path as it is asked for, perhaps with a query.
fn check_path(place: &Place<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report, r#"a path such as "/health""#)?;
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if !path.starts_with('/') {
        place.fail(
            report,
            r#"must start with "/", as in "/health"; the host is the target's"#,
        );
        return None;
    }
    if text.len() > bound::CONFIG_PATH_BYTES_MAX {
        place.fail(
            report,
            format!("is longer than {} bytes", bound::CONFIG_PATH_BYTES_MAX),
        );
        return None;
    }
    // RFC 3986 3.4: a query may have "/" and "?", too.
    let checked = route::check_path(path).and_then(|()| {
        match query.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            Some(wrong) => Err(format!(
                "has a character that no query may have ({wrong:?}); remove it"
            )),
            None => Ok(()),
        }
    });
    checked
        .map_err(|message| place.fail(report, message))
        .ok()?;
    Some(text.to_owned())
}

/// `"200-399"`, `"204"` or `204`.
fn statuses(place: &Place<'_>, report: &mut Report<'_>) -> Option<RangeInclusive<u16>> {
    const EXPECTED: &str = r#"a range of statuses such as "200-399", or one such as "204""#;
    let status = |text: &str| {
        values::digits(text)
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| (200..=599).contains(n))
    };
    let range = match &place.node.value {
        Value::Number(text) => status(text).map(|one| one..=one),
        Value::Text(text) => match text.split_once('-') {
            Some((first, last)) => status(first.trim())
                .zip(status(last.trim()))
                .map(|(first, last)| first..=last),
            None => status(text).map(|one| one..=one),
        },
        _ => {
            place.mismatch(report, EXPECTED);
            return None;
        }
    };
    match range {
        None => place.fail(
            report,
            format!("must be {EXPECTED}; statuses are from 200 to 599"),
        ),
        Some(range) if range.is_empty() => place.fail(
            report,
            "ends before it begins; write the smaller status first",
        ),
        Some(range) => return Some(range),
    }
    None
}

/// `passiveHealth`; with `false` or `null` requests that fail put nobody aside.
pub(super) fn passive_health(
    place: Option<&Place<'_>>,
    report: &mut Report<'_>,
) -> Option<PassiveHealth> {
    let mut passive = PassiveHealth {
        failures: bound::PASSIVE_FAILURES_DEFAULT,
        window: bound::PASSIVE_SPAN_DEFAULT,
        eject: bound::PASSIVE_SPAN_DEFAULT,
    };
    let Some(place) = place else {
        return Some(passive);
    };
    if place.is_false() || place.is_null() {
        return None;
    }
    let object = place.object(report, "an object or false", &PASSIVE_KEYS)?;
    if let Some(place) = object.get("failures") {
        let most = u64::from(bound::PASSIVE_FAILURES_MAX);
        passive.failures = small(place, 1..=most, report).unwrap_or(passive.failures);
    }
    if let Some(place) = object.get("window") {
        passive.window = values::duration(place, report).unwrap_or(passive.window);
    }
    if let Some(place) = object.get("eject") {
        passive.eject = at_least(place, bound::PASSIVE_EJECT_MIN, report).unwrap_or(passive.eject);
    }
    Some(passive)
}

fn at_least(place: &Place<'_>, least: Duration, report: &mut Report<'_>) -> Option<Duration> {
    let span = values::duration(place, report)?;
    if span < least {
        place.fail(
            report,
            format!("must be at least {}", values::show_duration(least)),
        );
        return None;
    }
    Some(span)
}

fn small(place: &Place<'_>, range: RangeInclusive<u64>, report: &mut Report<'_>) -> Option<u32> {
    values::whole(place, range, report).and_then(|value| u32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, check, load};
    use crate::proxy::settings::Service;

    fn load_service(keys: &str) -> Result<Config, Vec<String>> {
        let text = format!(r#"[{{"route":"/a",{keys}}}]"#);
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        load(text.as_bytes(), "t.json", &|_| None, &read).map_err(|errors| {
            errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()
        })
    }

    fn service(keys: &str) -> Service {
        load_service(keys)
            .unwrap_or_else(|errors| panic!("{keys}: {errors:?}"))
            .settings
            .services
            .remove(0)
    }

    #[test]
    fn the_issues_example() {
        let service = service(
            r#""targets": [ "http://10.0.0.1:80/users", { "url": "http://10.0.0.2:80/users", "weight": 2 },
                { "url": "https://10.0.0.9/users/", "backup": true } ], "balance": "least-connections",
               "healthCheck": { "path": "/health", "interval": "10s", "timeout": "2s", "rise": 2, "fall": 3, "status": "200-399" },
               "passiveHealth": { "failures": 5, "window": "30s", "eject": "30s" }, "retries": 1, "tls": { "serverName": "b" }"#,
        );
        let roles = service
            .destinations
            .iter()
            .map(|to| (to.target, to.path.as_str(), to.role.weight, to.role.backup));
        let expected = [
            (0, "/users", 1, false),
            (1, "/users", 2, false),
            (2, "/users/", 1, true),
        ];
        assert_eq!(roles.collect::<Vec<_>>(), expected);
        assert_eq!(service.balance, Strategy::LeastConnections);
        let check = service.health_check.expect("checks");
        let rule = Hysteresis { rise: 2, fall: 3 };
        assert_eq!(
            (check.path.as_str(), check.rule, check.status),
            ("/health", rule, 200..=399)
        );
        assert_eq!(
            (check.interval, check.timeout),
            (Duration::from_secs(10), Duration::from_secs(2))
        );
        let span = Duration::from_secs(30);
        assert_eq!(
            service.passive_health,
            Some(PassiveHealth {
                failures: 5,
                window: span,
                eject: span
            })
        );
        assert_eq!(service.retries, 1);
    }

    #[test]
    fn defaults_are_the_examples_and_all_can_be_off() {
        let plain = service(r#""target":"http://b""#);
        let span = Duration::from_secs(30);
        assert_eq!(
            plain.passive_health,
            Some(PassiveHealth {
                failures: 5,
                window: span,
                eject: span
            })
        );
        assert_eq!(
            (plain.balance, plain.health_check, plain.retries),
            (Strategy::RoundRobin, None, 1)
        );
        let checked = service(r#""target":"http://b","healthCheck":{"path":"/h?deep=1"}"#)
            .health_check
            .expect("checks");
        let rule = Hysteresis { rise: 2, fall: 3 };
        assert_eq!(
            (checked.path.as_str(), checked.rule, checked.status),
            ("/h?deep=1", rule, 200..=399)
        );
        assert_eq!(
            (checked.interval, checked.timeout),
            (Duration::from_secs(10), Duration::from_secs(2))
        );
        for off in ["false", "null"] {
            let off = service(&format!(
                r#""target":"http://b","healthCheck":{off},"passiveHealth":{off},"retries":0"#
            ));
            assert_eq!(
                (off.health_check, off.passive_health, off.retries),
                (None, None, 0)
            );
        }
        let one = |status: &str| {
            let text =
                format!(r#""target":"http://b","healthCheck":{{"path":"/","status":{status}}}"#);
            service(&text).health_check.map(|check| check.status)
        };
        assert_eq!(
            [one("204"), one("\"204\""), one("\"200 - 204\"")],
            [Some(204..=204), Some(204..=204), Some(200..=204)]
        );
    }

    #[test]
    fn every_mistake_is_named() {
        let http = r#""target":"http://b""#;
        for (keys, path, message) in [
            (r#""targets":[]"#, "targets", "is empty"),
            (
                r#""targets":"http://b""#,
                "targets",
                "must be a list such as",
            ),
            (
                r#""target":"http://b","targets":["http://c"]"#,
                "targets",
                "\"target\" is there, too",
            ),
            (r#""balance":"ip-hash""#, "", "\"target\" is missing"),
            (r#""targets":[7]"#, "targets[0]", "must be a URL such as"),
            (
                r#""targets":["b"]"#,
                "targets[0]",
                "must start with \"http://\"",
            ),
            (
                r#""targets":["http://b",{"weight":2}]"#,
                "targets[1]",
                "\"url\" is missing",
            ),
            (
                r#""targets":[{"url":"http://b?x"}]"#,
                "targets[0].url",
                "has a query",
            ),
            (
                r#""targets":[{"url":"http://b","weight":0}]"#,
                "targets[0].weight",
                "from 1 to 1000",
            ),
            (
                r#""targets":[{"url":"http://b","weight":1001}]"#,
                "targets[0].weight",
                "from 1 to 1000",
            ),
            (
                r#""targets":[{"url":"http://b","weight":"2"}]"#,
                "targets[0].weight",
                "not a string",
            ),
            (
                r#""targets":[{"url":"http://b","wieght":2}]"#,
                "targets[0].wieght",
                "did you mean \"weight\"?",
            ),
            (
                r#""targets":[{"url":"http://b","backup":1}]"#,
                "targets[0].backup",
                "must be true or false",
            ),
            (
                r#""targets":[{"url":"http://b","backup":true}]"#,
                "targets",
                "has backups only",
            ),
            (
                r#""targets":["http://b/x","http://B:80/x"]"#,
                "targets[1]",
                "is the same as services[0].targets[0]",
            ),
            (
                r#""targets":["http://b","http://c"],"tls":{"serverName":"b"}"#,
                "tls",
                "no TLS",
            ),
            (
                r#""target":"http://b","balance":"roundrobin""#,
                "balance",
                "did you mean \"round-robin\"?",
            ),
            (
                r#""target":"http://b","balance":"fastest""#,
                "balance",
                "must be one of \"round-robin\", \"least-connections\"",
            ),
            (
                r#""target":"http://b","retries":11"#,
                "retries",
                "from 0 to 10",
            ),
            (
                r#""target":"http://b","retries":false"#,
                "retries",
                "not false",
            ),
            (
                r#""target":"http://b","healthCheck":true"#,
                "healthCheck",
                "must be an object or false",
            ),
            (
                r#""target":"http://b","healthCheck":{}"#,
                "healthCheck",
                "\"path\" is missing",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"health"}"#,
                "healthCheck.path",
                "must start with \"/\"",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"http://b/"}"#,
                "healthCheck.path",
                "must start with \"/\"",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/a b"}"#,
                "healthCheck.path",
                "no path may have",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/a#b"}"#,
                "healthCheck.path",
                "no path may have",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/a?b c"}"#,
                "healthCheck.path",
                "no query may have",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/\r\nX: y"}"#,
                "healthCheck.path",
                "no path may have",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","rise":0}"#,
                "healthCheck.rise",
                "from 1 to 1000",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","fall":0}"#,
                "healthCheck.fall",
                "from 1 to 1000",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","interval":"10ms"}"#,
                "healthCheck.interval",
                "at least 100ms",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","timeout":0}"#,
                "healthCheck.timeout",
                "longer than zero",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","status":"2xx"}"#,
                "healthCheck.status",
                "a range of statuses",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","status":"399-200"}"#,
                "healthCheck.status",
                "smaller status first",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","status":"100-399"}"#,
                "healthCheck.status",
                "from 200 to 599",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","status":600}"#,
                "healthCheck.status",
                "from 200 to 599",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","status":["200"]}"#,
                "healthCheck.status",
                "not a list",
            ),
            (
                r#""target":"http://b","healthCheck":{"path":"/","fail":1}"#,
                "healthCheck.fail",
                "did you mean \"fall\"?",
            ),
            (
                r#""target":"http://b","passiveHealth":true"#,
                "passiveHealth",
                "must be an object or false",
            ),
            (
                r#""target":"http://b","passiveHealth":{"failures":0}"#,
                "passiveHealth.failures",
                "from 1 to",
            ),
            (
                r#""target":"http://b","passiveHealth":{"window":"0s"}"#,
                "passiveHealth.window",
                "longer than zero",
            ),
            (
                r#""target":"http://b","passiveHealth":{"eject":"10ms"}"#,
                "passiveHealth.eject",
                "at least 1s",
            ),
            (
                r#""target":"http://b","passiveHealth":{"ejekt":"1s"}"#,
                "passiveHealth.ejekt",
                "did you mean \"eject\"?",
            ),
        ] {
            let errors = load_service(keys).expect_err(keys);
            let path = if path.is_empty() {
                "services[0]".to_owned()
            } else {
                format!("services[0].{path}")
            };
            assert!(
                errors.len() == 1 && errors[0].starts_with(&format!("{path}: ")),
                "{keys}: {errors:?}"
            );
            assert!(errors[0].contains(message), "{keys}: {errors:?}");
        }
        let many = (0..=bound::TARGETS_MAX)
            .map(|n| format!("\"http://b/{n}\""))
            .collect::<Vec<_>>()
            .join(",");
        let errors = load_service(&format!("\"targets\":[{many}]")).expect_err("too many");
        assert!(
            errors[0].contains("has 257 targets; at most 256 can stand here"),
            "{errors:?}"
        );
        let errors = load_service(&format!(
            r#"{http},"retries":-1,"balance":7,"healthCheck":{{"path":"/","rise":0,"fall":0}}"#
        ));
        assert_eq!(
            errors.expect_err("four mistakes").len(),
            4,
            "all in one run"
        );
    }

    #[test]
    fn the_check_shows_every_target() {
        let config = load_service(
            r#""targets":["http://a/users",{"url":"https://b","weight":3},{"url":"http://c/","backup":true}],
               "balance":"random-two","healthCheck":{"path":"/health"}"#,
        );
        let shown = check::describe(&config.expect("a configuration"));
        let routes = shown.split("\n\n").next().expect("the routes");
        assert_eq!(
            routes,
            "/a   -> http://a/users  (weight 1, random-two, /health checked every 10s)\n\
             /a/x -> http://a/users/x\n\
             /a   -> https://b/      (weight 3)\n\
             /a/x -> https://b/x\n\
             /a   -> http://c/       (weight 1, backup)\n\
             /a/x -> http://c/x"
        );
    }
}
