//! `hosts` and `methods` of a service, and the test whether two services claim the same requests.

use std::collections::HashMap;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::syntax::suggestions;
use crate::config::values::header_name::is_token;
use crate::config::values::host;
use crate::limits::{MATCH_NAMES_MAX, MATCH_SERVICES_MAX};
use crate::proxy::settings::{Condition, Part};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Reads host names and returns them in lower case. A wildcard may only be the first label.
pub(crate) fn hosts(place: &Located<'_>, report: &mut Report<'_>) -> Vec<String> {
    let empty = "is empty, which no request matches; name a host, or remove this to take any";
    names(place, empty, &host_name, report)
}

/// Reads a list of names that are different. `empty`: message for a list without one. `read` checks
/// a name, and returns its usual form or the message about it.
pub(super) fn names(
    place: &Located<'_>,
    empty: &str,
    read: &dyn Fn(&str) -> Result<String, Fault>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let items = place.list(report);
    if items.as_ref().is_some_and(Vec::is_empty) {
        place.fail(report, empty);
    }
    let mut names: Vec<String> = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(text) = item.text(report) else {
            continue;
        };
        match read(text) {
            Err(message) => item.fail(report, message),
            Ok(name) if names.contains(&name) => {
                item.fail(report, "is named twice; remove one of them")
            }
            Ok(name) => names.push(name),
        }
    }
    names
}

fn host_name(text: &str) -> Result<String, Fault> {
    let bare = text.strip_prefix("*.").unwrap_or(text);
    // nginx writes `_`.
    if matches!(text, "*" | "_") {
        return Err(
            "stands for any host, which is taken without \"hosts\"; remove it, or write \"*.example.com\"".into()
        );
    }
    if bare.contains('*') {
        return Err(
            "has a wildcard that does not stand in front and for whole labels, as in \"*.example.com\"".into()
        );
    }
    // HAProxy and nginx write `.example.com`.
    if let Some(name) = bare.strip_prefix('.') {
        return Err(format!("begins with a dot; write {name:?}, \"*.{name}\" or both").into());
    }
    if bare.contains(['/', '?', '#', '@']) {
        return Err("is no host name; write it alone, as in \"api.example.com\"".into());
    }
    let has_port = bare
        .rsplit_once(':')
        .is_some_and(|(_, port)| !bare.ends_with(']') && port.bytes().all(|b| b.is_ascii_digit()));
    if has_port {
        return Err("has a port; hosts are compared without, remove it".into());
    }
    host::parse(bare)?;
    Ok(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
}

/// Reads methods.
pub(crate) fn methods(place: &Located<'_>, report: &mut Report<'_>) -> Vec<String> {
    let items = place.list(report);
    if items.as_ref().is_some_and(Vec::is_empty) {
        place.fail(
            report,
            "is empty, which no request matches; name a method, or remove this to take any",
        );
    }
    let mut methods: Vec<String> = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(text) = item.text(report) else {
            continue;
        };
        match method_fault(text) {
            Some(message) => item.fail(report, message),
            None if methods.iter().any(|method| method == text) => {
                item.fail(report, "is named twice; remove one of them")
            }
            None => methods.push(text.to_owned()),
        }
    }
    methods
}

/// Returns the fault of a method: it is a token, and its case matters (RFC 9110 9.1).
fn method_fault(text: &str) -> Option<String> {
    if !is_token(text) {
        return Some("is no method; write one such as \"GET\"".to_owned());
    }
    if matches!(text, "CONNECT" | "TRACE") {
        return Some("is never passed on; remove it".to_owned());
    }
    let upper = text.to_ascii_uppercase();
    // What other programs write for all of them.
    if matches!(upper.as_str(), "ALL" | "ANY" | "USE" | "*") {
        return Some("is no method; without \"methods\" a service takes any".to_owned());
    }
    if METHODS.contains(&text) {
        return None;
    }
    let meant = suggestions::nearest(&upper, &METHODS)?;
    Some(format!(
        "is compared as it is sent; did you mean {meant:?}?"
    ))
}

/// Routes, hosts and methods that services have claimed so far.
#[derive(Default)]
pub(crate) struct RouteClaims {
    /// Claims by route.
    routes: HashMap<String, Vec<Claim>>,
}

struct Claim {
    hosts: Vec<String>,
    methods: Vec<String>,
    listeners: Vec<String>,
    conditions: Vec<Condition>,
    by: String,
}

