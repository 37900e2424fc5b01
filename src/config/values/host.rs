//! Host names and addresses, as targets and server names have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::syntax::stray::Fault;
use crate::proxy::settings::TargetHost;

/// Parses `b.example`, `10.0.0.1` or `[::1]` (RFC 3986 3.2.2); underscores are allowed, as
/// container names have them.
pub(crate) fn parse(text: &str) -> Result<TargetHost, Fault> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        let address =
            address.ok_or("has a malformed IPv6 address; write it as in \"http://[::1]:9000/\"")?;
        return Ok(TargetHost::Address(IpAddr::V6(address)));
    }
    if text.is_empty() {
        return Err("has no host; write \"http://host/\"".into());
    }
    if text.contains(':') {
        return Err(
            "has a malformed host; an IPv6 address stands in brackets, as in \"http://[::1]:9000/\""
                .into(),
        );
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(TargetHost::Address(IpAddr::V4(address)));
    }
    name(text).map(|()| TargetHost::Name(text.to_owned()))
}

fn name(text: &str) -> Result<(), Fault> {
    if !text.is_ascii() {
        return Err("has a host name that is not ASCII; write its punycode form (xn--...)".into());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(Fault::uncured(
            "has a malformed host name; letters, digits, \"-\", \"_\" and \".\" are allowed",
        ));
    }
    // `127.1` and `0x7f.1` are addresses to some resolvers and names to others.
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    let numeric = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if numeric(last)
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err("has a malformed IPv4 address; write four numbers, as in 10.0.0.1".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "b",
            "b.example",
            "B.Example.",
            "my_service",
            "xn--bcher-kva.example",
            "1a.b",
            "a-b.c",
            "3com.com",
        ] {
            assert_eq!(parse(good), Ok(TargetHost::Name(good.to_owned())), "{good}");
        }
        for (text, address) in [
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "::1"),
            ("[FD00::1]", "fd00::1"),
        ] {
            assert_eq!(
                parse(text),
                Ok(TargetHost::Address(address.parse().expect("an address"))),
                "{text}"
            );
        }
        let long = "a".repeat(64);
        let longer = ["a"; 128].join(".");
        for bad in [
            "",
            "[::1",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "::1",
            "a b",
            "a..b",
            ".",
            "-a",
            "a-",
            "127.1",
            "10.0.0.256",
            "0x7f.1",
            "a.0x7F",
            "1",
            "bücher.example",
            "a/b",
            "a%41",
            "a@b",
            &long,
            &longer,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
