//! `auth`: the providers, by name. Each type has its keys; a key of another type is an error that
//! says so.

mod hashes;
mod jwt;
#[cfg(test)]
mod tests;

use crate::limits::{AUTH_FORWARDED_HEADERS, AUTH_HEADER_NAME_BYTES};
use crate::policy::auth::grant::UsedClaim;
use crate::policy::auth::introspection::client_credentials;
use crate::policy::auth::provider::{Endpoint, Kind, Provider};
use crate::time::Duration;

use crate::config::keys::services::auth::{Known, refuse_inline};
use crate::config::keys::target_list::TargetList;
use crate::config::keys::upstream_tls::Trust;
use crate::config::schema::{API_KEY, BASIC, FORWARD, INTROSPECTION, JWT, PROVIDER_TYPE, Table};
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Entry, Located, Object, member_path};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::{header_name, scalars, target_url};

/// Providers and the targets of their endpoints.
#[derive(Default)]
pub(crate) struct Compiled {
    pub(crate) known: Vec<Known>,
    providers: Vec<Provider>,
    /// Targets of the endpoints. Until [`Compiled::join`] an endpoint has an index into this list.
    targets: TargetList,
}

impl Compiled {
    /// Returns the headers in which providers say who was let in. `Authorization` and `Cookie` are
    /// a client's own, too.
    pub(crate) fn claims(&self) -> Vec<String> {
        let headers = self.providers.iter();
        let headers = headers.flat_map(|provider| provider.kind.headers());
        let own = |name: &&str| {
            let mut clients = ["authorization", "cookie"].iter();
            !clients.any(|clients| name.eq_ignore_ascii_case(clients))
        };
        headers.filter(own).map(str::to_owned).collect()
    }

    /// Returns the providers, and adds the targets of their endpoints to the others. `counted`: claims
    /// that rate limits count by, which those that accept tokens keep.
    pub(crate) fn join(mut self, targets: &mut TargetList, counted: &[&str]) -> Vec<Provider> {
        let places = targets.join(self.targets);
        for provider in &mut self.providers {
            if let Some(claims) = provider.kind.claims_mut() {
                claims.extend(counted.iter().map(|&claim| UsedClaim {
                    claim: claim.to_owned(),
                    header: None,
                }));
            }
            if let Some(endpoint) = provider.kind.endpoint_mut() {
                endpoint.target = places.get(endpoint.target).copied().unwrap_or_default();
            }
        }
        self.providers
    }
}

struct Compiler<'c> {
    source: &'c Source<'c>,
    trust: Trust<'c>,
    compiled: Compiled,
}

/// Reads all providers of the object.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Compiled {
    let entries = place.and_then(|place| place.secret_entries(report));
    let is_provider = |entry: &Entry<'_>| {
        entry.name == "type" && matches!(entry.place.node.value, Value::Text(_))
    };
    if let (Some(place), Some(entries)) = (place, &entries)
        && entries.iter().any(is_provider)
    {
        refuse_inline(place, report);
        return Compiled::default();
    }
    let mut compiler = Compiler {
        source,
        trust: Trust::new(source),
        compiled: Compiled::default(),
    };
    for entry in entries.unwrap_or_default() {
        if entry.name.is_empty() {
            report.add(entry.name_at, &entry.place.path, "a provider needs a name");
        }
        let (kind, takes_bearer) = compiler.provider(&entry.place, report);
        compiler.compiled.known.push(Known {
            name: entry.name.to_owned(),
            takes_bearer,
        });
        if let Some(kind) = kind {
            compiler.compiled.providers.push(Provider {
                name: entry.name.to_owned(),
                kind,
            });
        }
    }
    compiler.compiled
}

