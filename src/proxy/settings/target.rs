//! Targets of the services, and what makes them the same in two configurations.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// Identity of a target: what makes it the same in two configurations.
pub type TargetIdentity<'a> = (&'a TargetHost, u16, bool, &'a [u8; 32], &'a str);

/// Name of the supervisor of a worker, which is the store of the limits that workers share. It stands
/// where a target has the path of a unix socket, and no path begins so.
pub const SUPERVISOR: &str = "@supervisor";

/// Destination of upstream connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Name to resolve, or an address.
    pub host: TargetHost,
    /// TCP port; 0 of a unix socket.
    pub port: u16,
    /// True if the target uses TLS. `net` holds the trust settings, under the same index.
    pub tls: bool,
    /// Digest of the target's TLS settings, the contents of its CA file included; all zero without
    /// settings of its own.
    pub trust: [u8; 32],
    /// Value of the `Host` field: host as configured, and the port if it is not the scheme's
    /// default; `localhost` of a unix socket.
    pub authority: String,
}

impl Target {
    /// Returns what makes it the same in two configurations.
    pub fn identity(&self) -> TargetIdentity<'_> {
        let Target {
            host,
            port,
            tls,
            trust,
            authority,
        } = self;
        (host, *port, *tls, trust, authority)
    }

    /// Returns scheme and authority, such as `http://a.test:8080`; `http://unix:/run/app.sock:` for
    /// a unix socket, behind which a path may follow.
    pub fn origin(&self) -> String {
        let end = self.host.socket().map_or("", |_| ":");
        self.url() + end
    }

    /// Returns the URL of the target without a path, as a file names it.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.name())
    }

    /// Returns true if this is the supervisor of a worker.
    pub fn is_supervisor(&self) -> bool {
        self.host.socket() == Some(SUPERVISOR)
    }

    /// Returns the name for operators: the authority, or `unix:/run/app.sock`.
    pub fn name(&self) -> &str {
        match &self.host {
            TargetHost::Unix(name) => name,
            TargetHost::Name(_) | TargetHost::Address(_) => &self.authority,
        }
    }

    /// Returns an address of the target as text; the name of a unix socket.
    pub fn address_text(&self, address: SocketAddr) -> String {
        match &self.host {
            TargetHost::Unix(name) => name.clone(),
            TargetHost::Name(_) | TargetHost::Address(_) => address.to_string(),
        }
    }
}

/// The host of a target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TargetHost {
    /// A DNS name.
    Name(String),
    /// An IP address.
    Address(IpAddr),
    /// A unix socket, as `unix:/run/app.sock`.
    Unix(String),
}

impl TargetHost {
    /// Returns the path of a unix socket.
    pub fn socket(&self) -> Option<&str> {
        match self {
            TargetHost::Unix(name) => name.strip_prefix("unix:"),
            TargetHost::Name(_) | TargetHost::Address(_) => None,
        }
    }
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetHost::Name(name) | TargetHost::Unix(name) => f.write_str(name),
            TargetHost::Address(address) => address.fmt(f),
        }
    }
}
