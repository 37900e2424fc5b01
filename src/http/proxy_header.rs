//! Header of the PROXY protocol, versions 1 and 2: the line or block in which a balancer announces
//! the address of its client, in front of TLS and HTTP.
//!
//! ```text
//! v1: PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n         PROXY UNKNOWN ...\r\n
//! v2: 12 bytes of signature, command, family, length of the rest (2 bytes), addresses, TLVs
//! ```
//!
//! Only the address of the client is read. Ports and the balancer's own address are checked in
//! version 1, because a line that does not follow its grammar was not written by a balancer. TLVs are
//! skipped.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::digits;
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// Bytes at the front of a header that [`parse`] needs at most: the longest line of version 1. The
/// addresses of version 2 stand in the first 52.
pub const WINDOW: usize = 107;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 in front of the addresses.
const FIXED: usize = 16;

/// Client that a header announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// An address; an IPv4-mapped IPv6 address is stored as IPv4.
    Address(IpAddr),
    /// A client of a unix socket.
    Unix,
    /// The balancer itself (`LOCAL`), or a client that it does not know (`UNKNOWN`, `UNSPEC`).
    Sender,
}

/// Reason why a connection does not begin with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// Other bytes came.
    Missing,
    /// The line of version 1 does not follow its grammar.
    Line,
    /// Version or command of version 2 are unknown.
    Command,
    /// Family or transport of version 2 are unknown.
    Family,
    /// The block of version 2 has no room for its addresses.
    TooShort,
    /// The header is longer than [`PROXY_HEADER_BYTES_MAX`].
    TooLong,
    /// The connection ended within the header.
    Cut,
    /// The header did not come in time.
    Late,
}

impl HeaderFault {
    /// Returns the text for the operator.
    pub fn as_str(self) -> &'static str {
        match self {
            HeaderFault::Missing => "no PROXY header",
            HeaderFault::Line => "malformed line of the PROXY protocol",
            HeaderFault::Command => "unknown version or command in a PROXY header",
            HeaderFault::Family => "unknown address family in a PROXY header",
            HeaderFault::TooShort => "PROXY header that is too short for its addresses",
            HeaderFault::TooLong => "PROXY header of more than 4096 bytes",
            HeaderFault::Cut => "connection that ends within its PROXY header",
            HeaderFault::Late => "no PROXY header within timeouts.head",
        }
    }
}

/// Parses the header at the front of `bytes`, which hold its first [`WINDOW`] bytes, or all that
/// came. Returns the client and the length of the header, of which the end may not have come yet.
/// `None`: more bytes are needed.
///
/// # Errors
/// The bytes are not the front of a header.
pub fn parse(bytes: &[u8]) -> Result<Option<(Announced, usize)>, HeaderFault> {
    crate::cost::count(bytes.len().min(WINDOW));
    let is_front = |whole: &[u8]| {
        let compared = whole.len().min(bytes.len());
        whole.get(..compared) == bytes.get(..compared)
    };
    if is_front(SIGNATURE) {
        version_2(bytes)
    } else if is_front(b"PROXY ") {
        version_1(bytes)
    } else {
        Err(HeaderFault::Missing)
    }
}

/// Returns true if `bytes` begin with a header. Half a signature, and the first word alone, are not
/// enough: they may begin something else.
pub(super) fn is_shown_by(bytes: &[u8]) -> bool {
    first_word(bytes).is_some()
}

/// Returns the bytes by which a header is told at the front of `bytes`; `None`: there is none.
pub fn first_word(bytes: &[u8]) -> Option<&'static [u8]> {
    const WORDS: [&[u8]; 3] = [SIGNATURE, b"PROXY TCP", b"PROXY UNKNOWN"];
    WORDS.into_iter().find(|word| bytes.starts_with(word))
}

