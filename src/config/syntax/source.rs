//! Source of everything that a configuration reads beside its text.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::FIXED_BODY_BYTES_MAX;

use super::environment::Environment;
use super::located::Located;
use super::report::Report;

/// Reads a file that the configuration names.
pub(crate) type Reader<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Returns the names of the files in a folder.
pub(crate) type Lister<'l> = &'l dyn Fn(&Path) -> io::Result<Vec<OsString>>;

/// Environment and files that a configuration may read.
pub(crate) struct Source<'s> {
    pub(crate) environment: Environment<'s>,
    /// Reads a file of a listener's certificates, which are watched where they are served. All others
    /// are read by [`Source::file`] and [`Source::file_of_upstream`].
    pub(crate) read: Reader<'s>,
    pub(crate) list: Lister<'s>,
    /// Folder that relative paths start from.
    pub(crate) folder: &'s Path,
    /// Files with bodies of replies, which were read.
    pub(crate) bodies: RefCell<Vec<(PathBuf, Arc<[u8]>)>>,
    /// Files and folders whose content is the one of the last reload.
    pub(crate) noted: RefCell<Vec<PathBuf>>,
    /// Files of the TLS settings of targets.
    pub(crate) upstream: RefCell<Vec<PathBuf>>,
}

impl Source<'_> {
    /// Reads a file, and notes that a reload alone reads it again.
    pub(crate) fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.noted.borrow_mut().push(path.to_owned());
        (self.read)(path)
    }

    /// Reads a file of the TLS settings of a target, and notes it.
    pub(crate) fn file_of_upstream(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.upstream.borrow_mut().push(path.to_owned());
        (self.read)(path)
    }

    /// Returns the names of the files in a folder, and notes it as [`Source::file`] does.
    pub(crate) fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.noted.borrow_mut().push(folder.to_owned());
        (self.list)(folder)
    }

    /// Reads the file that a value names: the body of a reply. A file is read once.
    pub(crate) fn body(&self, place: &Located<'_>, report: &mut Report<'_>) -> Option<Arc<[u8]>> {
        let text = place.text(report)?;
        if text.is_empty() {
            place.fail(report, r#"is empty; name a file such as "page.html""#);
            return None;
        }
        let path = self.folder.join(text);
        let mut known = self.bodies.borrow_mut();
        if let Some((_, body)) = known.iter().find(|(other, _)| *other == path) {
            return Some(Arc::clone(body));
        }
        let message = match self.file(&path) {
            Ok(bytes) if bytes.len() <= FIXED_BODY_BYTES_MAX => {
                let body = Arc::<[u8]>::from(bytes);
                known.push((path, Arc::clone(&body)));
                return Some(body);
            }
            Ok(bytes) => format!("has {} bytes; at most 64 KB can be sent", bytes.len()),
            Err(error) => format!("cannot be read: {error}"),
        };
        place.fail_bare(
            report,
            format!("{:?} {message}", path.display().to_string()),
        );
        None
    }
}
