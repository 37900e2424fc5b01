//! TLS server settings: certificates by name, client certificates, tickets.

use core::cell::RefCell;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::chain::BoundedClientVerifier;
use super::identity::PairFault;
use super::names::CertificateResolver;
use super::ordered::{ChallengeCertificate, Ordered, OrderedCertificate, challenge_config};
use super::provider::provider;
use super::tickets::{TicketKeys, Tickets};
use super::{certificate, identity};
pub use crate::observe::access::TlsVersion;
use crate::time::UnixTime;

/// Files of a TLS listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Certificates, at least one where none is ordered. The first is the default for a client that
    /// sends no name, or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// Names and addresses whose certificate is ordered, in lower case, sorted, each once; empty:
    /// none is. The certificate is not in these files.
    pub ordered: Vec<String>,
    /// Contact for the authority of that certificate.
    pub contact: Option<String>,
    /// Lowest version accepted.
    pub min_version: TlsVersion,
    /// PEM file with the authorities of client certificates; `None` if no client certificate is
    /// requested.
    pub client_ca: Option<PathBuf>,
    /// Clients that may connect where a certificate is requested.
    pub client_auth: ClientAuth,
}

/// `clientAuth`: clients that are let in where client certificates are requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientAuth {
    /// Clients with a certificate.
    #[default]
    Required,
    /// Clients without a certificate, too. A certificate that is shown must be a good one.
    Optional,
}

/// Certificate chain and its key, both PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// File with the certificate, followed by the chain to its authority.
    pub certificate: PathBuf,
    /// File with the private key: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Faulty part of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Certificate file with this index.
    Certificate(usize),
    /// Key file with this index, also if the key does not belong to its certificate.
    Key(usize),
    /// Authorities of clients.
    ClientCa,
    /// Combination of all files.
    Whole,
}

/// Reason why a listener has no TLS. Displayed as `FILE: MESSAGE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFault {
    /// Faulty part.
    pub part: Part,
    /// File name.
    pub path: PathBuf,
    /// Description of the fault, with advice.
    pub message: String,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

/// Function that reads a file.
pub type Read<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// TLS settings of a listener. Clones share one configuration.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    /// Expiry of each certificate file, if it could be parsed.
    expiries: Arc<[(PathBuf, UnixTime)]>,
    /// Certificates that are ordered; `None`: none is.
    ordered: Option<Arc<Ordered>>,
    /// Digest of the files' contents and of the other settings.
    identity: [u8; 32],
    tickets: Tickets,
}

impl ServerTls {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// All faults found, at least one.
    pub fn load(files: &TlsFiles, read: Read<'_>) -> Result<ServerTls, Vec<TlsFault>> {
        let contents = RefCell::new(Vec::new());
        let read = &|path: &Path| {
            let content = read(path)?;
            let digest = identity::digest(None, core::slice::from_ref(&content));
            contents.borrow_mut().push(digest.to_vec());
            Ok(content)
        };
        let provider = provider();
        let mut faults = Vec::new();
        let mut keys = Vec::new();
        for (index, pair) in files.certificates.iter().enumerate() {
            match certified_key(index, pair, read, &provider) {
                Ok(key) => keys.push(key),
                Err(found) => faults.extend(found),
            }
        }
        let roots = files
            .client_ca
            .as_deref()
            .map(|path| client_roots(path, read))
            .transpose();
        let roots = roots.map_err(|fault| faults.push(fault)).ok().flatten();
        if !faults.is_empty() {
            return Err(faults);
        }
        let expiry = |(pair, key): (&CertificateFiles, &Arc<CertifiedKey>)| {
            Some((
                pair.certificate.clone(),
                certificate::not_after(key.cert.first()?)?,
            ))
        };
        let expiries = files
            .certificates
            .iter()
            .zip(&keys)
            .filter_map(expiry)
            .collect();
        let has_orders = !files.ordered.is_empty();
        let ordered = has_orders.then(|| Arc::new(Ordered::new(&files.ordered)));
        let (config, tickets) = configure(
            provider,
            files.min_version,
            (roots, files.client_auth),
            (keys, ordered.clone()),
        )
        .map_err(|message| {
            let path = files
                .certificates
                .first()
                .map_or(PathBuf::new(), |pair| pair.certificate.clone());
            vec![TlsFault {
                part: Part::Whole,
                path,
                message,
            }]
        })?;
        Ok(ServerTls {
            config: Arc::new(config),
            expiries,
            ordered,
            identity: identity_of(files, &contents.into_inner()),
            tickets,
        })
    }

    /// Makes the settings of handshakes that prove names to an authority, and carry nothing else.
    ///
    /// # Errors
    /// A certificate or a key cannot be used.
    pub fn challenge(certificates: &[ChallengeCertificate]) -> Result<ServerTls, String> {
        Ok(ServerTls {
            config: Arc::new(challenge_config(certificates)?),
            expiries: Arc::new([]),
            ordered: None,
            identity: [0; 32],
            tickets: Tickets::new()?,
        })
    }

