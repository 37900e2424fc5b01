//! Lookups: of a token at its authorization server, of a request at another service, of a password
//! or a signature in a helper thread (`work.rs`).

use core::net::IpAddr;
use std::rc::Rc;

use super::super::heads::subrequest_head;
use super::super::ids::{ClientId, LookupId, ProviderId, TargetId};
use super::super::reason::Busy;
use super::super::rules::ServiceRules;
use super::super::settings::Provider;
use super::super::subrequest::{Expects, Requester, SubrequestSpec};
use super::counts::provider_of;
use super::forward::forwarded_request;
use super::progress::AuthProgress;
use super::{Asking, AuthEnv, AuthRequest, Authenticator, Lookup, LookupKind, Started, Starter};
use crate::limits::{
    AUTH_KEEP_ALIVE, AUTH_LOOKUPS, AUTH_WAIT_MAX, FORWARD_ANSWER_BYTES, INTROSPECTION_BYTES,
    TOKENS_LEFT_PER_CLIENT,
};
use crate::policy::accounts::Accounts;
use crate::policy::auth::credentials::Authorization;
use crate::policy::auth::introspection;
use crate::policy::auth::provider::Kind;
use crate::time::Duration;

impl Authenticator {
    /// Starts the lookup that a provider of a service needs for a request. Requests that need the same
    /// answer share a lookup.
    pub(super) fn start_lookup(
        &mut self,
        asking: Asking<'_>,
        position: usize,
        authorization: &Authorization<'_>,
        progress: &mut AuthProgress,
        env: &mut AuthEnv<'_>,
    ) -> Started {
        let provider = provider_of(asking.service, position).ok_or(None)?;
        let definition = Rc::clone(&self.providers.get(provider).ok_or(None)?.provider);
        match (&definition.kind, authorization) {
            (Kind::Jwt { .. }, Authorization::Bearer(token)) => {
                // The signature is being verified for another request.
                let fingerprint = self.fingerprints.compute(provider.into(), token, b"");
                if let Some(&lookup_id) = self.pending.get(&fingerprint) {
                    return Ok(lookup_id);
                }
                let (lookup_id, under_way) = self
                    .fetch_keys_for_token(provider, env)
                    .ok_or(Some(Busy::Questions))?;
                progress.note_waits_for_keys(position, under_way);
                Ok(lookup_id)
            }
            (Kind::Introspection { .. }, Authorization::Bearer(token)) => {
                self.look_up_token(asking, provider, token, env)
            }
            (Kind::Basic { .. }, Authorization::Basic(pair)) => {
                self.look_up_password(asking, provider, pair, env)
            }
            (Kind::Forward { .. }, _) => self.look_up_request(asking, provider, env),
            (
                Kind::ApiKey { .. }
                | Kind::Basic { .. }
                | Kind::Jwt { .. }
                | Kind::Introspection { .. },
                _,
            ) => Err(None),
        }
    }

    /// Adds a request to those that wait for a lookup.
    pub(super) fn join_lookup(&mut self, id: ClientId, lookup_id: LookupId) {
        if let Some(lookup) = self.lookups.get_mut(lookup_id) {
            lookup.waiting.push(id);
        }
    }

