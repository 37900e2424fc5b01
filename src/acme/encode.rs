//! DER that is written (X.690): requests for certificates, and the certificate of `tls-alpn-01`.

use core::net::IpAddr;

use super::{Identifier, Keys};
use crate::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

const BOOLEAN: u8 = 0x01;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SET: u8 = 0x31;
/// Tag of the version of a certificate and of the attributes of a request.
const CONTEXT_0: u8 = 0xa0;
/// Tag of the extensions of a certificate.
const CONTEXT_3: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// ecdsa-with-SHA256 (RFC 5758 3.2).
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ecPublicKey (RFC 5480 2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// secp256r1 (RFC 5480 2.1.1.1).
const P_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// subjectAltName (RFC 5280 4.2.1.6).
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// extensionRequest (RFC 2985 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// id-pe-acmeIdentifier (RFC 8737 6.1).
const ACME_IDENTIFIER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Appends an element with a definite length.
pub(super) fn push(to: &mut Vec<u8>, tag: u8, content: &[u8]) {
    to.push(tag);
    let length = content.len();
    let bytes = length.to_be_bytes();
    let leading = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(leading..).unwrap_or_default();
    match (u8::try_from(length), u8::try_from(digits.len())) {
        (Ok(short @ ..0x80), _) => to.push(short),
        (_, Ok(count)) => {
            to.push(0x80 | count);
            to.extend_from_slice(digits);
        }
        // No slice has a length of more than 8 bytes.
        (_, Err(_)) => {}
    }
    to.extend_from_slice(content);
}

/// Returns an element whose content is these parts.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, tag, &parts.concat());
    bytes
}

/// Returns a non-negative INTEGER of these digits, the highest first (X.690 8.3).
pub(super) fn integer(digits: &[u8]) -> Vec<u8> {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(zeros..).unwrap_or_default();
    let is_bare = digits.first().is_some_and(|first| first & 0x80 == 0);
    let sign: &[u8] = if is_bare { &[] } else { &[0] };
    element(INTEGER, &[sign, digits])
}

/// Returns a request for a certificate (RFC 2986), signed with its key; `None` if the key cannot be
/// used.
pub fn request(names: &[Identifier], key: &[u8], keys: &mut dyn Keys) -> Option<Vec<u8>> {
    let extensions = element(SEQUENCE, &[&alternative_names(names)]);
    let values = element(SET, &[&extensions]);
    let attribute = element(SEQUENCE, &[&identifier(EXTENSION_REQUEST), &values]);
    let info = element(
        SEQUENCE,
        &[
            &integer(&[0]),
            &element(SEQUENCE, &[]),
            &public_key(&keys.public(key)?),
            &element(CONTEXT_0, &[&attribute]),
        ],
    );
    signed(&info, key, keys)
}

/// Returns the certificate that proves an identifier by `tls-alpn-01` (RFC 8737 3); `None` if the
/// key cannot be used.
pub fn proof(
    of: &Identifier,
    digest: &[u8; 32],
    key: &[u8],
    keys: &mut dyn Keys,
) -> Option<Vec<u8>> {
    let inner = element(OCTET_STRING, &[digest]);
    let acme = extension(ACME_IDENTIFIER, true, &inner);
    let names = alternative_names(core::slice::from_ref(of));
    let extensions = element(SEQUENCE, &[&names, &acme]);
    let name = element(
        SEQUENCE,
        &[&identifier(COMMON_NAME), &element(UTF8_STRING, &[b"acme"])],
    );
    let name = element(SEQUENCE, &[&element(SET, &[&name])]);
    // RFC 8737 asks for no validity; RFC 5280 4.1.2.5 has this end for certificates without one.
    let validity = element(
        SEQUENCE,
        &[
            &element(UTC_TIME, &[b"000101000000Z"]),
            &element(GENERALIZED_TIME, &[b"99991231235959Z"]),
        ],
    );
    let serial = (keys.random() | 1).to_be_bytes();
    let info = element(
        SEQUENCE,
        &[
            &element(CONTEXT_0, &[&integer(&[2])]),
            &integer(&serial),
            &algorithm(),
            &name,
            &validity,
            &name,
            &public_key(&keys.public(key)?),
            &element(CONTEXT_3, &[&extensions]),
        ],
    );
    signed(&info, key, keys)
}

