//! Keys that are bound to their algorithms. Each key has a kind, and each kind has its algorithms.
//! A key verifies only signatures of these, so an RSA key cannot be used for HS256 (RFC 8725 2.1,
//! 3.1).

use core::fmt;

use ring::hmac;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use super::algorithm::{Algorithm, AlgorithmSet};
use super::base64::encode_url;
use crate::limits::AUTH_KEY_ID_BYTES;
use crate::observe::report::json;

/// Secret bytes, which never appear in messages or logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps these bytes.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Content of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Material {
    /// A shared secret.
    Secret(Secret),
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa {
        /// Modulus, of [`RSA_BITS_MIN`] to [`RSA_BITS_MAX`] bits.
        n: Vec<u8>,
        /// Exponent, usually 65537.
        e: Vec<u8>,
    },
    /// An uncompressed point on P-256: `04`, x, y.
    P256(Vec<u8>),
    /// An uncompressed point on P-384.
    P384(Vec<u8>),
    /// An Ed25519 public key.
    Ed25519(Vec<u8>),
}

/// RFC 7518 3.3: "a key of size 2048 bits or larger MUST be used".
pub const RSA_BITS_MIN: usize = 2048;
/// Upper bound of ring; larger keys would only cost time.
pub const RSA_BITS_MAX: usize = 8192;
/// Bits of an RSA key up to which a signature is verified on the event loop.
pub const RSA_BITS_CHEAP: usize = 2048;

impl Material {
    /// Creates an RSA key without leading zeros. Returns `None` if the modulus is too short or too
    /// long, or the exponent is not valid.
    pub fn rsa(n: &[u8], e: &[u8]) -> Option<Material> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n
            .len()
            .saturating_mul(8)
            .saturating_sub(n.first()?.leading_zeros() as usize);
        // ring accepts exponents of up to 33 bits. An exponent must be odd and greater than 1.
        let odd = e.last().is_some_and(|last| last & 1 == 1) && e.len() <= 5 && e != [1];
        let fits = (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits);
        (fits && odd).then(|| Material::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }

    /// Creates the point with these coordinates, each as long as the curve's field
    /// (RFC 7518 6.2.1.2).
    pub fn point(curve: Curve, x: &[u8], y: &[u8]) -> Option<Material> {
        let length = curve.field_bytes();
        (x.len() == length && y.len() == length).then(|| curve.material([&[4], x, y].concat()))
    }

    /// Returns the algorithms that the key can be used for.
    pub fn algorithms(&self) -> AlgorithmSet {
        match self {
            Material::Secret(_) => AlgorithmSet::SECRET,
            Material::Rsa { .. } => AlgorithmSet::RSA,
            Material::P256(_) => AlgorithmSet::P256,
            Material::P384(_) => AlgorithmSet::P384,
            Material::Ed25519(_) => AlgorithmSet::ED25519,
        }
    }

    /// Returns the kind of key, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Material::Secret(_) => "a shared secret",
            Material::Rsa { .. } => "an RSA key",
            Material::P256(_) => "an EC key on P-256",
            Material::P384(_) => "an EC key on P-384",
            Material::Ed25519(_) => "an Ed25519 key",
        }
    }
}

/// A curve of ECDSA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

impl Curve {
    /// Returns the bytes of a coordinate.
    pub fn field_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    /// Creates the key with this point.
    pub fn material(self, point: Vec<u8>) -> Material {
        match self {
            Curve::P256 => Material::P256(point),
            Curve::P384 => Material::P384(point),
        }
    }
}

fn without_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// A key and the algorithms that it may verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyingKey {
    /// The key's `kid`.
    pub id: Option<String>,
    material: Material,
    algorithms: AlgorithmSet,
}

impl VerifyingKey {
    /// Creates a key for those of `algorithms` that its kind supports.
    pub fn new(id: Option<String>, material: Material, algorithms: AlgorithmSet) -> VerifyingKey {
        let algorithms = material.algorithms().and(algorithms);
        VerifyingKey {
            id,
            material,
            algorithms,
        }
    }

    /// Returns the algorithms that the key may verify.
    pub fn algorithms(&self) -> AlgorithmSet {
        self.algorithms
    }

