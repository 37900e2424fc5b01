//! Facts that a client finds in a certificate file of a listener.

use super::certificate;
use super::identity::certificates_from_pem;
use crate::time::UnixTime;

/// Facts of a chain.
#[derive(Debug, PartialEq, Eq)]
pub struct ChainFacts {
    /// Last begin of validity of its certificates.
    pub begin: UnixTime,
    /// First end of validity of its certificates.
    pub end: UnixTime,
    /// Fault of the chain; `None`: it leads to an authority.
    pub gap: Option<Gap>,
}

/// Place where a chain does not go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Gap {
    /// The certificate with this number did not sign the one before.
    Order(usize),
    /// The last certificate was signed by this issuer, which is neither in the file nor a public
    /// authority, but has an address in the certificate.
    Public(String),
    /// Issuer without an address there: it may be an authority of the operator's own.
    Private(String),
}

/// Returns the facts of a PEM file; `None`: it has no certificate that can be parsed.
pub fn chain_facts(pem: &[u8]) -> Option<ChainFacts> {
    let chain = certificates_from_pem(pem).ok()?;
    let validities = chain.iter().map(|one| certificate::validity(one));
    let validities = validities.collect::<Option<Vec<_>>>()?;
    Some(ChainFacts {
        begin: validities.iter().map(|(begin, _)| *begin).max()?,
        end: validities.iter().map(|(_, end)| *end).min()?,
        gap: gap(&chain),
    })
}

/// Names and key by which a certificate is chosen.
#[derive(Default)]
pub struct ChosenBy {
    /// Host names in lower case, wildcards included.
    pub hosts: Vec<String>,
    /// Algorithm of the key: a client that can verify one of its signatures can verify all.
    pub algorithm: Vec<u8>,
}

/// Returns what a PEM file's first certificate is chosen by.
pub fn chosen_by(pem: &[u8]) -> ChosenBy {
    let chain = certificates_from_pem(pem).unwrap_or_default();
    let Some(leaf) = chain.first() else {
        return ChosenBy::default();
    };
    let names = certificate::alternative_names(leaf).unwrap_or_default();
    let hosts = names.hosts.into_iter();
    let hosts = hosts.map(|host| String::from_utf8_lossy(host).to_ascii_lowercase());
    let key = certificate::public_key(leaf);
    ChosenBy {
        hosts: hosts.collect(),
        algorithm: key.map_or_else(Vec::new, |key| key.algorithm.to_vec()),
    }
}

fn gap(chain: &[Vec<u8>]) -> Option<Gap> {
    for (index, (one, next)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
        if certificate::encoded_issuer(one) != certificate::encoded_subject(next) {
            return Some(Gap::Order(index.saturating_add(2)));
        }
    }
    let last = chain.last()?;
    let issuer = certificate::encoded_issuer(last)?;
    let is_known = certificate::encoded_subject(last) == Some(issuer)
        || webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .any(|root| root.subject.as_ref() == issuer);
    if is_known {
        return None;
    }
    let shown = certificate::issuer(last).unwrap_or_default();
    match certificate::names_issuer_address(last) {
        true => Some(Gap::Public(shown)),
        false => Some(Gap::Private(shown)),
    }
}
