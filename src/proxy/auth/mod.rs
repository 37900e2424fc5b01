//! Authentication: the policies' decisions, and what they need from others.
//!
//! ```text
//!               all providers that can say so at once
//! reception --> decide ------------------------------------> let in | refused (401, 403)
//!                 |  none let it in, and one needs a lookup     ^
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
mod carried;
mod counts;
mod decide;
mod editions;
mod forward;
mod keys;
mod lookup;
pub mod memory;
mod progress;
mod remembered;
mod suspended;
mod work;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub(super) use self::answers::Resolved;
pub(super) use self::decide::{AuthDecision, Refusal};
pub(super) use self::forward::Denial;
use self::progress::AuthProgress;
pub(super) use self::suspended::SuspendedRequest;
use super::command::ListenerKind;
use super::context::{Context, TimerKey};
use super::ids::{ClientId, LookupId, OfLookup, OfProvider, ProviderId, SubrequestId, TargetId};
use super::limiter::Limiter;
use super::reason::Busy;
use super::rules::ServiceRules;
use super::settings::{Provider, Target};
use super::subrequest::SubrequestSpec;
use crate::limits::{AUTH_REMEMBERED_BYTES, JWKS_RETRY};
use crate::observe::access::Outcome;
use crate::policy::accounts::Accounts;
use crate::policy::auth::credential_cache::{CredentialCache, Fingerprint, Fingerprints};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::signature::CostlySignature;
use crate::policy::forward::Peer;
use crate::policy::request::Request;
use crate::policy::request_id::IdField;
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

impl AuthEnv<'_> {
    /// Counts a credential that is not authentic.
    fn count_failure(&mut self, client: Option<IpAddr>) {
        let table = self.ctx.rules.state.failures;
        self.limiter.count_failure(table, client, self.ctx.now);
        self.ctx.has_leftovers |= !self.limiter.queues.is_empty();
    }
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
    pub(super) service: &'a ServiceRules,
    /// Field line with the id of the request.
    pub(super) id_field: IdField<'a>,
}

/// Requests of authentication to the subrequests.
pub(super) enum AuthRequest {
    /// Send this one.
    Start(SubrequestSpec),
    /// The answer of this one is not needed any more.
    Cancel(SubrequestId),
}

/// State of authentication.
pub(super) struct Authenticator {
    providers: Slab<ProviderState, OfProvider>,
    fingerprints: Fingerprints,
    lookups: Slab<Lookup, OfLookup>,
    /// Lookups by the fingerprint of their credential, so that a credential has one lookup at a time.
    pending: BTreeMap<Fingerprint, LookupId>,
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
    /// Definition of the provider.
    provider: Rc<Provider>,
    /// Name of the provider, for reports.
    name: Rc<str>,
    /// Target of its endpoint, if it has one.
    target: Option<(TargetId, Rc<Target>)>,
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

/// Check of a credential by a provider or a helper thread, which takes a while.
struct Lookup {
    kind: LookupKind,
    waiting: Vec<ClientId>,
    subrequest: Option<SubrequestId>,
    /// Client that started the lookup, if the lookup is about one credential.
    starter: Option<Starter>,
}

/// A lookup that was started, or joined. Otherwise the bound that kept it from that; `None`: the
/// provider takes no question.
type Started = Result<LookupId, Option<Busy>>;

/// Subject of a lookup.
#[derive(Clone)]
enum LookupKind {
    /// The provider's key set.
    Keys(ProviderId),
    /// A token that its authorization server knows.
    Token(ProviderId, Fingerprint),
    /// A password, the fingerprint of its user name, and the grant of its user.
    Password {
        provider: ProviderId,
        fingerprint: Fingerprint,
        account: Fingerprint,
        grant: Arc<Grant>,
    },
    /// The signature of a token, with the keys of this generation.
    Signature {
        provider: ProviderId,
        fingerprint: Fingerprint,
        generation: u64,
        signature: Arc<CostlySignature>,
    },
    /// A whole request, which another service decides about.
    Request(ProviderId),
}

/// Result of a lookup, for a request that waits.
#[derive(Clone)]
enum LookupResult {
    /// The credential is good.
    Good(Arc<Grant>),
    /// The credential is not good.
    Bad(CredentialFault),
    /// The fetch of the key set ended, with or without success. The token is checked again.
    Fetched,
    /// The key set has changed while a signature was verified. The token is checked again.
    KeysChanged,
    /// The forward endpoint has denied the request; its response goes to the client.
    Denied(Denial),
    /// The provider gave no answer.
    Down(Outcome),
    /// A helper thread did not come to the work in time.
    Late,
}

impl LookupResult {
    /// Returns the result for a subrequest that got no answer.
    fn without_answer(outcome: Outcome) -> LookupResult {
        LookupResult::Down(if outcome == Outcome::OverLimit {
            Outcome::UpstreamMalformed
        } else {
            outcome
        })
    }
}

impl Authenticator {
    /// Creates the part without providers. `seed` keys the fingerprints of credentials.
    pub(super) fn new(seed: u64) -> Authenticator {
        Authenticator {
            providers: Slab::new(),
            fingerprints: Fingerprints::new(seed),
            lookups: Slab::new(),
            pending: BTreeMap::new(),
            is_clock_set: false,
            requests: Vec::new(),
        }
    }

    /// Takes the requests to the subrequests, in order.
    pub(super) fn take_requests(&mut self) -> Vec<AuthRequest> {
        core::mem::take(&mut self.requests)
    }

    /// Returns true if there are requests to the subrequests.
    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Records the subrequest of a lookup.
    pub(super) fn note_subrequest(&mut self, lookup_id: LookupId, subrequest: SubrequestId) {
        if let Some(lookup) = self.lookups.get_mut(lookup_id) {
            lookup.subrequest = Some(subrequest);
        }
    }

    /// Returns the timer of a provider's key set.
    pub(super) fn timer(&mut self, provider: ProviderId) -> Option<&mut Timer> {
        let state = self.providers.get_mut(provider)?;
        Some(&mut state.timer)
    }

    /// Leaves one reminder for each timer of this part.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for provider in self.providers.keys().collect::<Vec<_>>() {
            if let Some(state) = self.providers.get_mut(provider) {
                timers.renew(&mut state.timer, TimerKey::Provider(provider));
            }
        }
    }
}

impl ProviderState {
    fn new(provider: Provider, target: Option<(TargetId, Rc<Target>)>) -> ProviderState {
        ProviderState {
            name: Rc::from(provider.name.as_str()),
            provider: Rc::new(provider),
            target,
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
