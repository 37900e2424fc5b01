//! Certificates, from PEM to what rustls takes.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The certificates of a PEM file as DER; each can serve as a root.
///
/// # Errors
/// There is none, or one is broken; the text says which.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut certificates = Vec::new();
    for (index, item) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let broken = |error: &dyn core::fmt::Display| format!("certificate {} is broken: {error}", index + 1);
        let certificate = item.map_err(|error| broken(&error))?;
        RootCertStore::empty().add(certificate.clone()).map_err(|error| broken(&error))?;
        certificates.push(certificate.to_vec());
    }
    match certificates.is_empty() {
        true => Err("there is no certificate in it; a PEM file has -----BEGIN CERTIFICATE-----".to_owned()),
        false => Ok(certificates),
    }
}
