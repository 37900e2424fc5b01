//! Credentials that a provider remembers: what is known of them, and what is kept.

use std::sync::Arc;

use super::ProviderState;
use super::progress::ProviderVerdict;
use crate::limits::{
    AUTH_BASIC_REMEMBERED, AUTH_BASIC_REMEMBERED_MAX, AUTH_REFUSED_REMEMBERED,
    AUTH_TOKENS_REMEMBERED,
};
use crate::policy::auth::credential_cache::Fingerprint;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::time::{Instant, UnixTime};

impl ProviderState {
    /// Returns the cached verdict about a password, or `Later` if there is none.
    pub(super) fn cached_password(
        &mut self,
        fingerprint: &Fingerprint,
        now: Instant,
    ) -> ProviderVerdict {
        let (span, most) = (AUTH_BASIC_REMEMBERED, AUTH_BASIC_REMEMBERED_MAX);
        match self.good.renew(fingerprint, now, span, most) {
            Some(grant) => ProviderVerdict::Good(grant.clone()),
            None => self.cached_fault(fingerprint, now),
        }
    }

    /// Returns the cached verdict about a token, or `Later` if there is none. The times of a cached
    /// grant are checked for each request.
    pub(super) fn cached_token(
        &self,
        fingerprint: &Fingerprint,
        now: Instant,
        wall: UnixTime,
    ) -> ProviderVerdict {
        let Some(grant) = self.good.get(fingerprint, now) else {
            return self.cached_fault(fingerprint, now);
        };
        match grant.check_time(wall) {
            Ok(()) => ProviderVerdict::Good(grant.clone()),
            Err(fault) => ProviderVerdict::Bad(fault),
        }
    }

    /// Returns the cached fault of a credential, or `Later` if there is none.
    fn cached_fault(&self, fingerprint: &Fingerprint, now: Instant) -> ProviderVerdict {
        self.bad
            .get(fingerprint, now)
            .map_or(ProviderVerdict::Later, |&fault| ProviderVerdict::Bad(fault))
    }

    /// Keeps a good token.
    pub(super) fn remember_good(
        &mut self,
        fingerprint: Fingerprint,
        grant: Grant,
        now: Instant,
    ) -> Arc<Grant> {
        let grant = Arc::new(grant);
        self.good.put(
            fingerprint,
            grant.clone(),
            grant.bytes(),
            (now, now.after(AUTH_TOKENS_REMEMBERED)),
        );
        grant
    }

    /// Keeps why a token is not good, where that stays so.
    pub(super) fn remember_bad(
        &mut self,
        fingerprint: Fingerprint,
        fault: CredentialFault,
        now: Instant,
    ) {
        if fault.lasts() {
            self.bad.put(
                fingerprint,
                fault,
                0,
                (now, now.after(AUTH_REFUSED_REMEMBERED)),
            );
        }
    }
}
