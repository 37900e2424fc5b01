//! Verification of peers' certificates: bounds on its cost, and pinned certificates.
//!
//! Verifying a chain is a search (RFC 4158): each certificate with the right name is tried, and
//! each try may verify a signature. So the number of certificates, their bytes, and the number that
//! share a subject are bounded before the search begins. The rest is a path with at most one fork.
//! A signature is verified only with a key that is already trusted, from the authority downwards: a
//! peer that sends a forged chain makes the gateway use the authorities' keys, and none of its own.
//! (ring accepts RSA keys of up to 8,192 bits with exponents of up to 33 bits.)

use core::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};

use super::certificate;
use crate::limits::{
    CLIENT_CHAIN_BYTES, CLIENT_INTERMEDIATES_MAX, UPSTREAM_CHAIN_BYTES, UPSTREAM_INTERMEDIATES_MAX,
};

/// Number of intermediate certificates that may repeat the subject of another one: an authority
/// with a new key, or one that two others signed.
const SHARED_SUBJECTS_MAX: usize = 1;

/// Bounds of a chain.
struct Bounds {
    intermediates: usize,
    bytes: usize,
}

const CLIENT: Bounds = Bounds {
    intermediates: CLIENT_INTERMEDIATES_MAX,
    bytes: CLIENT_CHAIN_BYTES,
};
const UPSTREAM: Bounds = Bounds {
    intermediates: UPSTREAM_INTERMEDIATES_MAX,
    bytes: UPSTREAM_CHAIN_BYTES,
};

/// Reason why a chain is refused before it is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChainFault {
    /// Too many intermediate certificates.
    TooMany { found: usize, most: usize },
    /// Too many bytes.
    TooLarge { found: usize, most: usize },
    /// Several intermediate certificates share a subject.
    Ambiguous,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainFault::TooMany { found, most } => {
                write!(
                    f,
                    "the chain has {found} intermediate certificates, at most {most} are verified"
                )
            }
            ChainFault::TooLarge { found, most } => {
                write!(
                    f,
                    "the chain has {found} bytes, at most {most} are verified"
                )
            }
            ChainFault::Ambiguous => {
                f.write_str("more than two intermediate certificates of the chain share a subject")
            }
        }
    }
}

impl core::error::Error for ChainFault {}

impl ChainFault {
    /// Returns the fault of a refused chain, if `error` is one.
    pub(super) fn from_error(error: &Error) -> Option<ChainFault> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

impl From<ChainFault> for Error {
    fn from(fault: ChainFault) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
    }
}

impl Bounds {
    /// Refuses a chain that costs too much to verify. No signature is verified here.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        if intermediates.len() > self.intermediates {
            return Err(ChainFault::TooMany {
                found: intermediates.len(),
                most: self.intermediates,
            }
            .into());
        }
        let bytes = intermediates
            .iter()
            .fold(end_entity.len(), |sum, certificate| {
                sum.saturating_add(certificate.len())
            });
        if bytes > self.bytes {
            return Err(ChainFault::TooLarge {
                found: bytes,
                most: self.bytes,
            }
            .into());
        }
        let mut subjects = Vec::with_capacity(intermediates.len());
        for (index, intermediate) in intermediates.iter().enumerate() {
            // A repeated certificate is tried once: no path contains a certificate twice.
            if intermediates
                .get(..index)
                .unwrap_or_default()
                .contains(intermediate)
            {
                continue;
            }
            let subject = certificate::encoded_subject(intermediate);
            subjects.push(subject.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?);
        }
        let all = subjects.len();
        crate::sort::sort(&mut subjects);
        subjects.dedup();
        if all.saturating_sub(subjects.len()) > SHARED_SUBJECTS_MAX {
            return Err(ChainFault::Ambiguous.into());
        }
        Ok(())
    }
}

