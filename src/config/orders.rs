//! Certificates that the gateway orders itself (ACME, RFC 8555), as the configuration has them.

use core::fmt;
use core::net::IpAddr;
use std::path::PathBuf;

use crate::limits::HMAC_KEY_BYTES;

/// Orders of certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acme {
    /// `directory`: an https URL.
    pub directory: String,
    /// Target of the authority, an index into [`Settings::targets`](crate::proxy::settings::Settings).
    pub target: usize,
    /// `state`: directory of the account, the certificates and their keys.
    pub state: PathBuf,
    /// Contacts of all listeners, each once.
    pub emails: Vec<String>,
    /// `profile`.
    pub profile: Option<String>,
    /// `eab`.
    pub binding: Option<Binding>,
    /// Certificates to order; equal ones of several listeners once.
    pub orders: Vec<Order>,
}

/// `acme.eab`: an account at the authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// Id of the key.
    pub kid: String,
    /// Key, decoded.
    pub key: Vec<u8>,
}

/// Certificate to order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Names and addresses, in lower case, sorted, each once.
    pub names: Vec<String>,
    /// Proof of the names.
    pub challenge: Challenge,
    /// Port of the listener that answers; 0 if it is not known.
    pub port: u16,
}

/// Kind of proof that the gateway answers for a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// A file below `/.well-known/acme-challenge/` (RFC 8555 8.3).
    Http01,
    /// A certificate in a TLS handshake (RFC 8737).
    TlsAlpn01,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding")
    }
}

impl Challenge {
    /// Returns the word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// Returns true for a name or an address that is of a private network alone.
fn is_private(name: &str) -> bool {
    const ENDS: [&str; 6] = [
        ".local",
        ".lan",
        ".internal",
        ".home",
        ".home.arpa",
        ".localhost",
    ];
    match name.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()
        }
        Err(_) => !name.contains('.') || ENDS.iter().any(|end| name.ends_with(end)),
    }
}

impl Acme {
    /// Returns a line about a key that is allowed and weak, and one for each name that a public authority
    /// issues nothing for.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(bytes) = self.binding.as_ref().map(|binding| binding.key.len())
            && bytes < HMAC_KEY_BYTES
        {
            lines.push(format!(
                "acme.eab: a key of {bytes} bytes is weak, and some authorities refuse it; RFC 7518 3.2 asks for 32 or more: get another \
                 one from yours"
            ));
        }
        let names = self.orders.iter().flat_map(|order| &order.names);
        let is_public = self.directory.contains("letsencrypt.org");
        for name in names.filter(|name| is_public && is_private(name)) {
            lines.push(format!(
                "acme: no public authority issues a certificate for {name}, which is private: order it from one of your own with \
                 \"directory\", or name a certificate of your own in \"certificates\""
            ));
        }
        lines
    }

    /// Returns what is ordered where, as text.
    pub fn shown(&self) -> String {
        let orders = self.orders.iter().map(|order| {
            let names = order.names.join(" ");
            format!("{names} by {}", order.challenge.as_str())
        });
        let orders = orders.collect::<Vec<_>>().join(", ");
        let profile = self.profile.as_deref();
        let profile = profile.map_or(String::new(), |profile| format!(", profile {profile}"));
        format!(
            "{orders}, from {}{profile}, kept in {}",
            self.directory,
            self.state.display()
        )
    }
}
