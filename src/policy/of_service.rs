//! Policies of a service that the top level has, too.

use std::sync::Arc;

use super::cors::CorsPolicy;
use super::own_url::Rewrites;
use super::security::SecurityHeaders;

/// Policies of a service for the headers of its responses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderPolicies {
    /// `cors`.
    pub cors: OfService<CorsPolicy>,
    /// `securityHeaders`, merged with those of the top level.
    pub security_headers: OfService<SecurityHeaders>,
    /// `rewriteLocation` and `rewriteCookiePath`.
    pub rewrites: Rewrites,
}

/// Policy of a service. All services without one of their own share that of the top level.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum OfService<T> {
    /// The policy of the top level.
    #[default]
    Inherited,
    /// No policy.
    Off,
    /// A policy of the service. Copies of the service share it.
    Own(Arc<T>),
}

impl<T> OfService<T> {
    /// Returns the policy of a service without the policy (`None`) or with this one.
    pub fn own(policy: Option<T>) -> OfService<T> {
        policy.map_or(OfService::Off, |policy| OfService::Own(Arc::new(policy)))
    }

    /// Returns the policy that holds, given that of the top level; `None`: off.
    pub fn or<'a>(&'a self, top: Option<&'a T>) -> Option<&'a T> {
        match self {
            OfService::Inherited => top,
            OfService::Off => None,
            OfService::Own(policy) => Some(policy),
        }
    }

    /// Returns the policy if it is one of the service.
    pub fn if_own(&self) -> Option<&T> {
        match self {
            OfService::Own(policy) => Some(policy),
            OfService::Inherited | OfService::Off => None,
        }
    }

    /// Returns true if the policy is that of the top level.
    pub fn is_inherited(&self) -> bool {
        matches!(self, OfService::Inherited)
    }
}