/// Verifies clients' certificates within the bounds.
#[derive(Debug)]
pub(super) struct BoundedClientVerifier(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for BoundedClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        CLIENT.check(end_entity, intermediates)?;
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Verifies upstreams' certificates within the bounds. A certificate of `tls.ca` is also trusted
/// itself, byte for byte (pinned). `openssl req -x509` marks its certificate as an authority, and
/// old devices have certificates of version 1: webpki refuses both for a server. Name and validity
/// are verified in any case.
#[derive(Debug)]
pub(super) struct UpstreamVerifier {
    roots: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl UpstreamVerifier {
    /// Creates a verifier that trusts what `authorities` signed, and the certificates in `pinned`.
    ///
    /// # Errors
    /// There is no authority.
    pub(super) fn new(
        authorities: RootCertStore,
        pinned: &[Vec<u8>],
        provider: Arc<CryptoProvider>,
    ) -> Result<UpstreamVerifier, String> {
        let algorithms = provider.signature_verification_algorithms;
        let roots =
            WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider).build();
        Ok(UpstreamVerifier {
            roots: roots.map_err(|error| error.to_string())?,
            pinned: pinned
                .iter()
                .map(|der| CertificateDer::from(der.clone()))
                .collect(),
            algorithms,
        })
    }

    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        self.pinned.iter().any(|pinned| pinned == certificate)
    }
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.is_pinned(end_entity) {
            verify_validity(end_entity, now)?;
            verify_name(end_entity, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        UPSTREAM.check(end_entity, intermediates)?;
        self.roots
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self
            .roots
            .verify_tls12_signature(message, certificate, signature)
        {
            // webpki does not parse a certificate of version 1, but its key is usable.
            Err(_) if self.is_pinned(certificate) => {
                verify_tls12_signature_with_key(message, certificate, signature, &self.algorithms)
            }
            outcome => outcome,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self
            .roots
            .verify_tls13_signature(message, certificate, signature)
        {
            Err(_) if self.is_pinned(certificate) => {
                let key =
                    certificate::public_key(certificate).ok_or(CertificateError::BadEncoding)?;
                let key = SubjectPublicKeyInfoDer::from(key.info);
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
            outcome => outcome,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (begin, end) = certificate::validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let seconds = |time: crate::time::UnixTime| time.as_millis() / 1000;
    let as_time = |time| UnixTime::since_unix_epoch(core::time::Duration::from_secs(seconds(time)));
    if now.as_secs() < seconds(begin) {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: as_time(begin),
        }
        .into());
    }
    if now.as_secs() > seconds(end) {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: as_time(end),
        }
        .into());
    }
    Ok(())
}

/// Verifies the name of a certificate. Without any alternative name the common name counts, as in
/// other clients: `openssl req -x509 -subj /CN=name` creates such a certificate (RFC 2818 3.1,
/// replaced by RFC 9110 4.3.4).
fn verify_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let by_alternative_name = ParsedCertificate::try_from(certificate)
        .and_then(|parsed| verify_server_name(&parsed, name));
    let Err(error) = by_alternative_name else {
        return Ok(());
    };
    if certificate::alternative_names(certificate).is_none_or(|names| names.count > 0) {
        return Err(error);
    }
    let common_name = certificate::common_name(certificate).unwrap_or_default();
    let is_for_it = match name {
        ServerName::DnsName(name) => name.as_ref().as_bytes().eq_ignore_ascii_case(common_name),
        ServerName::IpAddress(address) => {
            IpAddr::from(*address).to_string().as_bytes() == common_name
        }
        _ => false,
    };
    let is_for_other = || CertificateError::NotValidForNameContext {
        expected: name.to_owned(),
        presented: vec![String::from_utf8_lossy(common_name).into_owned()],
    };
    if is_for_it {
        Ok(())
    } else {
        Err(is_for_other().into())
    }
}

