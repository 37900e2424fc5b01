//! Credentials of a request, as each provider of its service sees them without asking anybody.

use crate::config::shown::service::list;
use crate::policy::auth::api_key;
use crate::policy::auth::credentials::{self, Authorization, is_bearer_token};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::jwt::{Checked, Rules};
use crate::policy::auth::provider::{Endpoint, Keys, Kind, Provider};
use crate::policy::request::Request;
use crate::proxy::settings::{Service, Settings};
use crate::time::UnixTime;

/// Statement of a provider about a request.
pub(super) struct Seen {
    /// Number of the provider in the file.
    pub(super) provider: usize,
    /// Text that ends a line.
    pub(super) text: String,
}

/// Returns what each provider of a service says of a request, in the order of the service.
pub(super) fn seen(
    service: &Service,
    settings: &Settings,
    request: &Request<'_>,
    wall: UnixTime,
) -> Vec<Seen> {
    let indices = service.auth.providers.iter();
    let seen = indices.filter_map(|&provider| {
        let of = settings.auth.get(provider)?;
        let text = text(of, service, settings, request, wall);
        let text = format!("{} ({}): {text}", of.name, of.kind.name());
        Some(Seen { provider, text })
    });
    seen.collect()
}

fn text(
    provider: &Provider,
    service: &Service,
    settings: &Settings,
    request: &Request<'_>,
    wall: UnixTime,
) -> String {
    let fields = &request.head.fields;
    let Ok(authorization) = credentials::authorization(fields) else {
        return "two Authorization fields: nobody can tell which one counts".to_owned();
    };
    match (&provider.kind, authorization) {
        (Kind::ApiKey { header, keys }, _) => match credentials::api_key(fields, header) {
            Err(_) => format!("two {header} fields: nobody can tell which one counts"),
            Ok(None) => format!("the request has no {header}"),
            Ok(Some(key)) if api_key::find(key, keys).is_some() => {
                format!("the key in {header} is known")
            }
            Ok(Some(_)) => {
                format!(
                    "the key in {header} is none of the {} in the file",
                    keys.len()
                )
            }
        },
        (Kind::Basic { users }, Authorization::Basic(pair)) => {
            let name = String::from_utf8_lossy(pair.user.bytes()).into_owned();
            match users.iter().any(|user| user.name == name) {
                true => format!("user {name:?} is in the file"),
                false => format!("user {name:?} is none of the {} in the file", users.len()),
            }
        }
        (Kind::Basic { .. }, Authorization::Malformed) => {
            "the Basic credentials are no base64 with a colon".to_owned()
        }
        (Kind::Basic { .. }, _) => "the request has no Basic credentials".to_owned(),
        (Kind::Jwt { rules, keys }, Authorization::Bearer(token)) => {
            of_token(token, (rules, keys), service, settings, wall)
        }
        (Kind::Introspection { .. }, Authorization::Bearer(token)) if !is_bearer_token(token) => {
            CredentialFault::TokenForm.to_string()
        }
        (Kind::Introspection { endpoint, .. }, Authorization::Bearer(_)) => {
            let scopes = scopes(service, true);
            format!(
                "would ask {} first, whether the token is active{scopes}",
                url(endpoint, settings)
            )
        }
        (Kind::Jwt { .. } | Kind::Introspection { .. }, _) => {
            "the request has no Bearer token".to_owned()
        }
        (Kind::Forward { endpoint, copied }, _) => {
            let copied = match copied.as_slice() {
                [] => String::new(),
                names => format!("; of a 2xx the upstream gets {}", list(names)),
            };
            format!(
                "would ask {} first, about the request{copied}",
                url(endpoint, settings)
            )
        }
    }
}

/// Returns what a jwt provider says of a token.
fn of_token(
    token: &[u8],
    (rules, keys): (&Rules, &Keys),
    service: &Service,
    settings: &Settings,
    wall: UnixTime,
) -> String {
    let judged = match keys {
        Keys::Known(set) => rules.check(token, set, wall),
        Keys::Fetched(endpoint) => {
            let at = url(endpoint, settings);
            return match rules.grant_if_signed(token, wall) {
                Ok(grant) => format!(
                    "would ask {at} first, for the keys; without the signature the token is good{}",
                    scopes(service, grant.has_scopes(&service.auth.scopes))
                ),
                Err(fault) => format!("whatever the keys of {at} are, {fault}"),
            };
        }
    };
    match judged {
        Checked::Good(grant) => {
            let has_scopes = grant.has_scopes(&service.auth.scopes);
            format!("the token is good{}", scopes(service, has_scopes))
        }
        Checked::Bad(fault) => fault.to_string(),
        Checked::UnknownKey => "no key of the file is the one of the token".to_owned(),
    }
}

fn scopes(service: &Service, has_them: bool) -> String {
    let needed = &service.auth.scopes;
    match (needed.is_empty(), has_them) {
        (true, _) => String::new(),
        (false, true) => format!(" (scopes {})", needed.join(" ")),
        (false, false) => format!(" and lacks a scope of {}", needed.join(" ")),
    }
}

/// Returns the URL of an endpoint.
fn url(endpoint: &Endpoint, settings: &Settings) -> String {
    let target = settings.targets.get(endpoint.target);
    let origin = target.map_or(String::new(), |target| target.origin());
    format!("{origin}{}", endpoint.path)
}
