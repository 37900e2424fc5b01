//! `requestHeaders` and `responseHeaders`: edits of heads. A service's `set` and `add` are merged
//! with those of the top level by name, its `remove` replaces that of the top level.

use std::rc::Rc;
use std::sync::Arc;

use crate::limits::{
    HEADER_EDIT_LINES_BYTES, HEADER_EDIT_NAME_BYTES, HEADER_EDIT_VALUE_BYTES,
    HEADER_EDIT_VARIABLES_MAX, HEADER_EDITS_MAX,
};
use crate::policy::edits::{CONSUMER, Edits, HeaderEdits, Line, Part, Variable, is_host};

use crate::config::keys::security_headers::value_fault;
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Entry, Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::values::header_name::{edit_fault, is_token};
use crate::config::values::target_url;

/// Edits of one kind of head, as the file says them.
#[derive(Clone, Default)]
struct Lists {
    set: Vec<Line>,
    add: Vec<Line>,
    remove: Vec<String>,
}

/// Edits of the top level or of a service, which inherits the former.
#[derive(Clone)]
pub(crate) struct Inherited {
    /// Headers that providers say about a user.
    claims: Rc<[String]>,
    request: Rc<Lists>,
    response: Rc<Lists>,
    compiled: Option<Arc<Edits>>,
}

impl Inherited {
    /// No edits. `claims`: headers that providers say about a user.
    pub(super) fn new(claims: Vec<String>) -> Inherited {
        Inherited {
            claims: claims.into(),
            request: Rc::default(),
            response: Rc::default(),
            compiled: None,
        }
    }

    /// Reads the edits of an object: the top level, or a service with those of the top level.
    pub(super) fn read(&self, object: &Object<'_>, report: &mut Report<'_>) -> Inherited {
        let request = object.get("requestHeaders");
        let response = object.get("responseHeaders");
        if request.is_none() && response.is_none() {
            return self.clone();
        }
        let request = lists(&self.request, request, (&self.claims, true), report);
        let response = lists(&self.response, response, (&self.claims, false), report);
        let compiled = compiled(&request, &response);
        Inherited {
            claims: Rc::clone(&self.claims),
            request,
            response,
            compiled,
        }
    }

    /// Returns the compiled edits; `None`: there are none.
    pub(crate) fn compiled(&self) -> Option<Arc<Edits>> {
        self.compiled.clone()
    }

    /// Returns the compiled edits of a service. `says_consumer`: its upstream gets the name of the
    /// consumer.
    pub(super) fn of_service(&self, says_consumer: bool) -> Option<Arc<Edits>> {
        if !says_consumer {
            return self.compiled();
        }
        let mut request = Lists::clone(&self.request);
        request.set.push(Line {
            name: CONSUMER.to_owned(),
            parts: vec![Part::Variable(Variable::Consumer)],
            written: "${consumer}".to_owned(),
        });
        compiled(&request, &self.response)
    }
}

fn compiled(request: &Lists, response: &Lists) -> Option<Arc<Edits>> {
    let compile = |lists: &Lists| HeaderEdits::new(&lists.set, &lists.add, &lists.remove);
    let mut lines = request.set.iter();
    let host = lines.find_map(|line| match &line.parts[..] {
        [Part::Text(text)] if is_host(&line.name) => Some(text.as_ref().into()),
        _ => None,
    });
    let edits = Edits {
        host,
        request: compile(request),
        response: compile(response),
    };
    let is_empty = edits.request.is_empty() && edits.response.is_empty();
    (!is_empty).then(|| Arc::new(edits))
}

