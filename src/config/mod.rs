//! The configuration file: JSON in, checked values out. All errors are collected, each with its
//! place and with what to do.
//!
//! ```text
//! bytes --document--> nodes with places --environment--> strings filled in --keys--> Config
//! ```
//!
//! * `syntax`: the file as it is written.
//! * `schema`: the table of keys.
//! * `values`: single values, whatever their key is.
//! * `keys`: a file for each top-level key.
//! * `check` and `advice`: the report of `tollgate check`.
//! * `shown`: values of the keys, as text.
//!
//! Nothing here reads a file or the environment: both come in as functions. A [`Config`] that
//! exists is valid.

mod advice;
pub mod changes;
pub mod check;
mod keys;
mod model;
pub mod schema;
pub(crate) mod shown;
mod syntax;
mod values;

#[cfg(test)]
#[expect(
    clippy::string_slice,
    reason = "a test that slices wrongly fails, as it should"
)]
mod tests;

use std::io;
use std::path::Path;

pub use self::keys::admin::address as admin_address;
pub use self::model::{
    AdminAccess, Config, Listen, ListenAddress, ListenKind, LogLevel, UpstreamTls,
};
use self::syntax::document::{self, Value};
use self::syntax::environment;
pub use self::syntax::report::ConfigError;
use self::syntax::report::Report;
use self::syntax::source::Source;
pub(crate) use self::syntax::suggestions::nearest;

/// Reads `admin` alone: a client of the admin listener may not read the files that other keys name,
/// and has other environment variables. `file` is the path, for errors.
///
/// # Errors
/// The file is no JSON object, or the value of `admin` is wrong.
pub fn load_admin(
    text: &[u8],
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<AdminAccess, Vec<ConfigError>> {
    let mut report = Report::new(file, text);
    let admin = match document::parse(text) {
        Ok(mut root) => {
            if let Value::Object(members) = &mut root.value {
                let admin = members.iter_mut().filter(|member| member.name == "admin");
                for member in admin {
                    environment::replace(&mut member.node, "admin", env, &mut report);
                }
            }
            Some(keys::admin::alone(&root, &mut report))
        }
        Err(fault) => {
            report.add(fault.at, "", fault.message);
            None
        }
    };
    report.finish(admin)
}

/// Checks a configuration. `file` is its path, for errors and as the place that relative paths
/// start from.
///
/// # Errors
/// All errors, in the order of the file.
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
            let path = if matches!(root.value, Value::List(_)) {
                "services"
            } else {
                ""
            };
            environment::replace(&mut root, path, env, &mut report);
            let folder = Path::new(file).parent().unwrap_or(Path::new(""));
            keys::compile(
                &root,
                &Source {
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
