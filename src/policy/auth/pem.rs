//! A public key out of a PEM file: SPKI (`PUBLIC KEY`, RFC 7468 13), PKCS #1 (`RSA PUBLIC KEY`, RFC 8017 A.1.1), or what a
//! certificate is for (`CERTIFICATE`, RFC 5280 4.1). Only the operator's own files are read here, never what a token carries.

use super::base64;
use super::key::{Curve, Material};

/// The first key of a file.
///
/// # Errors
/// There is none, it is of a kind that no algorithm has, or it is a private one; the text says what to do.
pub fn public_key(pem: &[u8]) -> Result<Material, String> {
    let text = core::str::from_utf8(pem).map_err(|_| NO_KEY.to_owned())?;
    let mut rest = text;
    while let Some((label, body, behind)) = next_block(rest) {
        rest = behind;
        let der = || {
            let symbols = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
            base64::decode(&symbols).ok_or_else(|| format!("the block {label:?} is no base64"))
        };
        let (what, material) = match label {
            "PUBLIC KEY" => ("public key", spki(&der()?)),
            "RSA PUBLIC KEY" => ("RSA public key", pkcs1(&der()?)),
            "CERTIFICATE" => ("certificate", certificate(&der()?)),
            _ if label.ends_with("PRIVATE KEY") => {
                return Err("holds a private key, which a gateway must not have; name the file of the public key \
                     (openssl pkey -in KEY -pubout)"
                    .to_owned());
            }
            _ => continue,
        };
        return material.ok_or_else(|| {
            format!(
                "the {what} in it is malformed or of a kind that cannot be used (RSA from 2048 to 8192 bits, EC on P-256 or P-384, Ed25519)"
            )
        });
    }
    Err(NO_KEY.to_owned())
}

const NO_KEY: &str = "no public key inside (a PEM file with -----BEGIN PUBLIC KEY----- is expected)";

/// Label, body, and what follows.
fn next_block(text: &str) -> Option<(&str, &str, &str)> {
    let (_, behind) = text.split_once("-----BEGIN ")?;
    let (label, behind) = behind.split_once("-----")?;
    let (body, behind) = behind.split_once("-----END ")?;
    let behind = behind.strip_prefix(label)?.strip_prefix("-----")?;
    Some((label, body, behind))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The explicit tag of a certificate's version.
const VERSION: u8 = 0xa0;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 3279 2.3, RFC 5480 2, RFC 8410 4).
fn spki(der: &[u8]) -> Option<Material> {
    let mut outer = Der(der);
    let mut info = Der(outer.take(SEQUENCE)?);
    let mut algorithm = Der(info.take(SEQUENCE)?);
    let id = algorithm.take(OBJECT_ID)?;
    // Keys are whole bytes: no bit of the last one is unused.
    let [0, key @ ..] = info.take(BIT_STRING)? else { return None };
    match id {
        _ if id == RSA_ENCRYPTION => pkcs1(key),
        _ if id == EC_PUBLIC_KEY => {
            let curve = match algorithm.take(OBJECT_ID)? {
                curve if curve == SECP256R1 => Curve::P256,
                curve if curve == SECP384R1 => Curve::P384,
                _ => return None,
            };
            let [4, coordinates @ ..] = key else { return None };
            let (x, y) = coordinates.split_at_checked(curve.field_bytes())?;
            Material::point(curve, x, y)
        }
        _ if id == ID_ED25519 => (key.len() == 32).then(|| Material::Ed25519(key.to_vec())),
        _ => None,
    }
}

/// RSAPublicKey.
fn pkcs1(der: &[u8]) -> Option<Material> {
    let mut key = Der(Der(der).take(SEQUENCE)?);
    let (n, e) = (key.take(INTEGER)?, key.take(INTEGER)?);
    Material::rsa(n, e)
}

/// The key of a certificate; that nobody vouches for the certificate is the operator's affair, who named it.
fn certificate(der: &[u8]) -> Option<Material> {
    let mut body = Der(Der(Der(der).take(SEQUENCE)?).take(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.take(VERSION)?;
    }
    body.take(INTEGER)?;
    // Algorithm, issuer, validity, subject.
    for _ in 0..4 {
        body.take(SEQUENCE)?;
    }
    spki(body.0)
}

/// The rest of a run of DER elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (length, rest) = match self.0 {
            [found, length @ ..=0x7f, rest @ ..] if *found == tag => (usize::from(*length), rest),
            [found, 0x81, length, rest @ ..] if *found == tag => (usize::from(*length), rest),
            [found, 0x82, high, low, rest @ ..] if *found == tag => {
                (usize::from(u16::from_be_bytes([*high, *low])), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armoured(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64::encode(der))
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
            let certificate =
                rcgen::CertificateParams::new(vec!["a.test".to_owned()]).and_then(|params| params.self_signed(&pair));
            let pem = certificate.expect("a certificate").pem();
            assert_eq!(public_key(pem.as_bytes()).as_ref(), Ok(&bare));
            // What stands around the block does not matter.
            let around = format!("subject: x\r\n{}\r\n{}", armoured("X509 CRL", b"x"), pem.replace('\n', "\r\n"));
            assert_eq!(public_key(around.as_bytes()), Ok(bare));
            let private = public_key(pair.serialize_pem().as_bytes()).expect_err("a private key");
            assert!(private.contains("private key"), "{private}");
        }
    }

    #[test]
    fn rsa_both_ways() {
        let n = [&[0, 0x80][..], &[7; 255]].concat();
        let pkcs1 = [&[0x30, 0x82, 0x01, 0x0a, 2, 0x82, 0x01, 0x01][..], &n, &[2, 3, 1, 0, 1]].concat();
        let bits = [&[0][..], &pkcs1].concat();
        let spki =
            [&[0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 6, 9][..], RSA_ENCRYPTION, &[5, 0, 3, 0x82, 0x01, 0x0f], &bits]
                .concat();
        let expected = Material::rsa(&n, &[1, 0, 1]).expect("a key");
        assert_eq!(public_key(armoured("RSA PUBLIC KEY", &pkcs1).as_bytes()), Ok(expected.clone()));
        assert_eq!(public_key(armoured("PUBLIC KEY", &spki).as_bytes()), Ok(expected));
        for end in 0..spki.len() {
            assert!(public_key(armoured("PUBLIC KEY", &spki[..end]).as_bytes()).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_no_key_says_so() {
        for (text, message) in [
            ("", "no public key inside"),
            ("hello", "no public key inside"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA", "no public key inside"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END CERTIFICATE-----", "no public key inside"),
            ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "no base64"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "malformed or of a kind"),
            ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", "private key"),
        ] {
            let error = public_key(text.as_bytes()).expect_err(text);
            assert!(error.contains(message), "{error}");
        }
        assert!(public_key(b"\xff").is_err());
    }
}
