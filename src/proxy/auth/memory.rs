//! Bounds of what authentication holds: see [`crate::proxy::memory`], which adds it up.

use super::super::bounds::grown;
use super::super::ids::ClientId;
use super::super::settings::Settings;
use super::super::subrequest::{OwnedField, Subrequests};
use super::{Authenticator, Denial, Lookup, ProviderState, SuspendedRequest};
use crate::buffer::{BufferPool, total};
use crate::limits::{
    AUTH_CLIENT_LINES_BYTES, AUTH_FORWARDED_BYTES, AUTH_KEYS, AUTH_LOOKUPS,
    AUTH_PROVIDERS_PER_SERVICE, AUTH_REMEMBERED_BYTES, AUTH_SCOPE_BYTES, AUTH_SUBJECT_BYTES,
    AUTH_TOKEN_BYTES, BUFFER_CLASSES, CONFIG_PATH_BYTES_MAX, FIELDS_MAX, FORWARD_ANSWER_BYTES,
    FORWARD_BODY_BYTES, INTROSPECTION_BYTES, JWKS_BYTES, PASSWORDS_WAITING, READ_BYTES,
    RESPONSE_HEAD_BYTES, SIGNATURES_WAITING,
};
use crate::policy::auth::grant::Grant;
use crate::policy::auth::key::VerifyingKey;
use crate::policy::auth::provider::{Keys, Kind};
use crate::policy::auth::signature::CostlySignature;
use crate::slab::Slab;

/// A value in JSON takes two bytes where it is shortest, and 32 when it was read; the list that is
/// being read may have room for as many again, beside the storage that it outgrew.
const JSON_FACTOR: usize = 48;

fn has(settings: &Settings, test: fn(&Kind) -> bool) -> bool {
    settings.auth.iter().any(|provider| test(&provider.kind))
}

fn is_forward(kind: &Kind) -> bool {
    matches!(kind, Kind::Forward { .. })
}

fn is_fetched(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Jwt {
            keys: Keys::Fetched(_),
            ..
        }
    )
}

/// Number of lookups at other servers at once.
pub fn subrequests(settings: &Settings) -> usize {
    if has(settings, |kind| kind.endpoint().is_some()) {
        AUTH_LOOKUPS
    } else {
        0
    }
}

/// Bytes of the buffers of one lookup: its request, the bytes read, and the rest of a read.
pub(in crate::proxy) fn buffers_of_subrequest(settings: &Settings) -> usize {
    let head = settings.limits.head_bytes;
    // A token three times as long when it is form-encoded, or a client's head, its target once
    // more, and its host once more.
    let request = total([
        AUTH_TOKEN_BYTES
            .saturating_mul(3)
            .max(head.saturating_mul(3)),
        CONFIG_PATH_BYTES_MAX,
        1024,
    ]);
    total([request, READ_BYTES, READ_BYTES, BUFFER_CLASSES[0]].map(BufferPool::storage_for))
}

/// Bytes that a request's head grows by.
pub(in crate::proxy) fn request_head(settings: &Settings) -> usize {
    if settings.auth.is_empty() {
        0
    } else {
        AUTH_FORWARDED_BYTES
    }
}

/// Bytes that an answer of our own grows by: challenges, or what a forward endpoint says.
pub(in crate::proxy) fn answer(settings: &Settings) -> usize {
    match (settings.auth.is_empty(), has(settings, is_forward)) {
        (true, _) => 0,
        (false, false) => AUTH_SCOPE_BYTES.saturating_add(1024),
        (false, true) => total([
            RESPONSE_HEAD_BYTES,
            FORWARD_BODY_BYTES,
            AUTH_CLIENT_LINES_BYTES,
            AUTH_SCOPE_BYTES,
            AUTH_SUBJECT_BYTES,
            1024,
        ]),
    }
}

/// Bytes that the head of an upstream's response grows by: what a forward endpoint says to the
/// client of a request that it lets in.
pub(in crate::proxy) fn response_head(settings: &Settings) -> usize {
    if has(settings, is_forward) {
        AUTH_CLIENT_LINES_BYTES
    } else {
        0
    }
}

