//! `redirect` and `respond`: the reply of a service in place of a target.

use std::sync::Arc;

use crate::limits::{CONFIG_PATH_BYTES_MAX, FIXED_BODY_BYTES_MAX};
use crate::proxy::settings::{FixedReply, Redirect, Respond};

use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::syntax::stray::Fault;
use crate::config::values::{media_type, path, scalars, target_url};

/// Keys of a service that say something about its targets.
const ABOUT_TARGETS: [&str; 11] = [
    "sticky",
    "balance",
    "healthCheck",
    "passiveHealth",
    "retries",
    "stripPrefix",
    "preserveHost",
    "tls",
    "timeouts",
    "forwardCredentials",
    "forwardConsumer",
];

/// Reads `redirect` or `respond`; `Some(None)` without either. `None`: an error was reported.
pub(super) fn compile(
    service: &Object<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Option<Option<Arc<FixedReply>>> {
    let (key, reply) = match (service.get("redirect"), service.get("respond")) {
        (Some(place), _) => (
            "redirect",
            redirect(place, report).map(FixedReply::Redirect),
        ),
        (None, Some(place)) => (
            "respond",
            respond(place, source, report).map(FixedReply::Respond),
        ),
        (None, None) => return Some(None),
    };
    for name in ABOUT_TARGETS {
        if let Some(place) = service.get(name) {
            let why = "is about targets, and this service has";
            let message = format!("{name:?} {why} {key:?} in place of them; remove one of the two");
            place.fail_bare(report, message);
        }
    }
    // The other key of `limits`, `bodyBytes`, holds for these requests, too.
    if let Some(place) = service.get("limits")
        && let Value::Object(members) = &place.node.value
        && members.iter().any(|member| member.name == "inFlight")
    {
        let message = format!(
            "\"inFlight\" is about targets, and this service has {key:?} in place of them; remove one of the two"
        );
        place.fail_bare(report, message);
    }
    Some(Some(Arc::new(reply?)))
}

fn redirect(place: &Located<'_>, report: &mut Report<'_>) -> Option<Redirect> {
    let object = place.object(report)?;
    let status = object.get("status");
    let given = scalars::small_of(&object, "status", report) as u16;
    if let Some(place) = status
        && !matches!(given, 301..=303 | 307 | 308)
    {
        place.fail(report, Fault::uncured("must be 301, 302, 303, 307 or 308"));
    }
    let keeps_path = object.flag("keepPath", report);
    let Some(to) = object.get("to") else {
        place.fail(
            report,
            r#""to" is missing; add where clients go, such as "/new" or "https://www.example.com""#,
        );
        return None;
    };
    let text = to.text(report)?;
    if let Err(message) = check_place(text) {
        to.fail(report, message);
        return None;
    }
    Some(Redirect::new(text, given, keeps_path))
}

/// Checks the place that a redirect leads to.
fn check_place(text: &str) -> Result<(), Fault> {
    let (base, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    if text.len() > CONFIG_PATH_BYTES_MAX {
        return Err(format!("is longer than {CONFIG_PATH_BYTES_MAX} bytes").into());
    }
    if path::has_variable(text) {
        return Err(
            "has a variable; write a path such as \"/new\", which keeps scheme and host, and \"keepPath\": true for what follows the route; the query is \
             always kept"
                .into(),
        );
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a character that no URL may have; write it percent-encoded".into());
    }
    if base.starts_with("//") {
        return Err(
            "begins with \"//\", which browsers take for another host; write its scheme, too, as in \"https://www.example.com\"".into()
        );
    }
    if base.starts_with('/') {
        return path::check(base);
    }
    if !base.contains("://") {
        return Err(
            r#"must be a path such as "/new", or a URL such as "https://www.example.com""#.into(),
        );
    }
    match target_url::parse(base)? {
        (target, _) if target.host.socket().is_some() => {
            Err("names a unix socket, where no client can go; name a host".into())
        }
        _ => Ok(()),
    }
}

fn respond(place: &Located<'_>, source: &Source<'_>, report: &mut Report<'_>) -> Option<Respond> {
    let object = place.object(report)?;
    let status = scalars::small_of(&object, "status", report) as u16;
    let fault = match status {
        301..=303 | 307 | 308 => {
            r#"needs a place to go to; write "redirect" in place of "respond""#
        }
        444 => "closes the connection in nginx, and would be sent here; write 403 or 404",
        _ => "",
    };
    if let (Some(place), false) = (object.get("status"), fault.is_empty()) {
        place.fail(report, fault);
    }
    let text = object.get("body");
    let file = object.get("file");
    let body = match (text, file) {
        (Some(_), Some(place)) => {
            place.fail_bare(report, r#""body" is there, too; keep one of them"#);
            return None;
        }
        (Some(place), None) => body_text(place, report)?,
        (None, Some(place)) => source.body(place, report)?,
        (None, None) => Arc::default(),
    };
    let media = match object.get("type") {
        Some(place) => media_type::given(place, report)?,
        None => {
            let name = file.and_then(|place| place.text(report));
            media_type::by_name(name.unwrap_or_default()).to_owned()
        }
    };
    if let Some(place) = text.or(file)
        && Respond::is_bodiless(status)
    {
        place.fail_bare(
            report,
            format!("a response with status {status} has no body; remove this"),
        );
        return None;
    }
    if let (Some(place), true) = (object.get("type"), body.is_empty()) {
        place.fail(
            report,
            r#"is the type of a body, and there is none; remove it"#,
        );
        return None;
    }
    let type_line = match body.is_empty() {
        true => String::new(),
        false => format!("Content-Type: {media}\r\n"),
    };
    Some(Respond {
        status,
        type_line: type_line.into(),
        body,
    })
}

fn body_text(place: &Located<'_>, report: &mut Report<'_>) -> Option<Arc<[u8]>> {
    let text = place.text(report)?;
    if text.len() > FIXED_BODY_BYTES_MAX {
        place.fail_bare(
            report,
            format!("has {} bytes; at most 64 KB can be sent", text.len()),
        );
        return None;
    }
    Some(Arc::from(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, check, load};

    fn load_service(keys: &str) -> Result<Config, Vec<String>> {
        let text = format!(r#"[{{"route":"/a",{keys}}}]"#);
        let read = |path: &std::path::Path| match path.to_str() {
            Some("dir/page.html") => Ok(b"<p>".to_vec()),
            Some("dir/long") => Ok(vec![b'x'; 65_537]),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        load(text.as_bytes(), "dir/t.json", &|_| None, &read).map_err(|errors| {
            errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()
        })
    }

    #[test]
    fn what_check_says() {
        for (keys, line) in [
            (r#""redirect": { "to": "/b" }"#, "/a -> 308 to /b"),
            (
                r#""redirect": { "to": "https://b.test/x?y=1#z", "status": 302, "keepPath": true }, "hosts": ["c"]"#,
                "/a -> 302 to https://b.test/x?y=1#z, with the path behind the route  (c)",
            ),
            (r#""respond": {}"#, "/a -> 200 without a body"),
            (
                r#""respond": { "status": 404, "file": "page.html" }"#,
                "/a -> 404 with 3 bytes of text/html; charset=utf-8",
            ),
        ] {
            let config = load_service(keys).unwrap_or_else(|errors| panic!("{errors:?}"));
            let report = check::describe(&config);
            assert_eq!(report.lines().next(), Some(line));
        }
        let config = load_service(r#""respond": { "file": "page.html" }"#).expect("good");
        assert_eq!(
            config.included,
            [std::path::PathBuf::from("dir/page.html")],
            "the file is watched"
        );
    }

    #[test]
    fn wrong_values() {
        let place = r#""redirect": { "to": "/b" }"#;
        for (keys, expected) in [
            (
                r#""redirect": {}"#,
                r#"services[0].redirect: "to" is missing; add where clients go, such as "/new" or "https://www.example.com""#,
            ),
            (
                r#""redirect": "/b""#,
                r#"services[0].redirect: "/b" must be an object such as { "to": "/new" }, not a string"#,
            ),
            (
                r#""redirect": { "to": "b" }"#,
                r#"services[0].redirect.to: "b" must be a path such as "/new", or a URL such as "https://www.example.com""#,
            ),
            (
                r#""redirect": { "to": "//b" }"#,
                r#"services[0].redirect.to: "//b" begins with "//", which browsers take for another host; write its scheme, too, as in "https://www.example.com""#,
            ),
            (
                r#""redirect": { "to": "javascript://b" }"#,
                r#"services[0].redirect.to: "javascript://b" must start with "http://" or "https://""#,
            ),
            (
                r#""redirect": { "to": "/b?a b" }"#,
                r#"services[0].redirect.to: "/b?a b" has a character that no URL may have; write it percent-encoded"#,
            ),
            (
                r#""redirect": { "to": "/b\r\nX: y" }"#,
                r#"services[0].redirect.to: "/b\r\nX: y" has a character that no path may have ('\r'); remove it"#,
            ),
            (
                r#""redirect": { "to": "/b", "status": 304 }"#,
                "services[0].redirect.status: 304 must be 301, 302, 303, 307 or 308",
            ),
            (
                r#""redirect": { "to": "/b", "status": 200 }"#,
                "services[0].redirect.status: 200 must be a whole number from 301 to 308",
            ),
            (
                r#""respond": { "status": 301 }"#,
                r#"services[0].respond.status: 301 needs a place to go to; write "redirect" in place of "respond""#,
            ),
            (
                r#""respond": { "status": 444 }"#,
                "services[0].respond.status: 444 closes the connection in nginx, and would be sent here; write 403 or 404",
            ),
            (
                r#""respond": { "status": 101 }"#,
                "services[0].respond.status: 101 must be a whole number from 200 to 599",
            ),
            (
                r#""respond": { "status": 204, "body": "x" }"#,
                "services[0].respond.body: a response with status 204 has no body; remove this",
            ),
            (
                r#""respond": { "body": "x", "file": "page.html" }"#,
                r#"services[0].respond.file: "body" is there, too; keep one of them"#,
            ),
            (
                r#""respond": { "type": "text/plain" }"#,
                r#"services[0].respond.type: "text/plain" is the type of a body, and there is none; remove it"#,
            ),
            (
                r#""respond": { "body": "x", "type": "text/plain\r\nX: y" }"#,
                r#"services[0].respond.type: "text/plain\r\nX: y" is no media type; write one such as "text/plain""#,
            ),
            (
                r#""respond": { "body": "x", "type": "html" }"#,
                r#"services[0].respond.type: "html" is no media type; write one such as "text/plain""#,
            ),
            (
                r#""respond": { "file": "none" }"#,
                r#"services[0].respond.file: "dir/none" cannot be read: entity not found"#,
            ),
            (
                r#""respond": { "file": "long" }"#,
                r#"services[0].respond.file: "dir/long" has 65537 bytes; at most 64 KB can be sent"#,
            ),
            (
                r#""respond": { "file": "" }"#,
                r#"services[0].respond.file: "" is empty; name a file such as "page.html""#,
            ),
            (
                r#""redirect": { "to": "/b" }, "respond": {}"#,
                r#"services[0].respond: "redirect" is there, too; keep one of them"#,
            ),
            (
                r#""target": "http://b", "redirect": { "to": "/b" }"#,
                r#"services[0].redirect: "target" is there, too; keep one of them"#,
            ),
            (
                r#""targets": ["http://b"], "respond": {}"#,
                r#"services[0].respond: "targets" is there, too; keep one of them"#,
            ),
        ] {
            assert_eq!(load_service(keys), Err(vec![expected.to_owned()]), "{keys}");
        }
        let found = load_service(&format!(r#"{place}, "limits": {{ "inFlight": 3 }}"#));
        let expected = r#"services[0].limits: "inFlight" is about targets, and this service has "redirect" in place of them; remove one of the two"#;
        assert!(
            found.is_err_and(|errors| errors.iter().any(|error| error == expected)),
            "inFlight"
        );
        for key in super::ABOUT_TARGETS {
            let value = match key {
                "balance" => r#""ip-hash""#,
                "healthCheck" => r#"{ "path": "/h" }"#,
                "retries" => "2",
                "passiveHealth" | "tls" | "timeouts" => "{}",
                _ => "true",
            };
            let found = load_service(&format!("{place}, {key:?}: {value}"));
            let expected = format!(
                r#"services[0].{key}: {key:?} is about targets, and this service has "redirect" in place of them; remove one of the two"#
            );
            assert!(
                found
                    .as_ref()
                    .is_err_and(|errors| errors.contains(&expected)),
                "{found:?}"
            );
        }
    }
}
