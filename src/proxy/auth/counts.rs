//! Counts of what the providers decide.

use super::super::ids::{ProviderId, row_key};
use super::super::rules::ServiceRules;
use super::AuthEnv;
use super::progress::ProviderVerdict;
use crate::observe::metrics::counters::AuthResult;

/// Counts the verdict of a provider, if it is one.
pub(super) fn count_verdict(
    service: &ServiceRules,
    position: usize,
    verdict: &ProviderVerdict,
    env: &mut AuthEnv<'_>,
) {
    let result = match verdict {
        ProviderVerdict::Later => return,
        ProviderVerdict::Good(_) => AuthResult::Good,
        ProviderVerdict::Nothing => AuthResult::Missing,
        ProviderVerdict::Twice | ProviderVerdict::Bad(_) => AuthResult::Bad,
        ProviderVerdict::Denied(_) => AuthResult::Denied,
        ProviderVerdict::Down(..) => AuthResult::Down,
    };
    count_result(service, position, result, env);
}

/// Counts a result of a provider.
pub(super) fn count_result(
    service: &ServiceRules,
    position: usize,
    result: AuthResult,
    env: &mut AuthEnv<'_>,
) {
    if let Some(provider) = provider_of(service, position) {
        env.ctx.counters.count_auth(row_key(provider), result);
    }
}

/// Returns one of a service's providers.
pub(super) fn provider_of(service: &ServiceRules, position: usize) -> Option<ProviderId> {
    service.providers.get(position).copied()
}
