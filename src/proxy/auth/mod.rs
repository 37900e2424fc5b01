//! Authentication: the policies' decisions, and what they need from others.
//!
//! ```text
//!            every provider that can say so at once
//! intake --> decide ---------------------------------> in | out (401, 403)
//!              |  nobody let it in, and one must be asked        ^
//!              v                                                 | once more, with the answer
//!            held: the head stays in the client's inbox ---------'
//!              |
//!              +-- inquiry: key set, introspection, forward-auth     (`inquiry`, and `ask` here)
//!              `-- Command::Verify: a password or a signature, off the loop   (`handle_verified`)
//! ```
//!
//! Requests that need the same answer wait for one question. A client that leaves, or whose time is over, is forgotten. A question that
//! no request waits for goes on where its answer is of use to others (key sets), is to be counted (tokens, see
//! [`crate::limits::TOKENS_LEFT_PER_CLIENT`]), or cannot be called back (passwords, signatures); a question about a whole request is
//! dropped.

mod decide;
mod forward;
mod keys;
mod lookup;
pub mod memory;
mod suspended;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::ClientId;
use super::settings::{ServiceAuth, Settings};
use super::subrequest::SubrequestId;
use crate::limits::{AUTH_REMEMBERED_BYTES, JWKS_RETRY};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::Kind;
use crate::policy::auth::remembered::{Fingerprint, Fingerprints, Remembered};
use crate::policy::auth::signature::CostlySignature;
use crate::slab::{Key, Slab};
use crate::time::{Duration, Instant};
use crate::wheel::Timer;

pub(super) use self::decide::{AuthDecision, Refusal};
pub(super) use self::forward::Denial;
pub use self::keys::KeysFault;
pub(super) use self::suspended::SuspendedRequest;

/// Names a question.
pub(super) type LookupId = Key<Lookup>;

/// Everything the engine knows about who is let in.
pub(super) struct Auth {
    pub(super) providers: Vec<ProviderState>,
    fingerprints: Fingerprints,
    lookups: Slab<Lookup>,
    /// Questions about one credential, so that the same one is not asked twice at once.
    pending: BTreeMap<Fingerprint, LookupId>,
    /// For each service, the headers that only the gateway sends.
    verdict: Vec<Vec<String>>,
    /// For each service whose credentials stay here: `said`, the headers of its API keys, and, at the end, `Authorization`.
    kept: Vec<Vec<String>>,
    /// Whether the clock was set, from when on key sets are fetched.
    is_clock_set: bool,
}

/// The client whose request made the gateway verify a credential, or ask about it.
#[derive(Clone, Copy)]
struct Starter {
    /// The connection of the request.
    id: ClientId,
    client: Option<IpAddr>,
}

/// What is known of a provider.
pub(super) struct ProviderState {
    /// Good credentials, and what they are good for.
    good: Remembered<Arc<Grant>>,
    /// Credentials that are known to be bad.
    bad: Remembered<CredentialFault>,
    /// The fetched key set; the last one that was good.
    keys: Option<KeySet>,
    /// Number of times that the key set has changed.
    generation: u64,
    /// The fetch that is under way.
    fetching: Option<LookupId>,
    /// When the bucket of fetches for unknown keys is full: see [`ProviderState::may_fetch`].
    full_at: Instant,
    /// Until the next try, after one that failed.
    retry: Duration,
    /// The next fetch.
    pub(super) timer: Timer,
}

/// Something that must be asked, or computed at length.
pub struct Lookup {
    kind_of_lookup: LookupKind,
    waiting: Vec<ClientId>,
    subrequest: Option<SubrequestId>,
    /// Client that started it, where it is about one credential.
    starter: Option<Starter>,
}

/// What a question is about.
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

/// What became of a question, for one who waits.
#[derive(Clone)]
enum LookupResult {
    /// The credential is good.
    Good(Arc<Grant>),
    /// It is not.
    Bad(CredentialFault),
    /// The key set was fetched, or could not be: the token is to be looked at again.
    Fetched,
    /// The key set has changed while a signature was verified: the token is to be looked at again.
    KeysChanged,
    /// Another service has answered in our place.
    Denied(Denial),
    /// Nobody can say.
    Down(crate::observe::access::Outcome),
}

impl Auth {
    pub(super) fn new(settings: &Settings, seed: u64) -> Auth {
        Auth {
            providers: settings.auth.iter().map(|_| ProviderState::new()).collect(),
            fingerprints: Fingerprints::new(seed),
            lookups: Slab::new(),
            pending: BTreeMap::new(),
            verdict: settings
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
        }
    }

    /// The headers that a service's upstream hears from the gateway alone.
    pub(super) fn gateway_headers(&self, service: usize) -> &[String] {
        self.verdict.get(service).map_or(&[], Vec::as_slice)
    }

    /// The headers of a client's request that do not go to a service's upstream. `by_authorization`: `Authorization` may have let the
    /// request in.
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
            good: Remembered::new(AUTH_REMEMBERED_BYTES),
            bad: Remembered::new(AUTH_REMEMBERED_BYTES),
            keys: None,
            generation: 0,
            fetching: None,
            full_at: Instant::ZERO,
            retry: JWKS_RETRY,
            timer: Timer::default(),
        }
    }
}

/// The headers of a service's own providers; and of all others those that exist for nothing else, because the upstream that
/// believes them may be behind several services. `Authorization` and `Cookie` are a client's own everywhere else.
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

/// What [`Auth::dropped`] has for a service with `"forwardCredentials": false`; empty for every other.
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
