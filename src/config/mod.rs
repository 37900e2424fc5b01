//! The configuration file: JSON in, checked values out. ALL errors are collected, each with its place and with what to do.
//!
//! ```text
//! bytes --document--> nodes with places --environment--> strings filled in --raw, compile--> Config
//! ```
//!
//! Nothing here reads a file or the environment: both come in as functions. A [`Config`] that exists is right.

mod auth;
mod balance;
mod bounds;
pub mod check;
mod compile;
mod cors;
mod document;
mod environment;
mod headers;
mod host;
mod listen;
mod listen_tls;
mod matching;
mod networks;
mod raw;
mod route;
mod services;
mod suggest;
mod target;
mod trust;
mod values;

#[cfg(test)]
#[expect(
    clippy::string_slice,
    reason = "a test that slices wrongly fails, as it should"
)]
mod tests;

use core::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::proxy::settings::Settings;
use crate::transport::server::TlsFiles;

use self::raw::Report;
pub(crate) use self::suggest::nearest;

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
        auth::advice::warnings(&self.settings)
    }
}

/// One thing that is wrong with the file. Displayed as `FILE:LINE:COL: PATH: MESSAGE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file as the caller named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `services[2].target`; empty for the document itself.
    pub path: String,
    /// What is wrong and what to do, in one line.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError {
            file,
            line,
            column,
            path,
            message,
        } = self;
        match path.is_empty() {
            true => write!(f, "{file}:{line}:{column}: {message}"),
            false => write!(f, "{file}:{line}:{column}: {path}: {message}"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Reads a file that the configuration names.
type Reader<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Checks a configuration. `file` is its path, for errors and as the place relative paths start from.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn load(
    text: &[u8],
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Config, Vec<ConfigError>> {
    let mut report = Report::new(file, text);
    let config = match document::parse(text) {
        Ok(mut root) => {
            // The bare array stands for the services; its paths say so.
            let path = if matches!(root.value, document::Value::List(_)) {
                "services"
            } else {
                ""
            };
            environment::replace(&mut root, path, env, &mut report);
            let folder = Path::new(file).parent().unwrap_or(Path::new(""));
            compile::compile(
                &root,
                &compile::Surroundings {
                    environment: env,
                    read,
                    folder,
                },
                &mut report,
            )
        }
        Err(fault) => {
            report.add(fault.at, "", fault.message);
            None
        }
    };
    report.finish(config)
}