fn version_1(bytes: &[u8]) -> Result<Option<(Announced, usize)>, HeaderFault> {
    let window = bytes.get(..WINDOW).unwrap_or(bytes);
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let Some(end) = window.iter().position(is_end) else {
        let is_whole = window.len() == WINDOW;
        return if is_whole {
            Err(HeaderFault::Line)
        } else {
            Ok(None)
        };
    };
    match (window.get(end), window.get(end.saturating_add(1))) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) if window.len() < WINDOW => return Ok(None),
        _ => return Err(HeaderFault::Line),
    }
    let line = window.get(..end).unwrap_or_default();
    let announced = announced_by(line).ok_or(HeaderFault::Line)?;
    Ok(Some((announced, end.saturating_add(2))))
}

/// Returns the client that a line announces, without its end.
fn announced_by(line: &[u8]) -> Option<Announced> {
    let mut words = line.split(|&byte| byte == b' ').skip(1);
    let parse = match words.next()? {
        // A receiver must ignore what follows.
        b"UNKNOWN" => return Some(Announced::Sender),
        b"TCP4" => parse_v4,
        b"TCP6" => parse_v6,
        _ => return None,
    };
    let client = parse(words.next()?)?;
    parse(words.next()?)?;
    let are_ports = is_port(words.next()?) && is_port(words.next()?);
    (are_ports && words.next().is_none()).then_some(Announced::Address(client))
}

// The parsers of the standard library are strict: no leading zeros, no spaces, no zone.

