//! Conversion of certificate, key and root files for rustls.

use core::fmt;
use std::sync::Arc;

use ring::digest;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, RootCertStore};

use super::certificate;
use super::provider::provider;
use crate::pem::{self, Wanted};
use crate::time::UnixTime;

/// Returns the certificates of a PEM file as DER. Every one can serve as a root.
///
/// # Errors
/// The file has no certificate, or a broken one; the text says which.
pub fn certificates_from_pem(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let blocks = pem::blocks(file, Wanted::Certificate)?;
    let mut certificates = Vec::new();
    for ((number, block), parsed) in (1_usize..)
        .zip(&blocks)
        .zip(CertificateDer::pem_slice_iter(file))
    {
        let place = format!("certificate {number} (line {})", block.line);
        let certificate = parsed.map_err(|error| {
            format!("{place} is no base64: {error}; copy the file again, whole")
        })?;
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| {
                format!("{place} cannot be read: {error}; copy the file again, whole")
            })?;
        certificates.push(certificate.to_vec());
    }
    Ok(certificates)
}

/// Returns the private keys of a PEM file, at least one, all of usable kinds.
///
/// # Errors
/// The file has no usable key; the text says what is expected.
pub(super) fn private_keys_from_pem(file: &[u8]) -> Result<Vec<PrivateKeyDer<'static>>, String> {
    let blocks = pem::blocks(file, Wanted::PrivateKey)?;
    let mut keys = Vec::new();
    for (block, parsed) in blocks.iter().zip(PrivateKeyDer::pem_slice_iter(file)) {
        let key = parsed.map_err(|error| {
            format!(
                "the key that begins in line {} is no base64: {error}; copy the file again, whole",
                block.line
            )
        })?;
        match pem::private_key_kind(key.secret_der()) {
            Some(kind) if !kind.signs_for_tls() => return Err(kind.unusable_for_tls()),
            _ => keys.push(key),
        }
    }
    if keys.is_empty() {
        Err("no private key inside".to_owned())
    } else {
        Ok(keys)
    }
}

/// Fault of a certificate and its key. The text follows the file's name.
pub enum PairFault {
    /// Fault of the certificate.
    Certificate(String),
    /// Fault of the key.
    Key(String),
    /// The key does not belong to the certificate.
    Mismatch(String),
}

/// Certificate and key that the gateway shows to an upstream. Two are equal if their files have the
/// same contents.
#[derive(Clone)]
pub struct ClientIdentity {
    pub(super) certified: Arc<CertifiedKey>,
    digest: [u8; 32],
}

impl ClientIdentity {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// The key does not belong to the certificate, or one of them cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<ClientIdentity, PairFault> {
        let certificates = certificates_from_pem(chain).map_err(PairFault::Certificate)?;
        let keys = private_keys_from_pem(key).map_err(PairFault::Key)?;
        Ok(ClientIdentity {
            certified: Arc::new(pair(certificates, keys, &provider())?),
            digest: digest(None, &[chain.to_vec(), key.to_vec()]),
        })
    }

    /// Returns the end of the certificate, if it can be read.
    pub fn end(&self) -> Option<UnixTime> {
        certificate::not_after(self.certified.cert.first()?)
    }

    /// Returns a digest of the contents of both files.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &ClientIdentity) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientIdentity {}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

