//! Stamps of files: whether a file has changed, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Identity and state of a file, without its content: device, inode, time of the last change in
/// seconds and nanoseconds, length. `None`: the file does not exist.
pub(in crate::net) type FileStamp = Option<(u64, u64, i64, i64, u64)>;

/// Returns the stamp of a file. Symbolic links are followed: a link that was swapped is a change.
pub(in crate::net) fn stamp(path: &Path) -> FileStamp {
    let found = std::fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.mtime(),
        found.mtime_nsec(),
        found.len(),
    ))
}