/// Verifies a signature of TLS 1.2 like rustls does for a certificate that it can parse
/// (RFC 5246 7.4.3).
fn verify_tls12_signature_with_key(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = certificate::public_key(certificate).ok_or(CertificateError::BadEncoding)?;
    let candidates = algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == signature.scheme);
    let mut candidates = candidates
        .flat_map(|(_, candidates)| candidates.iter())
        .peekable();
    if candidates.peek().is_none() {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let fits =
        candidates.filter(|candidate| candidate.public_key_alg_id().as_ref() == key.algorithm);
    for candidate in fits {
        if candidate
            .verify_signature(key.key, message, signature.signature())
            .is_ok()
        {
            return Ok(HandshakeSignatureValid::assertion());
        }
    }
    Err(CertificateError::BadSignature.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring;
    use rustls::server::WebPkiClientVerifier;

    const NOW: u64 = 1_800_000_000;

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(core::time::Duration::from_secs(NOW))
    }

    fn authority(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(vec![]).expect("no name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().expect("a key"))
    }

    /// Creates a certificate with this subject and issuer, signed by an unknown authority.
    fn forged(subject: &str, issuer: &str) -> CertificateDer<'static> {
        let (params, key) = authority(subject);
        let (issuer, issuer_key) = authority(issuer);
        params
            .signed_by(&key, &Issuer::new(issuer, issuer_key))
            .expect("signed")
            .der()
            .clone()
    }

    fn clients() -> (BoundedClientVerifier, Issuer<'static, KeyPair>) {
        let (params, key) = authority("CA");
        let mut roots = RootCertStore::empty();
        roots
            .add(params.self_signed(&key).expect("signed").der().clone())
            .expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(ring::default_provider()),
        )
        .build();
        (
            BoundedClientVerifier(verifier.expect("an authority")),
            Issuer::new(params, key),
        )
    }

    fn refusal(verifier: &BoundedClientVerifier, chain: &[CertificateDer<'_>]) -> Option<Error> {
        verifier
            .verify_client_cert(&chain[0], &chain[1..], now())
            .err()
    }

    #[test]
    fn a_chain_is_bounded_before_it_is_verified() {
        let (verifier, issuer) = clients();
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["ann.test".to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&key, &issuer).expect("signed").der().clone();
        let with = |intermediates: Vec<CertificateDer<'static>>| {
            refusal(&verifier, &[vec![leaf.clone()], intermediates].concat())
                .map(|error| ChainFault::from_error(&error))
        };
        let named = |count: usize| {
            (0..count)
                .map(|at| forged(&format!("i{at}"), "CA"))
                .collect::<Vec<_>>()
        };
        assert_eq!(with(vec![]), None);
        assert_eq!(with(named(5)), None, "what is of no use does no harm");
        assert_eq!(
            with(named(6)),
            Some(Some(ChainFault::TooMany { found: 6, most: 5 }))
        );
        assert_eq!(
            with(vec![forged("CA", "CA"); 5]),
            None,
            "one that is sent five times is one"
        );
        assert_eq!(with(vec![forged("CA", "CA"), forged("CA", "CA")]), None);
        let same = (0..3).map(|_| forged("CA", "CA")).collect();
        assert_eq!(
            with(same),
            Some(Some(ChainFault::Ambiguous)),
            "each order of them would be tried"
        );
        let twins = ["a", "a", "b", "b"].map(|name| forged(name, "CA")).to_vec();
        assert_eq!(with(twins), Some(Some(ChainFault::Ambiguous)));
        let huge = forged(&"x".repeat(CLIENT_CHAIN_BYTES), "CA");
        assert!(matches!(
            with(vec![huge]),
            Some(Some(ChainFault::TooLarge { .. }))
        ));
        assert!(
            with(vec![CertificateDer::from(vec![0x30, 0x03, 1, 2])]).is_some(),
            "what cannot be read"
        );
    }

    fn upstreams(own: &CertificateDer<'static>) -> UpstreamVerifier {
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).expect("a root");
        UpstreamVerifier::new(roots, &[own.to_vec()], Arc::new(ring::default_provider()))
            .expect("an authority")
    }

    fn self_signed(
        hosts: &[&str],
        common_name: &str,
        change: impl Fn(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(
            hosts
                .iter()
                .map(|host| (*host).to_owned())
                .collect::<Vec<_>>(),
        );
        let params = params.as_mut().expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(params);
        params
            .self_signed(&KeyPair::generate().expect("a key"))
            .expect("signed")
            .der()
            .clone()
    }

    #[test]
    fn a_leaf_of_tls_ca_is_trusted_for_its_names_and_its_time() {
        let year = |year| {
            move |params: &mut CertificateParams| {
                params.not_after = rcgen::date_time_ymd(year, 1, 1)
            }
        };
        let later =
            |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2040, 1, 1);
        for (certificate, name, expected) in [
            (self_signed(&["a.test"], "x", |_| {}), "a.test", "Ok"),
            (
                self_signed(&["a.test", "10.0.0.1"], "x", |_| {}),
                "10.0.0.1",
                "Ok",
            ),
            (self_signed(&["*.a.test"], "x", |_| {}), "b.a.test", "Ok"),
            (
                self_signed(&["a.test"], "b.test", |_| {}),
                "b.test",
                "NotValidForName",
            ),
            (
                self_signed(&["10.0.0.1"], "b.test", |_| {}),
                "b.test",
                "NotValidForName",
            ),
            (self_signed(&[], "B.test", |_| {}), "b.test", "Ok"),
            (
                self_signed(&[], "b.test", |_| {}),
                "c.test",
                "NotValidForName",
            ),
            (self_signed(&[], "10.0.0.1", |_| {}), "10.0.0.1", "Ok"),
            (
                self_signed(&[], "10.0.0.1", |_| {}),
                "10.0.0.2",
                "NotValidForName",
            ),
            (
                self_signed(&["a.test"], "x", year(2020)),
                "a.test",
                "Expired",
            ),
            (
                self_signed(&["a.test"], "x", later),
                "a.test",
                "NotValidYet",
            ),
        ] {
            let verifier = upstreams(&certificate);
            let server_name = ServerName::try_from(name).expect("a name");
            let outcome = verifier.verify_server_cert(&certificate, &[], &server_name, &[], now());
            assert!(
                format!("{outcome:?}").contains(expected),
                "{name}: {outcome:?}"
            );
            let other = self_signed(&["a.test"], "x", |_| {});
            assert!(
                verifier
                    .verify_server_cert(&other, &[], &server_name, &[], now())
                    .is_err(),
                "another one is not"
            );
        }
    }

    #[test]
    fn the_chain_of_an_upstream_is_bounded_too() {
        let own = self_signed(&["a.test"], "CA", |_| {});
        let verifier = upstreams(&own);
        let name = ServerName::try_from("a.test").expect("a name");
        let leaf = forged("a.test", "CA");
        let verify = |intermediates: &[CertificateDer<'_>]| {
            let error = verifier
                .verify_server_cert(&leaf, intermediates, &name, &[], now())
                .expect_err("forged");
            ChainFault::from_error(&error)
        };
        let many = (0..11)
            .map(|at| forged(&format!("i{at}"), "CA"))
            .collect::<Vec<_>>();
        assert_eq!(verify(&many[..10]), None);
        assert_eq!(
            verify(&many),
            Some(ChainFault::TooMany {
                found: 11,
                most: 10
            })
        );
        let same = (0..3).map(|_| forged("X", "X")).collect::<Vec<_>>();
        assert_eq!(verify(&same), Some(ChainFault::Ambiguous));
    }
}
