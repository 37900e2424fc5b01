//! The configuration file: JSON in, checked values out. All errors are collected, each with its
//! place and with what to do.
//!
//! ```text
//! bytes --parser--> nodes with places --environment--> strings filled in --included--> all services --keys--> Config
//! ```
//!
//! * `syntax`: the file as it is written.
//! * `schema`: the table of keys.
//! * `values`: single values, whatever their key is.
//! * `included`: services from other files.
//! * `keys`: a file for each top-level key.
//! * `check` and `advice`: the report of `tollgate check`.
//! * `compared`: the keys that a reload compares, and `changes`: what it finds.
//! * `shown`: values of the keys, as text.
//!
//! Nothing here reads a file or the environment: both come in as functions. A [`Config`] that
//! exists is valid.

mod advice;
pub mod changes;
pub mod check;
pub(crate) mod compared;
pub mod format;
mod included;
mod keys;
mod model;
mod orders;
pub mod schema;
mod shared_limits;
pub(crate) mod shown;
pub mod starter;
mod syntax;
mod values;

#[cfg(test)]
#[expect(
    clippy::string_slice,
    reason = "a test that slices wrongly fails, as it should"
)]
mod tests;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::Path;

pub use self::keys::admin::address as admin_address;
pub use self::model::{
    AdminAccess, Config, Listen, ListenAddress, ListenKind, LogLevel, Port, UpstreamTls, Workers,
};
pub use self::orders::{Acme, Binding, Challenge, Order};
use self::syntax::document::{Node, Value};
use self::syntax::environment;
use self::syntax::parser;
pub use self::syntax::report::ConfigError;
use self::syntax::report::Report;
use self::syntax::source::Source;
pub(crate) use self::syntax::suggestions::nearest;
use crate::sort::unique;

/// Reads `admin` alone: a client of the admin listener may not read the files that other keys name,
/// and has other environment variables. A gateway goes on when a mistake comes into its file, so
/// faults of the syntax do not matter where `admin` could be read. `file` is the path, for errors.
///
/// # Errors
/// The file is no JSON object, or the value of `admin` is wrong.
pub fn load_admin(
    text: &[u8],
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<AdminAccess, Vec<ConfigError>> {
    let mut report = Report::new(file, text);
    let parsed = parser::parse(text);
    let mut root = parsed.root.or(parsed.partial);
    let mut is_read = false;
    if let Some(Value::Object(members)) = root.as_mut().map(|root| &mut root.value) {
        let admin = members.iter_mut().filter(|member| member.name == "admin");
        for member in admin {
            is_read |= member.node.value != Value::Broken;
            environment::replace(&mut member.node, "admin", env, &mut report);
        }
    }
    if !is_read {
        for fault in parsed.faults {
            report.add(fault.at, "", fault.message);
        }
    }
    let admin = root.map(|root| keys::admin::alone(&root, &mut report));
    report.finish(admin)
}

/// Reads the document in `text`, whose first byte has the offset `base` in the report.
fn read_document(text: &[u8], base: usize, report: &mut Report<'_>) -> Option<Node> {
    let parsed = parser::parse(text);
    for fault in parsed.faults {
        report.add(base + fault.at, "", fault.message);
    }
    let mut root = parsed.root?;
    root.shift(base);
    Some(root)
}

/// Checks a configuration without a folder to read more files of services from. `file` is its path,
/// for errors and as the place that relative paths start from.
///
/// # Errors
/// All errors, in the order of the file.
pub fn load(
    text: &[u8],
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Config, Vec<ConfigError>> {
    let list = |_: &Path| Err(io::ErrorKind::Unsupported.into());
    load_with_folder(text, file, env, read, &list)
}

/// Checks a configuration. `list` returns the names of the files in a folder.
///
/// # Errors
/// All errors, in the order of the files.
pub fn load_with_folder(
    text: &[u8],
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    list: &dyn Fn(&Path) -> io::Result<Vec<OsString>>,
) -> Result<Config, Vec<ConfigError>> {
    let mut report = Report::new(file, text);
    let source = Source {
        environment: env,
        read,
        list,
        folder: Path::new(file).parent().unwrap_or(Path::new("")),
        bodies: RefCell::default(),
        noted: RefCell::default(),
        upstream: RefCell::default(),
    };
    let config = read_document(text, 0, &mut report).and_then(|mut root| {
        // The bare array stands for the services; its paths say so.
        let path = match root.value {
            Value::List(_) => "services",
            _ => "",
        };
        environment::replace(&mut root, path, env, &mut report);
        included::expand(&mut root, &source, &mut report);
        let mut config = keys::compile(&root, &source, &mut report)?;
        config.included = source.noted.take();
        config.upstream_files = source.upstream.take();
        unique(&mut config.included);
        unique(&mut config.upstream_files);
        Some(config)
    });
    report.finish(config)
}
