//! Key sets (RFC 7517 5), from a file of the operator or from an identity provider. A key that the
//! gateway cannot use is ignored, as RFC 7517 5 says. A text that is not a key set is an error.

use super::algorithm::{Algorithm, AlgorithmSet};
use super::base64::decode_url;
use super::json::Json;
use super::key::{Curve, Material, Secret, VerifyingKey};
use crate::limits::{AUTH_KEY_ID_BYTES, AUTH_KEYS, AUTH_KEYS_TRIED, JWKS_BYTES};

/// Keys, each with its optional `kid`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    /// True for a single key of the configuration, which is used whatever `kid` a token has.
    only: bool,
    left_out: usize,
}

impl KeySet {
    /// Creates a set of a single key, which is used whatever `kid` a token has.
    pub fn only(key: VerifyingKey) -> KeySet {
        KeySet {
            keys: vec![key],
            only: true,
            left_out: 0,
        }
    }

    /// Parses a set and keeps the keys that can verify one of `algorithms`, at most [`AUTH_KEYS`].
    ///
    /// # Errors
    /// The text is not a key set, or has no usable key. The error says which.
    pub fn parse(bytes: &[u8], algorithms: AlgorithmSet) -> Result<KeySet, &'static str> {
        if bytes.len() > JWKS_BYTES {
            return Err("is larger than 256 KB");
        }
        let json = Json::parse(bytes).ok_or("is no JSON, or has a member twice")?;
        let Some(Json::List(listed)) = json.get("keys") else {
            return Err("has no list \"keys\"");
        };
        let mut usable = listed.iter().filter_map(|jwk| key(jwk, algorithms));
        let keys = usable.by_ref().take(AUTH_KEYS).collect::<Vec<_>>();
        if keys.is_empty() {
            return Err("has no key for the algorithms that are allowed");
        }
        Ok(KeySet {
            keys,
            only: false,
            left_out: usable.count(),
        })
    }

    /// Returns the set as JSON, which [`KeySet::parse`] reads with the same algorithms.
    pub fn write(&self) -> Secret {
        let mut out = b"{\"keys\":[".to_vec();
        for (place, key) in self.keys.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            key.write(&mut out);
        }
        out.extend_from_slice(b"]}");
        Secret::new(out)
    }

    /// Returns the number of usable keys that were left out, because the set has more than
    /// [`AUTH_KEYS`].
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Returns all keys.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Returns the keys that a token may be signed with: the keys with its `kid`, or the keys
    /// without one if the token has none or no key has its `kid`. At most [`AUTH_KEYS_TRIED`] keys,
    /// so that a token does not cost as many verifications as the set has keys.
    pub fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let fits = move |key: &&VerifyingKey| key.algorithms().contains(algorithm);
        let is_named = move |key: &&VerifyingKey| id.is_some() && key.id.as_deref() == id;
        let named = self.keys.iter().any(|key| is_named(&key));
        let any = self.only || id.is_none();
        let meant = move |key: &&VerifyingKey| match (any, named) {
            (true, _) => true,
            (false, true) => is_named(key),
            (false, false) => key.id.is_none(),
        };
        self.keys
            .iter()
            .filter(meant)
            .filter(fits)
            .take(AUTH_KEYS_TRIED)
    }

    /// Returns the bytes that the set occupies.
    pub fn bytes(&self) -> usize {
        self.keys
            .iter()
            .map(VerifyingKey::bytes)
            .fold(0, usize::saturating_add)
    }
}

