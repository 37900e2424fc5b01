//! `auth`, `scopes`, `forwardCredentials` and `forwardConsumer` of a service. The last two have a default
//! at the top level, for all services that ask for credentials.

use crate::limits::{AUTH_PROVIDERS_PER_SERVICE, AUTH_SCOPE_BYTES};
use crate::proxy::settings::ServiceAuth;

use crate::config::schema;
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::suggestions;

use super::Defaults;

/// Name of a provider that a service may use. Providers with errors are in the list, too.
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) takes_bearer: bool,
}

/// Keys that say what goes upstream of a credential.
const FORWARDS: [&str; 2] = ["forwardCredentials", "forwardConsumer"];

/// Reads the keys of the top level that say what goes upstream of a credential.
pub(crate) fn forwards(top: &Object<'_>, report: &mut Report<'_>) -> [bool; 2] {
    FORWARDS.map(|key| top.flag(key, report))
}

/// Reads the rules by which a service authenticates requests.
pub(crate) fn compile(
    object: &Object<'_>,
    defaults: &Defaults<'_>,
    report: &mut Report<'_>,
) -> ServiceAuth {
    let known = defaults.providers;
    let mut auth = ServiceAuth {
        providers: match object.get("auth") {
            Some(place) => providers(place, known, report),
            None => defaults.required.clone(),
        },
        ..ServiceAuth::default()
    };
    let asks_nobody = match object.get("auth") {
        Some(place) => place.is_false(),
        None => defaults.required.is_empty(),
    };
    let [credentials, consumer] = FORWARDS.map(|key| {
        let own = object.get(key);
        if let Some(place) = own.filter(|_| asks_nobody) {
            let why = if object.get("auth").is_some() {
                "says what becomes of a credential, and \"auth\": false lets everybody in; remove one of them"
            } else {
                "says what becomes of a credential, and nothing asks for one; add \"auth\""
            };
            place.fail_bare(report, why);
        }
        own.and_then(|place| place.flag(report))
    });
    if !asks_nobody {
        let [all_credentials, all_consumers] = defaults.forwards;
        auth.strips_credentials = !credentials.unwrap_or(all_credentials);
        auth.forwards_consumer = consumer.unwrap_or(all_consumers);
    }
    let Some(place) = object.get("scopes") else {
        return auth;
    };
    let items = place.list(report).unwrap_or_default();
    auth.scopes = items
        .iter()
        .filter_map(|item| scope(item, report))
        .collect();
    let bytes = auth.scopes.iter().map(String::len).sum::<usize>() + auth.scopes.len();
    if bytes > AUTH_SCOPE_BYTES {
        place.fail(
            report,
            format!("has {bytes} bytes of scopes; a token has at most {AUTH_SCOPE_BYTES}"),
        );
    }
    if items.is_empty() {
        // An empty list asks for nothing.
        return auth;
    }
    let bearer = takes_tokens(&auth, known);
    match object.get("auth") {
        None if asks_nobody => {
            place.fail_bare(report, "asks for scopes, and nothing says who has them; add \"auth\"");
        }
        Some(auth) if auth.is_false() => {
            place.fail_bare(report, "asks for scopes, and \"auth\": false lets everybody in; remove one of them");
        }
        _ if !auth.providers.is_empty() && !bearer => place.fail_bare(
            report,
            "asks for scopes, which only tokens have; add a provider of the type \"jwt\" or \"introspection\"",
        ),
        _ => {}
    }
    auth
}

/// Returns true if a token lets requests of the service in.
pub(crate) fn takes_tokens(auth: &ServiceAuth, known: &[Known]) -> bool {
    let mut providers = auth.providers.iter().filter_map(|index| known.get(*index));
    providers.any(|provider| provider.takes_bearer)
}

/// Reads one name, or a list of names.
pub(crate) fn providers(
    place: &Located<'_>,
    known: &[Known],
    report: &mut Report<'_>,
) -> Vec<usize> {
    let items = match place.node.value {
        _ if place.is_false() => return Vec::new(),
        Value::Text(_) => vec![place.clone()],
        Value::List(_) => place.list(report).unwrap_or_default(),
        Value::Object(_) => {
            refuse_inline(place, report);
            return Vec::new();
        }
        _ => {
            place.mismatch(report);
            return Vec::new();
        }
    };
    if items.is_empty() {
        place.fail(
            report,
            "is empty; name a provider, or write false to let everybody in",
        );
    }
    if items.len() > AUTH_PROVIDERS_PER_SERVICE {
        place.fail(
            report,
            format!(
                "names {} providers; at most {AUTH_PROVIDERS_PER_SERVICE} can stand here",
                items.len()
            ),
        );
    }
    let mut all = Vec::new();
    for item in items {
        let Some(name) = item.text(report) else {
            continue;
        };
        match known.iter().position(|provider| provider.name == name) {
            Some(index) if all.contains(&index) => {
                item.fail(report, "is named twice; keep one of them")
            }
            Some(index) => all.push(index),
            None => item.fail_bare(
                report,
                unknown(name, &item.node.shown().unwrap_or_default(), known),
            ),
        }
    }
    all
}

/// Reports a provider that stands where providers are named, and the keys that it does not have.
pub(crate) fn refuse_inline(place: &Located<'_>, report: &mut Report<'_>) {
    place.fail_bare(
        report,
        "is a provider itself; put it into the \"auth\" of the top level under a name, as in \"auth\": { \"main\": { \"type\": .. } }, and write \"main\" into the service",
    );
    let Value::Object(members) = &place.node.value else {
        return;
    };
    let named = members.iter().find(|member| member.name == "type");
    if let Some(Value::Text(name)) = named.map(|member| &member.node.value)
        && let Some(table) = schema::provider(name)
    {
        let _ = place.object_of(table, report);
    }
}

/// Returns the message for an unknown name; `shown` is the name as it is written.
fn unknown(name: &str, shown: &str, known: &[Known]) -> String {
    let names = known
        .iter()
        .map(|provider| provider.name.as_str())
        .collect::<Vec<_>>();
    match (suggestions::nearest(name, &names), names.is_empty()) {
        (Some(near), _) => format!("unknown provider {shown}, did you mean {near:?}?"),
        (None, false) => format!(
            "unknown provider {shown}; \"auth\" has {}",
            names.join(", ")
        ),
        (None, true) => {
            format!("unknown provider {shown}; there is no top-level \"auth\" that has one")
        }
    }
}

/// Reads a scope: visible ASCII without quotes and backslash (RFC 6749 3.3).
fn scope(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    let is_scope = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if !is_scope {
        place.fail(
            report,
            "is no scope: one is a word without spaces, quotes and backslashes",
        );
        return None;
    }
    Some(text.to_owned())
}
