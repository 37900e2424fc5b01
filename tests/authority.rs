//! Certificate authority of the tests, its certificates, and clients that trust it.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Both versions of TLS.
pub const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

pub struct Authority {
    pub issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("authority of the test")
    }

    pub fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(vec![]).expect("no name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Returns a certificate with these parameters, and its new key.
    pub fn sign(&self, params: CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("signed"), key)
    }

    /// Returns a certificate for these hosts (possibly none) with this common name, and its key.
    pub fn sign_for(&self, hosts: &[&str], common_name: Option<&str>) -> (Certificate, KeyPair) {
        let hosts = hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect::<Vec<_>>();
        let mut params = CertificateParams::new(hosts).expect("names");
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        self.sign(params)
    }

    /// Returns a client that trusts this authority, and has a certificate if one is given.
    pub fn rustls_client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&(Certificate, KeyPair)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate.der().clone()], private(key))
                .expect("a certificate and its key"),
        }
    }
}

/// Returns a key in the form that rustls takes.
pub fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).expect("a key")
}
