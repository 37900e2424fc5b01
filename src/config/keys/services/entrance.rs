//! `listeners` and `clientCertificate` of a service.

use crate::config::keys::listen::known::KnownListener;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::suggestions;
use crate::proxy::settings::ServiceEntrance;

use super::matching;

/// Reads both keys; `None`: the service has neither. `known`: the listeners of the file.
pub(crate) fn compile(
    object: &Object<'_>,
    known: &[KnownListener<'_>],
    report: &mut Report<'_>,
) -> Option<Box<ServiceEntrance>> {
    let listeners = object.get("listeners");
    let listeners = listeners.map(|place| names(place, known, report));
    let certificate = object.get("clientCertificate");
    let needs_certificate = certificate
        .and_then(|place| place.choice(report, &[("required", true)]))
        .unwrap_or(false);
    let listeners = listeners.unwrap_or_default();
    if let Some(place) = certificate.filter(|_| needs_certificate) {
        let answers = |listener: &&KnownListener<'_>| {
            let is_named = |name| listeners.iter().any(|own| own == name);
            listeners.is_empty() || listener.name.is_some_and(is_named)
        };
        if !known
            .iter()
            .filter(answers)
            .any(|listener| listener.asks_clients)
        {
            place.fail_bare(
                report,
                "wants a client certificate, and no listener of this service asks for one; add \"clientCa\" to its \"tls\"",
            );
        }
    }
    (needs_certificate || !listeners.is_empty()).then(|| {
        Box::new(ServiceEntrance {
            listeners,
            needs_certificate,
        })
    })
}

fn names(place: &Located<'_>, known: &[KnownListener<'_>], report: &mut Report<'_>) -> Vec<String> {
    let empty =
        "is empty, which no client reaches; name a listener, or remove this for all listeners";
    let read = |text: &str| match known.iter().any(|listener| listener.name == Some(text)) {
        true => Ok(text.to_owned()),
        false => Err(unknown(text, known).into()),
    };
    matching::names(place, empty, &read, report)
}

fn unknown(name: &str, known: &[KnownListener<'_>]) -> String {
    let mut names = known
        .iter()
        .filter_map(|listener| listener.name)
        .collect::<Vec<_>>();
    names.dedup();
    match (suggestions::nearest(name, &names), names.is_empty()) {
        (Some(near), _) => format!("is no name of a listener, did you mean {near:?}?"),
        (None, false) => format!(
            "is no name of a listener; \"listen\" has {}",
            names.join(", ")
        ),
        (None, true) => format!(
            "is no name of a listener; give one its name: \"listen\": [{{ \"address\": \"0.0.0.0:5000\", \"name\": {name:?} }}]"
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    /// Returns the errors of a file with two named listeners and these services.
    fn errors(services: &str) -> Vec<String> {
        let text = format!(
            r#"{{"listen":[{{"address":"0.0.0.0:1","name":"public"}},{{"address":"0.0.0.0:2","name":"admin"}},3],"services":[{services}]}}"#
        );
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
    fn names_must_be_those_of_listeners() {
        for (key, expected) in [
            (r#""listeners": ["public", "admin"]"#, None),
            (
                r#""listeners": ["publik"]"#,
                Some(r#"listeners[0]: "publik" is no name of a listener, did you mean "public"?"#),
            ),
            (
                r#""listeners": ["x"]"#,
                Some(r#"listeners[0]: "x" is no name of a listener; "listen" has public, admin"#),
            ),
            (
                r#""listeners": ["admin", "admin"]"#,
                Some(r#"listeners[1]: "admin" is named twice; remove one of them"#),
            ),
            (
                r#""listeners": []"#,
                Some(
                    "listeners: is empty, which no client reaches; name a listener, or remove this for all listeners",
                ),
            ),
            (
                r#""clientCertificate": "required""#,
                Some(
                    r#"clientCertificate: wants a client certificate, and no listener of this service asks for one; add "clientCa" to its "tls""#,
                ),
            ),
            (
                r#""clientCertificate": "optional""#,
                Some(r#"clientCertificate: "optional" must be one of "required""#),
            ),
        ] {
            let found = errors(&format!(
                r#"{{ "route": "/a", "target": "http://b", {key} }}"#
            ));
            let expected = expected.map(|message| format!("services[0].{message}"));
            assert_eq!(found, Vec::from_iter(expected), "{key}");
        }
    }

    #[test]
    fn one_route_may_have_a_service_on_each_listener() {
        let service = |more: &str| format!(r#"{{ "route": "/a", "target": "http://b" {more} }}"#);
        let public = r#", "listeners": ["public"]"#;
        for (first, second, is_duplicate) in [
            (public, r#", "listeners": ["admin"]"#, false),
            (public, r#", "listeners": ["admin", "public"]"#, true),
            // Without names it answers on all of them.
            (public, "", true),
        ] {
            let found = errors(&format!("{}, {}", service(first), service(second)));
            assert_eq!(
                found.len(),
                usize::from(is_duplicate),
                "{first} {second}: {found:?}"
            );
        }
    }
}
