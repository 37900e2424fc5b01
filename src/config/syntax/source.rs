//! Source of everything that a configuration reads beside its text.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::environment::Environment;

/// Reads a file that the configuration names.
pub(crate) type Reader<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Returns the names of the files in a folder.
pub(crate) type Lister<'l> = &'l dyn Fn(&Path) -> io::Result<Vec<OsString>>;

/// Environment and files that a configuration may read.
pub(crate) struct Source<'s> {
    pub(crate) environment: Environment<'s>,
    pub(crate) read: Reader<'s>,
    pub(crate) list: Lister<'s>,
    /// Folder that relative paths start from.
    pub(crate) folder: &'s Path,
}
