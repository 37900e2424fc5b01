//! Signatures whose verification takes too long for the event loop.

use super::algorithm::Algorithm;
use super::base64::decode_url;
use super::key::{Secret, VerifyingKey};
use crate::limits::{AUTH_KEYS_TRIED, AUTH_TOKEN_BYTES};

/// A token's signature and the keys to verify it with. It owns all that it needs, so that any thread can verify it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CostlySignature {
    algorithm: Algorithm,
    /// At most [`AUTH_KEYS_TRIED`].
    keys: Vec<VerifyingKey>,
    /// Header and claims of the token, as they were signed: base64url with a dot between them.
    signed: Secret,
    signature: Secret,
}

impl CostlySignature {
    /// The most bytes that one holds.
    pub const BYTES_MAX: usize = size_of::<CostlySignature>()
        .saturating_add(AUTH_TOKEN_BYTES)
        .saturating_add(AUTH_KEYS_TRIED.saturating_mul(VerifyingKey::BYTES_MAX));

    /// A signature over the first two parts of a token, to be verified with each of the keys until one fits.
    pub fn new(
        algorithm: Algorithm,
        keys: Vec<VerifyingKey>,
        signed: &[u8],
        signature: Vec<u8>,
    ) -> CostlySignature {
        CostlySignature {
            algorithm,
            keys,
            signed: Secret::new(signed.to_vec()),
            signature: Secret::new(signature),
        }
    }

    /// Whether one of the keys made the signature. Takes up to some milliseconds.
    pub fn verify(&self) -> bool {
        self.keys
            .iter()
            .any(|key| key.verifies(self.algorithm, self.signed.bytes(), self.signature.bytes()))
    }

    /// The claims of the token. `None`: they are not base64url.
    pub(super) fn payload(&self) -> Option<Vec<u8>> {
        let dot = self.signed.bytes().iter().position(|&byte| byte == b'.')?;
        decode_url(self.signed.bytes().get(dot.checked_add(1)?..)?)
    }
}
