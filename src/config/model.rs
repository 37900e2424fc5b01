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
    /// What the engine is told.
    pub settings: Settings,
    /// Where clients come from, in the order of the file; at least one, no two the same.
    pub listeners: Vec<Listen>,
    /// TLS of the targets, under the indices of [`Settings::targets`]; `None`: plain http.
    pub upstream_tls: Vec<Option<UpstreamTls>>,
    /// `logLevel`.
    pub log_level: LogLevel,
}

/// A listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Where it listens.
    pub address: ListenAddress,
    /// What it speaks.
    pub kind: ListenKind,
}

/// What a listener speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenKind {
    /// HTTP.
    Plain,
    /// HTTPS; the files were read and fit each other.
    Tls(TlsFiles),
    /// HTTP, and every request is sent on to the first TLS listener, which there is.
    Redirect,
}

/// Where a listener listens.
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

/// How an https target is verified.
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
    /// What failed.
    Error,
    /// What may fail.
    Warn,
    /// What an operator wants to see.
    Info,
    /// What explains a decision.
    Debug,
    /// Everything.
    Trace,
}

impl Config {
    /// What is allowed and not wise, each in a line.
    pub fn warnings(&self) -> Vec<String> {
        advice::warnings(&self.settings)
    }
}
