//! Authentication: the policies' decisions, and what they need from others.
//!
//! ```text
//!               all providers that can say so at once
//! reception --> decide ------------------------------------> let in | refused (401, 403)
//!                 |  none let it in, and one must be asked      ^
//!                 v                                             | once more, with the result
//!               suspended: the head stays in the inbox ---------'
//!                 |
//!                 +-- subrequest: key set, introspection, forward-auth
//!                 `-- Command::Verify: a password or a costly signature, on a helper thread
//! ```
//!
//! Requests with the same credential share one lookup. A client that leaves, or whose time is over,
//! is forgotten. A lookup without a waiting request is cancelled, except for those whose result is
//! good for all (key sets), counts for the client (tokens), or cannot be called back (helper
//! threads).
//!
//! In scope: who is asked, who waits, what is remembered. What a credential is worth is decided in
//! `policy::auth`.

mod answers;
mod decide;
mod forward;
mod keys;
mod lookup;
pub mod memory;
mod progress;
mod suspended;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use self::answers::Resolved;
pub(super) use self::decide::{AuthDecision, Refusal};
pub(super) use self::forward::Denial;
use self::progress::AuthProgress;
pub(super) use self::suspended::SuspendedRequest;
use super::command::ListenerKind;
use super::context::{Context, TimerKey};
use super::ids::{ClientId, LookupId, OfLookup, SubrequestId};
use super::limiter::Limiter;
use super::settings::{ServiceAuth, Settings};
use super::subrequest::SubrequestSpec;
use crate::limits::{AUTH_REMEMBERED_BYTES, JWKS_RETRY};
use crate::observe::access::Outcome;
use crate::policy::accounts::Accounts;
use crate::policy::admission::Request;
use crate::policy::auth::credential_cache::{CredentialCache, Fingerprint, Fingerprints};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::Kind;
use crate::policy::auth::signature::CostlySignature;
use crate::policy::forward::Peer;
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use crate::wheel::{Timer, Wheel};

/// Other parts that authentication uses.
pub(super) struct AuthEnv<'a> {
    pub(super) ctx: &'a mut Context,
    pub(super) limiter: &'a mut Limiter,
    /// Accounts of clients: which addresses are one client.
    pub(super) accounts: &'a Accounts,
    /// Number of further subrequests that there is room for.
    pub(super) room: usize,
}

/// A request for a service that does not take everybody.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// Connection of the request.
    pub(super) id: ClientId,
    pub(super) peer: Peer,
    pub(super) listener: ListenerKind,
    /// Address of the client.
    pub(super) client: Option<IpAddr>,
    pub(super) request: &'a Request<'a>,
    /// Index of the service.
    pub(super) service: usize,
}

/// Requests of authentication to the subrequests.
pub(super) enum AuthRequest {
    /// Send this one.
    Start(SubrequestSpec),
    /// The answer of this one is not needed any more.
    Cancel(SubrequestId),
}

/// Everything the engine knows about who is let in.
pub(super) struct Authenticator {
    providers: Vec<ProviderState>,
    fingerprints: Fingerprints,
    lookups: Slab<Lookup, OfLookup>,
    /// Questions about one credential, so that the same one is not asked twice at once.
    pending: BTreeMap<Fingerprint, LookupId>,
    /// For each service, the headers that only the gateway sends.
    gateway_headers: Vec<Vec<String>>,
    /// For each service whose credentials stay here: `said`, the headers of its API keys, and, at
    /// the end, `Authorization`.
    kept: Vec<Vec<String>>,
    /// True if the clock was set, from when on key sets are fetched.
    is_clock_set: bool,
    /// Requests to the subrequests, in order.
    requests: Vec<AuthRequest>,
}

/// The client whose request made the gateway verify a credential, or ask about it.
#[derive(Clone, Copy)]
struct Starter {
    /// The connection of the request.
    id: ClientId,
    client: Option<IpAddr>,
}

/// State of a provider.
pub(super) struct ProviderState {
    /// Good credentials, and what they are good for.
    good: CredentialCache<Arc<Grant>>,
    /// Credentials that are known to be bad.
    bad: CredentialCache<CredentialFault>,
    /// The fetched key set; the last one that was good.
    keys: Option<KeySet>,
    /// Number of times that the key set has changed.
    generation: u64,
    /// The fetch that is under way.
    fetching: Option<LookupId>,
    /// Time at which the bucket of fetches for unknown keys is full: see
    /// [`ProviderState::may_fetch`].
    full_at: Instant,
    /// Until the next try, after one that failed.
    retry: Duration,
    /// The next fetch.
    timer: Timer,
}

/// Something that must be asked, or computed at length.
struct Lookup {
    kind: LookupKind,
    waiting: Vec<ClientId>,
    subrequest: Option<SubrequestId>,
    /// Client that started it, where it is about one credential.
    starter: Option<Starter>,
}