/// Reads one kind of edits. `of_request`: that of requests.
fn lists(
    inherited: &Rc<Lists>,
    place: Option<&Located<'_>>,
    (claims, of_request): (&[String], bool),
    report: &mut Report<'_>,
) -> Rc<Lists> {
    let Some(place) = place else {
        return Rc::clone(inherited);
    };
    let Some(object) = place.object(report) else {
        return Rc::clone(inherited);
    };
    let mut lists = Lists::clone(inherited);
    let mut reader = Reader {
        claims,
        of_request,
        removed: Vec::new(),
    };
    if let Some(place) = object.get("remove") {
        lists.remove = reader.remove(place, report);
        let removed = &lists.remove;
        lists.set.retain(|line| !has(removed, &line.name));
        lists.add.retain(|line| !has(removed, &line.name));
    }
    for (key, lines) in [("set", &mut lists.set), ("add", &mut lists.add)] {
        if let Some(place) = object.get(key) {
            reader.lines(key, place, lines, report);
        }
    }
    let names = [lists.set.len(), lists.add.len(), lists.remove.len()];
    if names.into_iter().fold(0, usize::saturating_add) > HEADER_EDITS_MAX {
        place.fail(
            report,
            format!("has more than {HEADER_EDITS_MAX} names; remove some"),
        );
    }
    let bound = HeaderEdits::new(&lists.set, &lists.add, &[]).bound();
    if bound > HEADER_EDIT_LINES_BYTES {
        place.fail(
            report,
            format!("adds lines of up to {bound} bytes; they may have {HEADER_EDIT_LINES_BYTES}"),
        );
    }
    Rc::new(lists)
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Reader of one object of edits.
struct Reader<'c> {
    claims: &'c [String],
    /// True for edits of requests, whose `set` may have a `Host`.
    of_request: bool,
    /// Names in `remove`.
    removed: Vec<String>,
}

impl Reader<'_> {
    fn remove(&mut self, place: &Located<'_>, report: &mut Report<'_>) -> Vec<String> {
        for item in place.list(report).unwrap_or_default() {
            let Some(name) = item.text(report) else {
                continue;
            };
            match self.name_fault(name) {
                Some(fault) => item.fail(report, fault),
                None if has(&self.removed, name) => {
                    item.fail(report, "is named twice; remove one of them");
                }
                None => self.removed.push(name.to_owned()),
            }
        }
        self.removed.clone()
    }

    /// Reads `set` or `add` into the lines that are inherited.
    fn lines(
        &self,
        key: &str,
        place: &Located<'_>,
        lines: &mut Vec<Line>,
        report: &mut Report<'_>,
    ) {
        let mut seen: Vec<&str> = Vec::new();
        for entry in place.entries(report).unwrap_or_default() {
            let fault = if has(&self.removed, entry.name) {
                Some("is in \"remove\", too; to give it another value, name it in \"set\" alone")
            } else if seen
                .iter()
                .any(|name| name.eq_ignore_ascii_case(entry.name))
            {
                Some("given twice, in another case; keep one of them")
            } else if self.of_request && key == "set" && is_host(entry.name) {
                None
            } else {
                self.name_fault(entry.name)
            };
            if let Some(fault) = fault {
                report.add(entry.name_at, &entry.place.path, fault);
                continue;
            }
            seen.push(entry.name);
            let known = lines
                .iter()
                .position(|line| line.name.eq_ignore_ascii_case(entry.name));
            if entry.place.is_null() {
                match known {
                    Some(at) => drop(lines.remove(at)),
                    None => report.add(
                        entry.name_at,
                        &entry.place.path,
                        format!(
                            "is not inherited: the top level has no such name in {key:?}; remove it"
                        ),
                    ),
                }
                continue;
            }
            let Some(parts) = value(&entry, report) else {
                continue;
            };
            if is_host(entry.name)
                && let Err(fault) = check_host(&parts)
            {
                entry.place.fail(report, fault);
                continue;
            }
            let line = Line {
                name: entry.name.to_owned(),
                parts,
                written: written(&entry.place),
            };
            match known.and_then(|at| lines.get_mut(at)) {
                Some(known) => *known = line,
                None => lines.push(line),
            }
        }
    }

    /// Returns why a header of this name may not be edited.
    fn name_fault(&self, name: &str) -> Option<&'static str> {
        if name.starts_with(['-', '+', '?', '>']) {
            return Some(
                "begins with a mark, as in a Caddyfile; write the name alone, into \"remove\", \"add\" or \"set\"",
            );
        }
        if !is_token(name) || name.len() > HEADER_EDIT_NAME_BYTES {
            return Some("is no header name; letters, digits and \"-\" are allowed");
        }
        let lower = name.to_ascii_lowercase();
        let of_provider = || {
            let fault = "is a header in which a provider of \"auth\" says who was let in; choose another name";
            has(self.claims, name).then_some(fault)
        };
        edit_fault(&lower).or_else(of_provider)
    }
}

