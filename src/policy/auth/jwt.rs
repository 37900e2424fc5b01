//! Verification of JSON Web Tokens (RFC 7519, RFC 8725).

use super::algorithm::AlgorithmSet;
use super::fault::CredentialFault;
use super::grant::{Grant, Leeway, UsedClaim};
use super::json::Json;
use super::jwks::KeySet;
use super::signature::CostlySignature;
use super::token;
use crate::time::{Duration, UnixTime};

/// Rules that a token must satisfy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Allowed signature algorithms.
    pub algorithms: AlgorithmSet,
    /// Allowed values of `iss`; empty allows any issuer with a known key.
    pub issuers: Vec<String>,
    /// Accepted audiences, one of which `aud` must contain; empty disables the check.
    pub audiences: Vec<String>,
    /// Tolerance for the difference between the issuer's clock and the gateway's.
    pub leeway: Duration,
    /// Claims that are forwarded to the upstream, or that rate limits count by.
    pub claims: Vec<UsedClaim>,
}

/// Result of checking a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checked {
    /// The token is valid, as long as the grant is.
    Good(Grant),
    /// The token is not valid, and no other key would change that.
    Bad(CredentialFault),
    /// The set has no key that the token may be signed with.
    UnknownKey,
}

/// Result of the inexpensive checks of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Examined {
    /// The check is complete.
    Done(Checked),
    /// No inexpensive key made the signature, but expensive keys remain: see [`Rules::conclude`].
    Costly(CostlySignature),
}

impl Rules {
    /// Checks a token at this time, including expensive signatures.
    pub fn check(&self, token: &[u8], keys: &KeySet, wall: UnixTime) -> Checked {
        match self.examine(token, keys, wall) {
            Examined::Done(checked) => checked,
            Examined::Costly(signature) => self
                .conclude(&signature, signature.verify(), wall)
                .map_or_else(Checked::Bad, Checked::Good),
        }
    }

    /// Checks a token at this time, as far as that is inexpensive. The signature comes first,
    /// because the claims have no value before it is verified.
    pub fn examine(&self, token: &[u8], keys: &KeySet, wall: UnixTime) -> Examined {
        let bad = |fault| Examined::Done(Checked::Bad(fault));
        let Some(token) = token::parse(token) else {
            return bad(CredentialFault::TokenForm);
        };
        if !self.algorithms.contains(token.algorithm) {
            return bad(CredentialFault::Algorithm);
        }
        let (mut tried, mut costly) = (false, Vec::new());
        for key in keys.candidates(token.key_id.as_deref(), token.algorithm) {
            tried = true;
            if key.is_costly() {
                costly.push(key.clone());
            } else if key.verifies(token.algorithm, token.signed, &token.signature) {
                let judged = self.grant(&token.payload, wall);
                return Examined::Done(judged.map_or_else(Checked::Bad, Checked::Good));
            }
        }
        if !costly.is_empty() {
            return Examined::Costly(CostlySignature::new(
                token.algorithm,
                costly,
                token.signed,
                token.signature,
            ));
        }
        Examined::Done(if tried {
            Checked::Bad(CredentialFault::Signature)
        } else {
            Checked::UnknownKey
        })
    }

    /// Returns the grant of a token if its signature is good, which is not verified here.
    ///
    /// # Errors
    /// The reason why no signature makes the token valid.
    #[cold]
    pub fn grant_if_signed(&self, token: &[u8], wall: UnixTime) -> Result<Grant, CredentialFault> {
        let token = token::parse(token).ok_or(CredentialFault::TokenForm)?;
        if !self.algorithms.contains(token.algorithm) {
            return Err(CredentialFault::Algorithm);
        }
        self.grant(&token.payload, wall)
    }

    /// Checks a token whose signature was verified elsewhere. `good`: the result of
    /// [`CostlySignature::verify`].
    ///
    /// # Errors
    /// The reason why the token is not valid.
    pub fn conclude(
        &self,
        signature: &CostlySignature,
        good: bool,
        wall: UnixTime,
    ) -> Result<Grant, CredentialFault> {
        let payload = signature.payload().filter(|_| good);
        self.grant(&payload.ok_or(CredentialFault::Signature)?, wall)
    }

