//! Certificates that are ordered from an authority while the gateway runs, and the certificates that
//! answer its challenges (RFC 8737).

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

use super::certificate;
use super::identity::{self, PairFault};
use super::provider::provider;
use crate::time::UnixTime;

/// Protocol of a handshake that proves a name (RFC 8737 4).
pub(super) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// Certificate that was ordered, with its key. Clones share both.
#[derive(Clone)]
pub struct OrderedCertificate {
    certified: Arc<CertifiedKey>,
    /// End of validity.
    pub end: UnixTime,
}

/// Certificate that answers a challenge.
pub struct ChallengeCertificate {
    /// Server name that the authority asks for.
    pub server_name: String,
    /// Certificate (DER).
    pub certificate: Vec<u8>,
    /// Key (PKCS #8, DER).
    pub key: Vec<u8>,
}

/// Certificates that are ordered for a listener, by name.
#[derive(Debug)]
pub(super) struct Ordered {
    /// Names, sorted.
    names: Vec<String>,
    /// Certificate of each name; `None`: it is awaited.
    held: RwLock<Vec<Held>>,
}

/// Certificate with its end; `None`: it is awaited.
type Held = Option<(Arc<CertifiedKey>, UnixTime)>;

/// Chooses the certificate of a challenge.
#[derive(Debug)]
struct Challenges(Vec<(String, Arc<CertifiedKey>)>);

impl OrderedCertificate {
    /// Reads a key and the chain, in one PEM file.
    ///
    /// # Errors
    /// The certificate or the key is missing or cannot be used, or the key belongs to another certificate.
    pub fn from_pem(pem: &[u8]) -> Result<OrderedCertificate, String> {
        let chain = identity::certificates_from_pem(pem)?;
        let keys = identity::private_keys_from_pem(pem)?;
        let end = chain.first().and_then(|leaf| certificate::not_after(leaf));
        let end = end.ok_or("its certificate has no end of validity that can be read")?;
        match identity::pair(chain, keys, &provider()) {
            Ok(certified) => Ok(OrderedCertificate {
                certified: Arc::new(certified),
                end,
            }),
            Err(
                PairFault::Certificate(text) | PairFault::Key(text) | PairFault::Mismatch(text),
            ) => Err(text),
        }
    }
}

#[cfg(test)]
impl OrderedCertificate {
    /// Returns chain and key.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl Ordered {
    /// Creates the table of these names, which are sorted.
    pub(super) fn new(names: &[String]) -> Ordered {
        Ordered {
            names: names.to_vec(),
            held: RwLock::new(vec![None; names.len()]),
        }
    }

    /// Serves a certificate for those of its names that the table has.
    pub(super) fn install(&self, names: &[String], ordered: &OrderedCertificate) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let place = self.names.binary_search(name).ok();
            if let Some(slot) = place.and_then(|place| held.get_mut(place)) {
                *slot = Some((Arc::clone(&ordered.certified), ordered.end));
            }
        }
    }

    /// Returns the certificate of a name. `Some(None)`: it is awaited; `None`: the table does not
    /// have the name.
    pub(super) fn find(&self, name: &str) -> Option<Option<Arc<CertifiedKey>>> {
        let place = self
            .names
            .binary_search_by(|known| known.as_str().cmp(name))
            .ok()?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let certificate = held.get(place)?.as_ref();
        Some(certificate.map(|(key, _)| Arc::clone(key)))
    }

    /// Returns the certificate for clients that send no name: that of an address, to which clients
    /// never send one (RFC 6066 3). `None`: no name is an address.
    pub(super) fn of_address(&self) -> Option<Option<Arc<CertifiedKey>>> {
        let is_address = |name: &&String| name.parse::<core::net::IpAddr>().is_ok();
        self.find(self.names.iter().find(is_address)?)
    }

    /// Returns the first certificate that is there.
    pub(super) fn first(&self) -> Option<Arc<CertifiedKey>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let (key, _) = held.iter().flatten().next()?;
        Some(Arc::clone(key))
    }

    /// Returns the end of each certificate that is there, by its name.
    pub(super) fn expiries(&self) -> Vec<(String, UnixTime)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let pairs = self.names.iter().zip(held.iter());
        let ends = pairs.filter_map(|(name, held)| Some((name.clone(), held.as_ref()?.1)));
        ends.collect()
    }
}

/// Makes the settings of handshakes that prove names. Such a handshake has no client certificate and
/// no ticket (RFC 8737 3).
///
/// # Errors
/// A certificate or a key cannot be used.
pub(super) fn challenge_config(
    certificates: &[ChallengeCertificate],
) -> Result<ServerConfig, String> {
    let provider = provider();
    let mut by_name = Vec::with_capacity(certificates.len());
    for one in certificates {
        let certified = challenge_key(one, &provider).map_err(|error| error.to_string())?;
        by_name.push((one.server_name.clone(), Arc::new(certified)));
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Challenges(by_name)));
    config.alpn_protocols = vec![CHALLENGE_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Makes the pair without the checks of a usual one: its certificate has a critical extension that
/// no verifier of certificates knows (RFC 8737 3).
fn challenge_key(
    one: &ChallengeCertificate,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(one.key.clone()));
    let signing = provider.key_provider.load_private_key(key)?;
    let chain = vec![CertificateDer::from(one.certificate.clone())];
    Ok(CertifiedKey::new(chain, signing))
}

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        let mut all = self.0.iter();
        let (_, key) = all.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Arc::clone(key))
    }
}
