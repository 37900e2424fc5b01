//! TLS client settings for https targets: trusted authorities and the expected name.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

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
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(client) => {
                let certified = Arc::clone(&client.certified);
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::store(Arc::new(CountedSessions::new(SESSIONS)));
        Ok(ClientTls {
            config: Arc::new(config),
            name,
        })
    }
}
