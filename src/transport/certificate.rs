//! Certificate fields that rustls does not expose: subject, expiry, key.
//!
//! Parses the outer layers of RFC 5280 4.1 in DER. Anything unexpected is "unknown", never a guess.
//! Admission was already decided by rustls.

use core::fmt::Write;

use crate::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element, take};
use crate::limits::CLIENT_SUBJECT_BYTES;
use crate::time::UnixTime;

const UTF8_STRING: u8 = 0x0c;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// Tag of the extensions of a certificate (RFC 5280 4.1).
const EXTENSIONS: u8 = 0xa3;
/// Tag of a dNSName (RFC 5280 4.2.1.6).
const DNS_NAME: u8 = 0x82;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Identifier of subjectAltName (RFC 5280 4.2.1.6).
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Identifier of authorityInfoAccess (RFC 5280 4.2.2.1).
const AUTHORITY_ACCESS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];

/// Attribute types with names in RFC 4514 3 or in common use.
const TYPES: [(&[u8], &str); 14] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x0c], "title"),
    (&[0x55, 0x04, 0x2a], "GN"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01],
        "UID",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19],
        "DC",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01],
        "emailAddress",
    ),
];

/// Returns the subject as RFC 4514 writes it (`CN=ann,O=Example`, most specific part first), in
/// visible ASCII: every other byte becomes `\HH`. `None` if it cannot be parsed or is longer than
/// [`CLIENT_SUBJECT_BYTES`].
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    distinguished(outer(certificate)?.subject)
}

fn distinguished(mut rest: &[u8]) -> Option<String> {
    let mut names = Vec::new();
    while !rest.is_empty() {
        names.push(relative_name(take(&mut rest, SET)?)?);
    }
    names.reverse();
    Some(names.join(",")).filter(|text| text.len() <= CLIENT_SUBJECT_BYTES)
}

/// Returns the end of the validity; `None` if it cannot be parsed.
pub(super) fn not_after(certificate: &[u8]) -> Option<UnixTime> {
    let mut validity = outer(certificate)?.validity;
    let _not_before = element(&mut validity)?;
    let (tag, text) = element(&mut validity)?;
    time(tag, text)
}

/// Returns the beginning and the end of the validity; `None` if they cannot be parsed.
pub(super) fn validity(certificate: &[u8]) -> Option<(UnixTime, UnixTime)> {
    let mut validity = outer(certificate)?.validity;
    let (tag, text) = element(&mut validity)?;
    let begin = time(tag, text)?;
    let (tag, text) = element(&mut validity)?;
    Some((begin, time(tag, text)?))
}

/// Returns the encoded subject, for comparison; `None` if it cannot be parsed.
pub(super) fn encoded_subject(certificate: &[u8]) -> Option<&[u8]> {
    outer(certificate).map(|outer| outer.subject)
}

/// Returns the encoded issuer, for comparison; `None` if it cannot be parsed.
pub(super) fn encoded_issuer(certificate: &[u8]) -> Option<&[u8]> {
    outer(certificate).map(|outer| outer.issuer)
}

/// Returns the issuer as [`subject`] does.
pub(super) fn issuer(certificate: &[u8]) -> Option<String> {
    distinguished(outer(certificate)?.issuer)
}

/// Returns true if the certificate names an address that its issuer's certificate can be had from
/// (authorityInfoAccess, RFC 5280 4.2.2.1). Public authorities do that.
pub(super) fn names_issuer_address(certificate: &[u8]) -> bool {
    let mut rest = outer(certificate).map_or(&[][..], |outer| outer.extensions);
    while let Some(mut extension) = take(&mut rest, SEQUENCE) {
        if take(&mut extension, OBJECT_IDENTIFIER) == Some(AUTHORITY_ACCESS) {
            return true;
        }
    }
    false
}

/// Returns the last common name of the subject; `None` if there is none or it cannot be parsed.
pub(super) fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = outer(certificate)?.subject;
    while !rest.is_empty() {
        let mut set = take(&mut rest, SET)?;
        while !set.is_empty() {
            let mut pair = take(&mut set, SEQUENCE)?;
            let kind = take(&mut pair, OBJECT_IDENTIFIER)?;
            let (tag, value) = element(&mut pair)?;
            if kind == COMMON_NAME && matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING) {
                found = Some(value);
            }
        }
    }
    found
}

