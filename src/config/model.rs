//! The checked configuration: plain values, which no part of this room reads back from the file.

use core::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::proxy::settings::Settings;
use crate::transport::server::TlsFiles;

use super::advice;

/// A configuration that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Settings of the engine.
    pub settings: Settings,
    /// Listeners in the order of the file: at least one, no two of the same address.
    pub listeners: Vec<Listen>,
    /// TLS of the targets, under the indices of [`Settings::targets`]; `None`: plain http.
    pub upstream_tls: Vec<Option<UpstreamTls>>,
    /// `logLevel`.
    pub log_level: LogLevel,
}

/// A listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address of the listener.
    pub address: ListenAddress,
    /// Protocol of the listener.
    pub kind: ListenKind,
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

/// Address of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// An address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// The path of a unix socket, at most [`crate::limits::UNIX_PATH_BYTES_MAX`] bytes.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
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

impl Config {
    /// Returns a line for each setting that is allowed and unwise.
    pub fn warnings(&self) -> Vec<String> {
        advice::warnings(&self.settings)
    }
}