    fn grant(&self, payload: &[u8], wall: UnixTime) -> Result<Grant, CredentialFault> {
        use CredentialFault::{Audience, Claims, IssuedLater, Issuer, NoEnd};
        let claims = Json::parse(payload)
            .filter(|claims| matches!(claims, Json::Object(_)))
            .ok_or(Claims)?;
        if !self.issuers.is_empty() {
            let issuer = claims.get("iss").and_then(Json::text).ok_or(Issuer)?;
            self.issuers
                .iter()
                .find(|known| *known == issuer)
                .ok_or(Issuer)?;
        }
        if !self.audiences.is_empty() {
            let audience = claims.get("aud").and_then(Json::texts).ok_or(Audience)?;
            self.audiences
                .iter()
                .find(|own| audience.contains(&own.as_str()))
                .ok_or(Audience)?;
        }
        let leeway = i64::try_from(self.leeway.as_millis()).unwrap_or(i64::MAX);
        if let Some(issued) = claims.get("iat") {
            // The RFC does not forbid it, but an honest clock does not issue tokens in the future.
            let now = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
            if issued.numeric_date().ok_or(Claims)?.saturating_sub(leeway) > now {
                return Err(IssuedLater);
            }
        }
        let leeway = Leeway {
            before: leeway,
            after: leeway,
        };
        let grant = Grant::from_claims(&claims, &self.claims, leeway).ok_or(Claims)?;
        if !grant.ends() {
            return Err(NoEnd);
        }
        grant.check_time(wall)?;
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::algorithm::Algorithm;
    use crate::policy::auth::base64::{decode_url, encode_url};
    use crate::policy::auth::key::{Curve, Material, Secret, VerifyingKey};
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
    const NOW: u64 = 1_000_000;

    fn rules() -> Rules {
        Rules {
            algorithms: AlgorithmSet::new(Algorithm::ALL),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::ZERO,
            claims: Vec::new(),
        }
    }

    fn secret(bytes: &[u8]) -> KeySet {
        let material = Material::Secret(Secret::new(bytes.to_vec()));
        KeySet::only(VerifyingKey::new(
            None,
            material,
            AlgorithmSet::new(Algorithm::ALL),
        ))
    }

    fn signed(header: &str, claims: &str, key: &[u8]) -> String {
        let text = format!(
            "{}.{}",
            encode_url(header.as_bytes()),
            encode_url(claims.as_bytes())
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        format!("{text}.{}", encode_url(tag.as_ref()))
    }

    fn lets_in(rules: &Rules, claims: &str) -> bool {
        let token = signed(r#"{"alg":"HS256"}"#, claims, SECRET);
        matches!(
            rules.check(
                token.as_bytes(),
                &secret(SECRET),
                UnixTime::from_millis(NOW * 1000)
            ),
            Checked::Good(_)
        )
    }

    #[test]
    fn the_tokens_of_rfc_7515() {
        let hs = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = decode_url(b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .expect("a key");
        let es = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let x = decode_url(b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").expect("x");
        let y = decode_url(b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").expect("y");
        let point = Material::point(Curve::P256, &x, &y).expect("a point");
        let point = KeySet::only(VerifyingKey::new(None, point, AlgorithmSet::PUBLIC));
        let before = UnixTime::from_millis(1_300_819_379_999);
        let joe = Rules {
            issuers: vec!["ann".to_owned(), "joe".to_owned()],
            ..rules()
        };
        for (token, keys) in [(&hs[..], secret(&key)), (&es[..], point)] {
            assert!(matches!(joe.check(token, &keys, before), Checked::Good(_)));
            assert_eq!(
                joe.check(token, &keys, UnixTime::from_millis(1_300_819_380_000)),
                Checked::Bad(CredentialFault::Expired)
            );
            for at in [0, 10, 40, token.len() - 2] {
                let mut changed = token.to_vec();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                assert!(
                    matches!(joe.check(&changed, &keys, before), Checked::Bad(_)),
                    "{at}"
                );
            }
        }
    }

    #[test]
    fn when_it_holds() {
        let lenient = Rules {
            leeway: Duration::from_secs(30),
            ..rules()
        };
        for (claims, strict_says, lenient_says) in [
            (r#"{"exp":1000001}"#, true, true),
            (r#"{"exp":1000000.5}"#, true, true),
            (r#"{"exp":1000000}"#, false, true),
            (r#"{"exp":999971}"#, false, true),
            (r#"{"exp":999970}"#, false, false),
            (r#"{"exp":1000001,"nbf":1000000}"#, true, true),
            (r#"{"exp":1000100,"nbf":1000030}"#, false, true),
            (r#"{"exp":1000100,"nbf":1000031}"#, false, false),
            (r#"{"exp":1000001,"iat":1000000}"#, true, true),
            (r#"{"exp":1000100,"iat":1000031}"#, false, false),
            (r#"{}"#, false, false),
            (r#"{"exp":"1000001"}"#, false, false),
            (r#"{"exp":null}"#, false, false),
            (r#"{"exp":1000001,"iat":null,"nbf":null}"#, true, true),
            (r#"{"exp":1000001,"iat":"x"}"#, false, false),
            (r#"{"exp":1000001,"nbf":[]}"#, false, false),
            (r#"{"exp":1,"exp":1000001}"#, false, false),
            (r#"[1000001]"#, false, false),
            (r#"{"exp":1000001"#, false, false),
        ] {
            assert_eq!(
                (lets_in(&rules(), claims), lets_in(&lenient, claims)),
                (strict_says, lenient_says),
                "{claims}"
            );
        }
    }

    #[test]
    fn who_says_it_and_to_whom() {
        let rules = Rules {
            issuers: vec!["idp".to_owned()],
            audiences: vec!["api".to_owned(), "web".to_owned()],
            ..rules()
        };
        for (claims, good) in [
            (r#""iss":"idp","aud":"api""#, true),
            (r#""iss":"idp","aud":["x","web"]"#, true),
            (r#""iss":"idp","aud":"x""#, false),
            (r#""iss":"idp","aud":[]"#, false),
            (r#""iss":"idp","aud":["api",1]"#, false),
            (r#""iss":"idp","aud":null"#, false),
            (r#""iss":"idp""#, false),
            (r#""aud":"api""#, false),
            (r#""iss":"IDP","aud":"api""#, false),
            (r#""iss":["idp"],"aud":"api""#, false),
            (r#""iss":"idp/","aud":"api""#, false),
        ] {
            assert_eq!(
                lets_in(&rules, &format!("{{\"exp\":1000001,{claims}}}")),
                good,
                "{claims}"
            );
        }
    }

    /// Members that an issuer writes as null, or has very many of, change nothing.
    #[test]
    fn whatever_else_it_says() {
        let groups = (0..300)
            .map(|group| format!("\"g{group}\""))
            .collect::<Vec<_>>()
            .join(",");
        let members = (0..1000)
            .map(|claim| format!("\"c{claim}\":1"))
            .collect::<Vec<_>>()
            .join(",");
        for more in [
            r#""acr":null,"sub":null,"groups":null,"realm":{"roles":null}"#,
            r#""groups":[null,"a"],"x":[[null]]"#,
            &format!("\"groups\":[{groups}]"),
            &members,
            &format!("\"nested\":{{{members}}}"),
        ] {
            let claims = format!("{{\"exp\":1000001,{more}}}");
            assert!(lets_in(&rules(), &claims), "{claims:.100}");
        }
    }

    /// A pair on P-384 signs, so that its signatures are costly.
    fn es384(claims: &str) -> (String, VerifyingKey) {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P384_SHA384_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).expect("a pair");
        let text = format!(
            "{}.{}",
            encode_url(br#"{"alg":"ES384"}"#),
            encode_url(claims.as_bytes())
        );
        let signature = pair.sign(&random, text.as_bytes()).expect("a signature");
        let point = pair.public_key().as_ref();
        let material = Material::point(Curve::P384, &point[1..49], &point[49..]).expect("a point");
        (
            format!("{text}.{}", encode_url(signature.as_ref())),
            VerifyingKey::new(None, material, AlgorithmSet::PUBLIC),
        )
    }

    #[test]
    fn a_costly_signature_is_left_to_others() {
        let wall = UnixTime::from_millis(NOW * 1000);
        let (token, key) = es384(r#"{"exp":1000001}"#);
        let keys = KeySet::only(key);
        let Examined::Costly(signature) = rules().examine(token.as_bytes(), &keys, wall) else {
            panic!("it was verified here");
        };
        assert!(signature.verify());
        assert!(rules().conclude(&signature, true, wall).is_ok());
        assert!(matches!(
            rules().check(token.as_bytes(), &keys, wall),
            Checked::Good(_)
        ));
        // Only the verdict says if the signature is good; the claims are checked afterwards.
        assert_eq!(
            rules().conclude(&signature, false, wall),
            Err(CredentialFault::Signature)
        );
        assert_eq!(
            rules().conclude(&signature, true, UnixTime::from_millis(NOW * 1000 + 1000)),
            Err(CredentialFault::Expired)
        );
        // For another party's token the signature is wrong.
        let (other, _) = es384(r#"{"exp":1000001}"#);
        let Examined::Costly(forged) = rules().examine(other.as_bytes(), &keys, wall) else {
            panic!("it was verified here");
        };
        assert!(!forged.verify() && forged != signature);
        assert_eq!(
            rules().check(other.as_bytes(), &keys, wall),
            Checked::Bad(CredentialFault::Signature)
        );
        let signed = token.rsplit_once('.').expect("a dot").0;
        assert!(!format!("{signature:?}").contains(signed));
    }

    #[test]
    fn which_keys_are_costly() {
        let rsa = |bits: usize| {
            let mut modulus = vec![0xff; bits.div_ceil(8)];
            modulus[0] >>= modulus.len() * 8 - bits;
            Material::rsa(&modulus, &[1, 0, 1]).expect("a key")
        };
        for (material, costly) in [
            (rsa(2048), false),
            (rsa(2049), true),
            (rsa(4096), true),
            (rsa(8192), true),
            (Material::P256(vec![4; 65]), false),
            (Material::P384(vec![4; 97]), true),
            (Material::Ed25519(vec![4; 32]), false),
            (Material::Secret(Secret::new(vec![4; 1000])), false),
        ] {
            let kind = material.kind();
            let key = VerifyingKey::new(None, material, AlgorithmSet::new(Algorithm::ALL));
            assert_eq!(key.is_costly(), costly, "{kind}");
            // A provider with a fetched set has a thread for the costly keys that the set may
            // contain later.
            assert!(!costly || !key.algorithms().and(AlgorithmSet::COSTLY).is_empty());
            assert!(key.bytes() <= VerifyingKey::BYTES_MAX, "{kind}");
        }
    }

    #[test]
    fn a_public_key_is_no_secret() {
        // Key confusion: the attacker signs with HMAC and uses the public key's bytes as the
        // secret.
        let point = vec![4; 65];
        let public = VerifyingKey::new(
            None,
            Material::P256(point.clone()),
            AlgorithmSet::new(Algorithm::ALL),
        );
        let token = signed(r#"{"alg":"HS256"}"#, r#"{"exp":1000001}"#, &point);
        let wall = UnixTime::from_millis(NOW * 1000);
        assert_eq!(
            rules().check(token.as_bytes(), &KeySet::only(public), wall),
            Checked::UnknownKey
        );
        assert!(
            matches!(
                rules().check(token.as_bytes(), &secret(&point), wall),
                Checked::Good(_)
            ),
            "the attack is a real one"
        );
    }

    #[test]
    fn only_by_the_algorithms_that_are_listed() {
        let rules = Rules {
            algorithms: AlgorithmSet::new(&[Algorithm::Hs384]),
            ..rules()
        };
        assert!(!lets_in(&rules, r#"{"exp":1000001}"#));
    }
}