    fn look_up_token(
        &mut self,
        asking: Asking<'_>,
        provider: ProviderId,
        token: &[u8],
        env: &mut AuthEnv<'_>,
    ) -> Started {
        let fingerprint = self.fingerprints.compute(provider.into(), token, b"");
        if let Some(&lookup_id) = self.pending.get(&fingerprint) {
            return Ok(lookup_id);
        }
        let state = self.providers.get(provider).ok_or(None)?;
        let Kind::Introspection {
            endpoint,
            credentials,
            ..
        } = &state.provider.kind
        else {
            return Err(None);
        };
        let (target, of_target) = state.target.as_ref().ok_or(None)?;
        let (target, authority) = (*target, &of_target.authority);
        let form = introspection::form(token);
        let mut request = subrequest_head(
            "POST",
            &endpoint.path,
            authority,
            "application/json",
            "tollgate",
        );
        request.push_str("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ");
        request.push_str(&form.len().to_string());
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        if let Some(credentials) = credentials {
            request.extend_from_slice(b"Authorization: ");
            request.extend_from_slice(credentials.bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(&form);
        let lookup_id = self.send_lookup(
            (
                LookupKind::Token(provider, fingerprint),
                Some(asking.into()),
            ),
            target,
            request,
            INTROSPECTION_BYTES,
            asking.service,
            env,
        )?;
        self.pending.insert(fingerprint, lookup_id);
        Ok(lookup_id)
    }

    fn look_up_request(
        &mut self,
        asking: Asking<'_>,
        provider: ProviderId,
        env: &mut AuthEnv<'_>,
    ) -> Started {
        let state = self.providers.get(provider).ok_or(None)?;
        let path = &state.provider.kind.endpoint().ok_or(None)?.path;
        let (target, of_target) = state.target.as_ref().ok_or(None)?;
        let text = forwarded_request(asking, (&of_target.authority, path), env).ok_or(None)?;
        self.send_lookup(
            (LookupKind::Request(provider), None),
            *target,
            text,
            FORWARD_ANSWER_BYTES,
            asking.service,
            env,
        )
    }

    fn send_lookup(
        &mut self,
        (kind, starter): (LookupKind, Option<Starter>),
        target: TargetId,
        request: Vec<u8>,
        body_bytes: usize,
        service: &ServiceRules,
        env: &mut AuthEnv<'_>,
    ) -> Started {
        // Health checks have their own share of the subrequests.
        let others = self
            .open_lookups()
            .filter(|lookup| !lookup.is_work())
            .count();
        if others >= AUTH_LOOKUPS {
            return Err(Some(Busy::Questions));
        }
        let lookup_id = self.lookups.insert(Lookup {
            kind,
            waiting: Vec::new(),
            subrequest: None,
            starter,
        });
        let spec = SubrequestSpec {
            requester: Requester::Auth(lookup_id),
            target,
            address: None,
            request,
            within: auth_timeout(service),
            expects: Expects::Body(body_bytes),
            keep: Some(AUTH_KEEP_ALIVE),
        };
        if !self.want_subrequest(spec, env) {
            self.lookups.remove(lookup_id);
            return Err(Some(Busy::Questions));
        }
        Ok(lookup_id)
    }

    /// Requests a subrequest. Returns false if there is no room for one.
    pub(super) fn want_subrequest(&mut self, spec: SubrequestSpec, env: &mut AuthEnv<'_>) -> bool {
        let Some(room) = env.room.checked_sub(1) else {
            return false;
        };
        env.room = room;
        self.requests.push(AuthRequest::Start(spec));
        true
    }

    /// Removes a request from those that wait for a lookup. The lookup of a token continues without a
    /// waiting request, so that its result is counted, but only [`TOKENS_LEFT_PER_CLIENT`] of one
    /// client. A lookup above this number is dropped and counts as a forged token.
    pub(super) fn leave_lookup(
        &mut self,
        id: ClientId,
        lookup_id: LookupId,
        env: &mut AuthEnv<'_>,
    ) {
        let Some(lookup) = self.lookups.get_mut(lookup_id) else {
            return;
        };
        lookup.waiting.retain(|&waiting| waiting != id);
        if !lookup.waiting.is_empty() {
            return;
        }
        let client = lookup.starter.and_then(|starter| starter.client);
        let is_dropped = match lookup.kind {
            LookupKind::Request(_) => true,
            LookupKind::Token(..) => {
                let left = self.open_lookups().filter(|lookup| {
                    matches!(lookup.kind, LookupKind::Token(..))
                        && lookup.waiting.is_empty()
                        && lookup.is_of(client, env.accounts)
                });
                left.count() > TOKENS_LEFT_PER_CLIENT
            }
            LookupKind::Keys(_) | LookupKind::Password { .. } | LookupKind::Signature { .. } => {
                false
            }
        };
        if is_dropped && let Some(lookup) = self.lookups.remove(lookup_id) {
            self.forget_pending(&lookup.kind);
            if let Some(subrequest) = lookup.subrequest {
                self.requests.push(AuthRequest::Cancel(subrequest));
            }
            if lookup.starter.is_some() {
                env.count_failure(client);
            }
        }
    }

    /// Returns the provider whose server a lookup waits for.
    pub(super) fn asked_provider(&self, lookup_id: LookupId) -> Option<ProviderId> {
        match self.lookups.get(lookup_id)?.kind {
            LookupKind::Keys(provider)
            | LookupKind::Token(provider, _)
            | LookupKind::Request(provider) => Some(provider),
            LookupKind::Password { .. } | LookupKind::Signature { .. } => None,
        }
    }

    /// Returns true if the result of a lookup says whether a token is authentic.
    pub(super) fn is_about_token(&self, lookup_id: LookupId) -> bool {
        self.lookups.get(lookup_id).is_some_and(|lookup| {
            matches!(
                lookup.kind,
                LookupKind::Token(..) | LookupKind::Signature { .. }
            )
        })
    }
}

impl From<Asking<'_>> for Starter {
    fn from(asking: Asking<'_>) -> Starter {
        Starter {
            id: asking.id,
            client: asking.client,
        }
    }
}

/// Returns the time for which a request of a service waits for a provider.
pub(super) fn auth_timeout(service: &ServiceRules) -> Duration {
    let timeouts = &service.service.timeouts;
    timeouts.response.unwrap_or(AUTH_WAIT_MAX)
}

impl Authenticator {
    /// Lookups that have no result yet.
    pub(super) fn open_lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.lookups
            .keys()
            .filter_map(|lookup_id| self.lookups.get(lookup_id))
    }

    /// Returns the provider that a lookup is for.
    #[cold]
    pub(in crate::proxy) fn provider_of_lookup(&self, lookup_id: LookupId) -> Option<Rc<Provider>> {
        let provider = match &self.lookups.get(lookup_id)?.kind {
            LookupKind::Keys(provider)
            | LookupKind::Token(provider, _)
            | LookupKind::Request(provider) => *provider,
            LookupKind::Password { provider, .. } | LookupKind::Signature { provider, .. } => {
                *provider
            }
        };
        Some(Rc::clone(&self.providers.get(provider)?.provider))
    }

    pub(super) fn forget_pending(&mut self, kind: &LookupKind) {
        if let LookupKind::Token(_, fingerprint)
        | LookupKind::Password { fingerprint, .. }
        | LookupKind::Signature { fingerprint, .. } = kind
        {
            self.pending.remove(fingerprint);
        }
    }
}

impl Lookup {
    /// Returns true if a helper thread does the work of the lookup.
    pub(super) fn is_work(&self) -> bool {
        matches!(
            self.kind,
            LookupKind::Password { .. } | LookupKind::Signature { .. }
        )
    }

    /// Returns true if a request of this client started the lookup. All clients of unix sockets count
    /// as one.
    pub(super) fn is_of(&self, client: Option<IpAddr>, accounts: &Accounts) -> bool {
        self.starter
            .is_some_and(|starter| match (starter.client, client) {
                (Some(one), Some(other)) => accounts.is_same(one, other),
                (one, other) => one == other,
            })
    }
}
