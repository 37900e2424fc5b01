//! `workers`: number of processes that serve.

use crate::config::model::{Listen, ListenAddress, Workers};
use crate::config::schema::WORKERS_EXPECTED;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::limits::WORKERS_MAX;

/// Reads the number.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    listeners: &[Listen],
    report: &mut Report<'_>,
) -> Workers {
    let Some(place) = place.filter(|place| !place.is_null()) else {
        return Workers::Count(1);
    };
    let count = place.digits().and_then(|digits| digits.parse().ok());
    let workers = match count {
        Some(count) if (1..=WORKERS_MAX).contains(&count) => Workers::Count(count),
        Some(_) => {
            place.fail(
                report,
                Fault::uncured(format!("must be {WORKERS_EXPECTED}")),
            );
            return Workers::Count(1);
        }
        None => match place.text(report) {
            Some("auto") => Workers::Auto,
            Some(_) => {
                place.fail(
                    report,
                    Fault::uncured(format!("must be {WORKERS_EXPECTED}")),
                );
                return Workers::Count(1);
            }
            None => return Workers::Count(1),
        },
    };
    let mut addresses = listeners.iter().map(|listen| &listen.address);
    let systemd = addresses.find(|address| matches!(address, ListenAddress::Systemd(_)));
    if let Some(address) = systemd.filter(|_| workers != Workers::Count(1)) {
        place.fail_bare(
            report,
            format!(
                "does not go with {address} in \"listen\": the service manager opens one socket, and each worker needs its own; \
                 write the address in its place, or remove \"workers\""
            ),
        );
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rest: &str) -> Result<crate::config::Config, Vec<String>> {
        let text = format!(
            r#"{{ "services": [ {{ "route": "/a", "target": "http://a.test" }} ], {rest} }}"#
        );
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        crate::config::load(text.as_bytes(), "a.json", &|_| None, &read)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn numbers_of_workers() {
        for (value, workers) in [
            ("1", Workers::Count(1)),
            ("64", Workers::Count(64)),
            ("null", Workers::Count(1)),
            (r#""auto""#, Workers::Auto),
        ] {
            let config = load(&format!(r#""workers": {value}"#)).expect(value);
            assert_eq!(config.workers, workers, "{value}");
        }
    }

    #[test]
    fn every_mistake_has_its_line() {
        for (rest, message) in [
            (r#""workers": 0"#.to_owned(), "must be"),
            (r#""workers": 65"#.to_owned(), "must be"),
            (r#""workers": 1.5"#.to_owned(), "must be"),
            (r#""workers": "all""#.to_owned(), "must be"),
            (
                r#""workers": 2, "listen": "systemd:web""#.to_owned(),
                "does not go with systemd:web",
            ),
        ] {
            let found = load(&rest).map(|_| ()).expect_err(&rest);
            assert_eq!(found.len(), 1, "{rest}: {found:?}");
            assert!(
                found[0].contains("workers: ") && found[0].contains(message),
                "{rest}: {found:?}"
            );
        }
    }
}
