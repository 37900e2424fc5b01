//! What a configuration may read beside its text.

use std::io;
use std::path::Path;

use super::environment::Environment;

/// Reads a file that the configuration names.
pub(crate) type Reader<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// What the configuration may look at beside its text.
pub(crate) struct Source<'s> {
    pub(crate) environment: Environment<'s>,
    pub(crate) read: Reader<'s>,
    /// Where relative paths start.
    pub(crate) folder: &'s Path,
}