impl RouteClaims {
    /// Adds a claim of the service at `by`. The error is a message: another service has it already,
    /// or there are too many conditions to look at.
    pub(crate) fn claim(
        &mut self,
        route: &str,
        ([hosts, methods, listeners], conditions): ([&[String]; 3], &[Condition]),
        by: &str,
    ) -> Result<(), String> {
        let claims = self.routes.entry(route.to_owned()).or_default();
        let overlaps = |mine: &[String], theirs: &[String]| {
            (mine.is_empty() && theirs.is_empty()) || mine.iter().any(|one| theirs.contains(one))
        };
        let is_met = |theirs: &[String]| {
            listeners.is_empty() || theirs.is_empty() || overlaps(listeners, theirs)
        };
        let first = claims.iter().find(|claim| {
            overlaps(hosts, &claim.hosts)
                && overlaps(methods, &claim.methods)
                && is_met(&claim.listeners)
                && claim.conditions == conditions
        });
        if let Some(first) = first {
            let is_plain = hosts.is_empty() && methods.is_empty();
            let which = match (is_plain, conditions.is_empty()) {
                (true, true) => "",
                (false, true) => " for the same hosts and methods",
                (_, false) => " for the same hosts and methods, with the same \"match\"",
            };
            let cure = match listeners.is_empty() == first.listeners.is_empty() {
                true => "",
                false => ", or name \"listeners\" in both",
            };
            return Err(format!(
                "is a duplicate route, {} has {route:?} already{which}; remove one of them{cure}",
                first.by
            ));
        }
        let claim = Claim {
            hosts: hosts.to_vec(),
            methods: methods.to_vec(),
            listeners: listeners.to_vec(),
            conditions: conditions.to_vec(),
            by: by.to_owned(),
        };
        if !conditions.is_empty() {
            is_bounded(claims, &claim)?;
        }
        if claims.is_empty() {
            // Nearly all of thousands of routes have one.
            claims.reserve_exact(1);
        }
        claims.push(claim);
        Ok(())
    }
}