    /// Serves a certificate from now on, for those of these names that are ordered here. The names
    /// are in the form of [`TlsFiles::ordered`].
    pub fn install(&self, names: &[String], certificate: &OrderedCertificate) {
        if let Some(ordered) = &self.ordered {
            ordered.install(names, certificate);
        }
    }

    /// Returns the names whose ordered certificate is there, with its end.
    pub fn ordered_expiries(&self) -> Vec<(String, UnixTime)> {
        let ordered = self.ordered.as_deref();
        ordered.map_or_else(Vec::new, Ordered::expiries)
    }

    /// Returns true if both were made from files with the same contents, in the same way.
    pub fn is_same(&self, other: &ServerTls) -> bool {
        self.identity == other.identity
    }

    /// Returns the digest of everything that it was made from.
    pub fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// Returns the keys of its tickets, which another process may go on with.
    pub fn ticket_keys(&self) -> TicketKeys {
        self.tickets.keys()
    }

    /// Goes on with the keys of another process, which was made from the same.
    pub fn restore_tickets(&self, keys: TicketKeys) {
        self.tickets.restore(keys);
    }

    /// Returns the certificate files and their expiry.
    pub fn expiries(&self) -> impl Iterator<Item = (&Path, UnixTime)> {
        self.expiries
            .iter()
            .map(|(path, end)| (path.as_path(), *end))
    }
}

fn identity_of(files: &TlsFiles, contents: &[Vec<u8>]) -> [u8; 32] {
    let version = match files.min_version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    };
    let asks_clients = files.client_ca.as_ref().map(|_| match files.client_auth {
        ClientAuth::Required => "client certificates",
        ClientAuth::Optional => "optional client certificates",
    });
    let names = files.ordered.iter().map(|name| name.as_bytes().to_vec());
    let first = vec![version.as_bytes().to_vec()];
    identity::digest(
        asks_clients,
        &[&first, contents, &names.collect::<Vec<_>>()[..]].concat(),
    )
}

fn configure(
    provider: Arc<CryptoProvider>,
    min_version: TlsVersion,
    (client_roots, client_auth): (Option<RootCertStore>, ClientAuth),
    (keys, ordered): (Vec<Arc<CertifiedKey>>, Option<Arc<Ordered>>),
) -> Result<(ServerConfig, Tickets), String> {
    let versions: &[&SupportedProtocolVersion] = match min_version {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = match client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(Arc::new(BoundedClientVerifier(verifier)))
        }
    };
    let schemes = provider
        .signature_verification_algorithms
        .supported_schemes();
    let mut resolver = CertificateResolver::new(keys, &schemes);
    resolver.ordered = ordered;
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // Session state is stored by the clients, in tickets that only this set of files can decrypt.
    // So a client that resumes a session was admitted by these files.
    let tickets = Tickets::new()?;
    config.ticketer = Arc::new(tickets.clone());
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok((config, tickets))
}

fn certified_key(
    index: usize,
    pair: &CertificateFiles,
    read: Read<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Vec<TlsFault>> {
    let load = |part, path: &Path| {
        read(path).map_err(|error| TlsFault {
            part,
            path: path.to_owned(),
            message: format!("cannot be read: {error}"),
        })
    };
    let fault = |part, path: &Path, message| TlsFault {
        part,
        path: path.to_owned(),
        message,
    };
    let chain = load(Part::Certificate(index), &pair.certificate).and_then(|pem| {
        identity::certificates_from_pem(&pem)
            .map_err(|message| fault(Part::Certificate(index), &pair.certificate, message))
    });
    let keys = load(Part::Key(index), &pair.key).and_then(|pem| {
        identity::private_keys_from_pem(&pem)
            .map_err(|message| fault(Part::Key(index), &pair.key, message))
    });
    let (chain, keys) = match (chain, keys) {
        (Ok(chain), Ok(keys)) => (chain, keys),
        (chain, keys) => return Err([chain.err(), keys.err()].into_iter().flatten().collect()),
    };
    identity::pair(chain, keys, provider)
        .map(Arc::new)
        .map_err(|found| {
            vec![match found {
                PairFault::Certificate(message) => {
                    fault(Part::Certificate(index), &pair.certificate, message)
                }
                PairFault::Key(message) => fault(Part::Key(index), &pair.key, message),
                PairFault::Mismatch(message) => {
                    let certificate = pair.certificate.display();
                    let message =
                        format!("{message} in {certificate}; give the pair that belongs together");
                    fault(Part::Key(index), &pair.key, message)
                }
            }]
        })
}

fn client_roots(path: &Path, read: Read<'_>) -> Result<RootCertStore, TlsFault> {
    let fault = |message| TlsFault {
        part: Part::ClientCa,
        path: path.to_owned(),
        message,
    };
    let pem = read(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in identity::certificates_from_pem(&pem).map_err(fault)? {
        roots
            .add(CertificateDer::from(certificate))
            .map_err(|error| fault(error.to_string()))?;
    }
    Ok(roots)
}
