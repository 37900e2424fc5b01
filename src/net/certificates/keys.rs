//! Keys and randomness for [`crate::acme`], from ring and the kernel.

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use crate::acme::Keys;

/// Keys of ring.
pub struct RingKeys(SystemRandom);

impl RingKeys {
    /// Creates a source of keys.
    pub fn new() -> RingKeys {
        RingKeys(SystemRandom::new())
    }

    fn pair(&self, pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &self.0).ok()
    }
}

impl Default for RingKeys {
    fn default() -> RingKeys {
        RingKeys::new()
    }
}

impl Keys for RingKeys {
    fn generate(&mut self) -> Option<Vec<u8>> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0);
        made.ok().map(|document| document.as_ref().to_vec())
    }

    fn public(&mut self, pkcs8: &[u8]) -> Option<[u8; 65]> {
        self.pair(pkcs8)?.public_key().as_ref().try_into().ok()
    }

    fn sign(&mut self, pkcs8: &[u8], message: &[u8]) -> Option<[u8; 64]> {
        let signature = self.pair(pkcs8)?.sign(&self.0, message).ok()?;
        signature.as_ref().try_into().ok()
    }

    fn random(&mut self) -> u64 {
        let mut bytes = [0; 8];
        // Without the kernel's randomness no key is made either, so no order comes this far.
        let _ = self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
