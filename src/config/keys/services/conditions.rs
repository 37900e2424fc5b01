//! `match` of a service: conditions on headers, cookies and query parameters.

use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Entry, Located};
use crate::config::syntax::report::Report;
use crate::config::values::header_name::is_token;
use crate::limits::{MATCH_CONDITIONS_MAX, MATCH_NAME_BYTES_MAX, MATCH_VALUE_BYTES_MAX};
use crate::proxy::settings::{Condition, Part};

/// Keys of `match`, and the part of a request that each is about.
const PARTS: [(&str, Part); 3] = [
    ("headers", Part::Header),
    ("cookies", Part::Cookie),
    ("query", Part::Query),
];

/// Reads `match` into sorted conditions: their order means nothing. `None`: there is an error.
pub(super) fn compile(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> Option<Vec<Condition>> {
    let Some(place) = place.filter(|place| !place.is_null()) else {
        return Some(Vec::new());
    };
    if let Value::Text(_) = &place.node.value {
        place.fail(
            report,
            r#"is no object of conditions; a path prefix is "route", as in "route": "/users""#,
        );
        return None;
    }
    let object = place.object(report)?;
    let mut conditions: Vec<Condition> = Vec::new();
    let (mut count, mut is_good) = (0_usize, true);
    for (key, part) in PARTS {
        let Some(values) = object.get(key).filter(|place| !place.is_null()) else {
            continue;
        };
        for entry in values.entries(report)? {
            count = count.saturating_add(1);
            match condition(part, &entry, &conditions, report) {
                Some(condition) => conditions.push(condition),
                None => is_good = false,
            }
        }
    }
    let fault = match count {
        0 => {
            r#"has no condition; name a header, cookie or parameter, or remove "match""#.to_owned()
        }
        more if more > MATCH_CONDITIONS_MAX => {
            format!("has more than {MATCH_CONDITIONS_MAX} conditions; remove some")
        }
        _ => {
            crate::sort::sort(&mut conditions);
            return is_good.then_some(conditions);
        }
    };
    place.fail(report, fault);
    None
}

fn condition(
    part: Part,
    entry: &Entry<'_>,
    known: &[Condition],
    report: &mut Report<'_>,
) -> Option<Condition> {
    let name = match part {
        Part::Header => entry.name.to_ascii_lowercase(),
        Part::Cookie | Part::Query => entry.name.to_owned(),
    };
    let mut same = known.iter().filter(|known| known.part == part);
    let fault = match same.any(|known| known.name == name) {
        true => Some("given twice, in another case; keep one of them"),
        false => name_fault(part, &name),
    };
    if let Some(fault) = fault {
        report.add(entry.name_at, &entry.place.path, fault);
        return None;
    }
    let value = entry.place.text(report)?;
    match value_fault(part, value) {
        Some(fault) => {
            entry.place.fail(report, fault);
            None
        }
        None => Some(Condition {
            part,
            name,
            value: value.to_owned(),
        }),
    }
}

/// Returns why no request has this name, or why another key is about it.
fn name_fault(part: Part, name: &str) -> Option<&'static str> {
    match (part, name) {
        (_, "") => Some("is no name; write one such as \"X-Beta\""),
        _ if name.len() > MATCH_NAME_BYTES_MAX => Some("is longer than 128 bytes; shorten it"),
        (Part::Header, "host") => {
            Some("is the host of the request; name it in \"hosts\" of the service")
        }
        (Part::Header, "cookie") => {
            Some("has all cookies in one value; name one in \"cookies\" of \"match\"")
        }
        (Part::Header, _) if !is_token(name) => {
            Some("is no header name; letters, digits and \"-\" are allowed")
        }
        (Part::Cookie, _) if !is_token(name) => {
            Some("is no cookie name; letters, digits, \"-\" and \"_\" are allowed")
        }
        _ => None,
    }
}

