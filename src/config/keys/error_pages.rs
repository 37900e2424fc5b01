//! `errorPages`, of the whole gateway and of a service.

use core::ops::RangeInclusive;
use std::sync::Arc;

use crate::proxy::settings::ErrorPages;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;

/// Reads `errorPages`; `None`: there are none.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Option<Arc<ErrorPages>> {
    let place = place.filter(|place| !place.is_false())?;
    let mut pages = Vec::new();
    for entry in place.entries(report)? {
        let Some(statuses) = statuses(entry.name) else {
            let message = format!(
                "{:?} is no status of an error; write one from 400 to 599, \"4xx\" or \"5xx\"",
                entry.name
            );
            report.add(entry.name_at, &entry.place.path, message);
            continue;
        };
        if let Some(body) = source.body(&entry.place, report) {
            pages.push((statuses, body));
        }
    }
    (!pages.is_empty()).then(|| Arc::new(ErrorPages::new(pages)))
}

/// Returns the statuses that a name stands for.
fn statuses(name: &str) -> Option<RangeInclusive<u16>> {
    match name {
        "4xx" => Some(400..=499),
        "5xx" => Some(500..=599),
        _ => {
            let status = name
                .parse()
                .ok()
                .filter(|status| (400..=599).contains(status))?;
            Some(status..=status)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{check, load};

    #[test]
    fn pages_and_wrong_names() {
        let load = |pages: &str, own: &str| {
            let text = format!(
                r#"{{ "errorPages": {pages}, "services": [ {{ "route": "/a", "target": "http://b"{own} }} ] }}"#
            );
            let read = |path: &std::path::Path| match path.to_str() {
                Some("dir/a.html") => Ok(b"<p>".to_vec()),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            };
            load(text.as_bytes(), "dir/t.json", &|_| None, &read).map_err(|errors| {
                errors
                    .iter()
                    .map(|error| format!("{}: {}", error.path, error.message))
                    .collect::<Vec<_>>()
            })
        };
        let config = load(r#"{ "404": "a.html", "5xx": "a.html" }"#, "").expect("good");
        assert_eq!(config.included, [std::path::PathBuf::from("dir/a.html")]);
        let service = &config.settings.services[0];
        assert_eq!(service.error_pages, config.settings.error_pages);
        assert!(check::describe(&config).contains("errorPages 404: 3 bytes, 5xx: 3 bytes\n"));
        for own in ["false", "{}"] {
            let own = format!(r#", "errorPages": {own}"#);
            let config = load(r#"{ "404": "a.html" }"#, &own).expect("good");
            assert_eq!(config.settings.services[0].error_pages, None);
        }
        for (pages, expected) in [
            (
                r#"{ "200": "a.html" }"#,
                r#"errorPages.200: "200" is no status of an error; write one from 400 to 599, "4xx" or "5xx""#,
            ),
            (
                r#"{ "3xx": "a.html" }"#,
                r#"errorPages.3xx: "3xx" is no status of an error; write one from 400 to 599, "4xx" or "5xx""#,
            ),
            (
                r#"{ "404": "none" }"#,
                r#"errorPages.404: "dir/none" cannot be read: entity not found"#,
            ),
            (
                r#"{ "404": 5 }"#,
                "errorPages.404: 5 must be the path of a file, not a number",
            ),
        ] {
            assert_eq!(load(pages, "").err(), Some(vec![expected.to_owned()]));
        }
    }
}