fn identifier(content: &[u8]) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, &[content])
}

fn algorithm() -> Vec<u8> {
    element(SEQUENCE, &[&identifier(ECDSA_SHA256)])
}

fn bits(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content])
}

/// Returns a SubjectPublicKeyInfo (RFC 5480 2).
fn public_key(point: &[u8; 65]) -> Vec<u8> {
    let kind = element(SEQUENCE, &[&identifier(EC_PUBLIC_KEY), &identifier(P_256)]);
    element(SEQUENCE, &[&kind, &bits(point)])
}

fn extension(id: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = match is_critical {
        true => element(BOOLEAN, &[&[0xff]]),
        false => Vec::new(),
    };
    let value = element(OCTET_STRING, &[value]);
    element(SEQUENCE, &[&identifier(id), &critical, &value])
}

fn alternative_names(names: &[Identifier]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        match name {
            Identifier::Name(name) => push(&mut list, DNS_NAME, name.as_bytes()),
            Identifier::Address(IpAddr::V4(address)) => {
                push(&mut list, IP_ADDRESS, &address.octets());
            }
            Identifier::Address(IpAddr::V6(address)) => {
                push(&mut list, IP_ADDRESS, &address.octets());
            }
        }
    }
    let list = element(SEQUENCE, &[&list]);
    extension(ALTERNATIVE_NAMES, false, &list)
}

/// Returns what was signed, the algorithm and the signature (RFC 5280 4.1.1, RFC 2986 4.2).
fn signed(info: &[u8], key: &[u8], keys: &mut dyn Keys) -> Option<Vec<u8>> {
    let signature = keys.sign(key, info)?;
    let (r, s) = signature.split_at(32);
    let pair = element(SEQUENCE, &[&integer(r), &integer(s)]);
    Some(element(SEQUENCE, &[info, &algorithm(), &bits(&pair)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::der;
    use crate::net::certificates::keys::RingKeys;

    fn names() -> Vec<Identifier> {
        ["a.example.com", "192.0.2.1", "2001:db8::1"]
            .map(|text| Identifier::parse(text).expect(text))
            .to_vec()
    }

    #[test]
    fn integers_are_shortest_and_not_negative() {
        for (digits, encoded) in [
            (&[][..], &[2, 1, 0][..]),
            (&[0], &[2, 1, 0]),
            (&[0, 0, 1], &[2, 1, 1]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0x7f, 0xff], &[2, 2, 0x7f, 0xff]),
        ] {
            assert_eq!(integer(digits), encoded);
        }
    }

    proptest! {
        #[test]
        fn elements_are_read_back(tag in 1_u8..0xff, length in 0_usize..70_000) {
            let content = vec![7; length];
            let written = element(tag, &[&content]);
            let mut rest = written.as_slice();
            prop_assert_eq!(der::element(&mut rest), Some((tag, content.as_slice())));
            prop_assert!(rest.is_empty());
        }
    }

    /// Runs openssl with a file as its input.
    fn openssl(arguments: &[&str], input: &[u8]) -> String {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input).expect("openssl reads");
        drop(stdin);
        let out = child.wait_with_output().expect("openssl ends");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    #[test]
    #[ignore = "runs openssl: tests/acme/run"]
    fn requests_are_read_by_openssl() {
        let mut keys = RingKeys::new();
        let key = keys.generate().expect("a key");
        let made = request(&names(), &key, &mut keys).expect("a request");
        let shown = openssl(
            &["req", "-inform", "DER", "-noout", "-text", "-verify"],
            &made,
        );
        for part in [
            "verify OK",
            "DNS:a.example.com, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1",
            "ecdsa-with-SHA256",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    #[ignore = "runs openssl: tests/acme/run"]
    fn proofs_are_read_by_openssl() {
        let mut keys = RingKeys::new();
        let key = keys.generate().expect("a key");
        for of in &names() {
            let made = proof(of, &[0xab; 32], &key, &mut keys).expect("a certificate");
            let shown = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &made);
            assert!(shown.contains("1.3.6.1.5.5.7.1.31: critical"), "{shown}");
            assert!(
                shown.contains("Public Key Algorithm: id-ecPublicKey"),
                "{shown}"
            );
        }
        assert_eq!(request(&names(), b"no key", &mut keys), None);
    }
}
