//! The checked configuration: plain values, which no part of this room reads back from the file.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::proxy::command::ListenerKind;
use crate::proxy::settings::{PeerSet, Settings, Target, TargetHost};
use crate::time::UnixTime;
use crate::transport::identity::ClientIdentity;
use crate::transport::server::TlsFiles;

use super::orders::Acme;
use super::{advice, shared_limits};

/// Name of the link to the supervisor, in place of an address of the admin listener.
const SUPERVISOR: &str = "supervisor";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A configuration that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Settings of the engine.
    pub settings: Settings,
    /// Listeners in the order of the file: at least one, no two of the same address.
    pub listeners: Vec<Listen>,
    /// TLS of the targets, under the indices of [`Settings::targets`]; `None`: plain http.
    pub upstream_tls: Vec<Option<UpstreamTls>>,
    /// `acme`; `None`: no certificate is ordered.
    pub acme: Option<Acme>,
    /// `logLevel`.
    pub log_level: LogLevel,
    /// `admin`.
    pub admin: AdminAccess,
    /// `watch`: whether a change of the file causes a reload.
    pub watch: bool,
    /// `workers`: number of processes that serve.
    pub workers: Workers,
    /// Files and folders beside the file itself that a reload alone reads again, sorted, each once:
    /// all that keys name but those of [`ListenKind::Tls`] and `upstream_files`.
    pub included: Vec<PathBuf>,
    /// Files of the TLS settings of targets, sorted, each once. They are read again when they change.
    pub upstream_files: Vec<PathBuf>,
}

/// Number of processes that serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    /// Number of the file, at most [`crate::limits::WORKERS_MAX`]; 1: the process itself serves.
    Count(usize),
    /// Number of the cores that the process may use.
    Auto,
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workers::Count(count) => count.fmt(f),
            Workers::Auto => f.write_str("auto"),
        }
    }
}

/// Access to the admin listener.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AdminAccess {
    /// Addresses of the listener, at most [`crate::limits::ADMIN_LISTENERS_MAX`]; empty: it is off.
    pub addresses: Vec<ListenAddress>,
    /// Host names over TCP beside `localhost`, in lower case.
    pub hosts: Vec<String>,
}

/// A listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address of the listener.
    pub address: ListenAddress,
    /// Protocol of the listener.
    pub kind: ListenKind,
    /// `name`: name by which services choose it.
    pub name: Option<String>,
    /// `proxyProtocol`: peers whose connections begin with a header of the PROXY protocol.
    pub proxied: PeerSet,
    /// `reusePort`: whether other processes may listen on the same port.
    pub port: Port,
}

/// Use of a listener's port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Port {
    /// The port of one process alone.
    #[default]
    Own,
    /// Port of several processes; the kernel spreads the clients (`SO_REUSEPORT`).
    Shared,
}

/// Protocol of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenKind {
    /// HTTP.
    Plain,
    /// HTTPS; the files were read and fit each other.
    Tls(TlsFiles),
    /// HTTP; every request is redirected to the first listener with TLS, which exists.
    Redirect,
}

impl ListenKind {
    /// Returns what is spoken there.
    pub const fn spoken(&self) -> ListenerKind {
        match self {
            ListenKind::Plain => ListenerKind::Plain,
            ListenKind::Tls(_) => ListenerKind::Secure,
            ListenKind::Redirect => ListenerKind::Redirect,
        }
    }
}

/// Address of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// An address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// The path of a unix socket, at most [`crate::limits::UNIX_PATH_BYTES_MAX`] bytes.
    Unix(PathBuf),
    /// The name of a socket that the service manager passes on, at most
    /// [`crate::limits::SOCKET_NAME_BYTES_MAX`] bytes.
    Systemd(String),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl AdminAccess {
    /// Returns a line for each address that other machines may reach.
    fn warnings(&self) -> impl Iterator<Item = String> {
        let line = |address: &ListenAddress| match address {
            ListenAddress::Tcp(address) if !address.ip().is_loopback() => Some(format!(
                "admin {address} is not a loopback address: clients that reach it see the state of the gateway without a \
                 password; use \"unix:/run/tollgate/admin.sock\" or \"127.0.0.1:{}\", or let a firewall protect it",
                address.port()
            )),
            ListenAddress::Tcp(_) | ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
        };
        self.addresses.iter().filter_map(line)
    }
}

impl ListenAddress {
    /// Returns `true` if the system cannot bind both. Port 0 is another free port each time.
    pub(crate) fn overlaps(&self, other: &ListenAddress) -> bool {
        match (self, other) {
            (ListenAddress::Tcp(one), ListenAddress::Tcp(two)) => {
                let is_wildcard = |address: &SocketAddr| address.ip().is_unspecified();
                one.port() == two.port()
                    && one.port() != 0
                    && (one.ip() == two.ip() || is_wildcard(one) || is_wildcard(two))
            }
            _ => self == other,
        }
    }

