//! Names of endpoints for the cookies of sticky sessions.

use core::fmt;

use ring::hmac;

/// Key of the names of endpoints. Gateways with the same key give an endpoint the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StickyKey([u8; 32]);

impl StickyKey {
    /// Derives the key of a secret. Without one, all gateways have the same key.
    pub fn new(secret: Option<&str>) -> StickyKey {
        let label = hmac::Key::new(hmac::HMAC_SHA256, b"tollgate sticky");
        let tag = hmac::sign(&label, secret.unwrap_or_default().as_bytes());
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        StickyKey(key)
    }

    /// Returns the name of an endpoint. `identity`: a hash of its address and path.
    pub fn name(&self, identity: u64) -> u64 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, &identity.to_be_bytes());
        let bytes = tag.as_ref().iter().take(8);
        bytes.fold(0, |name, byte| name << 8 | u64::from(*byte))
    }
}

/// Shows nothing of the key.
impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_depends_on_the_key_and_on_the_endpoint() {
        let (plain, keyed) = (StickyKey::new(None), StickyKey::new(Some("secret")));
        assert_eq!(plain.name(1), StickyKey::new(None).name(1));
        assert_ne!(plain.name(1), plain.name(2));
        assert_ne!(plain.name(1), keyed.name(1));
        assert_eq!(format!("{keyed:?}"), "StickyKey");
    }
}
