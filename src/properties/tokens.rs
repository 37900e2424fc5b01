//! Tokens, key sets and other input of authentication: only what a trusted key signed is accepted,
//! and it has one spelling.

#![expect(clippy::panic, reason = "a property that does not hold panics")]

use super::cost;
use crate::http::field::is_value_byte;
use crate::limits::{AUTH_FORWARDED_BYTES, AUTH_KEY_ID_BYTES, AUTH_KEYS, AUTH_KEYS_TRIED};
use crate::policy::auth::algorithm::{Algorithm, AlgorithmSet};
use crate::policy::auth::base64;
use crate::policy::auth::grant::UsedClaim;
use crate::policy::auth::introspection::{self, Answer};
use crate::policy::auth::json::Json;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::jwt::{Checked, Rules};
use crate::policy::auth::key::{Material, Secret, VerifyingKey};
use crate::policy::auth::{pem, token as jws};
use crate::time::{Duration, UnixTime};

/// Token of RFC 7515 A.1 and its key: the only one that the fuzzer can create and that may be
/// accepted.
const KNOWN: &[u8] = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const KEY: &[u8] =
    b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const BEFORE: UnixTime = UnixTime::from_millis(1_300_819_379_000);

fn everything() -> AlgorithmSet {
    AlgorithmSet::new(Algorithm::ALL)
}

/// Parsing costs in proportion to bytes.
fn cost_is_bounded(bytes: &[u8]) {
    let steps = Json::steps(bytes);
    assert!(
        steps <= Json::STEPS_PER_BYTE * (bytes.len() + 1),
        "{steps} steps for {} bytes",
        bytes.len()
    );
}

fn forwarded() -> Vec<UsedClaim> {
    ["iss", "sub", "a"]
        .map(|claim| UsedClaim {
            claim: claim.to_owned(),
            header: Some(format!("X-{claim}")),
        })
        .to_vec()
}

/// Arbitrary bytes as a token: joining the parsed parts gives the same bytes, and only the known
/// token is valid.
pub fn token(bytes: &[u8]) {
    let rules = Rules {
        algorithms: everything(),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        claims: forwarded(),
    };
    let secret = base64::decode_url(KEY).unwrap_or_default();
    let key = VerifyingKey::new(None, Material::Secret(Secret::new(secret)), everything());
    let keys = KeySet::only(key);
    let checked = cost::within(bytes.len(), cost::JSON_STEPS, 200, || {
        rules.check(bytes, &keys, BEFORE)
    });
    assert_eq!(
        matches!(checked, Checked::Good(_)),
        bytes == KNOWN,
        "a token that nobody made"
    );
    let Some(parsed) = jws::parse(bytes) else {
        assert!(matches!(checked, Checked::Bad(_)));
        return;
    };
    let parts = bytes.split(|&byte| byte == b'.').collect::<Vec<_>>();
    let [header, payload, signature] = parts.as_slice() else {
        panic!("a token has three parts")
    };
    assert_eq!(
        base64::encode_url(&parsed.payload).as_bytes(),
        *payload,
        "the payload has one spelling"
    );
    assert_eq!(
        base64::encode_url(&parsed.signature).as_bytes(),
        *signature,
        "the signature has one spelling"
    );
    assert_eq!(parsed.signed.len(), header.len() + payload.len() + 1);
    cost_is_bounded(&parsed.payload);
    cost_is_bounded(&base64::decode_url(header).unwrap_or_default());
    assert!(parsed.key_id.is_none_or(|id| id.len() <= AUTH_KEY_ID_BYTES));
    // The same header and claims without a signature are never valid.
    let bare = [parsed.signed, b"."].concat();
    assert!(
        !matches!(rules.check(&bare, &keys, BEFORE), Checked::Good(_)),
        "a token that nobody signed"
    );
    assert_eq!(
        rules.check(&bare, &KeySet::default(), BEFORE),
        Checked::UnknownKey,
        "no key, no verdict"
    );
}

/// Arbitrary bytes as a key set, a PEM file or an introspection response.
pub fn jwks(bytes: &[u8]) {
    cost_is_bounded(bytes);
    for allowed in [
        everything(),
        AlgorithmSet::PUBLIC,
        AlgorithmSet::P256,
        AlgorithmSet::default(),
    ] {
        let parsed = cost::within(bytes.len(), cost::JSON_STEPS, 200, || {
            KeySet::parse(bytes, allowed)
        });
        let Ok(set) = parsed else { continue };
        assert!(!set.keys().is_empty() && set.keys().len() <= AUTH_KEYS);
        for key in set.keys() {
            assert!(
                !key.algorithms().is_empty() && key.algorithms().and(allowed) == key.algorithms()
            );
            let symmetric = key
                .algorithms()
                .iter()
                .filter(|algorithm| algorithm.is_symmetric())
                .count();
            assert!(
                symmetric == 0 || symmetric == key.algorithms().iter().count(),
                "a key of two kinds"
            );
            for &algorithm in Algorithm::ALL {
                assert!(
                    !key.verifies(algorithm, b"message", b"")
                        && !key.verifies(algorithm, b"message", &[0; 64])
                );
                assert!(set.candidates(key.id.as_deref(), algorithm).count() <= AUTH_KEYS_TRIED);
            }
        }
    }
    if let Ok(material) = pem::public_key(bytes) {
        assert!(
            material
                .algorithms()
                .iter()
                .all(|algorithm| !algorithm.is_symmetric())
        );
    }
    if let Some(Answer::Active(grant)) = introspection::read(200, bytes, &forwarded(), BEFORE) {
        assert!(grant.holds_at(BEFORE) && grant.lines().len() <= AUTH_FORWARDED_BYTES);
        let lines = grant
            .lines()
            .split(|&byte| byte == b'\n')
            .collect::<Vec<_>>();
        let whole =
            |line: &&[u8]| line.is_empty() || (line.starts_with(b"X-") && line.ends_with(b"\r"));
        assert!(
            lines.iter().all(whole) && lines.len() <= forwarded().len() + 1,
            "one line for each claim"
        );
        assert!(
            grant
                .lines()
                .iter()
                .all(|&byte| is_value_byte(byte) || byte == b'\r' || byte == b'\n')
        );
    }
}