fn parse_v4(word: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(word).ok()?;
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn parse_v6(word: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(word).ok()?;
    let address = text.parse::<Ipv6Addr>().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

/// Returns true for a decimal number up to 65535 without leading zeros.
fn is_port(word: &[u8]) -> bool {
    let has_leading_zero = word.len() > 1 && word.first() == Some(&b'0');
    !has_leading_zero && digits::parse(word).is_some_and(|port| port <= u64::from(u16::MAX))
}

fn version_2(bytes: &[u8]) -> Result<Option<(Announced, usize)>, HeaderFault> {
    let is_proxied = match bytes.get(SIGNATURE.len()) {
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(HeaderFault::Command),
        None => return Ok(None),
    };
    let family = match bytes.get(13) {
        // The high half is the family, the low half the transport: unspecified, stream or datagram.
        Some(byte @ (0x00..=0x02 | 0x10..=0x12 | 0x20..=0x22 | 0x30..=0x32)) => *byte,
        Some(_) if is_proxied => return Err(HeaderFault::Family),
        Some(_) => 0,
        None => return Ok(None),
    };
    let length = bytes.get(14..FIXED).and_then(<[u8]>::first_chunk);
    let Some(&length) = length else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(length));
    let whole = FIXED.saturating_add(length);
    if whole > PROXY_HEADER_BYTES_MAX {
        return Err(HeaderFault::TooLong);
    }
    if !is_proxied || family & 0xf0 == 0 || family & 0x0f == 0 {
        return Ok(Some((Announced::Sender, whole)));
    }
    let addresses = match family & 0xf0 {
        0x10 => 12,
        0x20 => 36,
        _ => 216,
    };
    if length < addresses {
        return Err(HeaderFault::TooShort);
    }
    let rest = bytes.get(FIXED..).unwrap_or_default();
    let announced = match family & 0xf0 {
        0x10 => rest
            .first_chunk::<4>()
            .map(|octets| Announced::Address(Ipv4Addr::from(*octets).into())),
        0x20 => rest
            .first_chunk::<16>()
            .map(|octets| Announced::Address(IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical())),
        _ => Some(Announced::Unix),
    };
    Ok(announced.map(|announced| (announced, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn address(text: &str) -> Announced {
        Announced::Address(text.parse().expect("an address"))
    }

    /// Parses whole, cut at each byte, and with bytes behind it.
    fn is_header(bytes: &[u8], expected: Announced) {
        let shown = bytes.escape_ascii();
        let mut known = None;
        for cut in 0..=bytes.len() {
            let found = parse(&bytes[..cut]).unwrap_or_else(|fault| panic!("{shown}: {fault:?}"));
            assert!(known.is_none() || found == known, "{shown} cut at {cut}");
            known = found;
        }
        assert_eq!(known, Some((expected, bytes.len())), "{shown}");
        for behind in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01",
            b"\0",
            b"\r\n",
        ] {
            let all = [bytes, behind].concat();
            assert_eq!(parse(&all), Ok(known), "{shown} and more");
        }
    }

    #[test]
    fn headers_announce_their_client() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "a".repeat(91));
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
                address("192.0.2.1"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                address("255.255.255.255"),
            ),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", address("0.0.0.0")),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                address("2001:db8::1"),
            ),
            (
                "PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n",
                address("10.0.0.1"),
            ),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ),
            ("PROXY UNKNOWN\r\n", Announced::Sender),
            (
                "PROXY UNKNOWN ffff::1 ffff::2 65535 65535 and more\r\n",
                Announced::Sender,
            ),
        ] {
            is_header(line.as_bytes(), expected);
        }
        assert_eq!(longest.len(), WINDOW);
        is_header(longest.as_bytes(), Announced::Sender);
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 1, 2, 3, 4];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        let tlvs = [&v4[..], b"\x03\0\x04crcc", &[4; 4000]].concat();
        let most = vec![0; PROXY_HEADER_BYTES_MAX - FIXED];
        for (bytes, expected) in [
            (v2(0x21, 0x11, &v4), address("192.0.2.1")),
            (v2(0x21, 0x12, &v4), address("192.0.2.1")),
            (v2(0x21, 0x11, &tlvs), address("192.0.2.1")),
            (v2(0x21, 0x21, &v6), address("2001:db8::1")),
            (v2(0x21, 0x21, &mapped), address("10.0.0.1")),
            (v2(0x21, 0x31, &[0; 216]), Announced::Unix),
            (v2(0x21, 0x00, &[]), Announced::Sender),
            (v2(0x21, 0x00, b"\x04\0\x01x"), Announced::Sender),
            (v2(0x21, 0x10, &v4), Announced::Sender),
            (v2(0x20, 0x00, &[]), Announced::Sender),
            (v2(0x20, 0x11, &v4), Announced::Sender),
            (v2(0x20, 0xff, &[1; 300]), Announced::Sender),
            (v2(0x20, 0x00, &most), Announced::Sender),
        ] {
            is_header(&bytes, expected);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(92));
        for (bytes, fault) in [
            (&b"GET / HTTP/1.1\r\n"[..], HeaderFault::Missing),
            (b"\x16\x03\x01", HeaderFault::Missing),
            (b"proxy TCP4", HeaderFault::Missing),
            (b"PROXY\tTCP4", HeaderFault::Missing),
            (b"\r\n\r\nX", HeaderFault::Missing),
            (b"PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", HeaderFault::Line),
            (b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP4 ::1 ::2 1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", HeaderFault::Line),
            (b"PROXY TCP6 fe80::1%1 ::2 1 2\r\n", HeaderFault::Line),
            (b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", HeaderFault::Line),
            (b"PROXY UNKNOWNX\r\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", HeaderFault::Line),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n", HeaderFault::Line),
            (b"PROXY \r\n", HeaderFault::Line),
            (too_long.as_bytes(), HeaderFault::Line),
            (b"\r\n\r\n\0\r\nQUIT\n\x11", HeaderFault::Command),
            (b"\r\n\r\n\0\r\nQUIT\n\x22", HeaderFault::Command),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x41", HeaderFault::Family),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x13", HeaderFault::Family),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b", HeaderFault::TooShort),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x23", HeaderFault::TooShort),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd7", HeaderFault::TooShort),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x0f\xf1",
                HeaderFault::TooLong,
            ),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
                HeaderFault::TooLong,
            ),
        ] {
            let shown = bytes.escape_ascii();
            assert_eq!(parse(bytes), Err(fault), "{shown}");
            // Nothing of it is taken for a header before the rest comes.
            for cut in 0..bytes.len() {
                assert!(
                    matches!(parse(&bytes[..cut]), Ok(None) | Err(_)),
                    "{shown} cut at {cut}"
                );
            }
        }
        let text = HeaderFault::TooLong.as_str();
        assert!(text.contains(&PROXY_HEADER_BYTES_MAX.to_string()));
    }
}
