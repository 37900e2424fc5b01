//! JSON Web Tokens (RFC 7519) for the routes that need one: the keys of the gateways, and a valid token of each kind.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use tollgate::policy::auth::base64::encode_url;

/// Secret of HS256, as long as its hash.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Life of a token: longer than any comparison.
const VALID_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Kind of token, and the route that needs it.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Algorithm in small letters; behind a slash, the route.
    pub name: &'static str,
    pub key: Key,
    pub token: String,
}

/// Keys that tokens are verified with.
#[derive(Clone, Debug)]
pub enum Key {
    Secret(String),
    /// PEM of a public key.
    Public(PathBuf),
}

/// Makes both kinds. Keys that gateways read are left in `folder`.
pub fn guards(folder: &Path) -> io::Result<Vec<Guard>> {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let by_secret = Guard {
        name: "hs256",
        key: Key::Secret(SECRET.to_owned()),
        token: signed("HS256", |text| {
            Ok(hmac::sign(&secret, text).as_ref().to_vec())
        })?,
    };
    let pair =
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let public = folder.join("token.pem");
    std::fs::write(&public, pair.public_key_pem())?;
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        pair.serialized_der(),
        &random,
    )
    .map_err(|error| io::Error::other(format!("the key of ES256: {error}")))?;
    let sign = |text: &[u8]| {
        let signature = pair
            .sign(&random, text)
            .map_err(|_| io::Error::other("ES256 cannot sign"))?;
        Ok(signature.as_ref().to_vec())
    };
    let by_public_key = Guard {
        name: "es256",
        key: Key::Public(public),
        token: signed("ES256", sign)?,
    };
    Ok(vec![by_secret, by_public_key])
}

/// Returns claims as identity providers write them: issuer, audience, subject, scopes.
fn signed(algorithm: &str, sign: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<String> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(io::Error::other)?;
    let header = format!("{{\"alg\":\"{algorithm}\",\"typ\":\"JWT\"}}");
    let claims = format!(
        "{{\"iss\":\"https://idp.test\",\"aud\":\"api\",\"sub\":\"248289761001\",\"scope\":\"read:users write:users\",\
         \"iat\":{},\"exp\":{}}}",
        now.as_secs(),
        (now + VALID_FOR).as_secs()
    );
    let text = format!(
        "{}.{}",
        encode_url(header.as_bytes()),
        encode_url(claims.as_bytes())
    );
    Ok(format!("{text}.{}", encode_url(&sign(text.as_bytes())?)))
}