/// Combines the chain with the first key.
///
/// # Errors
/// The key does not belong to the certificate, or cannot be used.
pub(super) fn pair(
    chain: Vec<Vec<u8>>,
    keys: Vec<PrivateKeyDer<'static>>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PairFault> {
    let chain = chain
        .into_iter()
        .map(CertificateDer::from)
        .collect::<Vec<_>>();
    if chain
        .first()
        .is_some_and(|certificate| certificate::is_of_version_1(certificate))
    {
        return Err(PairFault::Certificate(
            "its first certificate is of X.509 version 1, which has no names of hosts and no client accepts; have it signed \
             with extensions (subjectAltName; openssl x509 -req ... -extfile FILE)"
                .to_owned(),
        ));
    }
    let count = keys.len();
    let load = |key| provider.key_provider.load_private_key(key);
    let mut keys = keys.into_iter();
    let Some(first) = keys.next() else {
        return Err(PairFault::Key("no private key inside".to_owned()));
    };
    let signing = load(first).map_err(|error| {
        PairFault::Key(format!(
            "the key cannot be used: {error}; write it again (openssl pkey -in KEY -out NEW)"
        ))
    })?;
    let certified = CertifiedKey::new(chain, signing);
    match fits(&certified) {
        Some(true) => Ok(certified),
        Some(false) => Err(mismatch(
            certified,
            keys.filter_map(|key| load(key).ok()),
            count,
        )),
        None => Err(PairFault::Certificate(
            "its first certificate cannot be read as one of a server's".to_owned(),
        )),
    }
}

/// Returns true if the key belongs to the certificate; `None` if the certificate cannot be parsed.
fn fits(certified: &CertifiedKey) -> Option<bool> {
    match certified.keys_match() {
        // A key without a public part cannot be compared, and is accepted.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some(true),
        Err(rustls::Error::InconsistentKeys(_)) => Some(false),
        Err(_) => None,
    }
}

/// Describes why the key does not belong to the certificate. Probable causes are that the chain is
/// in the wrong order, or that one of the other keys of the file matches.
fn mismatch(
    certified: CertifiedKey,
    mut others: impl Iterator<Item = Arc<dyn SigningKey>>,
    count: usize,
) -> PairFault {
    let CertifiedKey {
        cert: chain, key, ..
    } = certified;
    let other = chain
        .iter()
        .skip(1)
        .position(|one| fits(&CertifiedKey::new(vec![one.clone()], key.clone())) == Some(true));
    if let Some(index) = other {
        let (number, count) = (index.saturating_add(2), chain.len());
        return PairFault::Certificate(format!(
            "the certificate that the key is for is number {number} of {count} in it and must be the first: the chain is in the \
             wrong order; put the site's own certificate first, and behind each the one that signed it"
        ));
    }
    let other_fits = others.any(|key| fits(&CertifiedKey::new(chain.clone(), key)) == Some(true));
    match (other_fits, count) {
        (true, _) => PairFault::Key(format!(
            "has {count} private keys, and the first is not the one of the certificate; keep the one that is"
        )),
        (false, 1) => PairFault::Mismatch("is not the key of the certificate".to_owned()),
        (false, _) => PairFault::Mismatch(format!(
            "has {count} private keys, and none is the key of the certificate"
        )),
    }
}

