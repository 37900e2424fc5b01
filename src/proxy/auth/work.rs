//! Lookups in helper threads: passwords and signatures, each with a bound for all requests and one
//! for each client.

use std::sync::Arc;

use super::super::command::{Command, Work};
use super::super::ids::{LookupId, ProviderId};
use super::super::reason::Busy;
use super::decide::Costly;
use super::{Asking, AuthEnv, Authenticator, Lookup, LookupKind, Started, Starter};
use crate::limits::{
    PASSWORDS_WAITING, PASSWORDS_WAITING_PER_CLIENT, SIGNATURES_WAITING,
    SIGNATURES_WAITING_PER_CLIENT,
};
use crate::policy::auth::basic::Verification;
use crate::policy::auth::credential_cache::Fingerprint;
use crate::policy::auth::credentials::Pair;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::provider::Kind;

impl Authenticator {
    /// Hands a password to its helper thread, if not too many wait there already.
    pub(super) fn look_up_password(
        &mut self,
        asking: Asking<'_>,
        provider: ProviderId,
        pair: &Pair,
        env: &mut AuthEnv<'_>,
    ) -> Started {
        let fingerprints = &self.fingerprints;
        let fingerprint =
            fingerprints.compute(provider.into(), pair.user.bytes(), pair.password.bytes());
        if let Some(&lookup_id) = self.pending.get(&fingerprint) {
            return Ok(lookup_id);
        }
        let Kind::Basic { users } = &self.providers.get(provider).ok_or(None)?.provider.kind else {
            return Err(None);
        };
        let work =
            Verification::new(users, pair.user.bytes(), pair.password.clone()).ok_or(None)?;
        let account = fingerprints.compute(provider.into(), pair.user.bytes(), b"");
        let is_password = |lookup: &&Lookup| matches!(lookup.kind, LookupKind::Password { .. });
        let is_of_account = |lookup: &Lookup| matches!(lookup.kind, LookupKind::Password { account: other, .. } if other == account);
        let waiting = || self.open_lookups().filter(is_password);
        let own = || waiting().filter(|lookup| lookup.is_of(asking.client, env.accounts));
        if own().any(is_of_account) {
            return Err(Some(Busy::PasswordOfUser));
        }
        let free = PASSWORDS_WAITING.saturating_sub(waiting().count());
        if free == 0 {
            return Err(Some(Busy::Passwords));
        }
        if own().count() >= PASSWORDS_WAITING_PER_CLIENT.max(free / 2) {
            return Err(Some(Busy::PasswordsOfClient));
        }
        // A password is right for a user of the configuration alone, whose name is text.
        let user = core::str::from_utf8(pair.user.bytes());
        let kind = LookupKind::Password {
            provider,
            fingerprint,
            account,
            grant: Arc::new(Grant::named(user.unwrap_or_default())),
        };
        Ok(self.start_work(
            asking.into(),
            kind,
            fingerprint,
            Work::Password(Box::new(work)),
            env,
        ))
    }

    /// Hands a signature to its helper thread, if not too many wait there already.
    pub(super) fn look_up_signature(
        &mut self,
        asking: Asking<'_>,
        provider: ProviderId,
        costly: Costly,
        env: &mut AuthEnv<'_>,
    ) -> Started {
        let Costly {
            fingerprint,
            signature,
        } = costly;
        let is_signature = |lookup: &&Lookup| matches!(lookup.kind, LookupKind::Signature { .. });
        let waiting = || self.open_lookups().filter(is_signature);
        let own = || waiting().filter(|lookup| lookup.is_of(asking.client, env.accounts));
        if own().count() >= SIGNATURES_WAITING_PER_CLIENT {
            return Err(Some(Busy::SignaturesOfClient));
        }
        if waiting().count() >= SIGNATURES_WAITING {
            return Err(Some(Busy::Signatures));
        }
        let signature = Arc::new(signature);
        let kind = LookupKind::Signature {
            provider,
            fingerprint,
            generation: self.providers.get(provider).ok_or(None)?.generation,
            signature: Arc::clone(&signature),
        };
        Ok(self.start_work(
            asking.into(),
            kind,
            fingerprint,
            Work::Signature(signature),
            env,
        ))
    }

    /// Hands work to a helper thread.
    fn start_work(
        &mut self,
        starter: Starter,
        kind: LookupKind,
        fingerprint: Fingerprint,
        work: Work,
        env: &mut AuthEnv<'_>,
    ) -> LookupId {
        let lookup_id = self.lookups.insert(Lookup {
            kind,
            waiting: Vec::new(),
            subrequest: None,
            starter: Some(starter),
        });
        self.pending.insert(fingerprint, lookup_id);
        env.ctx.command(Command::Verify {
            verification: lookup_id,
            work,
        });
        lookup_id
    }
}