/// Alternative names of a certificate.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct AlternativeNames<'a> {
    /// Host names as written, including wildcards.
    pub(super) hosts: Vec<&'a [u8]>,
    /// Number of names of any kind.
    pub(super) count: usize,
}

/// Returns the subjectAltName; `None` if it cannot be parsed.
pub(super) fn alternative_names(certificate: &[u8]) -> Option<AlternativeNames<'_>> {
    let mut names = AlternativeNames::default();
    let mut rest = outer(certificate)?.extensions;
    while !rest.is_empty() {
        let mut extension = take(&mut rest, SEQUENCE)?;
        if take(&mut extension, OBJECT_IDENTIFIER)? != ALTERNATIVE_NAMES {
            continue;
        }
        let (mut tag, mut value) = element(&mut extension)?;
        if tag != OCTET_STRING {
            // Skips the field "critical".
            (tag, value) = element(&mut extension)?;
        }
        let mut list = Some(value).filter(|_| tag == OCTET_STRING)?;
        let mut list = take(&mut list, SEQUENCE)?;
        while !list.is_empty() {
            let (tag, name) = element(&mut list)?;
            names.count = names.count.saturating_add(1);
            if tag == DNS_NAME {
                names.hosts.push(name);
            }
        }
    }
    Some(names)
}

/// Returns the sequence of extensions, empty for version 1; `None` if it cannot be parsed.
pub(super) fn extensions(certificate: &[u8]) -> Option<&[u8]> {
    outer(certificate).map(|outer| outer.extensions)
}

/// Returns the content of the serial number; `None` if it cannot be parsed.
pub(super) fn serial(mut certificate: &[u8]) -> Option<&[u8]> {
    let mut signed = take(&mut certificate, SEQUENCE)?;
    let mut fields = take(&mut signed, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        element(&mut fields)?;
    }
    take(&mut fields, INTEGER)
}

/// Public key of a certificate (RFC 5280 4.1).
pub(super) struct PublicKey<'a> {
    /// Whole SubjectPublicKeyInfo.
    pub(super) info: &'a [u8],
    /// Content of its AlgorithmIdentifier.
    pub(super) algorithm: &'a [u8],
    /// Key bits.
    pub(super) key: &'a [u8],
}

/// Returns the public key; `None` if it cannot be parsed.
pub(super) fn public_key(certificate: &[u8]) -> Option<PublicKey<'_>> {
    let info = outer(certificate)?.key;
    let mut rest = info;
    let mut parts = take(&mut rest, SEQUENCE)?;
    let algorithm = take(&mut parts, SEQUENCE)?;
    let (unused_bits, key) = take(&mut parts, BIT_STRING)?.split_first()?;
    (*unused_bits == 0).then_some(PublicKey {
        info,
        algorithm,
        key,
    })
}

/// Returns true for version 1 (RFC 5280 4.1.2.1), which has no extensions and so no alternative
/// names.
pub(super) fn is_of_version_1(mut certificate: &[u8]) -> bool {
    let fields =
        take(&mut certificate, SEQUENCE).and_then(|mut signed| take(&mut signed, SEQUENCE));
    fields.is_some_and(|fields| fields.first() == Some(&INTEGER))
}

struct Outer<'a> {
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    /// Public key, with tag and length.
    key: &'a [u8],
    /// Sequence of extensions; empty for version 1.
    extensions: &'a [u8],
}

fn outer(mut certificate: &[u8]) -> Option<Outer<'_>> {
    let mut signed = take(&mut certificate, SEQUENCE)?;
    let mut fields = take(&mut signed, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        element(&mut fields)?;
    }
    take(&mut fields, INTEGER)?;
    let _signature = take(&mut fields, SEQUENCE)?;
    let issuer = take(&mut fields, SEQUENCE)?;
    let (validity, subject) = (take(&mut fields, SEQUENCE)?, take(&mut fields, SEQUENCE)?);
    let behind = fields;
    take(&mut fields, SEQUENCE)?;
    let key = behind.get(..behind.len().saturating_sub(fields.len()))?;
    let mut extensions: &[u8] = &[];
    while !fields.is_empty() {
        // The unique identifiers of version 2 may precede the extensions.
        if let (EXTENSIONS, mut list) = element(&mut fields)? {
            extensions = take(&mut list, SEQUENCE)?;
        }
    }
    Some(Outer {
        issuer,
        validity,
        subject,
        key,
        extensions,
    })
}

