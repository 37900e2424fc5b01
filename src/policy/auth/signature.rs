//! Signatures that are too slow to verify on the event loop.

use super::algorithm::Algorithm;
use super::base64::decode_url;
use super::key::{Secret, VerifyingKey};
use crate::limits::{AUTH_KEYS_TRIED, AUTH_TOKEN_BYTES};

/// A token's signature and the keys to verify it with. The value owns all its data, so any thread
/// can verify it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CostlySignature {
    algorithm: Algorithm,
    /// Keys to try, at most [`AUTH_KEYS_TRIED`].
    keys: Vec<VerifyingKey>,
    /// Header and claims of the token as they were signed: base64url, separated by a dot.
    signed: Secret,
    signature: Secret,
}

impl CostlySignature {
    /// Upper bound of the bytes of a value.
    pub const BYTES_MAX: usize = size_of::<CostlySignature>()
        .saturating_add(AUTH_TOKEN_BYTES)
        .saturating_add(AUTH_KEYS_TRIED.saturating_mul(VerifyingKey::BYTES_MAX));

    /// Creates a signature over the first two parts of a token. Verification tries the keys in
    /// order.
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

    /// Returns true if one of the keys made the signature. Takes up to some milliseconds.
    pub fn verify(&self) -> bool {
        self.keys
            .iter()
            .any(|key| key.verifies(self.algorithm, self.signed.bytes(), self.signature.bytes()))
    }

    /// Returns the claims of the token, or `None` if they are not base64url.
    pub(super) fn payload(&self) -> Option<Vec<u8>> {
        let dot = self.signed.bytes().iter().position(|&byte| byte == b'.')?;
        decode_url(self.signed.bytes().get(dot.checked_add(1)?..)?)
    }
}
