//! Certificates and roots, from files to what rustls takes.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

/// The certificates of a PEM file, each as DER; every one can serve as a root.
///
/// # Errors
/// There is none, or one is broken; the text says which.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut certificates = Vec::new();
    for (number, parsed) in (1_usize..).zip(CertificateDer::pem_slice_iter(pem)) {
        let certificate = parsed.map_err(|error| format!("certificate {number}: {error}"))?;
        RootCertStore::empty().add(certificate.clone()).map_err(|error| format!("certificate {number}: {error}"))?;
        certificates.push(certificate.to_vec());
    }
    if certificates.is_empty() {
        return Err("no certificate inside (a PEM file with -----BEGIN CERTIFICATE----- is expected)".to_owned());
    }
    Ok(certificates)
}

/// The first private key of a PEM file.
///
/// # Errors
/// There is none that can be used; the text says what is expected.
pub(super) fn private_key_from_pem(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let is_encrypted = bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if is_encrypted => {
            Err("the key is encrypted; decrypt it (openssl pkey -in KEY -out PLAIN)".to_owned())
        }
        Err(pem::Error::NoItemsFound) => {
            Err("no private key inside (a PEM file with -----BEGIN PRIVATE KEY----- is expected)".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// The public roots, and these.
pub(super) fn roots(extra: &[Vec<u8>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in extra {
        roots.add(CertificateDer::from(certificate.clone())).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_roots_stand_beside_the_public_ones() {
        let public = roots(&[]).unwrap().len();
        assert!(public > 50);
        let own = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        assert_eq!(roots(&[own.cert.der().to_vec()]).unwrap().len(), public + 1);
    }
}
