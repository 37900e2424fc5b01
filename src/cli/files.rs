//! Files that a command writes: `tollgate init` and `tollgate fmt`.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::{format, starter};

/// Result of [`format_file`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Formatted {
    /// The file has its usual form.
    Unchanged,
    /// The file was written, or would be.
    Changed,
}

/// Writes the file to start from.
///
/// # Errors
/// The file exists or cannot be written. The text says what to do.
pub fn write_starter(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(starter::TEXT.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{shown} exists and stays as it is; move it away, or change it")
        }
        _ => format!("{shown}: cannot be written: {error}"),
    })
}

/// Brings a configuration into its usual form. `only_check`: nothing is written.
///
/// # Errors
/// Lines about what is wrong with the file, or why it cannot be written.
pub fn format_file(path: &Path, only_check: bool) -> Result<Formatted, Vec<String>> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| vec![format!("{shown}: cannot be read: {error}")])?;
    let formatted = format::format(&text, &shown.to_string())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    if formatted.as_bytes() == text {
        return Ok(Formatted::Unchanged);
    }
    if !only_check {
        replace(path, formatted.as_bytes())
            .map_err(|error| vec![format!("{shown}: cannot be written: {error}")])?;
    }
    Ok(Formatted::Changed)
}

/// Replaces the content of a file, all of it or nothing: a full disk loses no configuration. Mode
/// and owner stay, and a symbolic link stays a link.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside: PathBuf = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let write = |file: &mut fs::File| {
        file.write_all(content)?;
        let mine = file.metadata()?;
        if (mine.uid(), mine.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(&*file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    let written = write(&mut file);
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