    /// Returns the kind of key, for messages.
    pub fn kind(&self) -> &'static str {
        self.material.kind()
    }

    /// Returns the length of a shared secret in bytes; `None` for other kinds.
    pub fn secret_bytes(&self) -> Option<usize> {
        match &self.material {
            Material::Secret(secret) => Some(secret.bytes().len()),
            _ => None,
        }
    }

    /// Restricts the key to these algorithms.
    pub fn restricted(self, algorithms: AlgorithmSet) -> VerifyingKey {
        let algorithms = self.algorithms.and(algorithms);
        VerifyingKey { algorithms, ..self }
    }

    /// Returns true if a signature takes too long to verify on the event loop: on P-384, and of RSA
    /// above [`RSA_BITS_CHEAP`] bits.
    pub fn is_costly(&self) -> bool {
        match &self.material {
            Material::P384(_) => true,
            Material::Rsa { n, .. } => n.len() > RSA_BITS_CHEAP / 8,
            Material::Secret(_) | Material::P256(_) | Material::Ed25519(_) => false,
        }
    }

    /// Appends the key as a JWK (RFC 7517 4, RFC 7518 6, RFC 8037 2).
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut member = |name: &str, value: &str| {
            json(name, out);
            out.push(b':');
            json(value, out);
            out.push(b',');
        };
        // RFC 7517 4.4: without `alg`, the key is good for each algorithm of its kind.
        let mut algorithms = self.algorithms.iter();
        if let (Some(only), None) = (algorithms.next(), algorithms.next()) {
            member("alg", only.name());
        }
        if let Some(id) = &self.id {
            member("kid", id);
        }
        let (kind, curve) = match &self.material {
            Material::Secret(_) => ("oct", None),
            Material::Rsa { .. } => ("RSA", None),
            Material::P256(_) => ("EC", Some("P-256")),
            Material::P384(_) => ("EC", Some("P-384")),
            Material::Ed25519(_) => ("OKP", Some("Ed25519")),
        };
        if let Some(curve) = curve {
            member("crv", curve);
        }
        match &self.material {
            Material::Secret(secret) => member("k", &encode_url(secret.bytes())),
            Material::Rsa { n, e } => {
                member("n", &encode_url(n));
                member("e", &encode_url(e));
            }
            Material::P256(point) | Material::P384(point) => {
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                member("x", &encode_url(x));
                member("y", &encode_url(y));
            }
            Material::Ed25519(point) => member("x", &encode_url(point)),
        }
        member("kty", kind);
        // The last comma.
        out.pop();
        out.push(b'}');
    }

    /// Upper bound of the bytes of a public key in a set.
    pub const BYTES_MAX: usize = size_of::<VerifyingKey>()
        .saturating_add(RSA_BITS_MAX / 4)
        .saturating_add(AUTH_KEY_ID_BYTES);

    /// Returns the bytes that the key occupies.
    pub fn bytes(&self) -> usize {
        let material = match &self.material {
            Material::Secret(secret) => secret.bytes().len(),
            Material::Rsa { n, e } => n.len().saturating_add(e.len()),
            Material::P256(point) | Material::P384(point) | Material::Ed25519(point) => point.len(),
        };
        size_of::<VerifyingKey>()
            .saturating_add(material)
            .saturating_add(self.id.as_ref().map_or(0, String::len))
    }

    /// Returns true if this key made the signature over the message with this algorithm. Returns
    /// false if the algorithm is not one of the key's.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        use Algorithm as A;
        if !self.algorithms.contains(algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::Secret(secret), A::Hs256) => {
                mac(hmac::HMAC_SHA256, secret, message, signature)
            }
            (Material::Secret(secret), A::Hs384) => {
                mac(hmac::HMAC_SHA384, secret, message, signature)
            }
            (Material::Secret(secret), A::Hs512) => {
                mac(hmac::HMAC_SHA512, secret, message, signature)
            }
            (Material::Rsa { n, e }, _) => {
                let Some(parameters) = rsa_parameters(algorithm) else {
                    return false;
                };
                RsaPublicKeyComponents { n, e }
                    .verify(parameters, message, signature)
                    .is_ok()
            }
            (Material::P256(point), A::Es256) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            (Material::P384(point), A::Es384) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            (Material::Ed25519(point), A::EdDsa) => {
                UnparsedPublicKey::new(&signature::ED25519, point)
                    .verify(message, signature)
                    .is_ok()
            }
            _ => false,
        }
    }
}

fn mac(algorithm: hmac::Algorithm, secret: &Secret, message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(algorithm, secret.bytes()), message, tag).is_ok()
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::base64::decode_url;

    #[test]
    fn the_signature_of_rfc_8037_a_4() {
        let point = decode_url(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("a key");
        let key = VerifyingKey::new(None, Material::Ed25519(point), AlgorithmSet::PUBLIC);
        let signature =
            decode_url(b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
                .expect("one");
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert!(key.verifies(Algorithm::EdDsa, message, &signature));
        assert!(!key.verifies(Algorithm::EdDsa, &message[1..], &signature));
        assert!(!key.verifies(Algorithm::EdDsa, message, &signature[..63]));
        for &other in Algorithm::ALL
            .iter()
            .filter(|&&other| other != Algorithm::EdDsa)
        {
            assert!(!key.verifies(other, message, &signature), "{other:?}");
        }
        assert!(
            !key.restricted(AlgorithmSet::RSA)
                .verifies(Algorithm::EdDsa, message, &signature)
        );
    }

    #[test]
    fn sizes() {
        let modulus = |bytes: usize| [&[0x80][..], &vec![1; bytes - 1]].concat();
        assert!(Material::rsa(&modulus(256), &[1, 0, 1]).is_some());
        assert_eq!(
            Material::rsa(&[&[0, 0][..], &modulus(256)].concat(), &[0, 3]),
            Material::rsa(&modulus(256), &[3])
        );
        assert!(Material::rsa(&modulus(1024), &[3]).is_some());
        for (n, e) in [
            (modulus(255), vec![3]),
            (modulus(1025), vec![3]),
            ([&[0x7f][..], &[0xff; 255]].concat(), vec![3]),
            (modulus(256), vec![]),
            (modulus(256), vec![0]),
            (modulus(256), vec![1]),
            (modulus(256), vec![2]),
            (modulus(256), vec![1, 0, 0, 0, 0, 1]),
            (vec![], vec![3]),
            (vec![0], vec![3]),
        ] {
            assert_eq!(Material::rsa(&n, &e), None);
        }
        assert!(Material::point(Curve::P256, &[1; 32], &[2; 32]).is_some());
        assert!(Material::point(Curve::P384, &[1; 48], &[2; 48]).is_some());
        assert_eq!(Material::point(Curve::P256, &[1; 31], &[2; 32]), None);
        assert_eq!(Material::point(Curve::P256, &[1; 32], &[2; 33]), None);
    }

    #[test]
    fn a_secret_has_no_text() {
        let key = VerifyingKey::new(
            None,
            Material::Secret(Secret::new(b"hush".to_vec())),
            AlgorithmSet::SECRET,
        );
        let bytes = format!("{:?}", b"hush".to_vec());
        assert!(!format!("{key:?}").contains("hush") && !format!("{key:?}").contains(&bytes));
    }
}
