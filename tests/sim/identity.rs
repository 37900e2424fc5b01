//! Certificate of the upstream that uses TLS, and of the gateway in front of clients that use TLS.

use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tollgate::transport::server::{CertificateFiles, ServerTls, TlsFiles, TlsVersion};

/// Self-signed certificate for `tls.test`. The key is Ed25519: its signatures have one length, so
/// that a repeated run has the same bytes.
pub struct Identity {
    pub pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    key_pem: String,
}

impl Identity {
    pub fn shared() -> &'static Identity {
        static SHARED: OnceLock<Identity> = OnceLock::new();
        SHARED.get_or_init(|| {
            let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
            let params = CertificateParams::new(vec!["tls.test".to_owned()]).expect("a name");
            let certificate = params.self_signed(&key).expect("a certificate");
            let (certificate, pem) = (certificate.der().clone(), certificate.pem());
            Identity {
                pem,
                certificate,
                key: key.serialize_der(),
                key_pem: key.serialize_pem(),
            }
        })
    }

    /// Returns the TLS settings of the gateway's listener.
    pub fn listener(&self) -> ServerTls {
        let pair = CertificateFiles {
            certificate: "pem".into(),
            key: "key".into(),
        };
        let files = TlsFiles {
            ordered: Vec::new(),
            contact: None,
            certificates: vec![pair],
            min_version: TlsVersion::Tls12,
            client_ca: None,
            client_auth: tollgate::transport::server::ClientAuth::Required,
        };
        let read = |path: &std::path::Path| {
            let text = if path.ends_with("key") {
                &self.key_pem
            } else {
                &self.pem
            };
            Ok(text.clone().into_bytes())
        };
        ServerTls::load(&files, &read).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    /// Returns the TLS settings of clients. Resumption is off, so that no session of one world is
    /// used in another.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// Returns the TLS settings of an upstream. Each call returns new ones, so that no session of
    /// one world is used in another.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.key.clone()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key);
        Arc::new(config.expect("rustls takes the certificate"))
    }
}