/// Bytes of a connection whose request waits.
pub(in crate::proxy) fn held(settings: &Settings) -> usize {
    let held = if settings.auth.is_empty() {
        0
    } else {
        size_of::<SuspendedRequest>()
    };
    // The response of a forward endpoint is kept during the lookup at the next provider.
    let keeps = settings
        .services
        .iter()
        .any(|service| service.auth.providers.len() > 1)
        && has(settings, is_forward);
    let denial = if keeps {
        total([size_of::<Denial>(), RESPONSE_HEAD_BYTES, FORWARD_BODY_BYTES])
    } else {
        0
    };
    // What it said of a request that is let in is kept until the response comes.
    let grant = if has(settings, is_forward) {
        total([
            AUTH_FORWARDED_BYTES,
            AUTH_CLIENT_LINES_BYTES,
            size_of::<Grant>(),
        ])
    } else {
        0
    };
    total([held, denial, grant])
}

/// Bytes of everything else: remembered credentials, keys, lookups and the requests that wait for them.
pub fn whole(settings: &Settings) -> usize {
    if settings.auth.is_empty() {
        return 0;
    }
    let remembered = AUTH_REMEMBERED_BYTES
        .saturating_mul(2)
        .saturating_add(size_of::<ProviderState>());
    let keys = AUTH_KEYS.saturating_mul(VerifyingKey::BYTES_MAX);
    let fetches = settings
        .auth
        .iter()
        .filter(|provider| is_fetched(&provider.kind))
        .count();
    let body = INTROSPECTION_BYTES.max(FORWARD_ANSWER_BYTES);
    let sub_response = total([
        grown(body, 1),
        RESPONSE_HEAD_BYTES,
        grown(FIELDS_MAX, size_of::<OwnedField>()),
    ]);
    let subrequest = total([
        Subrequests::SLOT_BYTES.saturating_mul(3),
        sub_response,
        buffers_of_subrequest(settings),
    ]);
    let signatures = if has(settings, Kind::has_costly_signatures) {
        SIGNATURES_WAITING
    } else {
        0
    };
    // Those of the request that is being looked at are not waiting yet.
    let signatures_held = signatures.saturating_add(AUTH_PROVIDERS_PER_SERVICE.min(signatures));
    let lookups = total([
        subrequests(settings),
        fetches,
        PASSWORDS_WAITING,
        signatures,
    ]);
    total([
        settings.auth.len().saturating_mul(remembered),
        fetches.saturating_mul(keys.saturating_mul(2).saturating_add(grown(JWKS_BYTES, 1))),
        subrequests(settings).saturating_mul(subrequest),
        grown(lookups, Slab::<Lookup>::SLOT_BYTES),
        grown(settings.limits.connections, size_of::<ClientId>()).saturating_mul(2),
        // The password, and the grant with the name of the user.
        PASSWORDS_WAITING.saturating_mul(total([settings.limits.head_bytes, size_of::<Grant>()])),
        signatures_held.saturating_mul(CostlySignature::BYTES_MAX),
        // One answer at a time is read.
        JWKS_BYTES.saturating_mul(JSON_FACTOR),
    ])
}

impl Authenticator {
    /// Returns whether what is remembered and waited for is within its bounds.
    pub(in crate::proxy) fn is_within_bounds(&self, clients: usize) -> bool {
        let within = |state: &ProviderState| {
            state.good.bytes() <= AUTH_REMEMBERED_BYTES
                && state.bad.bytes() <= AUTH_REMEMBERED_BYTES
        };
        let lookups = self.lookups.keys().filter_map(|id| self.lookups.get(id));
        let waiting = lookups
            .map(|lookup| lookup.waiting.len())
            .fold(0, usize::saturating_add);
        self.providers.values().all(within)
            && waiting <= clients
            && self
                .open_lookups()
                .filter(|lookup| lookup.is_work())
                .count()
                <= PASSWORDS_WAITING.saturating_add(SIGNATURES_WAITING)
            && self.pending.len() <= self.lookups.len()
    }
}