/// Renders one or more `type=value`.
fn relative_name(mut set: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !set.is_empty() {
        let mut pair = take(&mut set, SEQUENCE)?;
        let kind = take(&mut pair, OBJECT_IDENTIFIER)?;
        if !text.is_empty() {
            text.push('+');
        }
        match TYPES.iter().find(|(known, _)| *known == kind) {
            Some((_, name)) => text.push_str(name),
            None => push_identifier(kind, &mut text)?,
        }
        text.push('=');
        let whole = pair;
        let (tag, value) = element(&mut pair)?;
        match tag {
            UTF8_STRING | NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING => {
                push_escaped(value, &mut text)
            }
            // RFC 4514 2.4: a value that is none of these string types is written as its encoding.
            _ => {
                text.push('#');
                for byte in whole {
                    let _ = write!(text, "{byte:02x}");
                }
            }
        }
    }
    Some(text)
}

/// Appends an object identifier such as `2.5.4.13`: seven bits a byte (X.690 8.19).
fn push_identifier(bytes: &[u8], text: &mut String) -> Option<()> {
    let mut number = 0_u32;
    let mut is_first = true;
    for byte in bytes {
        number = number
            .checked_mul(128)?
            .checked_add(u32::from(byte & 0x7f))?;
        if byte & 0x80 != 0 {
            continue;
        }
        if core::mem::take(&mut is_first) {
            let top = (number / 40).min(2);
            let _ = write!(
                text,
                "{top}.{}",
                number.saturating_sub(top.saturating_mul(40))
            );
        } else {
            let _ = write!(text, ".{number}");
        }
        number = 0;
    }
    Some(())
}

/// Appends a value, escaped as in RFC 4514 2.4.
fn push_escaped(value: &[u8], text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, &byte) in value.iter().enumerate() {
        let is_edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            _ if is_edge || !(0x20..0x7f).contains(&byte) => {
                let _ = write!(text, "\\{byte:02X}");
            }
            _ => text.push(char::from(byte)),
        }
    }
}

/// Parses a time of RFC 5280 4.1.2.5: `YYMMDDHHMMSSZ` from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
pub(super) fn time(tag: u8, text: &[u8]) -> Option<UnixTime> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = number(text, 2)?;
            (
                if year < 50 {
                    year.saturating_add(2000)
                } else {
                    year.saturating_add(1900)
                },
                rest,
            )
        }
        GENERALIZED_TIME => number(text, 4)?,
        _ => return None,
    };
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, rest) = number(rest, 2)?;
    let is_valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_valid || rest != b"Z" {
        return None;
    }
    let of_day = hour
        .saturating_mul(3600)
        .saturating_add(minute.saturating_mul(60))
        .saturating_add(second);
    let seconds = days_since_1970(year, month, day)?
        .checked_mul(86_400)?
        .checked_add(of_day)?;
    Some(UnixTime::from_millis(seconds.checked_mul(1000)?))
}

/// Parses a number of exactly `digits` digits. Returns the number and the rest.
fn number(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((crate::digits::parse(digits)?, rest))
}