/// Returns a value as the file has it.
fn written(place: &Located<'_>) -> String {
    match (&place.node.written, &place.node.value) {
        (Some(text), _) | (None, Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// Checks the value of an edit of `Host`.
fn check_host(parts: &[Part]) -> Result<(), Fault> {
    match parts {
        [Part::Text(text)] => target_url::check_host(text),
        _ => Err(
            "cannot have a variable; for the host that the client asks for, remove it and set \"preserveHost\": true"
                .into(),
        ),
    }
}

/// Reads the value of an edit.
fn value(entry: &Entry<'_>, report: &mut Report<'_>) -> Option<Vec<Part>> {
    let place = &entry.place;
    let parts = match &place.node.value {
        Value::Parts(parts) => parts.clone(),
        _ => vec![Part::Text(place.text(report)?.into())],
    };
    let mut text = String::new();
    let mut variables = 0_usize;
    for part in &parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Variable(_) => {
                // Stands for any value; spaces beside it are in the value.
                text.push('x');
                variables = variables.saturating_add(1);
            }
        }
    }
    let fault = if text.len() > HEADER_EDIT_VALUE_BYTES {
        Some("is longer than 4096 bytes; shorten it")
    } else if variables > HEADER_EDIT_VARIABLES_MAX {
        Some("has more than 8 variables; use fewer")
    } else if text.is_empty() {
        Some("is empty; write a value, or name the header in \"remove\"")
    } else {
        value_fault(&text)
    };
    match fault {
        Some(fault) => {
            place.fail(report, fault);
            None
        }
        None => Some(parts),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, load};
    use crate::policy::edits::Facts;

    fn try_load(text: &str) -> Result<Config, Vec<String>> {
        let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        let env = |name: &str| match name {
            "ENV" => Some("e".to_owned()),
            "FORGED" => Some("${consumer}".to_owned()),
            "BROKEN" => Some("a\r\nX-Admin: 1".to_owned()),
            _ => None,
        };
        let errors = |errors: Vec<crate::config::ConfigError>| {
            errors.iter().map(ToString::to_string).collect()
        };
        load(text.as_bytes(), "t.json", &env, &read).map_err(errors)
    }

    /// Returns the edits of the first service, as text, and whether they are the top level's.
    fn merged(top: &str, service: &str) -> (String, bool) {
        let text = format!(
            r#"{{ "services": [{{ "route": "/", "target": "http://b" {service} }}] {top} }}"#
        );
        let config = try_load(&text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let settings = &config.settings;
        let edits = settings
            .services
            .first()
            .and_then(|service| service.edits.clone());
        let is_shared = match (&edits, &settings.edits) {
            (Some(own), Some(top)) => Arc::ptr_eq(own, top),
            (own, top) => own.is_none() && top.is_none(),
        };
        let shown = edits.map(|edits| edits.response.shown().to_owned());
        (shown.unwrap_or_default(), is_shared)
    }

    #[test]
    fn a_service_merges_set_and_add_by_name() {
        let top = r#", "responseHeaders": { "set": { "X-A": "1", "X-B": "2" }, "add": { "Link": "3" }, "remove": ["Server", "X-C"] }"#;
        for (service, expected) in [
            (
                "",
                "X-A: 1, X-B: 2, Link: 3 added, Server removed, X-C removed",
            ),
            (
                r#", "responseHeaders": {}"#,
                "X-A: 1, X-B: 2, Link: 3 added, Server removed, X-C removed",
            ),
            (
                r#", "responseHeaders": { "set": { "x-a": "9", "X-D": "4" }, "add": { "LINK": null } }"#,
                "x-a: 9, X-B: 2, X-D: 4, Server removed, X-C removed",
            ),
            (
                r#", "responseHeaders": { "set": { "X-B": null }, "remove": ["Age"] }"#,
                "X-A: 1, Link: 3 added, Age removed",
            ),
            (
                r#", "responseHeaders": { "remove": [] }"#,
                "X-A: 1, X-B: 2, Link: 3 added",
            ),
            // A service that removes a name takes what it inherits of that name away.
            (
                r#", "responseHeaders": { "remove": ["x-a", "link"] }"#,
                "X-B: 2, x-a removed, link removed",
            ),
            // A service that sets a name gives it a value although the top level removes it.
            (
                r#", "responseHeaders": { "set": { "X-C": "5" } }"#,
                "X-A: 1, X-B: 2, X-C: 5, Link: 3 added, Server removed, X-C removed",
            ),
        ] {
            assert_eq!(merged(top, service).0, expected, "{service}");
        }
        assert!(merged(top, "").1, "5,000 services share one value");
        assert_eq!(merged("", ""), (String::new(), true));
        assert_eq!(
            merged(", \"requestHeaders\": { \"remove\": [\"Cookie\"] }", "").0,
            "none"
        );
    }

    #[test]
    fn variables_and_the_environment() {
        let value = |written: &str| {
            let text = format!(
                r#"{{ "services": [{{ "route": "/", "target": "http://b", "requestHeaders": {{ "set": {{ "X": "{written}" }} }} }}] }}"#
            );
            try_load(&text).map(|config| {
                let edits = config.settings.services[0].edits.clone().expect("edits");
                let facts = Facts {
                    consumer: b"ann",
                    host: b"h",
                    ..Facts::default()
                };
                let mut out = Vec::new();
                edits
                    .request
                    .lines(&facts, &mut |part| out.extend_from_slice(part));
                String::from_utf8_lossy(&out).into_owned()
            })
        };
        for (written, expected) in [
            ("a", "X: a\r\n"),
            ("${ENV}", "X: e\r\n"),
            ("${NONE:-d}", "X: d\r\n"),
            ("${consumer}@${host}-${ENV}", "X: ann@h-e\r\n"),
            // What a variable of the environment holds is text.
            ("${FORGED}", "X: ${consumer}\r\n"),
            ("$host", "X: $host\r\n"),
        ] {
            assert_eq!(value(written), Ok(expected.to_owned()), "{written}");
        }
        for (written, error) in [
            ("${Host}", "the environment variable Host is not set"),
            (
                "${client.port}",
                "the variables of a request are client.ip, host, scheme, id, service, consumer",
            ),
            (
                "${host:-a}",
                "host is a variable of the request and has no default",
            ),
            ("${host", "without a \"}\""),
            ("${BROKEN}", "has a line break"),
            ("${ENV} ", "has a space at its start or end"),
            ("${host} ", "has a space at its start or end"),
        ] {
            let errors = value(written).expect_err(written);
            assert!(
                errors.len() == 1 && errors[0].contains(error),
                "{written}: {errors:?}"
            );
        }
        // Elsewhere a name is one of the environment.
        let errors = try_load(r#"{ "services": [{ "route": "/", "target": "http://${host}" }] }"#);
        assert!(errors.is_err_and(|errors| errors[0].contains("${host} of a request is known in")));
    }

    /// Returns the errors about edits of the top level.
    fn errors(edits: &str) -> Vec<String> {
        let auth = r#""auth": { "j": { "type": "jwt", "secret": "0123456789abcdef0123456789abcdef", "forwardClaims": { "sub": "X-User" } },
            "f": { "type": "forward", "url": "http://a/", "copyHeaders": ["Authorization"] } }"#;
        let text = format!(
            r#"{{ "services": [{{ "route": "/", "target": "http://b" }}], {auth}, "requestHeaders": {edits} }}"#
        );
        match try_load(&text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .iter()
                .map(|error| {
                    error
                        .splitn(4, ':')
                        .last()
                        .unwrap_or(error)
                        .trim()
                        .to_owned()
                })
                .collect(),
        }
    }

    #[test]
    fn names_that_are_not_edited() {
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "HTTP2-Settings",
            "Proxy-Authenticate",
            "Proxy-Authentication-Info",
            "Proxy-Authorization",
            "Max-Forwards",
            "Via",
            "Host",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Prefix",
            "X-Forwarded-Any",
            "Forwarded",
            "X-Real-IP",
            "X-Client-Subject",
            "X-Consumer",
            "X-User",
            "x-user",
            "Proxy",
            "Content_Length",
            "X_Any",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Version",
            "X Y",
            "X:Y",
            "X\\r\\nY",
            "",
            "é",
            &"x".repeat(HEADER_EDIT_NAME_BYTES + 1),
        ] {
            let set = format!(r#"{{ "set": {{ "{name}": "a" }} }}"#);
            for edits in [
                format!(r#"{{ "add": {{ "{name}": "a" }} }}"#),
                format!(r#"{{ "remove": ["{name}"] }}"#),
            ]
            .into_iter()
            .chain((name != "Host").then_some(set))
            {
                for case in [edits.clone(), edits.replace(name, &name.to_lowercase())] {
                    let found = errors(&case);
                    assert_eq!(found.len(), 1, "{case}: {found:?}");
                }
            }
        }
        for name in [
            "Authorization",
            "Cookie",
            "Content-Type",
            "Date",
            "X-Users",
            "Origin",
        ] {
            assert_eq!(
                errors(&format!(r#"{{ "set": {{ "{name}": "a" }} }}"#)),
                [""; 0]
            );
        }
    }

    #[test]
    fn what_is_wrong_with_an_edit() {
        let long = "x".repeat(HEADER_EDIT_VALUE_BYTES);
        let lines = (0..5).map(|number| format!(r#""X-{number}": "{long}""#));
        let lines = lines.collect::<Vec<_>>().join(",");
        let names = (0..=HEADER_EDITS_MAX).map(|number| format!(r#""X-{number}": "a""#));
        let names = names.collect::<Vec<_>>().join(",");
        for (edits, error) in [
            (
                r#"{ "set": { "X": "a\r\nb" } }"#.to_owned(),
                r#"requestHeaders.set.X: "a\r\nb" has a line break, which would start another header; write it in one line"#,
            ),
            (
                r#"{ "set": { "X": "a\u0000" } }"#.to_owned(),
                r#"requestHeaders.set.X: "a\0" has a character that no header value may have; use printable ASCII"#,
            ),
            (
                r#"{ "add": { "X": "a\u007f" } }"#.to_owned(),
                r#"requestHeaders.add.X: "a\u{7f}" has a character that no header value may have; use printable ASCII"#,
            ),
            (
                r#"{ "set": { "X": "" } }"#.to_owned(),
                r#"requestHeaders.set.X: "" is empty; write a value, or name the header in "remove""#,
            ),
            (
                r#"{ "set": { "X": null } }"#.to_owned(),
                r#"requestHeaders.set.X: is not inherited: the top level has no such name in "set"; remove it"#,
            ),
            (
                r#"{ "set": { "X": 1 } }"#.to_owned(),
                "requestHeaders.set.X: 1 must be a string, or null to leave the header as it is, not a number",
            ),
            (
                r#"{ "set": { "X": "1", "x": "2" } }"#.to_owned(),
                "requestHeaders.set.x: given twice, in another case; keep one of them",
            ),
            (
                r#"{ "set": { "X": "1" }, "remove": ["x"] }"#.to_owned(),
                r#"requestHeaders.set.X: is in "remove", too; to give it another value, name it in "set" alone"#,
            ),
            (
                r#"{ "remove": ["X", "x"] }"#.to_owned(),
                r#"requestHeaders.remove[1]: "x" is named twice; remove one of them"#,
            ),
            (
                r#"{ "remove": "X" }"#.to_owned(),
                r#"requestHeaders.remove: "X" must be a list of header names such as ["Cookie"], not a string"#,
            ),
            (
                r#"{ "X-Env": "b" }"#.to_owned(),
                r#"requestHeaders.X-Env: unknown key; a header stands in "set", as in "set": { "X-Env": "prod" }"#,
            ),
            (
                r#"[]"#.to_owned(),
                r#"requestHeaders: must be an object such as { "set": { "X-Env": "b" }, "remove": ["Cookie"] }, not a list"#,
            ),
            (
                format!(
                    r#"{{ "set": {{ "X": "{}" }} }}"#,
                    "${id}".repeat(HEADER_EDIT_VARIABLES_MAX + 1)
                ),
                "has more than 8 variables; use fewer",
            ),
            (
                format!(r#"{{ "set": {{ "X": "{long}x" }} }}"#),
                "is longer than 4096 bytes; shorten it",
            ),
            (
                format!(r#"{{ "set": {{ {lines} }} }}"#),
                "requestHeaders: adds lines of up to 20515 bytes; they may have 16384",
            ),
            (
                format!(r#"{{ "set": {{ {names} }} }}"#),
                "requestHeaders: has more than 64 names; remove some",
            ),
            (
                r#"{ "set": { "-Server": "a" } }"#.to_owned(),
                r#"requestHeaders.set.-Server: begins with a mark, as in a Caddyfile; write the name alone, into "remove", "add" or "set""#,
            ),
            (
                r#"{ "add": { "Host": "a" } }"#.to_owned(),
                r#"requestHeaders.add.Host: is that of the target's URL; "preserveHost": true sends the client's, "requestHeaders": { "set": { "Host": "app.example.com" } } another one"#,
            ),
            (
                r#"{ "set": { "host": "a/b" } }"#.to_owned(),
                r#"requestHeaders.set.host: "a/b" must be a host alone, as in "app.example.com""#,
            ),
            (
                r#"{ "set": { "Host": "a b" } }"#.to_owned(),
                r#"requestHeaders.set.Host: "a b" names several hosts; a service has a list of URLs in "targets""#,
            ),
            (
                r#"{ "set": { "Host": "${host}" } }"#.to_owned(),
                r#"requestHeaders.set.Host: "${host}" cannot have a variable; for the host that the client asks for, remove it and set "preserveHost": true"#,
            ),
            (
                r#"{ "set": { "Host": "$host" } }"#.to_owned(),
                r#"requestHeaders.set.Host: "$host" has a malformed host name; letters, digits, "-", "_" and "." are allowed"#,
            ),
            (
                r#"{ "set": { "X-Forwarded-Proto": "https" } }"#.to_owned(),
                "requestHeaders.set.X-Forwarded-Proto: says where a request comes from, as the gateway does in X-Forwarded-For, -Host and -Proto; remove it, or choose another name",
            ),
            (
                r#"{ "remove": ["Proxy"] }"#.to_owned(),
                r#"requestHeaders.remove[0]: "Proxy" is dropped from all requests: CGI programs would take it for their proxy; remove it"#,
            ),
            (
                r#"{ "remove": ["Via"] }"#.to_owned(),
                r#"requestHeaders.remove[0]: "Via" belongs to the framing or to one connection, which are the gateway's; remove it"#,
            ),
        ] {
            let found = errors(&edits);
            assert!(
                found.len() == 1 && found[0].ends_with(error),
                "{edits}\n{found:#?}\n{error}"
            );
        }
        // A response has no `Host`.
        let response = r#"{ "services": [{ "route": "/", "target": "http://b" }], "responseHeaders": { "set": { "Host": "a" } } }"#;
        let found = try_load(response).err().unwrap_or_default();
        assert!(
            matches!(&found[..], [line] if line.contains("responseHeaders.set.Host: is that of")),
            "{found:?}"
        );
    }
}
