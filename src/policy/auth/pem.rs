//! Public keys from PEM files: SPKI (`PUBLIC KEY`, RFC 7468 13), PKCS #1 (`RSA PUBLIC KEY`,
//! RFC 8017 A.1.1), or the key of a certificate (`CERTIFICATE`, RFC 5280 4.1). Only the operator's
//! own files are read here, never content of a token.

use super::base64;
use super::key::{Curve, Material};
use crate::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, take};
use crate::pem::{self, Block, KeyKind, Wanted};

/// Returns the key of a file: its only key, or that of its first certificate.
///
/// # Errors
/// The file has no key, several keys, a kind of key without an algorithm, or a private key. The
/// text says what to do.
pub fn public_key(file: &[u8]) -> Result<Material, String> {
    let blocks = pem::blocks(file, Wanted::PublicKey)?;
    let bare = blocks
        .iter()
        .filter(|block| block.label.ends_with("PUBLIC KEY"))
        .count();
    if bare > 1 {
        return Err(format!(
            "has {bare} public keys; keep the one that tokens are signed with, or put all of them into a key set (\"jwks\")"
        ));
    }
    let Some(Block {
        label, line, body, ..
    }) = blocks.first()
    else {
        return Err("no public key inside".to_owned());
    };
    let symbols = body
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .copied()
        .collect::<Vec<_>>();
    let der = base64::decode(&symbols).ok_or_else(|| {
        format!("the block {label:?} that begins in line {line} is no base64; copy the file again, whole")
    })?;
    let (what, info) = match *label {
        "CERTIFICATE" => ("key of the certificate", certificate(&der)),
        _ => ("public key", Some(der.as_slice())),
    };
    let material = match *label {
        "RSA PUBLIC KEY" => pkcs1(&der),
        _ => info.and_then(spki),
    };
    material.ok_or_else(|| match info.and_then(pem::public_key_kind) {
        Some(KeyKind::Rsa(2048..=8192) | KeyKind::Ec("P-256" | "P-384") | KeyKind::Named("Ed25519")) | None => {
            format!("the {what} in it is malformed; write it again (openssl pkey -in KEY -pubout)")
        }
        Some(kind) => format!(
            "the {what} in it is {kind}, which cannot be used; RSA from 2048 to 8192 bits, EC on P-256 or P-384, and Ed25519 can"
        ),
    })
}

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The explicit tag of a certificate's version.
const VERSION: u8 = 0xa0;

/// SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 3279 2.3, RFC 5480 2, RFC 8410 4).
fn spki(der: &[u8]) -> Option<Material> {
    let mut info = take(&mut &*der, SEQUENCE)?;
    let mut algorithm = take(&mut info, SEQUENCE)?;
    let id = take(&mut algorithm, OBJECT_IDENTIFIER)?;
    // Keys are whole bytes, so the last byte has no unused bits.
    let [0, key @ ..] = take(&mut info, BIT_STRING)? else {
        return None;
    };
    match id {
        _ if id == RSA_ENCRYPTION => pkcs1(key),
        _ if id == EC_PUBLIC_KEY => {
            let curve = match take(&mut algorithm, OBJECT_IDENTIFIER)? {
                curve if curve == SECP256R1 => Curve::P256,
                curve if curve == SECP384R1 => Curve::P384,
                _ => return None,
            };
            let [4, coordinates @ ..] = key else {
                return None;
            };
            let (x, y) = coordinates.split_at_checked(curve.field_bytes())?;
            Material::point(curve, x, y)
        }
        _ if id == ID_ED25519 => (key.len() == 32).then(|| Material::Ed25519(key.to_vec())),
        _ => None,
    }
}

/// RSAPublicKey.
fn pkcs1(der: &[u8]) -> Option<Material> {
    let mut key = take(&mut &*der, SEQUENCE)?;
    let (n, e) = (take(&mut key, INTEGER)?, take(&mut key, INTEGER)?);
    Material::rsa(n, e)
}

