//! Signed requests (RFC 8555 6.2, RFC 7515): ES256 with the account's key, HS256 for a binding.

use ring::{digest, hmac};

use super::{Eab, Keys, text};
use crate::policy::auth::base64::encode_url;

/// Name by which a request tells its key.
pub(super) enum By<'a> {
    /// The key itself: the account is not known yet.
    Key,
    /// URL of the account.
    Account(&'a str),
}

/// Key of the account.
pub(super) struct AccountKey {
    pkcs8: Vec<u8>,
    /// Public key as JSON, its members in the order of RFC 7638 3.2.
    jwk: String,
}

impl AccountKey {
    /// Takes a key; `None` if it cannot be used.
    pub(super) fn new(pkcs8: Vec<u8>, keys: &mut dyn Keys) -> Option<AccountKey> {
        let point = keys.public(&pkcs8)?;
        let (x, y) = point.get(1..)?.split_at_checked(32)?;
        let jwk = format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            encode_url(x),
            encode_url(y)
        );
        Some(AccountKey { pkcs8, jwk })
    }

    /// Returns the text that proves control over a token (RFC 8555 8.1).
    pub(super) fn authorization(&self, token: &str) -> String {
        format!("{token}.{}", encode_url(&sha256(self.jwk.as_bytes())))
    }

    /// Returns a signed body; an empty payload is that of a POST-as-GET.
    pub(super) fn sign(
        &self,
        (by, nonce, url): (By<'_>, &str, &str),
        payload: &str,
        keys: &mut dyn Keys,
    ) -> Option<Vec<u8>> {
        let mut protected = String::from(r#"{"alg":"ES256","nonce":"#);
        text::push(&mut protected, nonce);
        protected.push_str(r#","url":"#);
        text::push(&mut protected, url);
        match by {
            By::Key => {
                protected.push_str(r#","jwk":"#);
                protected.push_str(&self.jwk);
            }
            By::Account(account) => {
                protected.push_str(r#","kid":"#);
                text::push(&mut protected, account);
            }
        }
        protected.push('}');
        let input = signing_input(&protected, payload);
        let signature = keys.sign(&self.pkcs8, input.as_bytes())?;
        Some(flattened(&input, &signature).into_bytes())
    }

    /// Returns the binding to an account outside of ACME (RFC 8555 7.3.4).
    pub(super) fn binding(&self, eab: &Eab, url: &str) -> String {
        let mut protected = String::from(r#"{"alg":"HS256","kid":"#);
        text::push(&mut protected, &eab.kid);
        protected.push_str(r#","url":"#);
        text::push(&mut protected, url);
        protected.push('}');
        let input = signing_input(&protected, &self.jwk);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &eab.key);
        flattened(&input, hmac::sign(&key, input.as_bytes()).as_ref())
    }
}

/// Returns the SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

fn signing_input(protected: &str, payload: &str) -> String {
    let (protected, payload) = (
        encode_url(protected.as_bytes()),
        encode_url(payload.as_bytes()),
    );
    format!("{protected}.{payload}")
}

/// Returns the flattened JSON serialization (RFC 7515 7.2.2).
fn flattened(input: &str, signature: &[u8]) -> String {
    let (protected, payload) = input.split_once('.').unwrap_or_default();
    let signature = encode_url(signature);
    format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#)
}