/// Subject of a lookup.
#[derive(Clone)]
enum LookupKind {
    /// The provider's key set.
    Keys(usize),
    /// A token that its authorization server knows.
    Token(usize, Fingerprint),
    /// A password, and the fingerprint of its user name.
    Password {
        provider: usize,
        fingerprint: Fingerprint,
        account: Fingerprint,
    },
    /// The signature of a token, with the keys of this generation.
    Signature {
        provider: usize,
        fingerprint: Fingerprint,
        generation: u64,
        signature: Arc<CostlySignature>,
    },
    /// A whole request, which another service decides about.
    Request(usize),
}

/// Result of a lookup, for a request that waits.
#[derive(Clone)]
enum LookupResult {
    /// The credential is good.
    Good(Arc<Grant>),
    /// The credential is not good.
    Bad(CredentialFault),
    /// The key set was fetched, or could not be: the token is to be looked at again.
    Fetched,
    /// The key set has changed while a signature was verified: the token is to be looked at again.
    KeysChanged,
    /// Another service has answered in our place.
    Denied(Denial),
    /// No provider can say.
    Down(Outcome),
}

impl LookupResult {
    /// Returns the result for a subrequest that got no answer.
    fn without_answer(end: Outcome) -> LookupResult {
        LookupResult::Down(if end == Outcome::OverLimit {
            Outcome::UpstreamMalformed
        } else {
            end
        })
    }
}

impl Authenticator {
    pub(super) fn new(settings: &Settings, seed: u64) -> Authenticator {
        Authenticator {
            providers: settings.auth.iter().map(|_| ProviderState::new()).collect(),
            fingerprints: Fingerprints::new(seed),
            lookups: Slab::new(),
            pending: BTreeMap::new(),
            gateway_headers: settings
                .services
                .iter()
                .map(|service| gateway_headers(settings, &service.auth.providers))
                .collect(),
            kept: settings
                .services
                .iter()
                .map(|service| kept(settings, &service.auth))
                .collect(),
            is_clock_set: false,
            requests: Vec::new(),
        }
    }

    /// Takes what is wanted of the subrequests, in order.
    pub(super) fn take_requests(&mut self) -> Vec<AuthRequest> {
        core::mem::take(&mut self.requests)
    }

    /// Returns whether something is wanted of the subrequests.
    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Notes the subrequest of a look-up.
    pub(super) fn note_subrequest(&mut self, lookup: LookupId, subrequest: SubrequestId) {
        if let Some(entry) = self.lookups.get_mut(lookup) {
            entry.subrequest = Some(subrequest);
        }
    }

    /// Returns the timer of a provider's key set.
    pub(super) fn timer(&mut self, provider: u32) -> Option<&mut Timer> {
        let state = self.providers.get_mut(provider as usize)?;
        Some(&mut state.timer)
    }

    /// Leaves one reminder for each timer of this part.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for (provider, state) in self.providers.iter_mut().enumerate() {
            timers.renew(&mut state.timer, TimerKey::Provider(provider as u32));
        }
    }

    /// The headers that a service's upstream hears from the gateway alone.
    pub(super) fn gateway_headers(&self, service: usize) -> &[String] {
        self.gateway_headers.get(service).map_or(&[], Vec::as_slice)
    }

    /// The headers of a client's request that do not go to a service's upstream.
    /// `by_authorization`: `Authorization` may have let the request in.
    pub(super) fn dropped(&self, service: usize, by_authorization: bool) -> &[String] {
        match self.kept.get(service).map_or(&[][..], Vec::as_slice) {
            [] => self.gateway_headers(service),
            kept if by_authorization => kept,
            [kept @ .., _] => kept,
        }
    }
}

impl ProviderState {
    fn new() -> ProviderState {
        ProviderState {
            good: CredentialCache::new(AUTH_REMEMBERED_BYTES),
            bad: CredentialCache::new(AUTH_REMEMBERED_BYTES),
            keys: None,
            generation: 0,
            fetching: None,
            full_at: Instant::ZERO,
            retry: JWKS_RETRY,
            timer: Timer::default(),
        }
    }
}

/// The headers of a service's own providers; and of all others those that exist for nothing else,
/// because the upstream that believes them may be behind several services. `Authorization` and
/// `Cookie` are a client's own everywhere else.
fn gateway_headers(settings: &Settings, own: &[usize]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (index, provider) in settings.auth.iter().enumerate() {
        for header in provider.kind.headers() {
            let clients = ["authorization", "cookie"]
                .iter()
                .any(|name| header.eq_ignore_ascii_case(name));
            let counts = own.contains(&index) || !clients;
            if counts && !all.iter().any(|known| known.eq_ignore_ascii_case(header)) {
                all.push(header.to_owned());
            }
        }
    }
    all
}

/// Headers for [`Authenticator::dropped`] of a service with `"forwardCredentials": false`; empty
/// for every other.
fn kept(settings: &Settings, auth: &ServiceAuth) -> Vec<String> {
    if !auth.keeps_credentials {
        return Vec::new();
    }
    let mut all = gateway_headers(settings, &auth.providers);
    for provider in auth
        .providers
        .iter()
        .filter_map(|&index| settings.auth.get(index))
    {
        if let Kind::ApiKey { header, .. } = &provider.kind {
            all.push(header.clone());
        }
    }
    all.push("Authorization".to_owned());
    all
}
