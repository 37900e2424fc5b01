//! Cost of a token: verified by each kind of key, and remembered.

use std::hint::black_box;
use std::sync::Arc;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use tollgate::policy::auth::algorithm::{Algorithm, AlgorithmSet};
use tollgate::policy::auth::base64::{decode_url, encode_url};
use tollgate::policy::auth::credential_cache::{CredentialCache, Fingerprints};
use tollgate::policy::auth::grant::{Grant, UsedClaim};
use tollgate::policy::auth::jwks::KeySet;
use tollgate::policy::auth::jwt::{Checked, Rules};
use tollgate::policy::auth::key::{Curve, Material, Secret, VerifyingKey};
use tollgate::time::{Duration, Instant, UnixTime};

use crate::harness::Case;

/// A second before the token of RFC 7515 A.2 ends.
const NOW: UnixTime = UnixTime::from_millis(1_300_819_379_000);
const CLAIMS: &[u8] = br#"{"iss":"https://idp.example","aud":"api","sub":"248289761001","scope":"read:users write:users","iat":1300819000,"exp":1300819380}"#;

/// RFC 7515 A.2
const RS256: &[u8] = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const MODULUS: &[u8] = b"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

pub fn cases() -> Vec<Case> {
    vec![
        verified("token: HS256", || {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            let token = signed("HS256", |text| hmac::sign(&key, text).as_ref().to_vec());
            (token, Material::Secret(Secret::new(vec![7; 32])))
        }),
        verified("token: RS256, 2048 bits", || {
            let modulus = decode_url(MODULUS).expect("base64");
            (
                RS256.to_vec(),
                Material::rsa(&modulus, &[1, 0, 1]).expect("a key"),
            )
        }),
        verified("token: ES256", || {
            let random = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .expect("a key");
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                    .expect("a pair");
            let token = signed("ES256", |text| {
                pair.sign(&random, text)
                    .expect("a signature")
                    .as_ref()
                    .to_vec()
            });
            let point = pair.public_key().as_ref();
            (
                token,
                Material::point(Curve::P256, &point[1..33], &point[33..]).expect("a point"),
            )
        }),
        verified("token: EdDSA", || {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a pair");
            let token = signed("EdDSA", |text| pair.sign(text).as_ref().to_vec());
            (
                token,
                Material::Ed25519(pair.public_key().as_ref().to_vec()),
            )
        }),
        remembered(),
    ]
}

fn signed(algorithm: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let header = format!("{{\"alg\":\"{algorithm}\",\"typ\":\"JWT\"}}");
    let text = format!("{}.{}", encode_url(header.as_bytes()), encode_url(CLAIMS));
    format!("{text}.{}", encode_url(&sign(text.as_bytes()))).into_bytes()
}

fn rules() -> Rules {
    Rules {
        algorithms: AlgorithmSet::new(Algorithm::ALL),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        claims: vec![UsedClaim {
            claim: "sub".to_owned(),
            header: Some("X-User-Id".to_owned()),
        }],
    }
}

fn verified(name: &'static str, make: impl FnOnce() -> (Vec<u8>, Material) + 'static) -> Case {
    Case::new(name, move || {
        let (token, material) = make();
        let keys = KeySet::only(VerifyingKey::new(
            None,
            material,
            AlgorithmSet::new(Algorithm::ALL),
        ));
        let rules = rules();
        move || {
            assert!(matches!(
                rules.check(black_box(&token), &keys, NOW),
                Checked::Good(_)
            ))
        }
    })
}

fn remembered() -> Case {
    Case::new("token: remembered, one of 10,000", move || {
        let (fingerprints, mut known) = (Fingerprints::new(7), CredentialCache::new(64 << 20));
        for number in 0..10_000_u32 {
            let grant = Arc::<Grant>::default();
            known.put(
                fingerprints.compute(0, &number.to_be_bytes(), b""),
                grant,
                100,
                (Instant::ZERO, Instant::from_millis(1)),
            );
        }
        known.put(
            fingerprints.compute(0, RS256, b""),
            Arc::default(),
            100,
            (Instant::ZERO, Instant::from_millis(1)),
        );
        move || {
            assert!(
                known
                    .get(
                        &fingerprints.compute(0, black_box(RS256), b""),
                        Instant::ZERO
                    )
                    .is_some()
            )
        }
    })
}
