//! Files of the state folder: keys and chains as PEM, and what is checked before they are used.

use super::Identifier;
use crate::pem::{self, Wanted};
use crate::policy::auth::base64::{decode, encode, encode_url};
use crate::sort;
use crate::time::UnixTime;
use crate::transport::identity::certificates_from_pem;
use crate::transport::leaf::{Leaf, leaf};

/// Certificates of a chain.
const CHAIN_MAX: usize = 10;

/// Seconds by which a certificate may begin in the future: clocks differ.
const CLOCK_SKEW: u64 = 3600;

/// Appends a PEM block (RFC 7468 2).
pub(super) fn push(to: &mut Vec<u8>, label: &str, der: &[u8]) {
    to.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in encode(der).as_bytes().chunks(64) {
        to.extend_from_slice(line);
        to.push(b'\n');
    }
    to.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}

/// Returns a private key as a file.
pub(super) fn of_key(pkcs8: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    push(&mut file, "PRIVATE KEY", pkcs8);
    file
}

/// Returns the private key of a file.
pub(super) fn key(file: &[u8]) -> Option<Vec<u8>> {
    let blocks = pem::blocks(file, Wanted::PrivateKey).ok()?;
    let body = blocks.first()?.body;
    let digits = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    decode(&digits.copied().collect::<Vec<_>>())
}

/// Chain that may be served.
pub(super) struct Checked {
    pub(super) leaf: Leaf,
    /// Chain, written again: nothing else that the authority sent goes to the disk.
    pub(super) pem: Vec<u8>,
}

/// Checks a chain that the authority has issued: it can be read, its key is `point`, it covers the
/// names, and it is valid now.
pub(super) fn check(
    chain: &[u8],
    point: &[u8; 65],
    names: &[Identifier],
    now: u64,
) -> Result<Checked, String> {
    let certificates = certificates_from_pem(chain)
        .map_err(|error| format!("the certificate of the authority: {error}"))?;
    if certificates.len() > CHAIN_MAX {
        return Err("the chain of the authority has more than 10 certificates".to_owned());
    }
    let first = certificates.first().and_then(|der| leaf(der));
    let leaf = first.ok_or("the certificate of the authority cannot be read")?;
    if leaf.key != point {
        return Err("the certificate of the authority is for another key than ours".to_owned());
    }
    let is_covered = |name: &&Identifier| match name {
        Identifier::Name(name) => leaf.names.iter().any(|one| **one == **name),
        Identifier::Address(address) => leaf.addresses.contains(address),
    };
    if let Some(missing) = names.iter().find(|name| !is_covered(name)) {
        return Err(format!(
            "the certificate of the authority does not cover {missing}"
        ));
    }
    if leaf.not_after.as_secs() <= now {
        return Err(
            "the certificate of the authority has expired already; is the clock right?".to_owned(),
        );
    }
    if leaf.not_before.as_secs() > now.saturating_add(CLOCK_SKEW) {
        return Err(
            "the certificate of the authority begins in the future; is the clock right?".to_owned(),
        );
    }
    let mut pem = Vec::new();
    for der in &certificates {
        push(&mut pem, "CERTIFICATE", der);
    }
    Ok(Checked { leaf, pem })
}

/// Returns the identifier of a certificate in questions about its renewal (RFC 9773 4.1).
pub(super) fn renewal_id(leaf: &Leaf) -> Option<String> {
    let issuer = leaf.issuer_key.as_ref()?;
    Some(format!(
        "{}.{}",
        encode_url(issuer),
        encode_url(&leaf.serial)
    ))
}

/// Returns the names of a file with a chain, sorted, each once; none if it has no certificate.
pub(super) fn names(file: &[u8]) -> Vec<Identifier> {
    let Some(leaf) = first(file) else {
        return Vec::new();
    };
    let names = leaf.names.iter().map(|name| Identifier::parse(name).ok());
    let addresses = leaf.addresses.into_iter().map(Identifier::Address);
    let mut names = names.flatten().chain(addresses).collect::<Vec<_>>();
    sort::unique(&mut names);
    names
}

/// Returns begin and end of the validity of a file with a chain, in seconds.
pub(super) fn life(file: &[u8]) -> Option<(u64, u64)> {
    let leaf = first(file)?;
    let seconds = UnixTime::as_secs;
    Some((seconds(leaf.not_before), seconds(leaf.not_after)))
}

/// Returns the facts of the first certificate of a chain.
#[inline(never)]
fn first(chain: &[u8]) -> Option<Leaf> {
    let certificates = certificates_from_pem(chain).ok()?;
    leaf(certificates.first()?)
}
