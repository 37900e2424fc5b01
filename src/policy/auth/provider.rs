//! The providers of `auth`, as they are configured.

use super::algorithm::AlgorithmSet;
use super::api_key::KeyHash;
use super::basic::User;
use super::grant::Forwarded;
use super::jwks::KeySet;
use super::jwt::Rules;
use super::key::{Secret, VerifyingKey};
use crate::time::Duration;

/// One entry of `auth`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Its name in the file.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What a provider is, and how it decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `jwt`: Bearer tokens that are verified here.
    Jwt {
        /// What a token must say.
        rules: Rules,
        /// Where the keys are.
        keys: Keys,
    },
    /// `introspection`: Bearer tokens that the authorization server is asked about (RFC 7662).
    Introspection {
        /// Where it is asked.
        endpoint: Endpoint,
        /// The value of our own `Authorization` there; `None`: it asks for none.
        credentials: Option<Secret>,
        /// How long an answer is good.
        cache: Duration,
        /// Claims of an answer that go upstream.
        forwarded: Vec<Forwarded>,
    },
    /// `apiKey`: a key in a header.
    ApiKey {
        /// The header.
        header: String,
        /// The hashes of the keys.
        keys: Vec<KeyHash>,
    },
    /// `basic`: user and password.
    Basic {
        /// At least one.
        users: Vec<User>,
    },
    /// `forward`: another service decides, from the request's head.
    Forward {
        /// Where it is asked.
        endpoint: Endpoint,
        /// Headers of its answer that go upstream.
        copied: Vec<String>,
    },
}

/// Where a jwt provider's keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// They are known.
    Known(KeySet),
    /// They are fetched from here.
    Fetched(Endpoint),
}

/// Where a provider is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Index into the settings' targets.
    pub target: usize,
    /// Path and query.
    pub path: String,
}

impl Kind {
    /// Its `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Jwt { .. } => "jwt",
            Kind::Introspection { .. } => "introspection",
            Kind::ApiKey { .. } => "apiKey",
            Kind::Basic { .. } => "basic",
            Kind::Forward { .. } => "forward",
        }
    }

    /// Whether it may have a key whose signatures take long to verify.
    pub fn has_costly_signatures(&self) -> bool {
        match self {
            Kind::Jwt { rules, keys } => match keys {
                Keys::Known(set) => set.keys().iter().any(VerifyingKey::is_costly),
                Keys::Fetched(_) => !rules.algorithms.and(AlgorithmSet::COSTLY).is_empty(),
            },
            _ => false,
        }
    }

    /// Whether it takes Bearer tokens, which are the ones that have scopes.
    pub fn takes_bearer(&self) -> bool {
        matches!(self, Kind::Jwt { .. } | Kind::Introspection { .. })
    }

    /// Where it is asked, if it is.
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

    /// The headers it sends upstream: what a client says in them is never passed on.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let (forwarded, copied): (&[Forwarded], &[String]) = match self {
            Kind::Jwt { rules, .. } => (&rules.forwarded, &[]),
            Kind::Introspection { forwarded, .. } => (forwarded, &[]),
            Kind::Forward { copied, .. } => (&[], copied),
            Kind::ApiKey { .. } | Kind::Basic { .. } => (&[], &[]),
        };
        forwarded
            .iter()
            .map(|forwarded| forwarded.header.as_str())
            .chain(copied.iter().map(String::as_str))
    }
}
