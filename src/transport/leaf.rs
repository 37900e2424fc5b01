//! Facts of a certificate that an authority has issued to the gateway.

use core::net::IpAddr;

use super::certificate;
use crate::der::{OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element, take};
use crate::time::UnixTime;

/// subjectAltName (RFC 5280 4.2.1.6).
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// authorityKeyIdentifier (RFC 5280 4.2.1.1).
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// Tag of the keyIdentifier in an authorityKeyIdentifier.
const KEY_IDENTIFIER: u8 = 0x80;

/// Facts of the first certificate of a chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Begin of validity.
    pub not_before: UnixTime,
    /// End of validity.
    pub not_after: UnixTime,
    /// Key bits: of an EC key the point.
    pub key: Vec<u8>,
    /// Host names, lower case.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Content of the serial number.
    pub serial: Vec<u8>,
    /// Identifier of the issuer's key, if there is one.
    pub issuer_key: Option<Vec<u8>>,
}

/// Returns the facts of a certificate; `None` if it cannot be parsed.
pub fn leaf(der: &[u8]) -> Option<Leaf> {
    let (not_before, not_after) = certificate::validity(der)?;
    let extensions = certificate::extensions(der)?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let mut list = extension(extensions, ALTERNATIVE_NAMES).unwrap_or_default();
    let mut list = take(&mut list, SEQUENCE).unwrap_or_default();
    while let Some((tag, value)) = element(&mut list) {
        match tag {
            DNS_NAME => names.push(String::from_utf8_lossy(value).to_ascii_lowercase()),
            IP_ADDRESS => addresses.extend(address(value)),
            _ => {}
        }
    }
    let issuer_key = extension(extensions, AUTHORITY_KEY).and_then(|mut value| {
        let mut parts = take(&mut value, SEQUENCE)?;
        take(&mut parts, KEY_IDENTIFIER)
    });
    Some(Leaf {
        not_before,
        not_after,
        key: certificate::public_key(der)?.key.to_vec(),
        names,
        addresses,
        serial: certificate::serial(der)?.to_vec(),
        issuer_key: issuer_key.map(<[u8]>::to_vec),
    })
}

/// Parses a time in UTC of the form `YYYYMMDDHHMMSSZ`.
pub fn utc(text: &[u8]) -> Option<UnixTime> {
    certificate::time(certificate::GENERALIZED_TIME, text)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Returns the value of an extension.
fn extension<'a>(mut rest: &'a [u8], id: &[u8]) -> Option<&'a [u8]> {
    while let Some(mut one) = take(&mut rest, SEQUENCE) {
        if take(&mut one, OBJECT_IDENTIFIER)? != id {
            continue;
        }
        let (mut tag, mut value) = element(&mut one)?;
        if tag != OCTET_STRING {
            // Skips the field "critical".
            (tag, value) = element(&mut one)?;
        }
        return Some(value).filter(|_| tag == OCTET_STRING);
    }
    None
}
