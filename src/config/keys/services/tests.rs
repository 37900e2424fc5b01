//! Several targets, their balance and their health, as a service has them.

use std::sync::Arc;

use crate::config::{Config, check, load};
use crate::policy::of_service::OfService;
use crate::proxy::settings::{Hysteresis, PassiveHealth, Service, Strategy};
use crate::time::Duration;

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
    let config = load_service(keys).unwrap_or_else(|errors| panic!("{keys}: {errors:?}"));
    Service::clone(&config.settings.services[0])
}

/// `forwardCredentials` and `forwardConsumer` of the top level are the default of all services that ask
/// for credentials.
#[test]
fn what_is_forwarded_of_a_credential_is_inherited() {
    let of = |top: &str, service: &str| {
        let text = format!(
            r#"{{ {top} "auth": {{ "i": {{ "type": "introspection", "url": "https://i.test" }} }},
                "services": [ {{ "route": "/a", "target": "http://b" {service} }} ] }}"#
        );
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let config = load(text.as_bytes(), "f", &|_| None, &read);
        let config = config.unwrap_or_else(|errors| panic!("{errors:?}"));
        let auth = &config.settings.services[0].auth;
        (!auth.strips_credentials, auth.forwards_consumer)
    };
    const TOP: &str = r#""forwardCredentials": false, "forwardConsumer": true,"#;
    for (top, service, credentials, consumer) in [
        ("", r#", "auth": "i""#, true, false),
        (TOP, r#", "auth": "i""#, false, true),
        (
            TOP,
            r#", "auth": "i", "forwardCredentials": true"#,
            true,
            true,
        ),
        (
            TOP,
            r#", "auth": "i", "forwardConsumer": false"#,
            false,
            false,
        ),
        (
            r#""forwardCredentials": true,"#,
            r#", "auth": "i", "forwardCredentials": false"#,
            false,
            false,
        ),
        (
            r#""requireAuth": "i", "forwardConsumer": true,"#,
            "",
            true,
            true,
        ),
        (TOP, "", true, false),
        (
            r#""requireAuth": "i", "forwardConsumer": true,"#,
            r#", "auth": false"#,
            true,
            false,
        ),
    ] {
        assert_eq!(of(top, service), (credentials, consumer), "{top} {service}");
    }
}

/// Policies of the top level are the default of all services; a service replaces each by itself.
#[test]
fn policies_of_the_top_level() {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let load = |top: &str, service: &str| {
        let text = format!(
            r#"{{ {top}, "services": [
                {{ "route": "/a", "target": "http://b" }},
                {{ "route": "/b", "target": "http://b", {service} }} ],
              "auth": {{ "one": {{ "type": "jwt", "secret": "0123456789abcdef0123456789abcdef" }},
                "two": {{ "type": "forward", "url": "https://a/" }} }} }}"#
        );
        load(text.as_bytes(), "t.json", &|_| None, &read).map_err(|errors| {
            let line =
                |error: &crate::config::ConfigError| format!("{}: {}", error.path, error.message);
            errors.iter().map(line).collect::<Vec<_>>()
        })
    };
    let services = |top: &str, service: &str| {
        let config = load(top, service).unwrap_or_else(|errors| panic!("{top}: {errors:?}"));
        <[Arc<Service>; 2]>::try_from(config.settings.services).expect("two services")
    };
    let [inherits, own] = services(
        r#""balance": "ip-hash", "healthCheck": { "path": "/h" }, "passiveHealth": false, "retries": 3,
           "stripPrefix": false, "preserveHost": true, "encodedSlashes": "keep""#,
        r#""balance": "round-robin", "healthCheck": false, "passiveHealth": { "failures": 2 }, "retries": 0,
           "stripPrefix": true, "preserveHost": false, "encodedSlashes": "reject""#,
    );
    assert_eq!(inherits.balance, Strategy::IpHash);
    assert_eq!(
        inherits.health_check.as_ref().map(|check| &*check.path),
        Some("/h")
    );
    assert_eq!((inherits.passive_health, inherits.retries), (None, 3));
    assert!(!inherits.strip_prefix && inherits.preserve_host && inherits.keeps_encoded_slashes);
    assert_eq!(own.balance, Strategy::RoundRobin);
    assert_eq!(own.health_check, None);
    assert_eq!(own.passive_health.map(|rule| rule.failures), Some(2));
    assert_eq!(own.retries, 0);
    assert!(own.strip_prefix && !own.preserve_host && !own.keeps_encoded_slashes);

    let providers =
        |top: &str, service: &str| services(top, service).map(|one| one.auth.providers.clone());
    for (top, service, expected) in [
        (
            r#""requireAuth": "one""#,
            r#""auth": false"#,
            [vec![0], vec![]],
        ),
        (
            r#""requireAuth": ["two", "one"]"#,
            r#""auth": "two""#,
            [vec![1, 0], vec![1]],
        ),
        (
            r#""requireAuth": "one""#,
            r#""scopes": ["a"], "forwardCredentials": false"#,
            [vec![0], vec![0]],
        ),
        (
            r#""requireAuth": false"#,
            r#""retries": 1"#,
            [vec![], vec![]],
        ),
    ] {
        assert_eq!(providers(top, service), expected, "{top} {service}");
    }
    for (top, service, line) in [
        (
            r#""requireAuth": "tow""#,
            r#""retries": 1"#,
            "requireAuth: unknown provider \"tow\", did you mean \"two\"?",
        ),
        (
            r#""requireAuth": []"#,
            r#""retries": 1"#,
            "requireAuth: is empty; name a provider, or write false to let everybody in",
        ),
        (
            r#""retries": 11"#,
            r#""stripPrefix": true"#,
            "retries: 11 must be a whole number from 0 to 10",
        ),
        (
            r#""requireAuth": "two""#,
            r#""scopes": ["a"]"#,
            "services[1].scopes: asks for scopes, which only tokens have; add a provider of the type \"jwt\" or \"introspection\"",
        ),
    ] {
        assert_eq!(
            load(top, service),
            Err(vec![line.to_owned()]),
            "{top} {service}"
        );
    }
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
        (check.path.as_str(), check.rule, check.status.clone()),
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
        (checked.path.as_str(), checked.rule, checked.status.clone()),
        ("/h?deep=1", rule, 200..=399)
    );
    assert_eq!(
        (checked.interval, checked.timeout),
        (Duration::from_secs(10), Duration::from_secs(2))
    );
    let host = |host: &str| {
        let text = format!(r#""target":"http://b","healthCheck":{{"path":"/","host":{host}}}"#);
        service(&text)
            .health_check
            .and_then(|check| check.host.clone())
    };
    for given in ["app.example.com", "app:8080", "[::1]:80", "10.0.0.1"] {
        assert_eq!(host(&format!("{given:?}")).as_deref(), Some(given));
    }
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
        let text = format!(r#""target":"http://b","healthCheck":{{"path":"/","status":{status}}}"#);
        service(&text)
            .health_check
            .map(|check| check.status.clone())
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
        (
            r#""target":["http://b"]"#,
            "target",
            "stands in \"targets\"",
        ),
        (
            r#""target":{"url":"http://b","weight":2}"#,
            "target",
            "stands in \"targets\"",
        ),
        (r#""target":"http://b/$uri""#, "target", "has a variable"),
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
            "to drain the target, take it out of \"targets\"",
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
            r#""targets":["http://a","http://b","http://c","http://B:80"]"#,
            "targets[3]",
            "is the same as services[0].targets[1]",
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
            "must be an object such as",
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
            r#""redirect":{"to":"$scheme://$host/x"}"#,
            "redirect.to",
            "has a variable; write a path",
        ),
        (
            r#""redirect":{"to":"https://$host/x"}"#,
            "redirect.to",
            "has a variable; write a path",
        ),
        (
            r#""redirect":{"to":"/new$request_uri"}"#,
            "redirect.to",
            "has a variable; write a path",
        ),
        (
            r#""redirect":{"to":"https://b.test{uri}"}"#,
            "redirect.to",
            "has a variable; write a path",
        ),
        (
            r#""redirect":{"to":"{scheme}://b.test"}"#,
            "redirect.to",
            "has a variable; write a path",
        ),
        (
            r#""redirect":{"to":"https://b.test%[path]"}"#,
            "redirect.to",
            "has a variable; write a path",
        ),
        (
            r#""target":"http://b","healthCheck":{"path":"/","host":"https://b"}"#,
            "healthCheck.host",
            "must be a host alone",
        ),
        (
            r#""target":"http://b","healthCheck":{"path":"/","host":"b\r\nX: y"}"#,
            "healthCheck.host",
            "host",
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
    let many = (0..=crate::limits::TARGETS_MAX)
        .map(|n| format!("\"http://b/{n}\""))
        .collect::<Vec<_>>()
        .join(",");
    let errors = load_service(&format!("\"targets\":[{many}]")).expect_err("too many");
    assert!(
        errors[0].contains("has 1025 targets; at most 1024 can stand here"),
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

/// `cors` of a service replaces that of the top level, `securityHeaders` are merged with those of the
/// top level by name.
#[test]
fn headers_of_a_service() {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let load = |top: &str, service: &str| {
        let text = format!(
            r#"{{ {top} "services": [{{ "route": "/a", "target": "http://b", {service} }}] }}"#
        );
        load(text.as_bytes(), "t.json", &|_| None, &read).map_err(|errors| {
            let line =
                |error: &crate::config::ConfigError| format!("{}: {}", error.path, error.message);
            errors.iter().map(line).collect::<Vec<_>>()
        })
    };
    let service = |top: &str, service: &str| {
        let config = load(top, service).unwrap_or_else(|errors| panic!("{service}: {errors:?}"));
        Service::clone(&config.settings.services[0])
    };
    let named = r#""cors": { "origins": ["https://a"], "credentials": true },"#;
    assert!(
        service(named, r#""retries": 0"#)
            .headers
            .cors
            .is_inherited()
    );
    assert_eq!(
        service(named, r#""cors": false"#).headers.cors,
        OfService::Off
    );
    let whole = service(named, r#""cors": { "methods": ["PUT"] }"#)
        .headers
        .cors;
    let whole = whole.if_own().expect("its own");
    assert!(
        whole.origins.is_none() && !whole.credentials,
        "nothing is inherited"
    );
    let defaults = service(named, r#""cors": true"#).headers.cors;
    assert_eq!(defaults.if_own().map(|cors| cors.methods.len()), Some(6));

    let top = r#""securityHeaders": { "X-Top": "1", "Referrer-Policy": null },"#;
    let own = |top, keys| {
        service(top, &format!(r#""securityHeaders": {keys}"#))
            .headers
            .security_headers
    };
    assert!(
        service(top, r#""retries": 0"#)
            .headers
            .security_headers
            .is_inherited()
    );
    assert!(own(top, "true").is_inherited());
    assert_eq!(own(top, "false"), OfService::Off);
    let merged = own(
        top,
        r#"{ "x-top": "2", "X-Frame-Options": null, "Referrer-Policy": null, "X-Own": "3" }"#,
    );
    let fields = &merged.if_own().expect("its own").fields;
    let value = |name: &str| {
        let field = fields.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value.as_str())
    };
    assert_eq!((value("X-Top"), value("X-Own")), (Some("2"), Some("3")));
    assert_eq!(
        (value("X-Frame-Options"), value("Referrer-Policy")),
        (None, None)
    );
    assert_eq!(value("X-XSS-Protection"), Some("0"));
    assert_eq!(fields.len(), 12);
    let off = r#""securityHeaders": false,"#;
    let alone = own(off, r#"{ "X-Own": "3" }"#);
    assert_eq!(alone.if_own().map(|headers| headers.fields.len()), Some(1));
    assert_eq!(
        own(off, "true")
            .if_own()
            .map(|headers| headers.fields.len()),
        Some(12)
    );

    let both = r#""rewriteLocation": true, "rewriteCookiePath": true,"#;
    let rewrites = |top, keys| {
        let rewrites = service(top, keys).headers.rewrites;
        (rewrites.location, rewrites.cookie_path)
    };
    assert_eq!(rewrites("", r#""retries": 0"#), (false, false));
    assert_eq!(rewrites(both, r#""retries": 0"#), (true, true));
    assert_eq!(rewrites(both, r#""rewriteLocation": false"#), (false, true));
    assert_eq!(rewrites("", r#""rewriteCookiePath": true"#), (false, true));
    for good in [
        "https://*.a.test",
        "http://*.localhost:3000",
        "capacitor://*.x",
    ] {
        let cors = service("", &format!(r#""cors": {{ "origins": ["{good}"] }}"#))
            .headers
            .cors;
        assert!(
            cors.if_own().is_some_and(|cors| cors.origins.is_some()),
            "{good}"
        );
    }
    for (origin, error) in [
        ("https://a*.test", "write \"https://*.example.com\""),
        ("https://*", "write \"https://*.example.com\""),
        ("https://a.*.test", "write \"https://*.example.com\""),
        ("https://*.*.test", "write \"https://*.example.com\""),
        ("*.test", "must be an origin such as"),
        ("https://*.", "has no domain behind \"*.\""),
        ("https://*.:80", "has no domain behind \"*.\""),
        ("https://*..test", "has no domain behind \"*.\""),
        ("https://*.0.0.1", "has no domain behind \"*.\""),
        (
            "https://*.a.test/",
            "has a path, which no origin has; write \"https://*.a.test\"",
        ),
        ("https://*.a.test:443", "write \"https://*.a.test\""),
        ("https://*.A.test", "write \"https://*.a.test\""),
        ("https://u@*.a.test", "write \"https://*.example.com\""),
        ("https://*.u@a.test", "has a character that no origin has"),
    ] {
        let errors = load("", &format!(r#""cors": {{ "origins": ["{origin}"] }}"#));
        let errors = errors.expect_err(origin);
        assert!(
            errors.len() == 1 && errors[0].contains(error),
            "{origin}: {errors:?}"
        );
    }

    for (top, service, error) in [
        (
            "",
            r#""cors": { "origins": ["https://a/"] }"#,
            "services[0].cors.origins[0]: \"https://a/\" has a path, which no origin has; write \"https://a\"",
        ),
        (
            named,
            r#""cors": { "credentials": true }"#,
            "services[0].cors.credentials: true must be false where any origin (\"*\") is allowed, which browsers refuse; name the origins in \"origins\"",
        ),
        (
            top,
            r#""securityHeaders": { "X-Tap": null }"#,
            "services[0].securityHeaders.X-Tap: is not sent by default, did you mean \"X-Top\"?",
        ),
        (
            r#""requestId": "X-Own","#,
            r#""securityHeaders": { "x-own": "1" }"#,
            "requestId: \"X-Own\" is a name in \"securityHeaders\", too; use another name",
        ),
    ] {
        assert_eq!(load(top, service).expect_err(service), [error], "{service}");
    }
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

#[test]
fn requests_in_flight() {
    let of = |keys: &str| {
        let service = service(keys);
        let most =
            |destination: &crate::proxy::settings::Destination| destination.role.max_in_flight;
        let targets = service.destinations.iter().map(most).collect::<Vec<_>>();
        (service.in_flight, targets)
    };
    const NONE: u32 = u32::MAX;
    for (keys, expected) in [
        (r#""target":"http://b""#, (None, vec![NONE])),
        (r#""target":"http://b","limits":{}"#, (None, vec![NONE])),
        (
            r#""target":"http://b","limits":{"inFlight":null}"#,
            (None, vec![NONE]),
        ),
        (
            r#""target":"http://b","limits":{"inFlight":7}"#,
            (Some(7), vec![NONE]),
        ),
        (
            r#""targets":["http://a",{"url":"http://b","maxInFlight":3},{"url":"http://c","maxInFlight":null}]"#,
            (None, vec![NONE, 3, NONE]),
        ),
    ] {
        assert_eq!(of(keys), expected, "{keys}");
    }
    for (keys, message) in [
        (
            r#""target":"http://b","limits":{"inFlight":0}"#,
            "services[0].limits.inFlight: 0 must be a whole number from 1 to 1000000",
        ),
        (
            r#""target":"http://b","limits":{"maxInFlight":1}"#,
            "services[0].limits.maxInFlight: unknown key",
        ),
        (
            r#""targets":[{"url":"http://b","maxInFlight":"many"}]"#,
            "services[0].targets[0].maxInFlight: \"many\" must be a whole number from 1 to 1000000",
        ),
        (
            r#""targets":[{"url":"http://b","inFlight":1}]"#,
            "services[0].targets[0].inFlight: unknown key",
        ),
    ] {
        let errors = load_service(keys).expect_err(keys);
        assert!(errors[0].starts_with(message), "{keys}: {errors:?}");
    }
    let config =
        load_service(r#""targets":[{"url":"http://a","maxInFlight":3}],"limits":{"inFlight":2}"#);
    let shown = check::describe(&config.expect("a configuration"));
    assert!(
        shown.contains("(at most 3 in flight, at most 2 in flight in all)"),
        "{shown}"
    );
}

#[test]
fn sticky_sessions() {
    let of = |keys: &str| {
        let service = service(&format!(r#""target":"http://b",{keys}"#));
        service.sticky.map(|sticky| sticky.cookie.shown())
    };
    assert_eq!(of(r#""sticky":false"#), None);
    assert_eq!(
        of(r#""sticky":{}"#).as_deref(),
        Some("tg; Path=/a; HttpOnly; SameSite=Lax")
    );
    assert_eq!(
        of(r#""sticky":{"cookie":"x","ttl":"90m","key":"0123456789abcdef"}"#).as_deref(),
        Some("x; Path=/a; Max-Age=5400; HttpOnly; SameSite=Lax")
    );
    let text = r#"{"services":[{"route":"= /a/","target":"http://b","sticky":{}}]}"#;
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let config = load(text.as_bytes(), "f", &|_| None, &read).expect("good");
    let sticky = config.settings.services[0].sticky.as_ref();
    assert_eq!(
        sticky.map(|sticky| sticky.cookie.shown()).as_deref(),
        Some("tg; Path=/a/; HttpOnly; SameSite=Lax")
    );
    for (keys, message) in [
        (r#""sticky":true"#, "services[0].sticky: must be an object"),
        (
            r#""sticky":{"cookie":"a b"}"#,
            "sticky.cookie: \"a b\" is no name",
        ),
        (
            r#""sticky":{"cookie":"__Host-a"}"#,
            "is no name for this cookie",
        ),
        (
            r#""sticky":{"ttl":"1ms"}"#,
            "sticky.ttl: \"1ms\" must be at least 1s",
        ),
        (
            r#""sticky":{"key":"short"}"#,
            "sticky.key: is shorter than 16 bytes",
        ),
        (r#""sticky":{"path":"/"}"#, "sticky.path: unknown key"),
    ] {
        let errors = load_service(&format!(r#""target":"http://b",{keys}"#)).expect_err(keys);
        assert!(errors[0].contains(message), "{keys}: {errors:?}");
        assert!(!errors[0].contains("short\""), "no secret: {errors:?}");
    }
    let errors = load_service(r#""redirect":{"to":"/b"},"sticky":{}"#).expect_err("no target");
    assert!(
        errors[0].contains("\"sticky\" is about targets"),
        "{errors:?}"
    );
}

#[test]
fn limits_in_flight_and_sticky_sessions_of_the_top_level_are_defaults() {
    let load = |top: &str, service: &str| {
        let text = format!(
            r#"{{ "services": [{{ "route": "/a", {service} }}, {{ "route": "/b", "redirect": {{ "to": "/a" }} }}], {top} }}"#
        );
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        load(text.as_bytes(), "f", &|_| None, &read).map_err(|errors| {
            let lines = errors.iter();
            lines
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect::<Vec<_>>()
        })
    };
    let top = r#""limits": { "inFlight": 7 }, "sticky": { "cookie": "x", "ttl": "1m" }"#;
    for (service, in_flight, cookie) in [
        (
            "",
            Some(7),
            Some("x; Path=/a; Max-Age=60; HttpOnly; SameSite=Lax"),
        ),
        (
            r#", "limits": { "bodyBytes": 1 }"#,
            Some(7),
            Some("x; Path=/a; Max-Age=60; HttpOnly; SameSite=Lax"),
        ),
        (
            r#", "limits": { "inFlight": 2 }, "sticky": {}"#,
            Some(2),
            Some("tg; Path=/a; HttpOnly; SameSite=Lax"),
        ),
        (
            r#", "limits": { "inFlight": null }, "sticky": false"#,
            None,
            None,
        ),
    ] {
        let service = format!(r#""target": "http://b" {service}"#);
        let config = load(top, &service).expect(&service);
        let [own, other] = &config.settings.services[..] else {
            panic!("two services")
        };
        let shown = own.sticky.as_ref().map(|sticky| sticky.cookie.shown());
        assert_eq!(
            (own.in_flight, shown.as_deref()),
            (in_flight, cookie),
            "{service}"
        );
        assert!(
            other.in_flight.is_none() && other.sticky.is_none(),
            "it has no targets"
        );
    }
    let plain = r#""target": "http://b""#;
    for (top, message) in [
        (
            r#""limits": { "inFlight": 0 }"#,
            "limits.inFlight: 0 must be a whole number from 1 to 1000000",
        ),
        (
            r#""sticky": { "cookie": "a b" }"#,
            "sticky.cookie: \"a b\" is no name",
        ),
        (r#""sticky": true"#, "sticky: must be an object"),
        (r#""inFlight": 3"#, "inFlight: unknown key"),
    ] {
        let errors = load(top, plain).expect_err(top);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(message), "{errors:?}");
    }
    let text = r#"{ "sticky": {}, "services": [{ "route": "/a;b", "target": "http://b" }, { "route": "/c;d", "target": "http://b", "sticky": false }] }"#;
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let errors = crate::config::load(text.as_bytes(), "f", &|_| None, &read).expect_err("a route");
    let lines = errors
        .iter()
        .map(|error| format!("{}: {}", error.path, error.message));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "services[0]: inherits \"sticky\", which needs a route without \";\", which no path of a cookie can have; add \"sticky\": false"
        ]
    );
}
