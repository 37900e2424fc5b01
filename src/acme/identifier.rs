//! Names and addresses that certificates are for.

use core::fmt;
use core::fmt::Write;
use core::net::IpAddr;

/// Name or address that a certificate is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Identifier {
    /// Host name, lower case, without a dot at the end.
    Name(Box<str>),
    /// Address (RFC 8738).
    Address(IpAddr),
}

/// Reason why a text is no identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentifierFault {
    /// Wildcards need a proof by DNS.
    Wildcard,
    /// The text is neither a host name nor an address.
    Invalid,
}

impl Identifier {
    /// Parses a host name or an address.
    ///
    /// # Errors
    /// The text is a wildcard, or neither of them.
    pub fn parse(text: &str) -> Result<Identifier, IdentifierFault> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse() {
            return Ok(Identifier::Address(address));
        }
        if text.contains('*') {
            return Err(IdentifierFault::Wildcard);
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(is_letter)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let ends_in_number = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(is_label) || ends_in_number {
            return Err(IdentifierFault::Invalid);
        }
        Ok(Identifier::Name(name.into()))
    }

    /// Returns the server name by which an authority asks for the `tls-alpn-01` certificate: for an
    /// address its reverse name (RFC 8738 6).
    pub fn sni(&self) -> String {
        let mut text = String::new();
        match self {
            Identifier::Name(name) => text.push_str(name),
            Identifier::Address(IpAddr::V4(address)) => {
                for octet in address.octets().iter().rev() {
                    let _ = write!(text, "{octet}.");
                }
                text.push_str("in-addr.arpa");
            }
            Identifier::Address(IpAddr::V6(address)) => {
                for octet in address.octets().iter().rev() {
                    let _ = write!(text, "{:x}.{:x}.", octet & 0xf, octet >> 4);
                }
                text.push_str("ip6.arpa");
            }
        }
        text
    }

    /// Returns the word of the protocol for its type (RFC 8555 9.7.7, RFC 8738 3).
    pub fn type_word(&self) -> &'static str {
        match self {
            Identifier::Name(_) => "dns",
            Identifier::Address(_) => "ip",
        }
    }
}

/// Returns names for a message: the first four, and two dots if there are more.
pub fn listed(names: &[Identifier]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().take(4).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&name.to_string());
    }
    if names.len() > 4 {
        text.push_str(", ..");
    }
    text
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identifier::Name(name) => f.write_str(name),
            Identifier::Address(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for (text, shown, sni) in [
            ("API.example.com.", "api.example.com", "api.example.com"),
            ("xn--bcher-kva.de", "xn--bcher-kva.de", "xn--bcher-kva.de"),
            ("192.0.2.5", "192.0.2.5", "5.2.0.192.in-addr.arpa"),
            (
                "[2001:db8::1]",
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            let identifier = Identifier::parse(text).expect(text);
            assert_eq!(
                (identifier.to_string(), identifier.sni()),
                (shown.to_owned(), sni.to_owned())
            );
        }
        for (text, fault) in [
            ("*.example.com", IdentifierFault::Wildcard),
            ("", IdentifierFault::Invalid),
            ("a..b", IdentifierFault::Invalid),
            ("-a.b", IdentifierFault::Invalid),
            ("a_b.c", IdentifierFault::Invalid),
            ("1.2.3", IdentifierFault::Invalid),
            ("a b", IdentifierFault::Invalid),
        ] {
            assert_eq!(Identifier::parse(text), Err(fault), "{text}");
        }
    }
}