/// Returns the public roots, with `extra` added.
pub(super) fn roots(extra: &[Vec<u8>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for certificate in extra {
        roots
            .add(CertificateDer::from(certificate.clone()))
            .map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// Returns a digest of how a peer is verified: by which name and which roots.
pub fn digest(name: Option<&str>, roots: &[Vec<u8>]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[u8::from(name.is_some())]);
    let parts = name.map(str::as_bytes).into_iter();
    for part in parts.chain(roots.iter().map(Vec::as_slice)) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring;

    #[test]
    fn extra_roots_stand_beside_the_public_ones() {
        let public = roots(&[]).unwrap().len();
        assert!(public > 50);
        let own = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        assert_eq!(roots(&[own.cert.der().to_vec()]).unwrap().len(), public + 1);
    }

    /// Returns the message for a pair of files.
    fn fault(chain: &str, key: &str) -> Option<String> {
        let chain = certificates_from_pem(chain.as_bytes()).expect("certificates");
        let keys = match private_keys_from_pem(key.as_bytes()) {
            Ok(keys) => keys,
            Err(message) => return Some(format!("key: {message}")),
        };
        match pair(chain, keys, &ring::default_provider()) {
            Ok(_) => None,
            Err(PairFault::Certificate(message)) => Some(format!("certificate: {message}")),
            Err(PairFault::Key(message)) => Some(format!("key: {message}")),
            Err(PairFault::Mismatch(message)) => Some(format!("mismatch: {message}")),
        }
    }

    #[test]
    fn pairs_that_are_none_say_why() {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let leaf_pem = leaf
            .signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key))
            .unwrap()
            .pem();
        let (leaf_key, other_key) = (
            leaf_key.serialize_pem(),
            KeyPair::generate().unwrap().serialize_pem(),
        );

        let both = format!("{leaf_pem}{leaf_key}");
        for (chain, key) in [
            (leaf_pem.clone(), leaf_key.clone()),
            (format!("{leaf_pem}{ca_pem}"), leaf_key.clone()),
            (
                format!("{leaf_pem}{ca_pem}").replace('\n', "\r\n"),
                leaf_key.replace('\n', "\r\n"),
            ),
            (both.clone(), both),
            (leaf_pem.clone(), format!("{leaf_key}{other_key}")),
        ] {
            assert_eq!(fault(&chain, &key), None);
        }
        for (chain, key, message) in [
            (
                &leaf_pem,
                &other_key,
                "mismatch: is not the key of the certificate",
            ),
            (
                &format!("{ca_pem}{leaf_pem}"),
                &leaf_key,
                "certificate: the certificate that the key is for is number 2 of 2 in it and must be the first",
            ),
            (
                &format!("{ca_pem}{ca_pem}{leaf_pem}"),
                &leaf_key,
                "certificate: the certificate that the key is for is number 3 of 3 in it",
            ),
            (
                &leaf_pem,
                &format!("{other_key}{leaf_key}"),
                "key: has 2 private keys, and the first is not the one",
            ),
            (
                &leaf_pem,
                &format!("{other_key}{other_key}"),
                "mismatch: has 2 private keys, and none is the key of the certificate",
            ),
            (
                &leaf_pem,
                &other_key.replace("MIG", "!IG"),
                "key: the key that begins in line 1 is no base64",
            ),
            (
                &leaf_pem,
                &"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
                "key: the key cannot be used",
            ),
        ] {
            let found = fault(chain, key).expect("a fault");
            assert!(found.starts_with(message), "{found}");
        }
        // `openssl x509 -req` creates version 1 without a file of extensions.
        let version_1 = include_str!("../pem/samples/version1.pem");
        let found = fault(version_1, version_1).expect("a fault");
        assert!(
            found.starts_with("certificate: its first certificate is of X.509 version 1"),
            "{found}"
        );
    }

    /// Keys as openssl writes them.
    #[test]
    fn keys_of_kinds_that_cannot_be_used_are_named() {
        for (file, kind) in [
            (
                include_str!("../pem/samples/dsa.pem"),
                "the key is DSA, which cannot be used",
            ),
            (
                include_str!("../pem/samples/p521.pem"),
                "the key is EC on P-521, which cannot be used",
            ),
            (
                include_str!("../pem/samples/p521_pkcs8.pem"),
                "the key is EC on P-521, which cannot be used",
            ),
            (
                include_str!("../pem/samples/secp256k1.pem"),
                "the key is EC on secp256k1, which cannot be used",
            ),
            (
                include_str!("../pem/samples/x25519.pem"),
                "the key is X25519, which cannot be used",
            ),
            (
                include_str!("../pem/samples/ed448.pem"),
                "the key is Ed448, which cannot be used",
            ),
            (
                include_str!("../pem/samples/rsa1024.pem"),
                "the key is RSA of 1024 bits, which cannot be used",
            ),
            (
                include_str!("../pem/samples/rsa1024_pkcs1.pem"),
                "the key is RSA of 1024 bits, which cannot be used",
            ),
            (
                include_str!("../pem/samples/encrypted_old.pem"),
                "the key is encrypted, in the old way",
            ),
        ] {
            let found = private_keys_from_pem(file.as_bytes()).expect_err(kind);
            assert!(found.starts_with(kind), "{found}");
        }
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let pem = KeyPair::generate_for(algorithm).unwrap().serialize_pem();
            let keys = private_keys_from_pem(pem.as_bytes()).unwrap();
            let kind = pem::private_key_kind(keys[0].secret_der()).expect("a kind");
            assert!(kind.signs_for_tls(), "{kind}");
        }
    }
}