/// Returns the SubjectPublicKeyInfo of a certificate. The certificate's signature is not verified,
/// because the operator has chosen the file.
fn certificate(der: &[u8]) -> Option<&[u8]> {
    let mut signed = take(&mut &*der, SEQUENCE)?;
    let mut body = take(&mut signed, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        take(&mut body, VERSION)?;
    }
    take(&mut body, INTEGER)?;
    // Algorithm, issuer, validity, subject.
    for _ in 0..4 {
        take(&mut body, SEQUENCE)?;
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armoured(label: &str, der: &[u8]) -> String {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            base64::encode(der)
        )
    }

    #[test]
    fn keys_of_every_kind_alone_and_in_a_certificate() {
        for (algorithm, kind) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "an EC key on P-256"),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "an EC key on P-384"),
            (&rcgen::PKCS_ED25519, "an Ed25519 key"),
        ] {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
            let bare = public_key(pair.public_key_pem().as_bytes()).expect("a public key");
            assert_eq!(bare.kind(), kind);
            let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
                .and_then(|params| params.self_signed(&pair));
            let pem = certificate.expect("a certificate").pem();
            assert_eq!(public_key(pem.as_bytes()).as_ref(), Ok(&bare));
            // Text around the block is ignored.
            let around = format!(
                "subject: x\r\n{}\r\n{}",
                armoured("X509 CRL", b"x"),
                pem.replace('\n', "\r\n")
            );
            assert_eq!(public_key(around.as_bytes()), Ok(bare));
            let private = public_key(pair.serialize_pem().as_bytes()).expect_err("a private key");
            assert!(private.contains("private key"), "{private}");
        }
    }

    #[test]
    fn rsa_both_ways() {
        let n = [&[0, 0x80][..], &[7; 255]].concat();
        let pkcs1 = [
            &[0x30, 0x82, 0x01, 0x0a, 2, 0x82, 0x01, 0x01][..],
            &n,
            &[2, 3, 1, 0, 1],
        ]
        .concat();
        let bits = [&[0][..], &pkcs1].concat();
        let spki = [
            &[0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 6, 9][..],
            RSA_ENCRYPTION,
            &[5, 0, 3, 0x82, 0x01, 0x0f],
            &bits,
        ]
        .concat();
        let expected = Material::rsa(&n, &[1, 0, 1]).expect("a key");
        assert_eq!(
            public_key(armoured("RSA PUBLIC KEY", &pkcs1).as_bytes()),
            Ok(expected.clone())
        );
        assert_eq!(
            public_key(armoured("PUBLIC KEY", &spki).as_bytes()),
            Ok(expected)
        );
        for end in 0..spki.len() {
            assert!(
                public_key(armoured("PUBLIC KEY", &spki[..end]).as_bytes()).is_err(),
                "{end}"
            );
        }
    }

    #[test]
    fn what_is_no_key_says_so() {
        for (text, message) in [
            ("", "is empty"),
            ("hello", "no public key inside"),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA",
                "has no line -----END PUBLIC KEY-----",
            ),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END CERTIFICATE-----",
                "has no line -----END PUBLIC KEY-----",
            ),
            (
                "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
                "no base64",
            ),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
                "malformed",
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
                "private key",
            ),
        ] {
            let error = public_key(text.as_bytes()).expect_err(text);
            assert!(error.contains(message), "{error}");
        }
        assert!(public_key(b"\xff").is_err());
        let key = rcgen::KeyPair::generate().expect("a key").public_key_pem();
        let error = public_key(key.repeat(2).as_bytes()).expect_err("two keys");
        assert!(
            error.contains("has 2 public keys") && error.contains("\"jwks\""),
            "{error}"
        );
        let error = public_key(format!("\u{feff}{key}").as_bytes()).expect_err("a mark");
        assert!(error.contains("byte order mark"), "{error}");
        // SubjectPublicKeyInfo (RFC 5280 4.1.2.7) of kinds without an algorithm.
        let info = |id: &[u8], key: &[u8]| {
            let algorithm = [&[0x30, id.len() as u8][..], id].concat();
            let bits = [&[3, key.len() as u8 + 1, 0][..], key].concat();
            [
                &[0x30, (algorithm.len() + bits.len()) as u8][..],
                &algorithm,
                &bits,
            ]
            .concat()
        };
        const P521: &[u8] = &[
            6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x23,
        ];
        const DSA: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
        const SHORT: &[u8] = &[0x30, 8, 2, 1, 0x7f, 2, 3, 1, 0, 1];
        for (der, kind) in [
            (info(P521, &[4; 60]), "EC on P-521"),
            (info(DSA, &[2; 20]), "DSA"),
            (info(&[6, 3, 0x2b, 0x65, 0x6e], &[7; 32]), "X25519"),
            (info(&[6, 3, 0x2b, 0x65, 0x71], &[7; 57]), "Ed448"),
            (
                info(&[6, 3, 0x2b, 0x65, 0x7f], &[7; 57]),
                "of an unknown kind",
            ),
            (
                info(&[&[6, 9][..], RSA_ENCRYPTION, &[5, 0]].concat(), SHORT),
                "RSA of 7 bits",
            ),
        ] {
            let error = public_key(armoured("PUBLIC KEY", &der).as_bytes()).expect_err(kind);
            assert!(
                error.starts_with(&format!(
                    "the public key in it is {kind}, which cannot be used"
                )),
                "{error}"
            );
        }
    }
}
