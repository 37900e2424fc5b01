//! Verdicts of the providers of a request's service so far.

use std::rc::Rc;
use std::sync::Arc;

use super::super::ids::ProviderId;
use super::super::reason::Busy;
use super::{Denial, LookupResult};
use crate::observe::access::Outcome;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;

/// Reasons to take a token for one that no issuer has signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forgery {
    /// No provider has a key for the token.
    Unknown,
    /// A signature or the authorization server proved that the token is not authentic.
    Refuted,
}

/// Verdicts of the providers of a request's service so far.
#[derive(Default)]
pub(in crate::proxy) struct AuthProgress {
    /// Providers that the verdicts are of, in the order of the service.
    providers: Option<Rc<[ProviderId]>>,
    /// Bits of providers that have answered, by their order in the service.
    settled: u8,
    /// Bits of providers whose key set was fetched for this request already.
    fetched: u8,
    /// Bits of providers where the fetch that is waited for began before this request came.
    joined: u8,
    /// Bits of providers where such a fetch ended: one more may be waited for.
    outdated: u8,
    /// A Bearer token was not authentic.
    forged_token: Option<Forgery>,
    /// A Bearer token was authentic, and is not good here or now.
    pub(super) unfit_token: bool,
    /// An API key, or a user and password, were not authentic.
    forged_other: bool,
    /// Reason why a Bearer token was not good.
    pub(super) bad_token: Option<CredentialFault>,
    /// Reason why the first bad credential was not good.
    pub(super) fault: Option<CredentialFault>,
    /// A credential was good but lacks a scope of the service.
    pub(super) insufficient: bool,
    pub(super) denied: Option<Denial>,
    /// A provider gave no answer. With the bound, if it could not be asked because of one.
    pub(super) down: Option<(Outcome, Option<Busy>)>,
    /// Grant that let the request in and has lines for the client.
    pub(super) for_client: Option<Arc<Grant>>,
    /// Result of the last lookup, with the position of its provider.
    pub(super) answer: Option<(usize, LookupResult)>,
}

impl AuthProgress {
    /// Begins, or goes on, with the providers of a service. Verdicts of others are forgotten: the
    /// rules have changed while the request waited.
    pub(super) fn begin(&mut self, providers: &Rc<[ProviderId]>) {
        match &self.providers {
            Some(known) if known == providers => {}
            None => self.providers = Some(Rc::clone(providers)),
            Some(_) => {
                *self = AuthProgress {
                    providers: Some(Rc::clone(providers)),
                    ..AuthProgress::default()
                }
            }
        }
    }

    fn bit(position: usize) -> u8 {
        1_u8.checked_shl(position as u32).unwrap_or(0)
    }

    pub(super) fn is_settled(&self, position: usize) -> bool {
        self.settled & AuthProgress::bit(position) != 0
    }

    pub(super) fn was_fetched(&self, position: usize) -> bool {
        self.fetched & AuthProgress::bit(position) != 0
    }

    /// Records that the fetch of a provider's key set ended.
    fn note_fetched(&mut self, position: usize) {
        let bit = AuthProgress::bit(position);
        if self.joined & bit == 0 {
            self.fetched |= bit;
        } else {
            self.joined &= !bit;
            self.outdated |= bit;
        }
    }

    /// Records that the request waits for a provider's key set. `under_way`: the fetch had begun
    /// before.
    pub(super) fn note_waits_for_keys(&mut self, position: usize, under_way: bool) {
        let bit = AuthProgress::bit(position);
        // A fetch that began after the first one ended is as new as the request.
        if under_way && self.outdated & bit == 0 {
            self.joined |= bit;
        }
    }

    pub(super) fn note_bad(&mut self, fault: CredentialFault, is_token: bool) {
        self.fault.get_or_insert(fault);
        if is_token {
            self.bad_token.get_or_insert(fault);
            self.unfit_token |= fault.is_unfit();
            let forgery = match fault {
                CredentialFault::UnknownKey => Forgery::Unknown,
                _ => Forgery::Refuted,
            };
            self.forged_token = self.forged_token.max(fault.is_forged().then_some(forgery));
        } else {
            self.forged_other |= fault.is_forged();
        }
    }

    /// Returns true if a credential of the request counts as forged. Another provider may have the
    /// key of a token: a token without a key is forged only if all providers gave an answer. A refuted
    /// token counts even if another provider is down: otherwise each guess would cost a signature or
    /// a subrequest, and none would be counted.
    pub(super) fn is_forged(&self) -> bool {
        let least = match self.down {
            None => Forgery::Unknown,
            Some(_) => Forgery::Refuted,
        };
        self.forged_other || (!self.unfit_token && self.forged_token >= Some(least))
    }

    /// Returns the same for a request that ends before all providers have answered. `is_decided`:
    /// none of the missing answers is about its token.
    pub(super) fn is_forged_so_far(&self, is_decided: bool) -> bool {
        let is_refuted = !self.unfit_token && self.forged_token == Some(Forgery::Refuted);
        self.forged_other || (is_refuted && is_decided)
    }

    /// Takes the grant whose lines the client gets with the final response.
    pub(in crate::proxy) fn take_for_client(&mut self) -> Option<Arc<Grant>> {
        self.for_client.take()
    }

    /// Takes the result of the last lookup, if it is of this provider. `None`: the provider decides
    /// again.
    pub(super) fn take_answer(&mut self, position: usize) -> Option<ProviderVerdict> {
        let (_, result) = self.answer.take_if(|(answered, _)| *answered == position)?;
        match result {
            LookupResult::Good(grant) => Some(ProviderVerdict::Good(grant)),
            LookupResult::Bad(fault) => Some(ProviderVerdict::Bad(fault)),
            LookupResult::Denied(denial) => Some(ProviderVerdict::Denied(denial)),
            LookupResult::Down(outcome) => Some(ProviderVerdict::Down(outcome, None)),
            LookupResult::Late => {
                let late = Some(Busy::Late);
                Some(ProviderVerdict::Down(Outcome::OverLimit, late))
            }
            LookupResult::Fetched => {
                self.note_fetched(position);
                None
            }
            LookupResult::KeysChanged => None,
        }
    }

    pub(super) fn settle(&mut self, position: usize) {
        self.settled |= AuthProgress::bit(position);
    }

    /// Records a provider that gives no answer.
    pub(super) fn go_down(&mut self, position: usize, outcome: Outcome, busy: Option<Busy>) {
        self.down = Some((outcome, busy));
        self.settle(position);
    }
}

/// Verdict of a provider.
pub(super) enum ProviderVerdict {
    /// The credential is good.
    Good(Arc<Grant>),
    /// The request has no credential for the provider.
    Nothing,
    /// The request has a bad credential.
    Bad(CredentialFault),
    /// The provider needs a lookup.
    Later,
    /// The request has the credential twice.
    Twice,
    Denied(Denial),
    Down(Outcome, Option<Busy>),
}
