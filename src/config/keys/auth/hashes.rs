//! Providers that compare hashes: `apiKey` and `basic`.

use std::sync::Arc;

use crate::policy::auth::api_key::{ApiKey, KeyHash};
use crate::policy::auth::basic::{PasswordHash, User};
use crate::policy::auth::grant::Grant;
use crate::policy::auth::provider::Kind;

use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::header_name;

/// Reads a provider of the type `apiKey`: a header, and the hashes of its good values.
pub(crate) fn api_keys(
    place: &Located<'_>,
    object: &Object<'_>,
    report: &mut Report<'_>,
) -> Option<Kind> {
    let header = header(object.get("header"), report);
    let Some(keys) = object.get("keys") else {
        place
            .fail(report, r#""keys" is missing; add { "name": "sha256:..." }, which "tollgate hash --api-key" prints"#);
        return None;
    };
    let entries = keys.secret_entries(report)?;
    if entries.is_empty() {
        keys.fail(report, "is empty: nobody could be let in");
        return None;
    }
    let mut hashes = Vec::new();
    for entry in &entries {
        let Some(text) = entry.place.secret_text(report) else {
            continue;
        };
        match KeyHash::parse(text) {
            Some(hash) => hashes.push(ApiKey {
                hash,
                grant: Arc::new(Grant::named(entry.name)),
            }),
            // What stands there may be the key itself.
            None => entry.place.fail_bare(
                report,
                r#"must be "sha256:" and 64 hexadecimal digits, which "tollgate hash --api-key" prints for a key"#,
            ),
        }
    }
    (hashes.len() == entries.len()).then_some(Kind::ApiKey {
        header: header?,
        keys: hashes,
    })
}

fn header(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<String> {
    let Some(place) = place else {
        return Some("X-Api-Key".to_owned());
    };
    let name = place.text(report)?;
    let lower = name.to_ascii_lowercase();
    if !header_name::is_token(name)
        || name.contains('_')
        || header_name::is_own(&lower)
        || lower == "authorization"
    {
        place.fail(
            report,
            r#"cannot hold a key; name a header of its own such as "X-Api-Key""#,
        );
        return None;
    }
    Some(name.to_owned())
}

/// Reads a provider of the type `basic`: users and the hashes of their passwords.
pub(crate) fn users(
    place: &Located<'_>,
    object: &Object<'_>,
    report: &mut Report<'_>,
) -> Option<Kind> {
    let Some(users) = object.get("users") else {
        place.fail(report, r#""users" is missing; add { "name": "pbkdf2-sha256:..." }, which "tollgate hash" prints"#);
        return None;
    };
    let entries = users.secret_entries(report)?;
    if entries.is_empty() {
        users.fail(report, "is empty: nobody could be let in");
        return None;
    }
    let mut all = Vec::new();
    for entry in &entries {
        if entry.name.contains(':') || entry.name.is_empty() {
            report.add(
                entry.name_at,
                &entry.place.path,
                "is no user name: it is empty, or has a \":\" (RFC 7617 2)",
            );
            continue;
        }
        let Some(text) = entry.place.secret_text(report) else {
            continue;
        };
        match PasswordHash::parse(text) {
            Ok(hash) => all.push(User {
                name: entry.name.to_owned(),
                hash,
            }),
            Err(message) => entry.place.fail_bare(report, message),
        }
    }
    (all.len() == entries.len()).then_some(Kind::Basic { users: all })
}
