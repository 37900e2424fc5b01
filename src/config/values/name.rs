//! Names that the operator gives to listeners and services.

use crate::config::schema::NAME_EXPECTED;
use crate::config::syntax::located::Object;
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::limits::NAME_BYTES_MAX;

/// Reads `name` of an object.
pub(crate) fn of(object: &Object<'_>, report: &mut Report<'_>) -> Option<String> {
    let place = object.get("name")?;
    let text = place.text(report)?;
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_valid) {
        place.fail(
            report,
            Fault::uncured(format!(
                "must be {NAME_EXPECTED}, of at most {NAME_BYTES_MAX} bytes"
            )),
        );
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    #[test]
    fn names_are_words() {
        let long = "a".repeat(65);
        for name in ["", "a b", "a/b", "/a", "= /a", "\u{e4}", &long] {
            for (place, listen, service) in
                [("listen.name", name, "x"), ("services[0].name", "x", name)]
            {
                let text = format!(
                    r#"{{ "listen": {{ "address": 1, "name": {listen:?} }},
                        "services": [{{ "name": {service:?}, "route": "/a", "target": "http://b" }}] }}"#
                );
                let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
                let errors = load(text.as_bytes(), "f", &|_| None, &read).expect_err(name);
                let lines = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
                let known = format!("{place}: {name:?} must be a name such as \"public\"");
                assert!(
                    matches!(&lines[..], [line] if line.contains(&known)),
                    "{known} {lines:?}"
                );
            }
        }
    }
}
