//! The certificate of the upstream that speaks TLS.

use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A self-signed certificate for `tls.test`. Of Ed25519: its signatures have one length, so that a run can be repeated to the
/// byte.
pub struct Identity {
    pub pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub fn shared() -> &'static Identity {
        static SHARED: OnceLock<Identity> = OnceLock::new();
        SHARED.get_or_init(|| {
            let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
            let params = CertificateParams::new(vec!["tls.test".to_owned()]).expect("a name");
            let certificate = params.self_signed(&key).expect("a certificate");
            Identity { pem: certificate.pem(), certificate: certificate.der().clone(), key: key.serialize_der() }
        })
    }

    /// A server's settings of its own: sessions of one world are not known in another.
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
