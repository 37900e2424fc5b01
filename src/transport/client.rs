//! TLS client settings for https targets: trusted authorities and the expected name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SignatureScheme};

use super::chain::UpstreamVerifier;
use super::identity::{self, ClientIdentity};
use super::provider::{CountedSessions, provider};

/// Upper bound of the bytes kept to resume sessions with one target: eight tickets, each with the
/// certificates of its session.
pub const SESSIONS_BYTES: usize = 8 * 2 * (64 << 10);
/// Sessions remembered for each target.
const SESSIONS: usize = 32;

/// TLS settings of a target: trusted authorities and the expected name. Clones share one session
/// cache.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    asked: Arc<Asked>,
}

/// Notes that a target asks for a certificate where there is none to show.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl ClientTls {
    /// Creates the settings for a target at `host`. `server_name` is sent and verified instead of
    /// `host`, if given. `extra_roots` (DER) are trusted in addition to the public ones, both as
    /// authorities and as the upstream's own certificate. `client` is shown to an upstream that
    /// asks for a certificate.
    ///
    /// # Errors
    /// The name is not valid in a certificate, or a root is broken.
    pub fn new(
        host: &str,
        server_name: Option<&str>,
        extra_roots: &[Vec<u8>],
        client: Option<&ClientIdentity>,
    ) -> Result<ClientTls, String> {
        let name = server_name.unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("\"{name}\" is no name for a certificate: set tls.serverName"))?;
        let verifier =
            UpstreamVerifier::new(identity::roots(extra_roots)?, extra_roots, provider())?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let asked = Arc::<Asked>::default();
        let resolver: Arc<dyn ResolvesClientCert> = match client {
            None => Arc::clone(&asked) as _,
            Some(client) => Arc::new(SingleCertAndKey::from(Arc::clone(&client.certified))),
        };
        let mut config = config.with_client_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::store(Arc::new(CountedSessions::new(SESSIONS)));
        Ok(ClientTls {
            config: Arc::new(config),
            name,
            asked,
        })
    }

    /// Returns true if the target has asked for a certificate, and there is none to show.
    pub(crate) fn wants_certificate(&self) -> bool {
        self.asked.0.load(Ordering::Relaxed)
    }
}