/// Returns why no request has this value.
fn value_fault(part: Part, value: &str) -> Option<&'static str> {
    let is_shown = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    match part {
        _ if value.len() > MATCH_VALUE_BYTES_MAX => Some("is longer than 256 bytes; shorten it"),
        Part::Query => None,
        _ if !value.bytes().all(is_shown) => {
            Some("has a byte that is not printable ASCII; write it as clients send it")
        }
        _ if value.trim_ascii() != value => {
            Some("has spaces around it, which are not part of a value; remove them")
        }
        Part::Cookie if value.contains([';', ',']) => {
            Some("has a \";\" or \",\", which divides cookies; remove it")
        }
        Part::Header | Part::Cookie => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    fn try_load(services: &str) -> Result<Config, Vec<String>> {
        let text = format!("{{\"services\":[{services}]}}");
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        load(text.as_bytes(), "f", &|_| None, &read).map_err(|errors| {
            let lines = errors.iter();
            lines
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()
        })
    }

    fn service(keys: &str) -> String {
        format!(r#"{{ "route": "/a", "target": "http://b", {keys} }}"#)
    }

    #[test]
    fn conditions_are_sorted_and_headers_have_no_case() {
        let keys = r#""match": { "query": { "b c": "é;&", "a": "" }, "headers": { "X-Beta": "1 2" }, "cookies": { "A_1": "\"x\"" } }"#;
        let config = try_load(&service(keys)).expect("good");
        let conditions = config.settings.services[0].conditions.iter();
        let texts = conditions.map(|condition| condition.text());
        let texts = texts.collect::<Vec<_>>();
        assert_eq!(
            texts,
            ["x-beta: 1 2", "cookie A_1=\"x\"", "?a=", "?b c=é;&"]
        );
        let config = try_load(&service(r#""match": null"#)).expect("good");
        assert!(config.settings.services[0].conditions.is_empty());
    }

    #[test]
    fn every_mistake_has_its_line() {
        let (long, many) = ("x".repeat(257), (0..9).map(|n| format!("\"x{n}\": \"1\"")));
        let (name, many) = ("x".repeat(129), many.collect::<Vec<_>>().join(", "));
        for (value, message) in [
            (
                "{}".to_owned(),
                ": has no condition; name a header, cookie or parameter, or remove \"match\"",
            ),
            (
                r#"{ "headers": {} }"#.to_owned(),
                ": has no condition; name a header, cookie or parameter, or remove \"match\"",
            ),
            (
                "true".to_owned(),
                ": must be an object such as { \"headers\": { \"X-Beta\": \"1\" } }, not true",
            ),
            (
                r#"{ "header": { "X": "1" } }"#.to_owned(),
                ".header: unknown key, did you mean \"headers\"?",
            ),
            (
                r#"{ "headers": { "X": 1 } }"#.to_owned(),
                ".headers.X: 1 must be a string such as \"1\", not a number",
            ),
            (
                r#"{ "headers": { "X": "1", "x": "2" } }"#.to_owned(),
                ".headers.x: given twice, in another case; keep one of them",
            ),
            (
                r#"{ "headers": { "Host": "a" } }"#.to_owned(),
                ".headers.Host: is the host of the request; name it in \"hosts\" of the service",
            ),
            (
                r#"{ "headers": { "Cookie": "a=b" } }"#.to_owned(),
                ".headers.Cookie: has all cookies in one value; name one in \"cookies\" of \"match\"",
            ),
            (
                r#"{ "headers": { "X Y": "a" } }"#.to_owned(),
                ".headers.\"X Y\": is no header name; letters, digits and \"-\" are allowed",
            ),
            (
                r#"{ "cookies": { "a;b": "a" } }"#.to_owned(),
                ".cookies.\"a;b\": is no cookie name; letters, digits, \"-\" and \"_\" are allowed",
            ),
            (
                r#"{ "query": { "": "a" } }"#.to_owned(),
                ".query.\"\": is no name; write one such as \"X-Beta\"",
            ),
            (
                r#"{ "headers": { "X": " a" } }"#.to_owned(),
                ".headers.X: \" a\" has spaces around it, which are not part of a value; remove them",
            ),
            (
                r#"{ "headers": { "X": "\u0001" } }"#.to_owned(),
                ".headers.X: \"\\u{1}\" has a byte that is not printable ASCII; write it as clients send it",
            ),
            (
                r#"{ "cookies": { "x": "a;b" } }"#.to_owned(),
                ".cookies.x: \"a;b\" has a \";\" or \",\", which divides cookies; remove it",
            ),
            (
                format!(r#"{{ "query": {{ "{name}": "a" }} }}"#),
                "is longer than 128 bytes; shorten it",
            ),
            (
                format!(r#"{{ "query": {{ "a": "{long}" }} }}"#),
                "is longer than 256 bytes; shorten it",
            ),
            (
                format!(r#"{{ "query": {{ {many} }} }}"#),
                ": has more than 8 conditions; remove some",
            ),
        ] {
            let errors = try_load(&service(&format!("\"match\": {value}"))).expect_err(&value);
            assert_eq!(errors.len(), 1, "{errors:?}");
            let is_whole = message.starts_with([':', '.']);
            match is_whole {
                true => assert_eq!(errors[0], format!("services[0].match{message}")),
                false => assert!(errors[0].ends_with(message), "{}", errors[0]),
            }
        }
    }

    #[test]
    fn services_of_a_route_have_different_conditions() {
        let with = |keys: &str| {
            service(&format!(
                "{keys} \"match\": {{ \"headers\": {{ \"X\": \"1\" }} }}"
            ))
        };
        let plain = r#"{ "route": "/a", "target": "http://b" }"#;
        let duplicate = "services[1].route: \"/a\" is a duplicate route, services[0] has \"/a\" already for the same hosts and methods, with the same \"match\"; remove one of them";
        let all = [
            plain.to_owned(),
            with(""),
            with("\"methods\": [\"GET\"],"),
            with("\"hosts\": [\"h\"],"),
        ];
        assert!(try_load(&all.join(", ")).is_ok());
        let twice = [with(""), with("").replace("\"X\"", "\"x\"")].join(", ");
        assert_eq!(try_load(&twice).expect_err("twice"), [duplicate]);
        let numbered = |count: usize, name: &dyn Fn(usize) -> String| {
            let all = (0..count).map(|n| {
                service(&format!(
                    "\"match\": {{ \"query\": {{ \"{}\": \"{n}\" }} }}",
                    name(n)
                ))
            });
            all.collect::<Vec<_>>().join(", ")
        };
        let same = |_: usize| "x".to_owned();
        let different = |n: usize| format!("x{n}");
        assert!(try_load(&numbered(16, &same)).is_ok());
        assert!(try_load(&numbered(8, &different)).is_ok());
        assert_eq!(
            try_load(&numbered(17, &same)).expect_err("many"),
            ["services[16].route: \"/a\" has more than 16 services with \"match\"; remove some"]
        );
        assert_eq!(
            try_load(&numbered(9, &different)).expect_err("many"),
            [
                "services[8].route: \"/a\" has services whose \"match\" names more than 8 headers, cookies and parameters together; remove some"
            ]
        );
        // Other hosts have bounds of their own.
        let others = numbered(8, &different).replace("\"match\"", "\"hosts\": [\"h\"], \"match\"");
        assert!(try_load(&[numbered(8, &|n| format!("y{n}")), others].join(", ")).is_ok());
    }

    #[test]
    fn services_that_differ_in_auth_are_warned_about() {
        let file = |auth: &str| {
            format!(
                r#"{{ "auth": {{ "k": {{ "type": "apiKey", "keys": {{ "a": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }} }} }},
                "services": [{}, {}, {}] }}"#,
                service(r#""auth": "k""#),
                service(&format!(
                    r#""match": {{ "cookies": {{ "x": "1" }} }}, "auth": {auth}"#
                )),
                service(r#""hosts": ["h"], "auth": "k""#)
            )
        };
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let warnings = |auth: &str| {
            let config = load(file(auth).as_bytes(), "f", &|_| None, &read).expect("good");
            let all = crate::config::advice::warnings(&config.settings);
            let own = all.into_iter().filter(|line| line.contains("tells apart"));
            own.collect::<Vec<_>>()
        };
        assert_eq!(
            warnings("false"),
            [
                "route \"/a\" has services with different \"auth\", which \"match\" tells apart (cookie x=1): a client chooses between them; \
              give all of them the same \"auth\" and \"scopes\""
            ]
        );
        assert_eq!(warnings("\"k\""), [""; 0]);
    }
}
