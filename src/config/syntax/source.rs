//! Source of everything that a configuration reads beside its text.

use std::io;
use std::path::Path;

use super::environment::Environment;

/// Reads a file that the configuration names.
pub(crate) type Reader<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Environment and files that a configuration may read.
pub(crate) struct Source<'s> {
    pub(crate) environment: Environment<'s>,
    pub(crate) read: Reader<'s>,
    /// Folder that relative paths start from.
    pub(crate) folder: &'s Path,
}