    /// Describes why this address cannot be one of the admin listener.
    pub(crate) fn is_taken_by(&self, listen: &ListenAddress) -> String {
        if self == listen {
            format!("{self} is an address in \"listen\"; choose another one for \"admin\"")
        } else {
            format!("{self} is a part of {listen} in \"listen\"; choose another port for \"admin\"")
        }
    }
}

/// Rules by which an https target is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamTls {
    /// `tls.ca`: roots (DER) trusted beside the public ones.
    pub roots: Vec<Vec<u8>>,
    /// `tls.serverName`: the name to verify and send as SNI in place of the target's host.
    pub server_name: Option<String>,
    /// `tls.cert` and `tls.key`.
    pub client: Option<ClientCertificate>,
}

/// Certificate for upstreams that ask for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificate {
    /// Contents of the files.
    pub identity: ClientIdentity,
    /// File of the certificate.
    pub certificate: PathBuf,
    /// File of the key.
    pub key: PathBuf,
}

/// `logLevel`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Failures that may come.
    Warn,
    /// Events that an operator wants to see.
    Info,
    /// Reasons of decisions.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All levels, the most severe first.
    pub const ALL: [LogLevel; 5] = [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    /// Returns the word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

impl Config {
    /// Returns a line for each setting that is allowed and unwise.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = advice::warnings(&self.settings);
        warnings.extend(self.admin.warnings());
        warnings.extend(self.acme.iter().flat_map(Acme::warnings));
        warnings.extend(self.circles());
        warnings
    }

    /// Returns true if a target is a listener of this gateway.
    #[inline(never)]
    pub(crate) fn is_own(&self, target: &Target) -> bool {
        let ip = match &target.host {
            TargetHost::Address(ip) if ip.is_loopback() => *ip,
            TargetHost::Name(name) if name.eq_ignore_ascii_case("localhost") => LOOPBACK,
            _ => return false,
        };
        let address = ListenAddress::Tcp(SocketAddr::new(ip, target.port));
        let mut listeners = self.listeners.iter();
        listeners.any(|listen| listen.address.overlaps(&address))
    }

    /// Returns a line for each target that is a listener of this gateway.
    fn circles(&self) -> impl Iterator<Item = String> {
        let targets = self.settings.targets.iter();
        let own = targets.filter(|target| self.is_own(target));
        own.map(|target| {
            let name = target.name();
            format!("the target {name} is this gateway: its requests may run in a circle; correct it, or change \"listen\"")
        })
    }

    /// Replaces the addresses of the admin listener by the one of the command line.
    ///
    /// # Errors
    /// A listener has the address. The text says which, and what to do.
    pub fn replace_admin(&mut self, address: ListenAddress) -> Result<(), String> {
        for listen in &self.listeners {
            if listen.address.overlaps(&address) {
                return Err(address.is_taken_by(&listen.address));
            }
        }
        self.admin.addresses = vec![address];
        Ok(())
    }

    /// Makes this the configuration of one of several workers. The supervisor has the admin
    /// listener, looks at the files and keeps the counts of limits that name no store, and each worker
    /// has its part of `limits.connections`.
    pub fn become_worker(&mut self, workers: usize) {
        let limits = &mut self.settings.limits;
        limits.connections = limits.connections.checked_div(workers).unwrap_or(1).max(1);
        self.admin = AdminAccess {
            addresses: vec![ListenAddress::Systemd(SUPERVISOR.to_owned())],
            hosts: Vec::new(),
        };
        self.watch = false;
        self.upstream_files.clear();
        self.workers = Workers::Count(1);
        shared_limits::share(&mut self.settings);
        self.upstream_tls.push(None);
    }

    /// Returns the certificates that targets are shown, each with its end.
    pub fn client_certificates(&self) -> impl Iterator<Item = (&Path, UnixTime)> {
        let shown = self.upstream_tls.iter().flatten();
        let shown = shown.filter_map(|tls| tls.client.as_ref());
        shown.filter_map(|client| Some((client.certificate.as_path(), client.identity.end()?)))
    }

    /// Returns the number of clients whose counts the workers share at most.
    pub fn shared_clients(&self) -> usize {
        shared_limits::clients(&self.settings)
    }

    /// Returns true if this is the configuration of a worker.
    pub fn is_worker(&self) -> bool {
        // A file cannot have such an address of the admin listener.
        let addresses = self.admin.addresses.as_slice();
        matches!(addresses, [ListenAddress::Systemd(name)] if name == SUPERVISOR)
    }
}
