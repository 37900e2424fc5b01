//! The configuration: JSON in, values out that cannot be wrong.
//!
//! `document` knows where everything stands in the file, `compile` reads it value by value and collects every error, the
//! rest are the parts of the file. An error never stops the reading: all of them come at once.

pub mod check;
mod compile;
mod document;
mod headers;
mod listen;
mod services;
mod top;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use self::compile::Compiler;
pub use self::compile::ConfigError;
use crate::proxy::settings::Settings;

/// A whole, valid configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What the engine is told.
    pub settings: Settings,
    /// Where clients come from; at least one.
    pub listeners: Vec<ListenAddress>,
    /// Under the settings' target indices; `Some` for each https target.
    pub upstream_tls: Vec<Option<UpstreamTls>>,
    /// What the operator's log shows.
    pub log_level: LogLevel,
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

/// How an https target is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamTls {
    /// Trusted beside the public roots, as DER.
    pub roots: Vec<Vec<u8>>,
    /// The name to ask for and to verify in place of the target's host.
    pub server_name: Option<String>,
}

/// `logLevel`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// What needs somebody to act.
    Error,
    /// What went wrong.
    Warn,
    /// What the gateway does.
    Info,
    /// Each connection's faults.
    Debug,
    /// Everything.
    Trace,
}

/// Reads a configuration. `file` is its name in messages, and what paths inside are relative to; `env` is the environment;
/// `read` reads a file that it names.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn load(
    text: &[u8],
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Config, Vec<ConfigError>> {
    let broken = |line, column, message: String| {
        vec![ConfigError { file: file.to_owned(), line, column, path: String::new(), message }]
    };
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let text = core::str::from_utf8(text).map_err(|error| {
        let valid =
            text.get(..error.valid_up_to()).and_then(|valid| core::str::from_utf8(valid).ok()).unwrap_or_default();
        let (line, column) = document::place(valid, valid.len());
        broken(line, column, "the file is not UTF-8; save it as UTF-8".to_owned())
    })?;
    let root = document::parse(text).map_err(|(line, column, message)| broken(line, column, message))?;
    let mut compiler = Compiler::new(file, text, env, read);
    let config = compiler.config(&root);
    let errors = compiler.into_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors),
    }
}

#[cfg(test)]
mod tests;
