//! Authentication providers of `auth`, as configured.

use super::algorithm::AlgorithmSet;
use super::api_key::ApiKey;
use super::basic::User;
use super::grant::UsedClaim;
use super::jwks::KeySet;
use super::jwt::Rules;
use super::key::{Secret, VerifyingKey};
use crate::time::Duration;

/// An entry of `auth`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Name in the configuration.
    pub name: String,
    /// Kind of provider.
    pub kind: Kind,
}

/// Kind of provider, with its settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `jwt`: Bearer tokens that the gateway verifies.
    Jwt {
        /// Rules that a token must satisfy.
        rules: Rules,
        /// Source of the keys.
        keys: Keys,
    },
    /// `introspection`: Bearer tokens that an authorization server checks (RFC 7662).
    Introspection {
        /// Introspection endpoint.
        endpoint: Endpoint,
        /// Value of the gateway's own `Authorization` there; `None` if the server requires none.
        credentials: Option<Secret>,
        /// Time for which an answer is cached.
        cache: Duration,
        /// Claims of an answer that are forwarded to the upstream, or that rate limits count by.
        claims: Vec<UsedClaim>,
    },
    /// `apiKey`: a key in a header.
    ApiKey {
        /// Name of the header.
        header: String,
        /// Hashes of the keys, and their names.
        keys: Vec<ApiKey>,
    },
    /// `basic`: user and password.
    Basic {
        /// Users, at least one.
        users: Vec<User>,
    },
    /// `forward`: another service decides, based on the request's head.
    Forward {
        /// Endpoint of that service.
        endpoint: Endpoint,
        /// Headers of the service's response that are copied to the upstream request.
        copied: Vec<String>,
    },
}

/// Part of a request that a provider decides by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads<'a> {
    /// A Bearer token in `Authorization`.
    Bearer,
    /// User and password in `Authorization`.
    Basic,
    /// A key in a header of this name.
    Header(&'a str),
    /// The whole head, which another service decides about.
    Request,
}

/// Source of a jwt provider's keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// Keys of the configuration.
    Known(KeySet),
    /// Keys that are fetched from this endpoint.
    Fetched(Endpoint),
}

/// Address of a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Index into the settings' targets.
    pub target: usize,
    /// Path and query of the requests.
    pub path: String,
}

impl Provider {
    /// Returns true if both definitions are equal, wherever their endpoints' targets stand in the
    /// settings. The caller compares the targets.
    pub fn is_like(&self, other: &Provider) -> bool {
        let mut other = other.clone();
        if let (Some(endpoint), Some(others)) = (self.kind.endpoint(), other.kind.endpoint_mut()) {
            others.target = endpoint.target;
        }
        *self == other
    }

    /// Returns the provider as the configuration has it, without the claims that rate limits count by.
    pub fn as_written(&self) -> Provider {
        let mut provider = self.clone();
        if let Some(claims) = provider.kind.claims_mut() {
            claims.retain(|used| used.header.is_some());
        }
        provider
    }
}

impl Kind {
    /// Returns the provider's `type` in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Jwt { .. } => "jwt",
            Kind::Introspection { .. } => "introspection",
            Kind::ApiKey { .. } => "apiKey",
            Kind::Basic { .. } => "basic",
            Kind::Forward { .. } => "forward",
        }
    }

    /// Returns true if the provider may have a key whose signatures are slow to verify.
    pub fn has_costly_signatures(&self) -> bool {
        match self {
            Kind::Jwt { rules, keys } => match keys {
                Keys::Known(set) => set.keys().iter().any(VerifyingKey::is_costly),
                Keys::Fetched(_) => !rules.algorithms.and(AlgorithmSet::COSTLY).is_empty(),
            },
            Kind::Introspection { .. }
            | Kind::ApiKey { .. }
            | Kind::Basic { .. }
            | Kind::Forward { .. } => false,
        }
    }

    /// Returns what the provider reads of a request. Challenges, the removal of credentials and the
    /// budget for failed ones follow from it.
    pub fn reads(&self) -> Reads<'_> {
        match self {
            Kind::Jwt { .. } | Kind::Introspection { .. } => Reads::Bearer,
            Kind::ApiKey { header, .. } => Reads::Header(header),
            Kind::Basic { .. } => Reads::Basic,
            Kind::Forward { .. } => Reads::Request,
        }
    }

    /// Returns true if the provider accepts Bearer tokens, the only credentials with scopes.
    pub fn takes_bearer(&self) -> bool {
        self.reads() == Reads::Bearer
    }

    /// Returns the endpoint that the gateway sends requests to, if there is one.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Kind::Jwt {
                keys: Keys::Fetched(endpoint),
                ..
            }
            | Kind::Introspection { endpoint, .. }
            | Kind::Forward { endpoint, .. } => Some(endpoint),
            Kind::Jwt { .. } | Kind::ApiKey { .. } | Kind::Basic { .. } => None,
        }
    }

    /// Returns what [`endpoint`](Self::endpoint) does, to change it.
    pub fn endpoint_mut(&mut self) -> Option<&mut Endpoint> {
        match self {
            Kind::Jwt {
                keys: Keys::Fetched(endpoint),
                ..
            }
            | Kind::Introspection { endpoint, .. }
            | Kind::Forward { endpoint, .. } => Some(endpoint),
            Kind::Jwt { .. } | Kind::ApiKey { .. } | Kind::Basic { .. } => None,
        }
    }

    /// Returns the headers that the provider adds to upstream requests. The gateway removes the
    /// client's own headers of these names.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let copied: &[String] = match self {
            Kind::Forward { copied, .. } => copied,
            Kind::Jwt { .. }
            | Kind::Introspection { .. }
            | Kind::ApiKey { .. }
            | Kind::Basic { .. } => &[],
        };
        let used = self.claims().iter();
        used.filter_map(|used| used.header.as_deref())
            .chain(copied.iter().map(String::as_str))
    }

    /// Returns the claims that the gateway uses.
    fn claims(&self) -> &[UsedClaim] {
        match self {
            Kind::Jwt { rules, .. } => &rules.claims,
            Kind::Introspection { claims, .. } => claims,
            Kind::ApiKey { .. } | Kind::Basic { .. } | Kind::Forward { .. } => &[],
        }
    }

    /// Returns the claims that the gateway uses, if the provider accepts tokens.
    pub fn claims_mut(&mut self) -> Option<&mut Vec<UsedClaim>> {
        match self {
            Kind::Jwt { rules, .. } => Some(&mut rules.claims),
            Kind::Introspection { claims, .. } => Some(claims),
            Kind::ApiKey { .. } | Kind::Basic { .. } | Kind::Forward { .. } => None,
        }
    }
}
