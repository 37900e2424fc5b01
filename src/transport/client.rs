//! The gateway as a client of https targets: whom to trust, what name to ask for.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::chain::UpstreamVerifier;
use super::identity;
use super::provider::{CountedSessions, provider};

/// The most that is kept to resume sessions with one target: eight tickets, each with the certificates it was given for.
pub const SESSIONS_BYTES: usize = 8 * 2 * (64 << 10);
/// CountedSessions remembered for each target.
const SESSIONS: usize = 32;

/// How to reach a target by TLS: whom to trust, what name to ask for. Its sessions are resumed.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl ClientTls {
    /// For a target at `host`; `server_name` is sent and verified in its place; `extra_roots` (DER) are trusted beside the
    /// public ones, as authorities and as the upstream's certificate itself.
    ///
    /// # Errors
    /// A name that no certificate can have, or a broken root.
    pub fn new(
        host: &str,
        server_name: Option<&str>,
        extra_roots: &[Vec<u8>],
    ) -> Result<ClientTls, String> {
        let name = server_name.unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("\"{name}\" is no name for a certificate: set tls.serverName"))?;
        let verifier =
            UpstreamVerifier::new(identity::roots(extra_roots)?, extra_roots, provider())?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::store(Arc::new(CountedSessions::new(SESSIONS)));
        Ok(ClientTls {
            config: Arc::new(config),
            name,
        })
    }
}