/// Returns the days from 1970-01-01 to a date; `None` for an earlier date.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let of_year = month.checked_mul(153)?.checked_add(2)? / 5;
    let days = year
        .checked_mul(365)?
        .checked_add(year / 4)?
        .checked_sub(year / 100)?
        .checked_add(year / 400)?;
    days.checked_add(of_year)?
        .checked_add(day)?
        .checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, date_time_ymd};

    fn certificate(name: DistinguishedName, not_after: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        params.distinguished_name = name;
        params.not_before = date_time_ymd(1990, 1, 1);
        params.not_after = date_time_ymd(not_after.0, not_after.1, not_after.2);
        let key = KeyPair::generate().expect("a key");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec()
    }

    fn name(parts: &[(DnType, &str)]) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        for (kind, value) in parts {
            name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
        }
        name
    }

    #[test]
    fn subjects_in_visible_ascii() {
        let custom = DnType::CustomDnType(vec![2, 5, 4, 13]);
        for (parts, text) in [
            (&[][..], ""),
            (&[(DnType::CommonName, "ann")][..], "CN=ann"),
            (
                &[
                    (DnType::CountryName, "CH"),
                    (DnType::OrganizationName, "Ex, Inc."),
                    (DnType::CommonName, "ann"),
                ],
                "CN=ann,O=Ex\\, Inc.,C=CH",
            ),
            (
                &[(DnType::CommonName, " a=\"b\" ")],
                "CN=\\20a\\=\\\"b\\\"\\20",
            ),
            (&[(DnType::CommonName, "#1")], "CN=\\231"),
            (
                &[(DnType::CommonName, "é\r\nX-Admin: 1")],
                "CN=\\C3\\A9\\0D\\0AX-Admin: 1",
            ),
            (&[(custom, "what")], "2.5.4.13=what"),
        ] {
            assert_eq!(
                subject(&certificate(name(parts), (2040, 1, 1))).as_deref(),
                Some(text)
            );
        }
        let long = "x".repeat(CLIENT_SUBJECT_BYTES);
        assert_eq!(
            subject(&certificate(
                name(&[(DnType::CommonName, &long)]),
                (2040, 1, 1)
            )),
            None,
            "never cut"
        );
    }

    #[test]
    fn the_end_of_the_validity() {
        for (date, seconds) in [
            ((2026, 12, 9), 1_796_774_400),
            ((2028, 2, 29), 1_835_395_200),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((2400, 3, 1), 13_574_649_600),
        ] {
            let found = not_after(&certificate(name(&[]), date));
            assert_eq!(
                found,
                Some(UnixTime::from_millis(seconds * 1000)),
                "{date:?}"
            );
        }
    }

    #[test]
    fn names_and_keys() {
        let mut params = CertificateParams::new(vec!["A.test".to_owned(), "*.b.test".to_owned()])
            .expect("names");
        params
            .subject_alt_names
            .push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
        params.distinguished_name = name(&[
            (DnType::CommonName, "first"),
            (DnType::OrganizationName, "o"),
        ]);
        let key = KeyPair::generate().expect("a key");
        let whole = params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec();
        let names = alternative_names(&whole).expect("readable");
        assert_eq!(
            (names.hosts, names.count),
            (vec![&b"A.test"[..], b"*.b.test"], 3)
        );
        assert_eq!(common_name(&whole), Some(&b"first"[..]));
        let read = public_key(&whole).expect("readable");
        assert_eq!(
            read.info,
            rcgen::PublicKeyData::subject_public_key_info(&key)
        );
        assert!(read.info.ends_with(read.key) && !read.algorithm.is_empty());
        let (begin, end) = validity(&certificate(name(&[]), (2040, 1, 1))).expect("readable");
        assert_eq!(
            (begin.as_millis(), end.as_millis()),
            (631_152_000_000, 2_208_988_800_000)
        );
        let bare = CertificateParams::new(vec![])
            .expect("no name")
            .self_signed(&key)
            .expect("a certificate");
        assert_eq!(
            alternative_names(bare.der()),
            Some(AlternativeNames::default())
        );
    }

    /// Truncated or changed bytes give a result, and never a panic.
    #[test]
    fn broken_bytes_are_unknown() {
        let whole = certificate(name(&[(DnType::CommonName, "ann")]), (2040, 1, 1));
        for end in 0..whole.len() {
            assert_eq!(subject(&whole[..end]), None, "{end}");
            assert_eq!(not_after(&whole[..end]), None, "{end}");
            assert!(
                alternative_names(&whole[..end]).is_none() && public_key(&whole[..end]).is_none(),
                "{end}"
            );
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0x84, 0xff] {
                let mut broken = whole.clone();
                broken[at] = byte;
                if let Some(text) = subject(&broken) {
                    assert!(
                        text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                        "{text:?}"
                    );
                }
                not_after(&broken);
                validity(&broken);
                common_name(&broken);
                alternative_names(&broken);
                public_key(&broken);
            }
        }
    }
}
