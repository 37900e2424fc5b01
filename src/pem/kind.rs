//! Kind of a key (RFC 5280 4.1.2.7, RFC 5208, RFC 5915, RFC 8017 A.1, RFC 8410), for messages only:
//! nothing is verified here.

use core::fmt;

use crate::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, take};

/// Kind of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// RSA, with its number of bits.
    Rsa(usize),
    /// RSA for PSS only.
    RsaPss,
    /// DSA.
    Dsa,
    /// Diffie-Hellman.
    Dh,
    /// EC, on the curve of this name.
    Ec(&'static str),
    /// EC, on a curve that is unknown or given by explicit parameters.
    EcUnnamed,
    /// Kind with a single curve or parameter set.
    Named(&'static str),
    /// Any other kind.
    Unknown,
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
const DH: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

const CURVES: [(&[u8], &str); 9] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01], "P-192"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x21], "P-224"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
        "brainpoolP256r1",
    ),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
        "brainpoolP384r1",
    ),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
        "brainpoolP512r1",
    ),
];

const NAMED: [(&[u8], &str); 7] = [
    (&[0x2b, 0x65, 0x6e], "X25519"),
    (&[0x2b, 0x65, 0x6f], "X448"),
    (&[0x2b, 0x65, 0x70], "Ed25519"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11],
        "ML-DSA-44",
    ),
    (
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12],
        "ML-DSA-65",
    ),
    (
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13],
        "ML-DSA-87",
    ),
];

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            KeyKind::RsaPss => f.write_str("RSA for PSS alone (rsassaPss)"),
            KeyKind::Dsa => f.write_str("DSA"),
            KeyKind::Dh => f.write_str("Diffie-Hellman"),
            KeyKind::Ec(curve) => write!(f, "EC on {curve}"),
            KeyKind::EcUnnamed => f.write_str("EC on a curve without a known name"),
            KeyKind::Named(name) => f.write_str(name),
            KeyKind::Unknown => f.write_str("of an unknown kind"),
        }
    }
}

impl KeyKind {
    /// Returns true if a TLS listener can use a key of this kind: ring must be able to sign with
    /// it.
    pub fn signs_for_tls(self) -> bool {
        match self {
            KeyKind::Rsa(bits) => matches!(bits, 2048 | 3072 | 4096),
            KeyKind::Ec(curve) => matches!(curve, "P-256" | "P-384"),
            KeyKind::Named(name) => name == "Ed25519",
            _ => false,
        }
    }

    /// Returns the message for a key that cannot be used.
    pub fn unusable_for_tls(self) -> String {
        format!(
            "the key is {self}, which cannot be used; RSA of 2048, 3072 or 4096 bits, EC on P-256 or P-384, and Ed25519 can \
             (openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY, and a certificate for it)"
        )
    }
}

/// Returns the kind of a SubjectPublicKeyInfo or an RSAPublicKey; `None` for anything else.
pub fn public_key_kind(der: &[u8]) -> Option<KeyKind> {
    let inside = take(&mut &*der, SEQUENCE)?;
    let mut info = inside;
    if let Some(mut algorithm) = take(&mut info, SEQUENCE) {
        let bits = take(&mut info, BIT_STRING)?;
        let modulus =
            || take(&mut bits.get(1..)?, SEQUENCE).and_then(|mut key| take(&mut key, INTEGER));
        return by_identifier(&mut algorithm, modulus);
    }
    let mut key = inside;
    let modulus = take(&mut key, INTEGER)?;
    take(&mut key, INTEGER)?;
    key.is_empty().then(|| KeyKind::Rsa(bits_of(modulus)))
}

/// Returns the kind of a PKCS #8, PKCS #1 or SEC 1 private key; `None` for anything else.
pub fn private_key_kind(der: &[u8]) -> Option<KeyKind> {
    let mut inside = take(&mut &*der, SEQUENCE)?;
    take(&mut inside, INTEGER)?;
    let mut info = inside;
    if let Some(mut algorithm) = take(&mut info, SEQUENCE) {
        let key = take(&mut info, OCTET_STRING)?;
        let modulus = || {
            let mut inner = take(&mut &*key, SEQUENCE)?;
            take(&mut inner, INTEGER)?;
            take(&mut inner, INTEGER)
        };
        return by_identifier(&mut algorithm, modulus);
    }
    let mut pkcs1 = inside;
    if let Some(modulus) = take(&mut pkcs1, INTEGER) {
        return Some(KeyKind::Rsa(bits_of(modulus)));
    }
    take(&mut inside, OCTET_STRING)?;
    // Explicit tag of the parameters (RFC 5915 3).
    let mut parameters = take(&mut inside, 0xa0)?;
    Some(curve(&mut parameters))
}

fn by_identifier<'a>(
    algorithm: &mut &[u8],
    modulus: impl FnOnce() -> Option<&'a [u8]>,
) -> Option<KeyKind> {
    let id = take(algorithm, OBJECT_IDENTIFIER)?;
    Some(match id {
        _ if id == RSA => KeyKind::Rsa(bits_of(modulus()?)),
        _ if id == RSA_PSS => KeyKind::RsaPss,
        _ if id == DSA => KeyKind::Dsa,
        _ if id == DH => KeyKind::Dh,
        _ if id == EC => curve(algorithm),
        _ => NAMED
            .iter()
            .find(|(known, _)| *known == id)
            .map_or(KeyKind::Unknown, |(_, name)| KeyKind::Named(name)),
    })
}

fn curve(parameters: &mut &[u8]) -> KeyKind {
    let Some(id) = take(parameters, OBJECT_IDENTIFIER) else {
        return KeyKind::EcUnnamed;
    };
    CURVES
        .iter()
        .find(|(known, _)| *known == id)
        .map_or(KeyKind::EcUnnamed, |(_, name)| KeyKind::Ec(name))
}

/// Returns the number of bits of a non-negative integer.
fn bits_of(mut number: &[u8]) -> usize {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    let unused = number
        .first()
        .map_or(0, |first| first.leading_zeros() as usize);
    number.len().saturating_mul(8).saturating_sub(unused)
}