/// Checks that requests of no host are compared with too many conditions, with one more claim.
fn is_bounded(claims: &[Claim], claim: &Claim) -> Result<(), String> {
    let hosts = claim.hosts.iter().map(|host| Some(host.as_str()));
    let anywhere = claim.hosts.is_empty().then_some(None);
    for host in hosts.chain(anywhere) {
        let is_here = |claim: &&Claim| match host {
            Some(host) => claim.hosts.iter().any(|own| own == host),
            None => claim.hosts.is_empty(),
        };
        let here = claims.iter().chain([claim]).filter(is_here);
        let here = here.filter(|claim| !claim.conditions.is_empty());
        let mut distinct: Vec<(Part, &str)> = Vec::new();
        for condition in here.clone().flat_map(|claim| &claim.conditions) {
            let name = (condition.part, condition.name.as_str());
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        if here.count() > MATCH_SERVICES_MAX {
            return Err(format!(
                "has more than {MATCH_SERVICES_MAX} services with \"match\"; remove some"
            ));
        }
        if distinct.len() > MATCH_NAMES_MAX {
            return Err(format!(
                "has services whose \"match\" names more than {MATCH_NAMES_MAX} headers, cookies and parameters together; remove some"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    fn errors(services: &str) -> Vec<String> {
        let text = format!("{{\"services\":[{services}]}}");
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        match load(text.as_bytes(), "f", &|_| None, &read) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect(),
        }
    }

    #[test]
    fn good_ones() {
        let services = r#"
            { "route": "/a", "target": "http://b", "hosts": ["API.example.com.", "*.example.com", "[::1]", "10.0.0.1"] },
            { "route": "/a", "target": "http://b" },
            { "route": "/a", "target": "http://b", "hosts": ["other.example.com"], "methods": ["GET", "PROPFIND"] },
            { "route": "/a", "target": "http://b", "hosts": ["other.example.com"], "methods": ["PUT"] },
            { "route": "/a", "target": "http://b", "hosts": ["other.example.com"] }"#;
        assert_eq!(errors(services), Vec::<String>::new());
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let config = load(format!("[{services}]").as_bytes(), "f", &|_| None, &read).expect("good");
        assert_eq!(
            config.settings.services[0].hosts,
            ["api.example.com", "*.example.com", "[::1]", "10.0.0.1"]
        );
        assert_eq!(config.settings.services[2].methods, ["GET", "PROPFIND"]);
    }

    #[test]
    fn every_mistake_has_its_line() {
        for (key, message) in [
            (
                r#""hosts": []"#,
                "hosts: is empty, which no request matches; name a host, or remove this to take any",
            ),
            (
                r#""hosts": "a""#,
                "hosts: \"a\" must be a list of host names such as [\"api.example.com\", \"*.example.com\"], not a string",
            ),
            (
                r#""hosts": ["*"]"#,
                "hosts[0]: \"*\" stands for any host, which is taken without \"hosts\"; remove it, or write \"*.example.com\"",
            ),
            (
                r#""hosts": ["a.test b.test"]"#,
                "hosts[0]: \"a.test b.test\" is several values; write each as a string: [\"a.test\", \"b.test\"]",
            ),
            (
                r#""methods": ["GET,POST"]"#,
                "methods[0]: \"GET,POST\" is several values; write each as a string: [\"GET\", \"POST\"]",
            ),
            (
                r#""methods": ["ALL"]"#,
                "methods[0]: \"ALL\" is no method; without \"methods\" a service takes any",
            ),
            (
                r#""hosts": ["a.*.b"]"#,
                "hosts[0]: \"a.*.b\" has a wildcard that does not stand in front and for whole labels, as in \"*.example.com\"",
            ),
            (
                r#""hosts": ["*a.b"]"#,
                "hosts[0]: \"*a.b\" has a wildcard that does not stand in front and for whole labels, as in \"*.example.com\"",
            ),
            (
                r#""hosts": [".a.b"]"#,
                "hosts[0]: \".a.b\" begins with a dot; write \"a.b\", \"*.a.b\" or both",
            ),
            (
                r#""hosts": ["_"]"#,
                "hosts[0]: \"_\" stands for any host, which is taken without \"hosts\"; remove it, or write \"*.example.com\"",
            ),
            (
                r#""hosts": ["http://a.b"]"#,
                "hosts[0]: \"http://a.b\" is no host name; write it alone, as in \"api.example.com\"",
            ),
            (
                r#""hosts": ["a.b:80"]"#,
                "hosts[0]: \"a.b:80\" has a port; hosts are compared without, remove it",
            ),
            (
                r#""hosts": ["a.b", "A.B."]"#,
                "hosts[1]: \"A.B.\" is named twice; remove one of them",
            ),
            (
                r#""hosts": ["a b"]"#,
                "hosts[0]: \"a b\" has a malformed host name; letters, digits, \"-\", \"_\" and \".\" are allowed",
            ),
            (
                r#""methods": []"#,
                "methods: is empty, which no request matches; name a method, or remove this to take any",
            ),
            (
                r#""methods": ["get"]"#,
                "methods[0]: \"get\" is compared as it is sent; did you mean \"GET\"?",
            ),
            (
                r#""methods": ["PSOT"]"#,
                "methods[0]: \"PSOT\" is compared as it is sent; did you mean \"POST\"?",
            ),
            (
                r#""methods": ["GET", "GET"]"#,
                "methods[1]: \"GET\" is named twice; remove one of them",
            ),
            (
                r#""methods": ["A B"]"#,
                "methods[0]: \"A B\" is no method; write one such as \"GET\"",
            ),
            (
                r#""methods": ["TRACE"]"#,
                "methods[0]: \"TRACE\" is never passed on; remove it",
            ),
        ] {
            let found = errors(&format!(
                r#"{{ "route": "/a", "target": "http://b", {key} }}"#
            ));
            assert_eq!(found, [format!("services[0].{message}")], "{key}");
        }
    }

    #[test]
    fn two_services_for_one_request_are_one_too_many() {
        let service = |more: &str| format!(r#"{{ "route": "/a", "target": "http://b" {more} }}"#);
        for (first, second, is_duplicate) in [
            ("", "", true),
            (
                r#", "hosts": ["a.b", "c.d"]"#,
                r#", "hosts": ["C.D"]"#,
                true,
            ),
            (r#", "hosts": ["a.b"]"#, r#", "hosts": ["*.b"]"#, false),
            (
                r#", "methods": ["GET", "PUT"]"#,
                r#", "methods": ["PUT"]"#,
                true,
            ),
            (
                r#", "methods": ["GET"]"#,
                r#", "methods": ["PUT"], "hosts": ["a.b"]"#,
                false,
            ),
            (r#", "methods": ["GET"]"#, "", false),
        ] {
            let found = errors(&format!("{}, {}", service(first), service(second)));
            assert_eq!(
                found.len(),
                usize::from(is_duplicate),
                "{first} {second}: {found:?}"
            );
            assert!(found.iter().all(|line| {
                line.starts_with("services[1].route: \"/a\" is a duplicate route, services[0] has \"/a\" already")
                    && line.ends_with("; remove one of them")
            }));
        }
    }

    #[test]
    fn a_route_on_one_listener_and_on_all() {
        let text = r#"{"listen":[{"address":"127.0.0.1:1","name":"in"}],"services":[
            {"route":"/a","target":"http://b"},{"route":"/a","target":"http://b","listeners":["in"]}]}"#;
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let errors = load(text.as_bytes(), "f", &|_| None, &read).err();
        let errors = errors.expect("a duplicate");
        let first = errors.first().expect("one");
        let cure = "already; remove one of them, or name \"listeners\" in both";
        assert!(first.message.ends_with(cure), "{}", first.message);
    }
}
