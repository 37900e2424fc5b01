//! `allow`, `deny` and `maintenance` of a service.

use std::sync::Arc;

use crate::proxy::settings::{BodyLimit, Gate, PeerSet};

use crate::config::keys::maintenance;
use crate::config::syntax::located::Object;
use crate::config::syntax::report::Report;
use crate::config::values::networks;

/// Reads the keys; `None`: the service has what the top level has. `body`: its `limits.bodyBytes`.
pub(super) fn compile(
    service: &Object<'_>,
    body: BodyLimit,
    report: &mut Report<'_>,
) -> Option<Arc<Gate>> {
    let mut peers = |name: &str| {
        let place = service.get(name);
        place.map_or_else(PeerSet::default, |place| networks::compile(place, report))
    };
    let gate = Gate {
        allow: peers("allow"),
        deny: peers("deny"),
        maintenance: maintenance::compile(service.get("maintenance"), report),
        body,
    };
    (gate != Gate::default()).then(|| Arc::new(gate))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, check, load};
    use crate::proxy::settings::OwnMaintenance;

    fn load_file(top: &str, service: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            r#"{{ {top} "services": [ {{ "route": "/a", "target": "http://b"{service} }} ] }}"#
        );
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        load(text.as_bytes(), "t.json", &|_| None, &read).map_err(|errors| {
            errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()
        })
    }

    fn report(top: &str, service: &str) -> String {
        let config = load_file(top, service).unwrap_or_else(|errors| panic!("{errors:?}"));
        check::describe(&config)
    }

    #[test]
    fn what_check_says() {
        for (keys, note) in [
            ("", ""),
            (r#", "allow": [], "deny": [], "limits": {}"#, ""),
            (
                r#", "allow": ["10.0.0.0/8", "unix"]"#,
                "(for 10.0.0.0/8, unix)",
            ),
            (r#", "deny": ["10.0.0.1"]"#, "(not for 10.0.0.1/32)"),
            (r#", "maintenance": true"#, "(maintenance on)"),
            (r#", "maintenance": false"#, "(no maintenance)"),
            (
                r#", "maintenance": { "allow": ["10.0.0.0/8"], "retryAfter": "90500ms" }"#,
                "(maintenance on, Retry-After 91 s, not for 10.0.0.0/8)",
            ),
            (
                r#", "limits": { "bodyBytes": "1MB" }"#,
                "(bodies of at most 1MB)",
            ),
            (
                r#", "limits": { "bodyBytes": false }"#,
                "(bodies of any size)",
            ),
            (r#", "accessLog": "off""#, "(access log off)"),
        ] {
            let report = report("", keys);
            let line = report.lines().next().unwrap_or_default();
            assert_eq!(
                line.trim_end_matches(note).trim_end(),
                "/a   -> http://b/",
                "{report}"
            );
            assert!(line.ends_with(note), "{report}");
        }
        let report = report(r#""maintenance": { "retryAfter": "1h" },"#, "");
        assert!(
            report.contains("maintenance on, Retry-After 3600 s\n"),
            "{report}"
        );
        let config = load_file(r#""maintenance": false,"#, r#", "maintenance": {}"#).expect("good");
        assert_eq!(config.settings.maintenance, None);
        let gate = config.settings.services[0].gate.as_deref().cloned();
        let on = OwnMaintenance::On(Default::default());
        assert_eq!(gate.map(|gate| gate.maintenance), Some(on));
    }

    #[test]
    fn wrong_values() {
        for (top, keys, expected) in [
            (
                r#""maintenance": "yes","#,
                "",
                r#"maintenance: "yes" must be true, false or an object such as { "allow": ["10.0.0.0/8"] }, not a string"#,
            ),
            (
                "",
                r#", "maintenance": { "retryAfter": 600 }"#,
                r#"services[0].maintenance.retryAfter: 600 has no unit; write "600s" or "600ms""#,
            ),
            (
                "",
                r#", "maintenance": { "retryAfter": "5ms" }"#,
                r#"services[0].maintenance.retryAfter: "5ms" must be at least 1s"#,
            ),
            (
                "",
                r#", "maintenance": { "allow": ["10.0.0.1/8"] }"#,
                r#"services[0].maintenance.allow[0]: "10.0.0.1/8" has address bits behind its prefix; write "10.0.0.0/8""#,
            ),
            (
                "",
                r#", "allow": ["lan"]"#,
                r#"services[0].allow[0]: "lan" must be a network such as "10.0.0.0/8" or "fd00::/8", an address such as "10.0.0.1", or "unix""#,
            ),
            (
                "",
                r#", "deny": ["all"]"#,
                r#"services[0].deny[0]: "all" is no network; "allow" alone refuses all others, and all are "0.0.0.0/0" and "::/0""#,
            ),
            (
                "",
                r#", "limits": { "bodyBytes": true }"#,
                r#"services[0].limits.bodyBytes: must be a size such as "16KB", "10MB" or "1GB", or a whole number of bytes, not true"#,
            ),
            (
                "",
                r#", "limits": { "connections": 5 }"#,
                r#"services[0].limits.connections: unknown key; it is a key of "limits", the keys here are inFlight, bodyBytes"#,
            ),
            (
                "",
                r#", "accessLog": "jsn""#,
                r#"services[0].accessLog: "jsn" must be one of "combined", "json", "off"; did you mean "json"?"#,
            ),
        ] {
            assert_eq!(
                load_file(top, keys),
                Err(vec![expected.to_owned()]),
                "{keys}"
            );
        }
    }
}