impl Compiler<'_> {
    /// Returns the provider, and whether it takes Bearer tokens (`true` when its type is unknown).
    fn provider(&mut self, place: &Located<'_>, report: &mut Report<'_>) -> (Option<Kind>, bool) {
        let Some(provider_type) = type_of(place, report) else {
            return (None, true);
        };
        let takes_bearer = provider_type.takes_bearer();
        let Some(object) = place.object_of(provider_type.table(), report) else {
            return (None, takes_bearer);
        };
        let kind = match provider_type {
            Type::Jwt => self.jwt(place, &object, report),
            Type::Introspection => self.introspection(place, &object, report),
            Type::ApiKey => hashes::api_keys(place, &object, report),
            Type::Basic => hashes::users(place, &object, report),
            Type::Forward => self.forward(place, &object, report),
        };
        (kind, takes_bearer)
    }

    fn introspection(
        &mut self,
        place: &Located<'_>,
        object: &Object<'_>,
        report: &mut Report<'_>,
    ) -> Option<Kind> {
        let endpoint = self.endpoint(place, object, "url", report);
        let forwarded = forwarded(object.get("forwardClaims"), report);
        let mut text = |key: &str| object.get(key).and_then(|place| secret(place, report));
        let (id, secret) = (text("clientId"), text("clientSecret"));
        let credentials = match (object.get("clientId"), object.get("clientSecret")) {
            (Some(_), Some(_)) => Some(client_credentials(id?, secret?)),
            (None, None) => None,
            (Some(_), None) => {
                place.fail(
                    report,
                    "\"clientSecret\" is missing; with a \"clientId\" it takes both",
                );
                return None;
            }
            (None, Some(_)) => {
                place.fail(
                    report,
                    "\"clientId\" is missing; with a \"clientSecret\" it takes both",
                );
                return None;
            }
        };
        let cache = match object.get("cache") {
            Some(place) if place.is_false() => Duration::ZERO,
            _ => scalars::duration_of(object, "cache", report),
        };
        Some(Kind::Introspection {
            endpoint: endpoint?,
            credentials,
            cache,
            claims: forwarded,
        })
    }

    fn forward(
        &mut self,
        place: &Located<'_>,
        object: &Object<'_>,
        report: &mut Report<'_>,
    ) -> Option<Kind> {
        let endpoint = self.endpoint(place, object, "url", report);
        let mut copied = Vec::new();
        if let Some(place) = object.get("copyHeaders") {
            for item in place.list(report).unwrap_or_default() {
                let name = header_name(&item, &copied, report);
                copied.extend(name);
            }
        }
        Some(Kind::Forward {
            endpoint: endpoint?,
            copied,
        })
    }

    /// Returns the endpoint of a provider. Its URL may have a query.
    fn endpoint(
        &mut self,
        provider: &Located<'_>,
        object: &Object<'_>,
        key: &str,
        report: &mut Report<'_>,
    ) -> Option<Endpoint> {
        let Some(place) = object.get(key) else {
            provider.fail(
                report,
                format!(
                    "{key:?} is missing; add where it is asked, such as \"https://idp.example/\""
                ),
            );
            return None;
        };
        let text = place.text(report)?;
        let (address, query) = match text.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (text, None),
        };
        if query.is_some_and(|query| {
            !query
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte))
        }) {
            place.fail(
                report,
                "has a query with a character that none may have; write it percent-encoded",
            );
            return None;
        }
        let (target, path) = target_url::parse(address)
            .map_err(|message| place.fail(report, message))
            .ok()?;
        let tls = object
            .get("tls")
            .map(|place| self.trust.settings(place, Some(target.tls), report))
            .unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path.as_str() };
        let path = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
        Some(Endpoint {
            target: self.compiled.targets.share(target, tls),
            path,
        })
    }
}

/// `type` of a provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Jwt,
    Introspection,
    ApiKey,
    Basic,
    Forward,
}

/// Types by their names, as the table of keys has them.
const TYPES: [(&str, Type); 5] = [
    ("jwt", Type::Jwt),
    ("introspection", Type::Introspection),
    ("apiKey", Type::ApiKey),
    ("basic", Type::Basic),
    ("forward", Type::Forward),
];

