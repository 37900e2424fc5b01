//! Decimal numbers, parsed and written strictly (`"+5".parse::<u64>()` is `Ok(5)`).

use core::net::IpAddr;
use std::io::Write as _;

use crate::limits::DECIMAL_DIGITS;

/// Parses 1*DIGIT, at most [`DECIMAL_DIGITS`] digits.
pub fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > DECIMAL_DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = char::from(digit).to_digit(10)?;
        // This number of digits cannot overflow.
        Some(value.wrapping_mul(10).wrapping_add(u64::from(digit)))
    })
}

/// Returns the last digit of a number.
pub const fn last(value: u64) -> u8 {
    // Digits are 0x30 to 0x39, so their value fits into the low bits.
    b'0' | (value % 10) as u8
}

/// Digits of the longest number of 64 bits.
pub const DECIMAL: usize = 20;

/// Writes a number without leading zeros.
pub fn write(mut value: u64, digits: &mut [u8; DECIMAL]) -> &[u8] {
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = last(value);
        start = at;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

/// Bytes of the longest address as text: IPv6 with an IPv4 address at its end.
pub const ADDRESS: usize = 45;
/// Bytes of the longest IPv4 address as text.
pub const ADDRESS_V4: usize = 15;

/// Writes an address as text.
pub fn address(address: IpAddr, text: &mut [u8; ADDRESS]) -> &[u8] {
    let len = match address {
        IpAddr::V4(address) => {
            let mut at = 0_usize;
            for octet in address.octets() {
                let (digits, len) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
                // Writes four bytes; the next octet or the end overwrites what follows the dot.
                if let Some(to) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                    *to = digits;
                }
                at = at.saturating_add(usize::from(len));
            }
            at.saturating_sub(1)
        }
        // The longest address fits into `text`.
        IpAddr::V6(address) => {
            let mut rest = text.as_mut_slice();
            drop(write!(rest, "{address}"));
            let left = rest.len();
            ADDRESS.saturating_sub(left)
        }
    };
    text.get(..len).unwrap_or_default()
}

/// Text of every octet with a dot behind it, and its length.
const OCTETS: [([u8; 4], u8); 256] = octets();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time: a wrong index does not compile"
)]
const fn octets() -> [([u8; 4], u8); 256] {
    let mut all = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < all.len() {
        let digits = [
            last(octet as u64 / 100),
            last(octet as u64 / 10),
            last(octet as u64),
        ];
        let zeros = (octet < 100) as usize + (octet < 10) as usize;
        let mut at = zeros;
        while at < 3 {
            all[octet].0[at - zeros] = digits[at];
            at += 1;
        }
        all[octet].1 = 4 - zeros as u8;
        octet += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_nothing_else() {
        assert_eq!(parse(b"0"), Some(0));
        assert_eq!(parse(b"010"), Some(10));
        assert_eq!(parse(b"999999999999999999"), Some(999_999_999_999_999_999));
        for bad in [
            &b""[..],
            b"+5",
            b"-0",
            b"0x5",
            b"5_0",
            b"5 ",
            b" 5",
            b"5,5",
            b"1000000000000000000",
            b"\xd9\xa5",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_as_the_standard_library_writes_them() {
        for text in [
            "0.0.0.0",
            "1.20.99.100",
            "255.255.255.255",
            "127.0.0.1",
            "::",
            "2001:db8::1",
            "::ffff:192.0.2.128",
        ] {
            let parsed: IpAddr = text.parse().expect("an address");
            assert_eq!(
                address(parsed, &mut [0; ADDRESS]),
                parsed.to_string().as_bytes()
            );
        }
        let longest: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8888"
            .parse()
            .expect("an address");
        assert_eq!(
            address(longest, &mut [0; ADDRESS]),
            longest.to_string().as_bytes()
        );
    }

    #[test]
    fn written_as_the_standard_library_does() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            assert_eq!(write(value, &mut [0; 20]), value.to_string().as_bytes());
        }
    }
}