/// Reads a JWK (RFC 7517 4, RFC 7518 6, RFC 8037 2), if it is a key for one of `algorithms`.
fn key(jwk: &Json, algorithms: AlgorithmSet) -> Option<VerifyingKey> {
    let text = |name: &str| jwk.get(name).and_then(Json::text);
    let bytes = |name: &str| text(name).and_then(|value| decode_url(value.as_bytes()));
    // RFC 7517 4.2, 4.3: two members describe the use of a key. Neither may exclude verification.
    if jwk
        .get_filled("use")
        .is_some_and(|purpose| purpose.text() != Some("sig"))
    {
        return None;
    }
    if jwk.get_filled("key_ops").is_some_and(|operations| {
        !operations
            .texts()
            .is_some_and(|all| all.contains(&"verify"))
    }) {
        return None;
    }
    let id = match jwk.get_filled("kid") {
        None => None,
        Some(id) => Some(
            id.text()
                .filter(|id| id.len() <= AUTH_KEY_ID_BYTES)?
                .to_owned(),
        ),
    };
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => Material::rsa(&bytes("n")?, &bytes("e")?)?,
        ("EC", Some("P-256")) => Material::point(Curve::P256, &bytes("x")?, &bytes("y")?)?,
        ("EC", Some("P-384")) => Material::point(Curve::P384, &bytes("x")?, &bytes("y")?)?,
        ("OKP", Some("Ed25519")) => {
            Material::Ed25519(bytes("x").filter(|point| point.len() == 32)?)
        }
        ("oct", _) => {
            Material::Secret(Secret::new(bytes("k").filter(|secret| !secret.is_empty())?))
        }
        _ => return None,
    };
    let allowed = match jwk.get_filled("alg") {
        None => algorithms,
        Some(named) => algorithms.and(AlgorithmSet::new(&[Algorithm::named(named.text()?)?])),
    };
    let key = VerifyingKey::new(id, material, allowed);
    (!key.algorithms().is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 A.2, A.3; RFC 8037 A.2.
    const RSA: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB""#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    const OKP: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    const OCT: &str = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow""#;
    const ALL: AlgorithmSet = AlgorithmSet::new(Algorithm::ALL);

    fn set(keys: &[String]) -> Result<KeySet, &'static str> {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes(), ALL)
    }

    fn with(key: &str, more: &str) -> String {
        format!("{key}{more}}}")
    }

    #[test]
    fn keys_of_every_kind() {
        let set = set(&[
            with(RSA, r#","kid":"r""#),
            with(EC, r#","alg":"ES256","use":"sig""#),
            with(OKP, r#","key_ops":["verify"]"#),
            with(OCT, ""),
        ])
        .expect("a set");
        let kinds = set
            .keys()
            .iter()
            .map(VerifyingKey::kind)
            .collect::<Vec<_>>();
        assert_eq!(
            kinds,
            [
                "an RSA key",
                "an EC key on P-256",
                "an Ed25519 key",
                "a shared secret"
            ]
        );
        assert!(set.bytes() > 256);
    }

    #[test]
    fn sets_are_written_and_read_again() {
        let p384 = "A".repeat(64);
        let names = r#","kid":"a \"b\\ \u0001 \u00e9""#;
        let written = set(&[
            with(RSA, names),
            with(RSA, r#","alg":"PS256""#),
            with(EC, r#","alg":"ES256","use":"sig""#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{p384}","y":"{p384}"}}"#),
            with(OKP, r#","kid":"""#),
            with(OCT, r#","kid":"s""#),
        ])
        .expect("a set");
        assert_eq!(written.keys().len(), 6);
        let again = KeySet::parse(written.write().bytes(), ALL);
        assert_eq!(again.as_ref(), Ok(&written));
        let public = KeySet::parse(written.write().bytes(), AlgorithmSet::PUBLIC);
        assert_eq!(public.expect("a set").keys().len(), 5, "not the secret");
    }

    #[test]
    fn keys_that_are_passed_over() {
        for bad in [
            with(RSA, r#","use":"enc""#),
            with(RSA, r#","use":1"#),
            with(RSA, r#","key_ops":["encrypt"]"#),
            with(RSA, r#","alg":"RSA-OAEP""#),
            with(RSA, r#","alg":"HS256""#),
            with(RSA, r#","alg":"none""#),
            with(RSA, r#","kid":7"#),
            with(EC, r#","alg":"ES384""#),
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}"#
                .to_owned(),
            r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
                .to_owned(),
            r#"{"kty":"oct","k":""}"#.to_owned(),
            r#"{"kty":"oct","k":"AA=="}"#.to_owned(),
            "{}".to_owned(),
            "1".to_owned(),
            format!("{OKP},\"kid\":\"{}\"}}", "x".repeat(AUTH_KEY_ID_BYTES + 1)),
        ] {
            assert!(set(std::slice::from_ref(&bad)).is_err(), "{bad}");
            assert_eq!(
                set(&[bad, with(OKP, "")])
                    .expect("the other is good")
                    .keys()
                    .len(),
                1
            );
        }
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"keys":{}}"#,
            r#"{"keys":[]}"#,
            r#"{"keys":[],"keys":[]}"#,
        ] {
            assert!(KeySet::parse(bad.as_bytes(), ALL).is_err(), "{bad}");
        }
        assert!(KeySet::parse(&vec![b' '; JWKS_BYTES + 1], ALL).is_err());
    }

    /// A member without a value says nothing, however it is written.
    #[test]
    fn members_that_are_null_or_empty_are_absent() {
        let bare = set(&[with(RSA, "")]).expect("a set");
        for more in [
            r#","use":null,"key_ops":null,"kid":null,"alg":null,"x5c":null,"crv":null,"k":null,"d":null"#,
            r#","use":"","key_ops":[],"kid":"","alg":"","x5c":[],"x5t":"""#,
            r#","ext":{"a":[null]}"#,
        ] {
            assert_eq!(set(&[with(RSA, more)]).as_ref(), Ok(&bare), "{more}");
        }
        let text = format!(
            r#"{{"iss":null,"keys":[null,{}],"next":null}}"#,
            with(RSA, "")
        );
        assert_eq!(KeySet::parse(text.as_bytes(), ALL), Ok(bare));
        for missing in [
            r#"{"kty":"RSA","n":null,"e":"AQAB"}"#,
            r#"{"kty":null}"#,
            r#"{"kty":"OKP","crv":null,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ] {
            assert!(set(&[missing.to_owned()]).is_err(), "{missing}");
        }
        assert!(KeySet::parse(br#"{"keys":null}"#, ALL).is_err());
    }

    #[test]
    fn of_a_large_set_the_first_keys_are_kept() {
        for (count, left_out) in [(AUTH_KEYS, 0), (AUTH_KEYS + 1, 1), (300, 236), (2000, 1936)] {
            // Unusable keys do not count.
            let mut keys = vec![r#"{"kty":"EC","use":"enc"}"#.to_owned(); 100];
            keys.extend((0..count).map(|number| with(OKP, &format!(",\"kid\":\"{number}\""))));
            let kept = set(&keys).expect("a set");
            assert_eq!(
                (kept.keys().len(), kept.left_out()),
                (AUTH_KEYS, left_out),
                "{count}"
            );
            let ids = kept
                .keys()
                .iter()
                .filter_map(|key| key.id.clone())
                .collect::<Vec<_>>();
            assert_eq!(
                ids,
                (0..AUTH_KEYS)
                    .map(|number| number.to_string())
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn ed25519_by_either_name() {
        for name in ["EdDSA", "Ed25519"] {
            let set = set(&[with(OKP, &format!(",\"alg\":\"{name}\""))]).expect("a set");
            assert_eq!(set.candidates(None, Algorithm::EdDsa).count(), 1, "{name}");
            assert!(
                set_of_one(EC, name).is_err() && set_of_one(RSA, name).is_err(),
                "{name}"
            );
        }
    }

    fn set_of_one(key: &str, algorithm: &str) -> Result<KeySet, &'static str> {
        set(&[with(key, &format!(",\"alg\":\"{algorithm}\""))])
    }

    #[test]
    fn only_what_is_allowed_is_kept() {
        let both = format!("{{\"keys\":[{},{}]}}", with(RSA, ""), with(OCT, ""));
        let set =
            KeySet::parse(both.as_bytes(), AlgorithmSet::new(&[Algorithm::Rs256])).expect("a set");
        assert_eq!(set.keys().len(), 1);
        assert_eq!(
            set.keys()[0].algorithms().iter().collect::<Vec<_>>(),
            [Algorithm::Rs256]
        );
    }

    #[test]
    fn which_keys_a_token_is_tried_with() {
        let set = set(&[
            with(RSA, r#","kid":"a""#),
            with(EC, r#","kid":"a""#),
            with(EC, r#","kid":"b""#),
            with(OKP, ""),
        ])
        .expect("a set");
        let kinds = |id, algorithm| {
            set.candidates(id, algorithm)
                .map(VerifyingKey::kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(Some("a"), Algorithm::Rs256), ["an RSA key"]);
        assert_eq!(kinds(Some("a"), Algorithm::Es256), ["an EC key on P-256"]);
        assert_eq!(kinds(Some("b"), Algorithm::Rs256), [""; 0]);
        assert_eq!(kinds(Some("c"), Algorithm::Rs256), [""; 0]);
        assert_eq!(kinds(Some("c"), Algorithm::EdDsa), ["an Ed25519 key"]);
        assert_eq!(kinds(None, Algorithm::Es256).len(), 2);
        let only = KeySet::only(set.keys()[0].clone());
        assert_eq!(
            only.candidates(Some("whatever"), Algorithm::Rs256).count(),
            1
        );
        assert_eq!(
            only.candidates(Some("whatever"), Algorithm::Hs256).count(),
            0
        );
        let many = vec![with(OKP, ""); AUTH_KEYS];
        let many = KeySet::parse(format!("{{\"keys\":[{}]}}", many.join(",")).as_bytes(), ALL)
            .expect("a set");
        assert_eq!(
            many.candidates(None, Algorithm::EdDsa).count(),
            AUTH_KEYS_TRIED
        );
    }
}