impl Type {
    /// Returns the keys of a provider of this type.
    fn table(self) -> &'static Table {
        match self {
            Type::Jwt => &JWT,
            Type::Introspection => &INTROSPECTION,
            Type::ApiKey => &API_KEY,
            Type::Basic => &BASIC,
            Type::Forward => &FORWARD,
        }
    }

    /// Returns true if its providers take Bearer tokens: see [`Kind::takes_bearer`], which holds for
    /// providers without mistakes.
    fn takes_bearer(self) -> bool {
        match self {
            Type::Jwt | Type::Introspection => true,
            Type::ApiKey | Type::Basic | Type::Forward => false,
        }
    }
}

/// Reads the provider's type.
fn type_of(place: &Located<'_>, report: &mut Report<'_>) -> Option<Type> {
    let Value::Object(members) = &place.node.value else {
        place.secret_mismatch(report);
        return None;
    };
    let Some(member) = members.iter().find(|member| member.name == "type") else {
        let listed = TYPES.map(|(name, _)| name).join(", ");
        place.fail(
            report,
            format!("\"type\" is missing; it is one of {listed}"),
        );
        return None;
    };
    let named = Located {
        node: &member.node,
        path: member_path(&place.path, "type"),
        kind: &PROVIDER_TYPE.kind,
    };
    named.choice(report, &TYPES)
}

/// Reads a string that is not empty.
fn not_empty<'a>(place: &Located<'a>, report: &mut Report<'_>) -> Option<&'a str> {
    let text = place.text(report)?;
    if text.is_empty() {
        place.fail(report, format!("is empty; write {}", place.kind.expected()));
        return None;
    }
    Some(text)
}

/// Reads a string that no error message repeats.
fn secret<'a>(place: &Located<'a>, report: &mut Report<'_>) -> Option<&'a str> {
    let text = place.secret_text(report)?;
    if text.is_empty() {
        place.fail(report, "is empty; write the secret, or the name of a variable that holds it, as in \"${SECRET}\"");
        return None;
    }
    Some(text)
}

/// Reads `forwardClaims`: claims and the headers that carry them.
fn forwarded(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Vec<UsedClaim> {
    let Some(place) = place else {
        return Vec::new();
    };
    let entries = place.entries(report).unwrap_or_default();
    let mut headers = Vec::new();
    let mut all = Vec::new();
    for entry in entries {
        if let Some(header) = header_name(&entry.place, &headers, report) {
            headers.push(header.clone());
            all.push(UsedClaim {
                claim: entry.name.to_owned(),
                header: Some(header),
            });
        }
    }
    all
}

/// Reads the name of a header that is sent upstream.
fn header_name(place: &Located<'_>, before: &[String], report: &mut Report<'_>) -> Option<String> {
    let name = place.text(report)?;
    if name.eq_ignore_ascii_case("set-cookie") {
        place.fail(
            report,
            "is for the client, which gets it from a forward endpoint in any case; leave it out",
        );
        return None;
    }
    if header_name::is_no_request_field(&name.to_ascii_lowercase()) {
        place.fail(
            report,
            "is about an answer, its content or a connection, and would mislead an upstream; leave it out",
        );
        return None;
    }
    let fault = if !header_name::is_token(name) || name.len() > AUTH_HEADER_NAME_BYTES {
        "is no header name; letters, digits and \"-\" are allowed"
    } else if name.contains('_') {
        "has a \"_\", which many servers take for a \"-\"; write a \"-\""
    } else if header_name::is_own(&name.to_ascii_lowercase()) {
        "is written by the gateway itself; choose another name"
    } else if before.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        "is given twice; keep one of them"
    } else if before.len() == AUTH_FORWARDED_HEADERS {
        "is one header too many"
    } else {
        return Some(name.to_owned());
    };
    place.fail(report, fault);
    None
}
